"""Intervals against scipy's bootstrap, and runs that are compared on the clips that they share."""

import re

import numpy as np
import pytest
import run_folder
import scipy.stats

from train import compare
from train.evaluation import paired
from train.evaluation.bootstrap import mean_interval, standard_error
from train.results import reader


@pytest.mark.parametrize(("size", "level"), [(16, 0.95), (300, 0.95), (300, 0.8)])
def test_interval_is_scipys(size, level):
    """Skewed values; two bootstraps of 10,000 differ by a few hundredths of their width."""
    values = np.random.default_rng(0).exponential(1, size) - 0.5
    options = {"n_resamples": 10_000, "confidence_level": level, "method": "percentile", "rng": np.random.default_rng(1)}
    expected = scipy.stats.bootstrap((values,), np.mean, **options).confidence_interval
    found = mean_interval(values, level)
    assert found == pytest.approx(expected, abs=0.04 * (expected.high - expected.low))
    assert found == mean_interval(values, level)
    assert standard_error(values) == pytest.approx(scipy.stats.sem(values))


def test_edges():
    assert mean_interval(np.full(5, 0.25)) == (0.25, 0.25)
    assert np.isnan(standard_error(np.ones(1)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paired")
    short = {"steps": 30, "evaluate_every": 10, "clips": 0}
    for seed, (name, final) in enumerate({"a": 1.9, "b": 0.9}.items()):
        run_folder.make(folder / name, run_folder.config(steps=30), seed=seed, final=final, **short)
    run_folder.make(folder / "other", run_folder.config(steps=30) | {"fingerprint": "f" * 64}, final=3, **short)
    return [reader.read(folder / name, name) for name in ("a", "b", "other")]


def test_pairs_see_what_means_do_not(runs):
    """Clips differ by 1 bit, runs by about a tenth of it: paired, the interval is clear of 0."""
    a, b = ([float(row["bits"]) for row in run.clips["seen"]] for run in runs[:2])
    found = paired.compare(runs[0], runs[1], "seen")
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert found.clips == 64
    assert 0 < found.low < found.mean < found.high < 0.2
    assert found.mean < np.hypot(standard_error(np.array(a)), standard_error(np.array(b))), "apart, nobody could tell"


def test_clips_are_found_by_their_numbers(runs):
    """Whatever their order, and those alone that both have."""
    fewer = runs[0]._replace(clips={"seen": runs[0].clips["seen"][::-1][:20]})
    found, expected = (paired.compare(run, runs[1], "seen") for run in (fewer, runs[0]))
    assert (found.clips, expected.clips) == (20, 64)
    kept = {row["sample"] for row in fewer.clips["seen"]}
    bits = [{row["sample"]: float(row["bits"]) for row in run.clips["seen"]} for run in runs[:2]]
    assert found.mean == pytest.approx(np.mean([bits[0][each] - bits[1][each] for each in kept]))


def test_other_data_is_not_compared(runs):
    assert paired.compare(runs[0], runs[2], "seen") is None
    rows = paired.rows(paired.compare_with_best(runs))
    assert [row[:3] for row in rows] == [[name, run, "b"] for name in ("unseen", "seen") for run in ("a", "other")]
    assert [row[4] for row in rows][1::2] == ["other clips"] * 2
    assert paired.compare_with_best([run._replace(clips={}) for run in runs]) == []


def test_what_is_not_a_number_is_not_the_best(runs):
    """A run that diverged late has such clips, and comes first here."""
    broken = runs[0]._replace(clips={"seen": [row | {"bits": "nan"} for row in runs[0].clips["seen"]]})
    (row,) = [row for row in paired.compare_with_best([broken, runs[1]]) if row["set"] == "seen"]
    assert (row["run"], row["best"]) == ("a", "b")


def test_the_page_has_them(runs):
    """And draws each interval in one scale: of two, the ratio of the lengths is that of the numbers."""
    page, found = compare.page(runs), paired.compare_with_best(runs)
    for row in paired.rows(found):
        assert "".join(f"<td>{text}</td>" for text in row[:4]) in page
        assert f"{row[4]}</td><td>{row[5]}</td>" in page
    drawn = [(float(high) - float(low)) for low, high in re.findall(r'class="span" d="M([-\d.]+) 8H([-\d.]+)"', page)]
    known = [one["high"] - one["low"] for one in found if one["clips"]]
    assert len(drawn) == len(known) == 2
    assert drawn[0] / drawn[1] == pytest.approx(known[0] / known[1], abs=0.01)
