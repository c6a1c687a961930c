"""Checkpoints are written while training goes on, and hold what was true when they were taken."""

import os
import threading
from pathlib import Path

import pytest
import torch
from small_runs import curve, during, one_sentence, train

from dx7data.errors import InputError
from models.model import build
from train.config import make_settings
from train.loop import checkpoint, optim, trainer
from train.loop.background import Writer


def test_a_run_goes_on_while_a_checkpoint_is_written(shards, whole, tmp_path, monkeypatch):
    """That of step 8 gets its name only after step 10; its bytes are those of a run that was not held up."""
    later, rename, waited = threading.Event(), os.rename, []

    def slow(source, target):
        if Path(target).name == "00000008":
            waited.append(later.wait(60))
        rename(source, target)

    monkeypatch.setattr(os, "rename", slow)
    during(monkeypatch, 10, later.set)
    assert train(shards, tmp_path / "run") == 0
    assert waited == [True]
    assert curve(tmp_path / "run") == curve(whole)
    for folder in (whole / "checkpoints").iterdir():
        for path in folder.glob("*.safetensors"):
            assert path.read_bytes() == (tmp_path / "run" / path.relative_to(whole)).read_bytes(), path


def test_a_run_goes_on_while_pictures_are_drawn(shards, tmp_path, monkeypatch):
    """Those of step 8 are there only after step 10."""
    later, waited = threading.Event(), []
    monkeypatch.setattr(trainer, "draw", lambda run: waited.append(later.wait(60)))
    during(monkeypatch, 10, later.set)
    assert train(shards, tmp_path / "run", "--evaluate-every", "8") == 0
    assert waited == [True, True]


def test_pictures_that_cannot_be_drawn(shards, tmp_path, monkeypatch, capsys):
    """A sentence, and the checkpoint of that step is whole: it was written first."""

    def fail(run):
        raise InputError(f"{run}/validation.csv can't be read")

    monkeypatch.setattr(trainer, "draw", fail)
    assert train(shards, tmp_path / "run", "--evaluate-every", "8") == 2
    assert "validation.csv can't be read" in one_sentence(capsys)
    assert checkpoint.find_last(tmp_path / "run").name == "00000008"


def test_a_snapshot_stays_as_it_was(tmp_path):
    model = build(make_settings("", "s4d", "tiny").model)
    optimiser = optim.make_adamw(optim.group_parameters(model, 1e-3, 0.0))
    model(torch.arange(64)[None]).square().mean().backward()
    optimiser.step()
    checkpoint.save(tmp_path / "before", 1, model, model, optimiser, {})
    snapshot = checkpoint.take_snapshot(1, model, model, optimiser, {})
    optimiser.step()
    torch.rand(1)
    checkpoint.write(tmp_path / "run", snapshot)
    for name in checkpoint.FILES:
        path = Path("checkpoints", "00000001", name)
        assert (tmp_path / "run" / path).read_bytes() == (tmp_path / "before" / path).read_bytes(), name


def test_one_piece_of_work_at_a_time():
    writer, first, done = Writer(), threading.Event(), []

    def work(number, event=None):
        if event:
            assert event.wait(60)
        done.append(number)

    writer.start(lambda: work(1, first))
    writer.check()
    assert done == [], "nobody waits for it"
    threading.Timer(0.1, first.set).start()
    writer.start(lambda: work(2))
    assert done[0] == 1, "the next one does"
    writer.wait()
    assert done == [1, 2]
    writer.close()


def check_until_done(writer):
    while True:
        writer.check()


@pytest.mark.parametrize("ask", [Writer.wait, check_until_done, lambda writer: writer.start(lambda: None)])
def test_what_the_work_raises(ask):
    """It is raised once, by whatever comes next."""
    writer = Writer()

    def fail():
        raise OSError(28, "No space left on device")

    writer.start(fail)
    with pytest.raises(OSError, match="No space left"):
        ask(writer)
    writer.wait()
    writer.close()
