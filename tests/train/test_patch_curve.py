"""Runs on few and on many training patches: what they record, whether they can be compared, and the chart of them."""

import json
import re
from itertools import groupby

import numpy as np
import pytest
import run_folder

pytest.importorskip("torch")

from dx7data import cli
from dx7data.plan.plan import Plan
from train import __main__ as command
from train import compare
from train.evaluation import paired
from train.results import comparable, patch_curve, reader

GROUPS = {32: 31, 320: 300, 21120: 18500}
SHORT = {"steps": 30, "evaluate_every": 10, "clips": 0}


def make(folder, patches, model="s4", **changes):
    """A run on so many patches, and on data of its own, with the unseen ones of all others."""
    facts = {"patches": patches, "groups": GROUPS[patches], "unseen_fingerprint": "e" * 64}
    config = run_folder.config(steps=30, model_name=model) | facts | {"fingerprint": f"{patches:064}"} | changes
    return run_folder.make(folder / str(patches) / model, config, seed=patches, **SHORT)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Not in the order of their numbers."""
    folder = tmp_path_factory.mktemp("runs")
    return [make(folder, patches, model) for patches in (320, 21120, 32) for model in ("s4", "mamba2")]


@pytest.fixture(scope="module")
def runs(folders):
    return compare.read(folders)


def last(run, which, name):
    return float(run.validation[which][-1][name])


def test_none_is_the_best_on_clips_of_its_own(folders, tmp_path):
    """Seen clips are of each run's own training patches; unseen ones are the same for all."""
    page = tmp_path / "page.html"
    assert compare.main([*map(str, folders), "--out", str(page)]) == 0
    best = re.findall(r'<td class=best><data value="([^"]*)"', page.read_text())
    unseen, seen = ([run.validation[which][-1]["bits"] for run in compare.read(folders)] for which in ("unseen", "seen"))
    assert min(unseen, key=float) in best
    assert not {*seen} & {*best}


@pytest.mark.parametrize("name", ["bits", "snr_mean_db"])
def test_points_are_the_last_evaluations(runs, name):
    curves = {curve.name: curve for curve in patch_curve.list_curves(runs, name)}
    assert list(curves) == ["s4 unseen", "s4 seen", "mamba2 unseen", "mamba2 seen"]
    for title, curve in curves.items():
        model, which = title.split()
        own = {int(run.facts["patches"]): last(run, which, name) for run in runs if run.facts["model_name"] == model}
        assert 10**curve.across == pytest.approx([32, 320, 21120])
        assert curve.values.tolist() == [own[n] for n in (32, 320, 21120)]
    assert curves["s4 unseen"].number == curves["s4 seen"].number != curves["mamba2 seen"].number


def test_of_several_seeds_it_is_the_mean(tmp_path):
    settings = run_folder.config(steps=30, seed=5)["settings"]
    found = compare.read([make(tmp_path, 32), make(tmp_path / "5", 32, settings=settings), make(tmp_path, 320)])
    curves = patch_curve.list_curves(found, "bits")
    assert [curve.name for curve in curves] == ["s4 unseen", "s4 seen"]
    one, other, more = (last(run, "unseen", "bits") for run in found)
    assert curves[0].values == pytest.approx([(one + other) / 2, more])


def test_kinds_are_named_by_what_differs():
    s4 = {"model_name": "s4", "prefix": "bytes", "model.film": "192", "model.film_reader": "mlp"}
    kinds = [s4, s4 | {"model.film_reader": "table"}, s4 | {"model_name": "mamba2", "prefix": "none"}]
    assert patch_curve.name_kinds(kinds) == ["s4 mlp", "s4 table", "mamba2"]
    before = {"model_name": "s4", "prefix": "bytes"}  # there was no FiLM
    assert patch_curve.name_kinds([s4, before]) == ["s4 192 mlp", "s4"]


def test_prefixes_are_told_apart(tmp_path):
    settings = run_folder.config(steps=30, prefix="reference")["settings"]
    other = make(tmp_path / "other", 21120, settings=settings)
    found = compare.read([make(tmp_path, 32), make(tmp_path, 21120), other])
    assert [(curve.name, len(curve.values)) for curve in patch_curve.list_curves(found, "bits")] == [
        *(("s4 fsk unseen", 2), ("s4 fsk seen", 2), ("s4 reference unseen", 1), ("s4 reference seen", 1))
    ]


