"""Benchmarks: the plans that they make are the published ones, and a study trains on them."""

import shutil
from itertools import pairwise

import pytest

pytest.importorskip("torch")

from dx7data.patches import bank
from dx7data.patches.simplify import SIMPLER
from dx7data.plan.plan import Plan
from train import benchmarks, study
from train.benchmarks import BENCHMARKS

FEW = (32, 320, 3200)


@pytest.fixture(scope="module")
def one_voice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    benchmarks.prepare("one-voice", folder)
    return folder


def test_one_voice(one_voice):
    """One patch, one note at a time, and nothing that a model can't know."""
    plan = Plan.load(benchmarks.find_plan(one_voice))
    assert plan.fingerprint == benchmarks.BENCHMARKS["one-voice"].fingerprint
    assert (plan.patches.stored == bank.pick("example:5")).all()
    assert {name: each["hidden"] for name, each in plan.hidden["things"].items()} == dict.fromkeys(plan.hidden["things"], 0)
    assert "velocity" in plan.hidden["things"]
    for j in range(20):
        notes = plan.choose("train", j).phrase.notes
        assert all(one.start + one.held <= other.start for one, other in pairwise(notes))


def test_what_is_there_is_kept(one_voice):
    times = {path: path.stat().st_mtime_ns for path in one_voice.rglob("*")}
    benchmarks.prepare("one-voice", one_voice)
    assert {path: path.stat().st_mtime_ns for path in one_voice.rglob("*")} == times


def test_another_plan_is_refused(one_voice, tmp_path, capsys):
    shutil.copytree(one_voice, tmp_path / "study")
    assert study.main(["--benchmark", "any-voice", "--out", str(tmp_path / "study"), "--models", "s4"]) == 2
    assert "plan has fingerprint d82ef00b114b, any-voice has " in capsys.readouterr().err


def test_runs_render_the_plan_and_options_override_the_benchmarks(tmp_path):
    argv = ["--benchmark", "any-voice", "--out", str(tmp_path), "--", "--prefix", "fsk", "--device", "cpu"]
    settings = study.trial(study.read_options(argv), "s4", 1e-3).settings
    assert (settings.reader, settings.shards) == ("live", str(tmp_path / "plan"))
    assert (settings.prefix, settings.seconds, settings.batch) == ("fsk", 0.5, 28)


@pytest.mark.parametrize("argv", [[], ["--shards", "here", "--benchmark", "one-voice"]])
def test_one_of_shards_and_benchmark(argv, tmp_path, capsys):
    assert study.main([*argv, "--out", str(tmp_path / "study")]) == 2
    assert "--shards with a folder, or --benchmark with one or more of one-voice, any-voice" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_few_patches_are_the_same_recipe_with_one_option_more():
    whole = BENCHMARKS["any-voice"]
    for count in FEW:
        few = BENCHMARKS[f"any-voice-{count}"]
        assert few.plan == (*whole.plan, "--train-patches", str(count))
        assert (few.breed, few.train) == (whole.breed, whole.train)
    assert len({each.fingerprint for each in BENCHMARKS.values()}) == len(BENCHMARKS)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("name", ["carrier", "harmonic"])  # a minute each
def test_simpler_voices(name, tmp_path):
    benchmarks.prepare(f"any-voice-{name}", tmp_path)
    patches = Plan.load(benchmarks.find_plan(tmp_path)).patches
    assert (SIMPLER[name](patches.stored) == patches.stored).all()
    assert len(patches) >= 20_000
    assert len(set(patches.families)) >= 10_000


@pytest.mark.slow
@pytest.mark.integration
def test_any_voice(tmp_path):
    """At least 20,000 patches in 10,000 near-duplicate groups, and 300 groups that no training has, however few it has."""
    names = ["any-voice", *(f"any-voice-{count}" for count in FEW)]
    for name in names:
        benchmarks.prepare(name, tmp_path / name, tmp_path)
    assert [path.name for path in tmp_path.rglob("*.syx")] == ["any-voice.syx"]
    whole, *fewer = (Plan.load(benchmarks.find_plan(tmp_path / name)) for name in names)
    for count, plan in zip(FEW, fewer, strict=True):
        assert plan.targets["train"].size == count
        assert [plan.hash_split(name) == whole.hash_split(name) for name in ("train", "val", "test")] == [False, True, True]
    patches = whole.patches
    groups = {
        split: {f for f, own in zip(patches.families, patches.splits, strict=True) if own == split}
        for split in ("train", "val", "test")
    }
    assert len(patches) >= 20_000
    assert len(set(patches.families)) >= 10_000
    assert min(len(groups["val"]), len(groups["test"])) >= 300
