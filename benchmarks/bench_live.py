"""A training step on a GPU fed by one batch that is kept there, by shards, and by a plan that the same GPU renders.

    PYTHONPATH=. python benchmarks/bench_live.py FOLDER [--models s4 mamba1] [--workers 2]

FOLDER: shards of 8 kHz or a multiple of it. Steps are the trainer's, in bf16; batches are 28 crops of 0.5 s at 8 kHz. The
three alternate, forth and back. Last column: how much longer a step took than one with the kept batch in the same round.
"""

import argparse
import tempfile
import time
from itertools import repeat
from pathlib import Path

import numpy as np
import torch

from dx7data.engine.speed import describe_machine
from models.registry import MODELS
from train.config import make_settings
from train.data import live
from train.data.example import Example
from train.data.sampler import Batches
from train.loop.distributed import Ranks
from train.loop.loader import load_batches, open_training_clips
from train.loop.trainer import Trainer

# That are timed at once: two renders fall into it, whose scores may have been written before.
STEPS = 2 * live.BATCHES_PER_RENDER
FED, ROUNDS = ("kept", "shards", "live"), 3


def time_steps(trainer, batches):
    """Milliseconds of a step, and those of them in which the next batch was awaited."""
    torch.cuda.synchronize()
    began, waited = time.perf_counter(), 0.0
    for _ in range(STEPS):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        trainer.step += 1
        trainer.learner.advance(batch, trainer.step)
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began) / STEPS, 1e3 * waited / STEPS


def measure(model, options):
    """By what it is fed, the two times of each round, (rounds, 2)."""
    overrides = {"preset": "seed", "precision": "bf16", "grad_accum": 1, "device": "cuda", "workers": options.workers}
    device, fed = torch.device("cuda", 0), {}
    with tempfile.TemporaryDirectory() as run:
        for reader in ("shards", "live"):
            chosen = make_settings(str(options.folder), model, reader=reader, **overrides)
            data = open_training_clips(chosen)
            fed[reader] = load_batches(data, Batches(data, chosen.batch, chosen.seed), options.workers, device)
        trainer = Trainer(chosen, Path(run), Ranks(0, 1, device), data, "")
    fed["kept"] = repeat(Example(*(part.to(device) for part in next(fed["shards"]))))
    rounds = [{name: time_steps(trainer, fed[name]) for name in FED[:: (-1) ** r]} for r in range(ROUNDS + 1)]
    return {name: np.array([each[name] for each in rounds[1:]]) for name in FED}  # the first compiles


def writing(options):
    """Milliseconds in which one process writes the scores of a batch."""
    data = open_training_clips(make_settings(str(options.folder), "s4", reader="live", preset="seed"))
    scores, batches = live.Scores(data), iter(Batches(data, 28))
    began = time.perf_counter()
    for _ in range(8):
        scores.__getitems__([place for _ in range(live.BATCHES_PER_RENDER) for place in next(batches)])
    return 1e3 * (time.perf_counter() - began) / 8 / live.BATCHES_PER_RENDER


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["s4", "mamba1"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, {describe_machine()}, torch {torch.__version__}")
    print(f"batches are rendered {live.choose_gpu(torch.device('cuda', 0))[1]}; a worker writes one's score in ", end="")
    print(f"{writing(options):.1f} ms, of {options.workers} workers; medians of {ROUNDS} rounds\n")
    print("| model | fed by | ms a step | of them waiting | more than kept (least to most) |\n|---|---|---|---|---|")
    for model in options.models:
        found = measure(model, options)
        for name, times in found.items():
            (step, waited), share = np.median(times, axis=0), 100 * (times[:, 0] / found["kept"][:, 0] - 1)
            more = f"{np.median(share):+.1f} % ({share.min():+.1f} to {share.max():+.1f})"
            print(f"| {model} | {name} | {step:.1f} | {waited:.2f} | {more} |", flush=True)


if __name__ == "__main__":
    main()
