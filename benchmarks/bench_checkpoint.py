"""What a checkpoint costs training on a CPU: written by the loop itself, and by a thread beside it.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/bench_checkpoint.py [--model s4] [--size base] [--out DIR] [--rounds N]

`loop waits` is the time in which no step is computed; `on disk` is the time from its beginning to its end;
`a step` is a training step of 2 clips of 800 samples with nothing beside it, and `a step beside` one during which the thread
writes, from its first to its last. All are medians; the two ways alternate.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from dx7data.engine.speed import describe_machine
from models.model import build
from models.registry import MODELS, SIZES, preset
from train.loop import checkpoint, optim
from train.loop.background import Writer


def make_step(model, optimiser):
    tokens = torch.randint(256, (2, 800))

    def step():
        """Its seconds."""
        began = time.perf_counter()
        optimiser.zero_grad()
        model(tokens).logsumexp(-1).mean().backward()
        optimiser.step()
        return time.perf_counter() - began

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="s4")
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--out", type=Path, help="where checkpoints are put (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = build(preset(options.model, options.size))
    optimiser = optim.make_adamw(optim.group_parameters(model, 1e-3, 0.0))
    step, writer = make_step(model, optimiser), Writer()
    step()
    times: dict[str, list[float]] = {"at once": [], "loop waits": [], "on disk": [], "a step": [], "a step beside": []}
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        for i in range(options.rounds):
            began = time.perf_counter()
            checkpoint.save(Path(folder), 2 * i + 1, model, model, optimiser, {})
            times["at once"].append(time.perf_counter() - began)
            times["a step"] += [step() for _ in range(3)]
            began = time.perf_counter()
            snapshot = checkpoint.take_snapshot(2 * i + 2, model, model, optimiser, {})
            ended = []

            def write(snapshot=snapshot, ended=ended):
                checkpoint.write(Path(folder), snapshot)
                ended.append(time.perf_counter())

            writer.start(write)
            times["loop waits"].append(time.perf_counter() - began)
            while not ended:
                times["a step beside"].append(step())
            writer.wait()
            times["on disk"].append(ended[0] - began)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / checkpoint.KEPT
    print(describe_machine())
    print(f"{options.model}, {options.size}: checkpoints of {size / 1e6:.1f} MB, {options.rounds} rounds")
    for name, values in times.items():
        print(f"{name:14}{1e3 * statistics.median(values):10.1f} ms{1e3 * min(values):10.1f} to {1e3 * max(values):.1f}")


if __name__ == "__main__":
    main()
