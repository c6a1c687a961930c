"""Runs that get another end: the learning rate goes on from where it is, and the losses do not depend on kills."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from small_runs import STEPS, curve, during, one_sentence, resume, rows, train

from train import __main__ as command
from train.config import RunSettings
from train.loop.schedule import find_rate


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.fixture(scope="module")
def extended(whole, tmp_path_factory):
    """A finished run of 12 steps that went on to 20."""
    run = Path(shutil.copytree(whole, tmp_path_factory.mktemp("extended") / "run"))
    assert resume(run, "--steps", "20") == 0
    return run


def stop_at(monkeypatch, step):
    during(monkeypatch, step, lambda: signal.raise_signal(signal.SIGTERM))


def settings_of(run):
    return RunSettings.from_json(json.loads((run / "config.json").read_text())["settings"])


def test_a_finished_run_goes_on(extended, whole):
    assert curve(extended)[:STEPS] == curve(whole)
    assert [int(row["step"]) for row in rows(extended)] == list(range(1, 21))
    chosen = settings_of(extended)
    assert (chosen.steps, chosen.extended) == (20, ((12, 12),))
    assert [float(row["lr"]) for row in rows(extended)] == [find_rate(step, chosen) for step in range(1, 21)]
    assert float(rows(extended)[-1]["lr"]) == pytest.approx(0.001), "a tenth, as at its first end"
    assert json.loads((extended / "result.json").read_text())["steps"] == 20
    assert (
        "extended after step 12 to 20 steps: the learning rate goes on at 0.001 and" in (extended / "train.log").read_text()
    )


def test_extended_killed_and_resumed(copy, extended, monkeypatch):
    """Killed in the middle, and before the first checkpoint after the extension; the end is not said again."""
    with monkeypatch.context() as patched:
        during(patched, 14, lambda: (_ for _ in ()).throw(KeyboardInterrupt))  # no checkpoint is written
        assert resume(copy, "--steps", "20") == 130
    assert not (copy / "result.json").exists()
    with monkeypatch.context() as patched:
        stop_at(patched, 17)
        assert resume(copy) == 143
    assert resume(copy, "--steps", "20") == 0
    assert curve(copy) == curve(extended)


def test_a_damaged_checkpoint_of_an_extended_run(extended, whole, tmp_path):
    """It goes on from the one before, which is of the time before the extension."""
    run = Path(shutil.copytree(extended, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "00000020")
    shutil.copytree(whole / "checkpoints" / "00000012", run / "checkpoints" / "00000012")
    (run / "checkpoints" / "00000016" / "model.safetensors").write_bytes(b"")
    assert resume(run) == 0
    assert curve(run) == curve(extended)


def test_extended_before_its_end(shards, tmp_path, monkeypatch):
    """Of two that were stopped at step 6 one is stopped again, and has other settings that do not change the losses."""
    one, other = tmp_path / "one", tmp_path / "other"
    with monkeypatch.context() as patched:
        stop_at(patched, 6)
        assert train(shards, one, "--schedule", "wsd", "--decay", "0.5") == 143
    shutil.copytree(one, other)
    free = ["--checkpoint-every", "3", "--evaluate-every", "9", "--evaluate-samples", "1", "--workers", "1"]
    with monkeypatch.context() as patched:
        stop_at(patched, 11)
        assert resume(one, "--steps", "16", *free, "--decode", "argmax") == 143
    assert resume(one) == 0
    assert resume(other, "--steps", "16") == 0
    assert curve(one) == curve(other)
    chosen = settings_of(one)
    assert (chosen.extended, chosen.steps, chosen.evaluate_every, chosen.decode) == (((6, 12),), 16, 9, "argmax")
    rates = [float(row["lr"]) for row in rows(one)]
    assert rates == [find_rate(step, chosen) for step in range(1, 17)]
    assert rates[6:8] == [0.01, 0.01], "constant until step 8"


@pytest.mark.parametrize(
    ("extended", "word"),
    [
        ([[8, 12]], "settings.extended"),
        ([[13, 12]], "a run to step 12 that was extended at step 13 to 12"),
        ([[0, 9]], ">= 1"),
    ],
)
def test_ends_that_somebody_edited(copy, capsys, extended, word):
    (copy / "result.json").unlink()
    document = json.loads((copy / "config.json").read_text())
    document["settings"]["extended"] = extended
    (copy / "config.json").write_text(json.dumps(document))
    assert resume(copy) == 2
    assert word in one_sentence(capsys)


def test_what_can_not_be_an_end(copy, capsys):
    assert resume(copy, "--steps", "12") == 2
    assert "has done all its 12 steps: --steps N with more of them extends it" in one_sentence(capsys)
    assert resume(copy, "--steps", "7") == 2
    assert "--steps 7 is too few" in one_sentence(capsys)
    assert resume(copy, "--steps", "20", "--schedule", "wsd") == 2
    assert "--schedule is cosine in" in one_sentence(capsys)


def test_help_says_how_the_rate_goes_on(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "from the rate at hand to a tenth at its new end" in shown
    assert "with --resume a new end for the run" in shown