def test_the_chart_has_patches_and_groups_below(runs):
    bits, snr = map(str, patch_curve.charts(runs))
    assert ("Cross entropy" in bits, "SNR of the mean" in snr) == (True, True)
    for drawn in (bits, snr):
        texts = re.findall(r'<text x="([\d.]+)" y="(\d+)">([\d,]+)</text>', drawn)
        columns = {float(x): [text for _, _, text in own] for x, own in groupby(texts, lambda text: text[0])}
        assert list(columns.values()) == [[f"{n:,}", f"{groups:,}"] for n, groups in GROUPS.items()]
        places = np.array(list(columns))
        assert np.diff(places)[0] / np.diff(places)[1] == pytest.approx(1 / np.log10(66), rel=0.01)
        marks = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)
        assert {float(x) for x, _ in marks} == set(columns)
        assert all(0 < float(y) < 150 for _, y in marks)
        assert "nan" not in drawn


def test_no_chart_where_the_number_is_the_same(folders, runs, tmp_path):
    assert not list(patch_curve.charts(runs[:2]))
    assert not list(patch_curve.charts([]))
    assert not patch_curve.draw(runs[:2], tmp_path / "curve.png")
    assert not (tmp_path / "curve.png").exists()
    old = run_folder.make(tmp_path / "old", run_folder.config(steps=30), **SHORT)
    assert not list(patch_curve.charts(compare.read([old, folders[0]])))
    assert compare.main([str(old), *map(str, folders), "--out", str(tmp_path / "page.html")]) == 0
    assert "with more patches" in (tmp_path / "page.html").read_text()


def test_what_did_not_become_a_number_is_left_out(runs):
    broken = [run._replace(validation={"unseen": [run.validation["unseen"][-1] | {"bits": "nan"}]}) for run in runs]
    assert len(list(patch_curve.charts(broken))) == 1  # that of SNR


def test_they_are_comparable_on_unseen_patches_alone(runs):
    text = str(comparable.verdict(runs))
    assert "<b>Comparable on unseen patches alone.</b> All 6 runs" in text
    assert "fingerprint of the clips" in text
    pair = runs[0], runs[2]
    clips = [{row["sample"]: float(row["bits"]) for row in run.clips["unseen"]} for run in pair]
    found = paired.compare(*pair, "unseen")
    assert found.mean == pytest.approx(np.mean([clips[0][j] - clips[1][j] for j in clips[0]]))
    assert paired.compare(*pair, "seen") is None


@pytest.mark.parametrize("change", [{"unseen_fingerprint": "d" * 64}, {"unseen_fingerprint": "e" * 64, "batch": 9}])
def test_and_not_where_more_differs(runs, change):
    other = runs[2]._replace(facts=runs[2].facts | {name: str(value) for name, value in change.items()})
    assert "<b>Not comparable as they are.</b>" in str(comparable.verdict([runs[0], other]))
    assert (paired.compare(runs[0], other, "unseen") is None) == (change["unseen_fingerprint"][0] == "d")
    unknown = [run._replace(facts={k: v for k, v in run.facts.items() if k != "unseen_fingerprint"}) for run in runs]
    assert "<b>Not comparable as they are.</b>" in str(comparable.verdict(unknown))
    assert paired.compare(unknown[0], unknown[2], "unseen") is None


def test_what_trainings_record(tmp_path):
    options = ["--patches", "example", "--seconds", "0.25", "--samples", "40"]
    train = ["--model", "s4d", "--preset", "tiny", "--device", "cpu", "--steps", "1", "--batch", "1", "--seconds", "0.05"]
    train += ["--evaluate-samples", "2", "--evaluate-every", "1", "--checkpoint-every", "9"]
    found = {}
    for n, limit in {4: ["--train-patches", "4"], 26: []}.items():
        plan = tmp_path / f"plan-{n}"
        assert cli.main(["plan", "--out", str(plan), *options, *limit]) == 0
        assert command.main(["--live", str(plan), "--out", str(tmp_path / str(n)), *train]) == 0
        config = json.loads((tmp_path / str(n) / "config.json").read_text())
        assert (config["patches"], config["groups"]) == (n, n)
        assert config["unseen_fingerprint"] == Plan.load(plan).hash_split("val")
        found[n] = reader.read(tmp_path / str(n), str(n))
    assert paired.compare(found[4], found[26], "unseen").clips == 2
    assert paired.compare(found[4], found[26], "seen") is None
