"""The study: which runs it starts, which rate it takes, and a table that says what the runs' own files say."""

import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import documented
import numpy as np
import pytest
from matplotlib import image

pytest.importorskip("torch")
import run_folder

from dx7data import cli
from train import study, study_jobs, study_table

# Bits at the end of each trial: the best rate is neither the first nor the last, and another one for each model.
FINAL = {("s4", 1e-3): 2.5, ("s4", 3e-3): 2.0, ("s4", 1e-2): 2.2, ("s4d", 1e-3): 2.6, ("s4d", 3e-3): 2.9, ("s4d", 1e-2): 2.4}
BEST = {"s4": "0.003", "s4d": "0.01"}


@pytest.fixture
def done(tmp_path):
    """A study of which every run is there."""
    options = study.read_options(argv(tmp_path))
    jobs = [(study.trial(options, *key), final) for key, final in FINAL.items()]
    jobs += [(study.full(options, model, float(rate), 0), 1.5 + i) for i, (model, rate) in enumerate(BEST.items())]
    for number, (job, final) in enumerate(jobs):
        make_run(job, final, number)
    return tmp_path


def make_run(job, final, number):
    config = run_folder.CONFIG | {"settings": job.settings.to_json()}
    run_folder.make(job.run, config, job.settings.steps, final=final, seed=number, clips=1, seconds=0.5)


def argv(out, *more, models=("s4", "s4d")):
    return ["--shards", "nowhere", "--out", str(out), "--models", *models, "--steps", "2000", *more]


def cells(text, title):
    """The rows of the table whose head begins with a title, by model."""
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith(title))
    names = [cell.strip() for cell in lines[head].strip("|").split("|")]
    found = {}
    for line in lines[head + 2 :]:
        if not line.startswith("|"):
            break
        row = dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        found[row["model"]] = row
    return found


def last_row(run, name):
    with open(run / "validation.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["set"] == name][-1]


def test_table_is_what_the_runs_say(done):
    """`nowhere` has no shards: a study that started one run more would fail."""
    assert study.main(argv(done)) == 0
    text = (done / "table.md").read_text()
    runs, rates = cells(text, "| model | seeds"), cells(text, "| model | 0.001")
    for model, rate in BEST.items():
        assert runs[model]["lr"] == rate
        assert runs[model]["parameters"] == "1,234,567"
        for name in ("unseen", "seen"):
            row = last_row(done / model, name)
            bits, error = map(float, runs[model][f"bits, {name}"].split(" ± "))
            assert bits == pytest.approx(float(row["bits"]), abs=5e-4)
            assert error == pytest.approx(float(row["bits_se"]), abs=5.01e-4)
            for how in ("mean", "argmax"):
                shown = float(runs[model][f"SNR dB, {name} ({how})"])
                assert shown == pytest.approx(float(row[f"snr_{how}_db"]), abs=0.05)
        result = json.loads((done / model / "result.json").read_text())
        assert float(runs[model]["step ms"]) == 1e3 * result["step_seconds"]
        assert float(runs[model]["first steps s"]) == pytest.approx(result["first_steps_seconds"], abs=0.05)
        for (of, tried), _ in FINAL.items():
            if of == model:
                bits = float(last_row(done / f"trial-{model}-{tried:g}", "seen")["bits"])
                assert float(rates[model][f"{tried:g}"]) == pytest.approx(bits, abs=5e-4)
    assert "2,000 steps" in text
    assert "bits a sample (seen)" in text
    assert (done / "compare.html").exists()


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("--optim.lr=1", "--optim.lr=1 after -- is what the study sets itself"),
        ("--optim.seed=1", "--optim.seed=1 after -- is what the study sets itself"),
        ("--model.name=s4", "--model.name=s4 after -- is what the study sets itself"),
        ("--data.live=x", "--data.live=x after -- is what the study sets itself"),
        ("--nonsense", "there is no option --nonsense"),
        ("--batch=nan", "--batch: 'nan' can't be used"),
    ],
)
def test_options_of_training_are_read_before_a_run_begins(tmp_path, capsys, word, what):
    assert study.main(argv(tmp_path / "out", "--", word)) == 2
    assert f"train.study: {what}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_named_twice_counts_once_and_all_of_it_counts(done, capsys):
    more = ["--models", "s4", "--lrs", "1e-3", "3e-3", "1e-2", "--lrs", "0.01", "0.0100000001"]
    assert study.main(argv(done, *more, "--seeds", "0", "--seeds", "0", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(run["model"], run["lr"], run["seed"]) for run in found["runs"]] == [("s4", "0.003", 0), ("s4d", "0.01", 0)]
    assert list(found["trials"]) == ["s4", "s4d"]
    assert list(found["trials"]["s4"]) == ["0.001", "0.003", "0.01"]
    assert study.main(["--benchmark", "any-voice", "--benchmark", "any-voice", "--out", str(done)]) == 2
    assert "name each once" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["table.md", "compare.html", "curve.png"])
