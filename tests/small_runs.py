"""Runs of a second: the command, and what tests ask of them afterwards. Their shards come from tests/train/conftest.py."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from train import __main__ as command
from train.loop import optim

ROOT = Path(__file__).resolve().parents[1]
STEPS = 12
# Clips of 240 samples: a step takes some 10 ms.
SMALL = ["--model", "s4d", "--preset", "tiny", "--device", "cpu", "--seconds", "0.03", "--batch", "4"]
SMALL += ["--evaluate-samples", "2", "--steps", str(STEPS), "--checkpoint-every", "4", "--evaluate-every", "1000"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def one_thread():
    """As in the processes that are compared with this one: sums depend on it, and rendering changes it."""
    torch.set_num_threads(1)


def train(shards, run, *argv):
    one_thread()
    return command.main(["--shards", str(shards), "--out", str(run), *SMALL, *argv])


def resume(run, *argv):
    one_thread()
    return command.main(["--resume", "--out", str(run), "--device", "cpu", *argv])


def rows(run, table="metrics"):
    with open(run / f"{table}.csv") as file:
        return list(csv.DictReader(file))


def curve(run):
    """Everything that a step computes, as text: to the last digit."""
    return [(row["step"], row["loss_bits"], row["grad_norm"], row["lr"]) for row in rows(run)]


def losses(run):
    return np.array([float(row["loss_bits"]) for row in rows(run)])


def process(*argv, launcher=("-m",)):
    command = [sys.executable, *launcher, "train", *map(str, argv)]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(run, steps, child):
    """Until so many steps are in the table."""
    until = time.monotonic() + 240
    while time.monotonic() < until and child.poll() is None:
        if (run / "metrics.csv").exists() and len((run / "metrics.csv").read_text().splitlines()) > steps:
            return
        time.sleep(0.002)
    pytest.fail(f"the run did not come so far: {child.communicate(timeout=10)}")


def during(monkeypatch, step, act):
    """Do something after a step's update of the weights."""
    real = optim.update_average

    def average(ema, model, decay, at):
        real(ema, model, decay, at)
        if at == step:
            act()

    monkeypatch.setattr(optim, "update_average", average)


def one_sentence(capsys):
    """The one line that was said."""
    (line,) = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("train: ")]
    return line
