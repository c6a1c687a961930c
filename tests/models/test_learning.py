"""Every layer learns: a tiny model of it on a few clips soon knows more than how often each class comes.

And a model learns what the source says, and no more: with a source that follows velocity it does better.
"""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dx7data import cli
from dx7data.errors import InputError
from models.model import build
from models.mulaw import mu_law_encode, mu_law_table
from models.registry import MODELS, preset
from train.data.datasets import open_clips
from train.evaluation.loss import NATS, target_loss
from train.loop import optim
from train.results import reader

ROOT = Path(__file__).resolve().parents[2]
CLIPS, LENGTH = 8, 256  # samples at 8 kHz: 32 ms
STEPS = 300  # at most


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Sources and targets as classes (8, 256): the first parts without silence of clips of the example bank."""
    folder = tmp_path_factory.mktemp("shards")
    options = ["--samples", "40", "--seconds", "0.5", "--sample-rate", "8000", "--gain", "peak", "--workers", "1"]
    assert cli.main(["render", "--patches", "example", "--out", str(folder), *options]) == 0
    table, found = mu_law_table(), []
    for _, source, target in open_clips(folder):
        for start in range(0, len(target) - LENGTH + 1, LENGTH):
            parts = [audio[start : start + LENGTH] for audio in (source, target)]
            if all(part.unfold(0, 32, 32).abs().amax(1).min() > 300 for part in parts):  # loud in each 4 ms
                found.append(torch.stack([mu_law_encode(part, table) for part in parts]))
                break
        if len(found) == CLIPS:
            break
    assert len(found) == CLIPS
    return torch.stack(found, 1)


def order_0_entropy(classes):
    """Bits per sample of classes drawn as often as they come."""
    parts = classes.flatten().bincount().double() / classes.numel()
    return -sum(part * math.log2(part) for part in parts.tolist() if part)


LATER = ("s4-conv", "transformer", "wavenet")  # references: with the longer tests
NAMES = [pytest.param(name, marks=pytest.mark.integration if name in LATER else ()) for name in MODELS if name != "hybrid"]


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(batch, name):
    source, target = batch
    bound = order_0_entropy(target) / 2
    assert bound > 2
    torch.manual_seed(0)
    model = build(preset(name, "tiny"))
    optimiser = optim.make_adamw(optim.group_parameters(model, lr=1e-2, weight_decay=0.0))
    guard = optim.NonFiniteGuard(model, optimiser, torch.device("cpu"))
    for step in range(1, STEPS + 1):
        optimiser.zero_grad()
        loss = target_loss(model(source), target)
        bits = loss.item() / NATS
        if bits < bound:
            print(f"{name}: {bits:.2f} bits after {step} steps, of {2 * bound:.2f}")
            return
        loss.backward()
        guard.clip(loss, step, 1.0)
        guard.check()
        optimiser.step()
    pytest.fail(f"{bits:.2f} bits after {STEPS} steps, not below {bound:.2f}")


def test_a_parameter_that_nothing_depends_on():
    model = build(preset("s4", "tiny"))
    model.head.register_parameter("spare", torch.nn.Parameter(torch.zeros(3)))
    optimiser = optim.make_adamw(optim.group_parameters(model, lr=1e-2, weight_decay=0.0))
    loss = model(torch.zeros(1, 8, dtype=torch.long)).square().mean()
    loss.backward()
    with pytest.raises(InputError, match=r"the loss does not depend on head\.spare: use it in forward, or add --freeze"):
        optim.NonFiniteGuard(model, optimiser, torch.device("cpu")).clip(loss, 1, 1.0)


@pytest.mark.integration  # trains two models, for a minute on two idle cores
@pytest.mark.slow
def test_a_source_that_follows_velocity_is_worth_a_quarter_of_a_bit(tmp_path):
    """An electric piano of the example bank plays melodies; 0.32 bits were seen, 4.83 to 5.15."""
    play = ["--targets", "TINE GLOW", "--kinds", "melody", "--polyphony", "1", "--seconds", "0.5", "--samples", "4000"]
    learn = ["--model", "s4", "--preset", "tiny", "--steps", "600", "--evaluate-every", "600", "--evaluate-samples", "256"]
    runs = {source: tmp_path / f"run-{source}" for source in ("sine", "sine-flat")}
    started = []
    for source, run in runs.items():
        plan = tmp_path / source
        assert cli.main(["plan", "--patches", "example", "--out", str(plan), "--source", source, *play]) == 0
        command = [sys.executable, "-m", "train", "--live", str(plan), "--device", "cpu", "--out", str(run), *learn]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # side by side, a core each
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL))
    assert [process.wait(timeout=1200) for process in started] == [0, 0]
    bits = {source: float(reader.read_table(run / "validation.csv")[-1]["bits"]) for source, run in runs.items()}
    assert bits["sine"] < bits["sine-flat"] - 0.25, bits