def test_a_folder_of_something_else_stays_as_it_is(tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    (tmp_path / "sub").mkdir()
    assert study.main(argv(tmp_path)) == 2
    assert f"{tmp_path} has a {name}, and no runs of a study: name another --out" in capsys.readouterr().err
    assert study.main(argv(tmp_path / name)) == 2
    assert f"--out {tmp_path / name} is no folder" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["sub", name])
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--trial-steps", "400"], r"trial-s4-0\.001 was made with steps 500, this study wants 400"),
        (["--steps", "1000"], r"s4 was made with steps 2000, this study wants 1000"),
        (["--shards", "elsewhere"], "was made with shards nowhere, this study wants elsewhere"),
        (["--", "--prefix", "fsk"], "was made with prefix None, this study wants fsk"),
        (["--", "--lr=0.5"], "--lr=0.5 after -- is what the study sets itself"),
    ],
)
def test_runs_of_another_study_are_not_taken_for_its_own(done, capsys, more, what):
    assert study.main(argv(done, *more)) == 2
    assert re.search(f"^train.study: .*{what}: ", capsys.readouterr().err, re.MULTILINE)


def test_a_run_that_was_stopped_is_not_extended_by_another_study(done, capsys):
    """Two parts of a schedule would be compared with one."""
    (done / "trial-s4-0.001" / "result.json").unlink()
    assert study.main(argv(done, "--trial-steps", "600")) == 2
    assert "trial-s4-0.001 was made with steps 500, this study wants 600" in capsys.readouterr().err


def test_nothing_to_compare_rates_by(done, capsys):
    for path in done.glob("trial-*/validation.csv"):
        path.unlink()
    assert study.main(argv(done)) == 2
    assert "has no evaluation to compare rates by" in capsys.readouterr().err


# In place of a run: it writes down that it was asked to end, as one of its own would write a checkpoint.
RUN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1], "ended").touch(), sys.exit()))
pathlib.Path(sys.argv[1], "begun").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_runs_of_a_study_that_is_stopped_end(tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(study_jobs.Job, "command", lambda job: [sys.executable, "-c", RUN, str(tmp_path)])
    monkeypatch.setattr(study_jobs, "check_data", lambda jobs, waiting: None)  # such a run needs no data

    def stop():
        until = time.monotonic() + 30
        while not (tmp_path / "begun").exists() and time.monotonic() < until:
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, number)

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert study.main(argv(tmp_path / "out")) == 130
    stopper.join()
    assert (tmp_path / "ended").exists()
    assert "stopped; the same command goes on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("name", "field"), [("result", "step_seconds"), ("result", "peak_memory_bytes"), ("config", "parameters")]
)
def test_a_run_that_lacks_a_figure_is_refused(done, capsys, name, field):
    path = done / "s4d" / f"{name}.json"
    document = json.loads(path.read_text())
    del document[field]
    path.write_text(json.dumps(document))
    assert study.main(argv(done)) == 2
    assert f"train.study: {path} has no {field}: take it from a backup, or train again" in capsys.readouterr().err


def test_a_run_may_lack_a_set(done, capsys):
    path = done / "s4d" / "validation.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if ",unseen," not in line))
    assert study.main(argv(done)) == 0
    rows = cells(capsys.readouterr().out, "| model | seeds")
    assert rows["s4d"]["bits, unseen"] == "" != rows["s4d"]["bits, seen"]


def test_failed_runs_are_named(done, capsys):
    shutil.rmtree(done / "trial-s4d-0.001")
    assert study.main(argv(done)) == 2
    shown = capsys.readouterr()
    assert "trial-s4d-0.001 failed: train: nowhere" in shown.err
    assert cells(shown.out, "| model | 0.001")["s4d"]["0.001"] == "failed"
    assert cells(shown.out, "| model | seeds")["s4d"]["lr"] == "0.01"  # the best of those that are there


