"""Floors and a ceiling: of signals for which they are known, on the clips of a run, and on the page of runs."""

import json

import documented
import numpy as np
import pytest
import torch

import dx7data
from dx7data import cli
from dx7data.patches.audible import find_audible
from dx7data.patches.patch import FIELDS
from dx7data.patches.sysex import write_bank
from train import __main__ as command
from train import baselines, compare
from train.data.datasets import open_clips
from train.data.example import Example
from train.evaluation.evaluate import HeldOut, load_held_out
from train.results import reader

DATA = ["--sample-rate", "8000", "--seconds", "0.05"]


def made_up(source, target):
    count = len(source)
    examples = Example(torch.zeros(count, 0, dtype=torch.int16), source.short(), target.short())
    return HeldOut("seen", [("train", i) for i in range(count)], [1] * count, 8000, examples)


# --- The filter ---


def test_a_known_filter_is_found():
    """Clips through a causal FIR of 40 taps, by numpy; of 64 taps the rest is nothing."""
    rng = np.random.default_rng(0)
    known = rng.normal(0, 1, 40) * np.exp(-np.arange(40) / 8)
    sources = rng.normal(0, 0.1, (6, 800))
    targets = np.array([np.convolve(source, known)[:800] for source in sources])
    pairs = zip(torch.from_numpy(sources), torch.from_numpy(targets), strict=True)
    taps = baselines.fit_filter(pairs, 64)
    assert taps.numpy() == pytest.approx(np.pad(known, (0, 24)), abs=1e-6)
    made = baselines.apply_filter(torch.from_numpy(sources).float(), taps).numpy()
    assert 10 * np.log10((targets**2).sum() / ((made - targets) ** 2).sum()) > 80


def test_the_filter_is_least_squares_and_causal():
    """Against numpy's on a target that no filter makes; what comes later changes nothing."""
    rng = np.random.default_rng(1)
    source, target = rng.normal(0, 1, (2, 300))
    past = np.array([np.pad(source, (7, 0))[i : i + 8][::-1] for i in range(300)])
    expected = np.linalg.lstsq(past, target, rcond=None)[0]
    taps = baselines.fit_filter([(torch.from_numpy(source), torch.from_numpy(target))], 8)
    assert taps.numpy() == pytest.approx(expected, rel=1e-5)
    later = source.copy()
    later[200:] = 0
    both = baselines.apply_filter(torch.from_numpy(np.array([source, later])).float(), taps)
    assert both[0, :200].tolist() == pytest.approx(both[1, :200].tolist(), abs=1e-5)


def test_silence_that_trains_makes_silence():
    taps = baselines.fit_filter([(torch.zeros(50, dtype=torch.float64), torch.ones(50, dtype=torch.float64))], 8)
    assert taps.tolist() == [0] * 8


# --- A set ---