def test_a_run_that_can_not_be_started(done, capsys, monkeypatch):
    """The others are not in vain."""

    def refuse(*argv, **options):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    shutil.rmtree(done / "trial-s4d-0.001")
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert study.main(argv(done)) == 2
    shown = capsys.readouterr()
    assert f"trial-s4d-0.001 failed: [Errno {errno.EAGAIN}]" in shown.err
    assert cells(shown.out, "| model | seeds")["s4d"]["lr"] == "0.01"


def diverge(run):
    path = run / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"verdict": "diverged"}))


def test_a_trial_that_diverged_is_not_the_best(done):
    """Even if its evaluation says so: here that of the averaged weights."""
    diverge(done / "trial-s4-0.001")
    (done / "trial-s4-0.001" / "validation.csv").unlink()
    assert study.main(argv(done)) == 0
    text = (done / "table.md").read_text()
    assert cells(text, "| model | 0.001")["s4"]["0.001"] == "diverged"
    assert cells(text, "| model | seeds")["s4"]["lr"] == BEST["s4"]


def test_a_run_that_diverged_is_in_the_table(done):
    diverge(done / "s4")
    for name in ("metrics.csv", "validation.csv"):
        (done / "s4" / name).unlink()
    assert study.main(argv(done)) == 0
    rows = cells((done / "table.md").read_text(), "| model | seeds")
    assert rows["s4"]["bits, seen"] == "diverged"
    assert float(rows["s4d"]["bits, seen"].partition(" ")[0]) < 10
    assert "s4d" in (done / "compare.html").read_text()


def test_all_that_diverged(done, capsys):
    for name in ("trial-s4-0.001", "trial-s4-0.003", "trial-s4-0.01", "s4d"):
        diverge(done / name)
    assert study.main(argv(done)) == 0
    text = (done / "table.md").read_text()
    assert set(cells(text, "| model | 0.001")["s4"].values()) == {"s4", "diverged"}
    assert "no run came to its end" in text
    assert not (done / "compare.html").exists()


def test_the_result_as_json(done, capsys):
    assert study.main(["--json", *argv(done)]) == 0
    said = capsys.readouterr().out
    found = json.loads(said)
    documented.check("python -m train.study", found)
    assert f"{study_table.format_table(found)}\n" == (done / "table.md").read_text()
    assert found["trials"] == {
        model: {f"{rate:g}": float(last_row(done / f"trial-{model}-{rate:g}", "seen")["bits"]) for rate in study.LRS}
        for model in BEST
    }
    assert {run["model"]: run["lr"] for run in found["runs"]} == BEST
    assert found["failed"] == {}