def test_a_set_whose_figures_are_known():
    """The target is the source an eighth as loud: copied, it is 7 times as wrong as silence is; a filter is right."""
    source = torch.from_numpy(np.random.default_rng(2).integers(-8000, 8000, (3, 2000)) // 8 * 8)
    found = baselines.measure_set(made_up(source, source / 8), torch.tensor([1 / 8], dtype=torch.float64))
    assert found["uniform"]["bits"] == 8
    assert found["silence"]["snr_db"] == pytest.approx(0, abs=1e-6)
    assert found["the source"]["snr_db"] == pytest.approx(-20 * np.log10(7), abs=1e-4)
    assert found["a linear filter, 1 taps"]["snr_db"] > 80
    assert found["order-0, given the source's class"]["bits"] < found["order-0"]["bits"] < 8
    assert 30 < found["ceiling: the target through mu-law"]["snr_db"] < 40
    order = [found[name]["mel_db"] for name in ("ceiling: the target through mu-law", "the source", "silence")]
    assert order == sorted(order)
    assert order[0] < 0.5


def test_the_nearest_training_patch(tmp_path):
    """Voices have siblings that differ in three rates or levels by a step. Most of unseen ones are in training."""
    voices = dx7data.load_patches("example")[:16]
    siblings = voices.copy()
    for voice, heard in zip(siblings, find_audible(voices), strict=True):
        near = [i for i in np.flatnonzero(heard) if "eg_rate" in FIELDS[i] or "output_level" in FIELDS[i]][:3]
        voice[near] = np.where(voice[near] > 50, voice[near] - 1, voice[near] + 1)
    (tmp_path / "siblings.syx").write_bytes(write_bank(np.concatenate([voices, siblings])))
    options = ["--samples", "100", "--seconds", "0.25", "--sample-rate", "8000", "--prefix", "bytes"]
    assert cli.main(["plan", "--patches", str(tmp_path / "siblings.syx"), "--out", str(tmp_path / "plan"), *options]) == 0
    argv = ["--live", str(tmp_path / "plan"), "--sample-rate", "8000", "--seconds", "0.25", "--samples", "10"]
    assert baselines.main([*argv, "--out", str(tmp_path / "baselines.json")]) == 0
    sets = {name: one["baselines"] for name, one in baselines.read(tmp_path / "baselines.json")["sets"].items()}
    nearest = sets["unseen"]["the nearest training patch"]
    assert nearest["snr_db"] > 10 > sets["unseen"]["a linear filter, 512 taps"]["snr_db"]
    assert nearest["mel_db"] < 5 < sets["unseen"]["the source"]["mel_db"]
    assert "the nearest training patch" not in sets["seen"]


# --- The command ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan, baselines of it, and a run on it."""
    folder = tmp_path_factory.mktemp("baselines")
    options = ["--samples", "40", "--seconds", "0.1", "--sample-rate", "8000"]
    assert cli.main(["plan", "--patches", "example", "--out", str(folder / "plan"), *options]) == 0
    argv = ["--live", str(folder / "plan"), *DATA]
    assert baselines.main([*argv, "--samples", "4", "--out", str(folder / "baselines.json")]) == 0
    torch.set_num_threads(1)
    small = ["--model", "s4d", "--preset", "tiny", "--device", "cpu", "--batch", "4", "--steps", "2"]
    assert command.main([*argv, *small, "--evaluate-samples", "4", "--out", str(folder / "run")]) == 0
    return folder


def test_the_clips_are_those_of_a_run(folder):
    """And the run's own order-0 floor is the same figure."""
    found = baselines.read(folder / "baselines.json")
    result = json.loads((folder / "run" / "result.json").read_text())
    for name, one in found["sets"].items():
        assert result["sets"][name]["order0_bits"] == pytest.approx(one["baselines"]["order-0"]["bits"])
    (first, *_) = load_held_out(open_clips(folder / "plan", reader="live", crop=400), 4)
    ratio = first.examples.target.double().square().sum(1) / (
        first.examples.source - first.examples.target.double()
    ).square().sum(1)
    copied = found["sets"][first.name]["baselines"]["the source"]["snr_db"]
    assert copied == pytest.approx((10 * ratio.log10())[first.examples.target.abs().amax(1) > 5].mean().item(), abs=1e-3)
    assert list(found["sets"]) == list(reader.group_by_set(reader.read_table(folder / "run" / "validation.csv")))


def test_a_table_for_people(folder, capsys):
    argv = ["--live", str(folder / "plan"), *DATA, "--samples", "2", "--out", str(folder / "again.json")]
    assert baselines.main(argv) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("order-0", "silence", "the source", "linear filter, 512 taps", "ceiling", "bits"))
    assert baselines.main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    documented.check("python -m train.baselines", found)
    assert "\n".join(baselines.describe(found)) + "\n" == shown
    assert found == {"file": argv[-1], **json.loads((folder / "again.json").read_text())}


def test_the_page_shows_them(folder, tmp_path):
    out = tmp_path / "page.html"
    argv = [str(folder / "run"), "--out", str(out), "--baselines", str(folder / "baselines.json")]
    assert compare.main(argv) == 0
    page = out.read_text()
    for row in baselines.rows(baselines.read(folder / "baselines.json")):
        assert "".join(f"<td>{text.replace(chr(39), '&#39;')}</td>" for text in row) in page


# --- What a person can get wrong ---


def refused(program, argv, capsys):
    assert program.main(list(map(str, argv))) == 2
    (said,) = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("train.")]
    return said


def test_baselines_of_other_clips(folder, tmp_path, capsys):
    found = baselines.read(folder / "baselines.json")
    for name, value in {"seconds": 0.1, "evaluate_samples": 9, "fingerprint": "f" * 64, "split": "val"}.items():
        (tmp_path / "other.json").write_text(json.dumps(found | {name: value}))
        argv = [folder / "run", "--out", tmp_path / "page.html", "--baselines", tmp_path / "other.json"]
        said = refused(compare, argv, capsys)
        assert f"other.json is of {name} {value}, run of" in said
        assert f"--seconds {found['seconds']:g} --samples {found['evaluate_samples']}" in said
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"sets": {}}', b"\xff"])
def test_damaged_baselines(folder, tmp_path, capsys, content):
    (tmp_path / "b.json").write_bytes(content)
    argv = [folder / "run", "--out", tmp_path / "page.html", "--baselines", tmp_path / "b.json"]
    assert "b.json can't be read" in refused(compare, argv, capsys)


def test_where_nothing_can_be_measured(folder, tmp_path, capsys, monkeypatch):
    out = ["--out", tmp_path / "b.json"]
    assert "is no data set" in refused(baselines, ["--shards", tmp_path / "none", *out], capsys)
    assert "--seconds 0.5" in refused(baselines, ["--live", folder / "plan", "--sample-rate", 8000, *out], capsys)
    monkeypatch.setattr(baselines, "measure", None)  # it is said before that
    argv = ["--live", folder / "plan", *DATA, "--samples", 1, "--out", tmp_path / "missing" / "b.json"]
    assert "can't write" in refused(baselines, argv, capsys)