def test_differences_are_clip_by_clip(done):
    assert study.main(argv(done)) == 0
    lines = (done / "table.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "s4d | s4 |" in line]
    for which, _, _, difference, _, clips in rows:
        bits = [np.array([float(row["bits"]) for row in clip_rows(done / model, which)]) for model in ("s4d", "s4")]
        assert float(difference) == pytest.approx((bits[0] - bits[1]).mean(), abs=5.01e-4)
        assert clips == "64"
    assert [row[0] for row in rows] == ["unseen", "seen"]


def test_one_rate_is_not_tried(done):
    for path in done.glob("trial-*"):
        shutil.rmtree(path)
    assert study.main(argv(done, "--lrs", BEST["s4"], models=["s4"])) == 0
    text = (done / "table.md").read_text()
    assert cells(text, "| model | seeds")["s4"]["lr"] == BEST["s4"]
    assert "Learning rates" not in text
    assert not list(done.glob("trial-*"))


def test_several_seeds(done):
    """One that is asked for, and one of an earlier command: means of both, their deviation, differences of the means."""
    options = study.read_options(argv(done))
    for seed, final in ((1, 1.8), (7, 1.1)):
        make_run(study.full(options, "s4", float(BEST["s4"]), seed), final, 50 + seed)
    assert study.main(argv(done, "--seeds", "0", "1", models=["s4"])) == 0
    runs = [done / name for name in ("s4", "s4-seed-1", "s4-seed-7")]
    row = cells((done / "table.md").read_text(), "| model | seeds")["s4"]
    assert row["seeds"] == "0 1 7"
    bits = [float(last_row(run, "unseen")["bits"]) for run in runs]
    mean, deviation = map(float, row["bits, unseen"].split(" ± "))
    assert (mean, deviation) == pytest.approx((np.mean(bits), np.std(bits, ddof=1)), abs=5.01e-4)

    assert study.main(argv(done)) == 0
    lines = [line for line in (done / "table.md").read_text().splitlines() if line.startswith("| unseen | s4d | s4 |")]
    clips = [np.array([float(row["bits"]) for row in clip_rows(run, "unseen")]) for run in [done / "s4d", *runs]]
    expected = (clips[0] - np.mean(clips[1:], axis=0)).mean()
    assert float(lines[0].split("|")[4]) == pytest.approx(expected, abs=5.01e-4)


def test_a_seed_that_diverged_is_named(done):
    job = study.full(study.read_options(argv(done)), "s4", float(BEST["s4"]), 3)
    make_run(job, 1.8, 5)
    diverge(job.run)
    assert study.main(argv(done)) == 0
    row = cells((done / "table.md").read_text(), "| model | seeds")["s4"]
    assert row["seeds"] == "0 3 (diverged)"
    assert float(row["bits, seen"].partition(" ")[0]) == pytest.approx(
        float(last_row(done / "s4", "seen")["bits"]), abs=5e-4
    )


def clip_rows(run, which):
    with open(run / "clips.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["set"] == which]


def test_a_run_of_which_no_step_was_timed(done):
    """As one that was resumed just before its end."""
    path = done / "s4d" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step_seconds": None}))
    assert study.main(argv(done)) == 0
    rows = cells((done / "table.md").read_text(), "| model | seeds")
    assert rows["s4d"]["step ms"] == rows["s4d"]["tokens/s"] == ""
    assert rows["s4"]["step ms"]


@pytest.mark.integration
@pytest.mark.slow
def test_real_runs(tmp_path, capsys):
    """One rate diverges: exit status 3 of a run is no failure of the study, which goes on with the other."""
    shards, out = tmp_path / "shards", tmp_path / "study"
    assert cli.main(["render", "--patches", "example", "--out", str(shards), "--samples", "20", "--seconds", "0.3"]) == 0
    command = ["--shards", str(shards), "--out", str(out), "--models", "s4d", "--lrs", "1000", "1e-2"]
    command += ["--trial-steps", "3", "--steps", "4", "--", "--seconds", "0.05", "--evaluate-samples", "1"]
    assert study.main(command) == 0
    text = (out / "table.md").read_text()
    assert cells(text, "| model | 1000")["s4d"]["1000"] == "diverged"
    rows = cells(text, "| model | seeds")
    assert rows["s4d"]["lr"] == "0.01"
    assert 0 < float(rows["s4d"]["bits, seen"].partition(" ")[0]) < 10
    assert "order-0" in text
    assert json.loads((out / "baselines.json").read_text())["evaluate_samples"] == 1
    capsys.readouterr()
    assert study.main(command) == 0  # nothing is left to do: the same table
    assert cells(capsys.readouterr().out, "| model | seeds") == rows


# --- Several benchmarks ---

PATCHES = {"any-voice-32": (32, 31), "any-voice": (21120, 18500)}


@pytest.fixture
def several(tmp_path, monkeypatch):
    """The arguments of a study of two benchmarks of which every run is there; their plans are not made."""
    prepared = []
    monkeypatch.setattr(study.benchmarks, "prepare", lambda *where: prepared.append(where))
    options = ["--benchmark", *PATCHES, "--out", str(tmp_path), "--models", "s4", "s4d", "--lrs", "3e-3", "1e-2"]
    for part in study.divide(study.read_options(options)):
        (name,) = part.benchmark
        facts = dict(zip(("patches", "groups"), PATCHES[name], strict=True))
        facts |= {"unseen_fingerprint": "e" * 64, "fingerprint": f"{facts['patches']:064}"}
        jobs = [(study.trial(part, model, rate), FINAL[model, rate]) for model in ("s4", "s4d") for rate in part.lrs]
        jobs += [
            (study.full(part, model, float(rate), 0), 1.5 + i + len(name) / 40)
            for i, (model, rate) in enumerate(BEST.items())
        ]
        for job, final in jobs:
            config = run_folder.CONFIG | {"settings": job.settings.to_json()} | facts
            run_folder.make(job.run, config, job.settings.steps, final=final, clips=1, seconds=0.5)
    yield options
    assert prepared == [(name, tmp_path / name, tmp_path) for name in PATCHES] * (len(prepared) // 2)


def test_several_benchmarks_have_a_folder_each_and_a_table_of_all(several, tmp_path, capsys):
    assert study.main(several) == 0
    shown = capsys.readouterr().out
    text = (tmp_path / "table.md").read_text()
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| any-voice")]
    rows = [[cell.strip() for cell in line] for line in lines]
    assert [row[:4] for row in rows] == [
        [name, f"{patches:,}", f"{groups:,}", model] for name, (patches, groups) in PATCHES.items() for model in BEST
    ]
    head = next(line for line in text.splitlines() if line.startswith("| benchmark")).split("|")[1:-1]
    for row in rows:
        last = {which: last_row(tmp_path / row[0] / row[3], which) for which in ("unseen", "seen")}
        named = dict(zip((cell.strip() for cell in head), row, strict=True))
        for which, one in last.items():
            assert float(named[f"bits, {which}"].split(" ± ")[0]) == pytest.approx(float(one["bits"]), abs=5e-4)
            assert float(named[f"SNR dB, {which} (mean)"]) == pytest.approx(float(one["snr_mean_db"]), abs=0.05)
    assert text.strip() in shown
    assert "This is in " + f"{tmp_path / 'table.md'} and {tmp_path / 'compare.html'} and {tmp_path / 'curve.png'}" in shown
    assert image.imread(tmp_path / "curve.png").shape[1:] == (1000, 4)
    assert "Cross entropy with more patches" in (tmp_path / "compare.html").read_text()
    for name, (patches, groups) in PATCHES.items():
        own = (tmp_path / name / "table.md").read_text()
        assert f", {patches:,} training patches in {groups:,} near-duplicate groups, data " in own
        assert "with more patches" not in (tmp_path / name / "compare.html").read_text()


def test_several_benchmarks_as_json(several, tmp_path, capsys):
    assert study.main([*several, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"benchmarks", "table", "page", "picture", "failed"}
    assert found["picture"] == str(tmp_path / "curve.png")
    for name, (patches, groups) in PATCHES.items():
        documented.check("python -m train.study", found["benchmarks"][name], without=["failed"])
        assert [found["benchmarks"][name][key] for key in ("patches", "groups")] == [patches, groups]


def test_of_several_benchmarks_one_may_have_other_sets_or_nothing(several, tmp_path):
    for path in (tmp_path / "any-voice").rglob("*.csv"):
        path.write_text(path.read_text().replace(",unseen,", ",val,"))
    for path in (tmp_path / "any-voice-32").glob("s4*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"verdict": "diverged"}))
    assert study.main(several) == 0
    text = (tmp_path / "table.md").read_text()
    assert "| any-voice-32 |  |  | s4 | 0 (diverged) |  | 0.003 | diverged | diverged |" in text
    assert "bits, val" in text


def test_data_that_is_not_there_is_refused_before_any_trial(tmp_path, capsys):
    assert study.main(["--shards", str(tmp_path / "none"), "--out", str(tmp_path / "study"), "--models", "s4", "s4d"]) == 2
    said = capsys.readouterr().err
    assert said.count("train.study: ") == 1
    assert "none is no data set" in said
    assert not (tmp_path / "study").exists()


def test_data_that_is_not_that_of_earlier_runs(tmp_path, capsys):
    """A table of both would say that all had the same."""
    shards, out = tmp_path / "shards", tmp_path / "study"
    assert cli.main(["render", "--patches", "example", "--out", str(shards), "--samples", "20", "--seconds", "0.3"]) == 0
    command = ["--shards", str(shards), "--out", str(out), "--models", "s4", "--lrs", "1e-3", "--seeds", "0", "1"]
    make_run(study.full(study.read_options(command), "s4", 1e-3, 0), 1.5, 0)
    assert study.main(command) == 2
    said = capsys.readouterr().err
    assert (
        f"{out / 's4'} was made with other data (fingerprint {run_folder.CONFIG['fingerprint'][:12]}) than there is" in said
    )
    assert not (out / "s4-seed1").exists()


def test_each_benchmark_once(tmp_path, capsys):
    assert study.main(["--benchmark", "any-voice", "any-voice", "--out", str(tmp_path)]) == 2
    assert "--benchmark any-voice any-voice: name each once" in capsys.readouterr().err


def test_a_rate_without_a_figure_is_not_the_best(tmp_path):
    options = study.read_options(["--shards", "shards", "--models", "s4", "--lrs", "1e-3", "3e-3", "--out", str(tmp_path)])
    assert study.choose_rates(options, {("s4", 1e-3): float("nan"), ("s4", 3e-3): 2.0}) == {"s4": 3e-3}
    assert study.choose_rates(options, {("s4", 1e-3): float("nan"), ("s4", 3e-3): "diverged"}) == {}
