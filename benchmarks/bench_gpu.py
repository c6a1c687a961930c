"""The engine alone on a GPU: 16-bit samples in its memory, control values and samples timed apart; medians, synchronised.

    python benchmarks/bench_gpu.py [--patches PATH ...] [--voices 32768 131072] [--runs 5]

Voices, as integers, are in GPU memory when the clock starts. A voice is 4 s at 44.1 kHz; patches are taken in turn.
"""

import argparse
import platform
import time
from itertools import pairwise

import numba
import numpy as np
from numba import cuda

from dx7data import bank
from dx7data.engine import cuda as driver
from dx7data.engine.device import choose
from dx7data.engine.render import Curves, render
from dx7data.engine.tables import increment_table
from dx7data.voice import voices

SECONDS, HELD, RATE = 4.0, 3.0, 44100


def drawn(patches: np.ndarray, count: int):
    rng = np.random.default_rng(0)
    notes, velocities = rng.integers(36, 85, count), rng.integers(40, 128, count)
    return voices(patches[np.arange(count) % len(patches)], notes, velocities, HELD, RATE)


def work(some, out) -> driver.Mix:
    alone = np.arange(some.start.size)
    curves = Curves(np.full(alone.size, -1), np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32))
    notes = np.stack([alone, alone + 1], axis=1)
    return driver.Mix(some, curves, notes, alone, out, increment_table(RATE), alone=True)


def timed(mix: driver.Mix) -> tuple[float, float]:
    """Seconds of the control stage and of the synthesis, over all batches."""
    stages = np.zeros(2)
    for batch in mix.batches():
        marks = [cuda.event() for _ in range(3)]
        marks[0].record()
        mix.control(batch)
        marks[1].record()
        mix.synthesize(batch)
        marks[2].record()
        marks[2].synchronize()
        stages += [cuda.event_elapsed_time(before, after) / 1000 for before, after in pairwise(marks)]
    return tuple(stages)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", default=["example"], help="default: the example bank")
    parser.add_argument("--voices", nargs="+", type=int, default=[32768, 131072])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    patches = bank.load(options.patches).patches
    began = time.perf_counter()
    choose("cuda")
    probed = time.perf_counter()
    few = drawn(patches, len(patches))
    ours = render(few, SECONDS, device="cuda")
    compiled = time.perf_counter()
    assert (ours == render(few, SECONDS)).all(), "the GPU's samples are not the CPU's"

    name = cuda.get_current_device().name
    name = name.decode() if isinstance(name, bytes) else name
    print(f"{name}; Python {platform.python_version()}, numba {numba.__version__}; {len(patches)} patches")
    print(f"first render: {probed - began:.1f} s to try the GPU, {compiled - probed:.1f} s to compile and render\n")
    print(
        "| voices | control, ms | synthesis, ms | G samples/s | synthesis alone | x real time |\n|---|---|---|---|---|---|"
    )
    for count in options.voices:
        out = driver.zeros((count, int(SECONDS * RATE)), np.int16)
        mix = work(drawn(patches, count), out)
        timed(mix)
        control, synthesis = np.median([timed(mix) for _ in range(options.runs)], axis=0)
        samples, total = out.size, control + synthesis
        print(
            f"| {count:,} | {control * 1e3:.1f} | {synthesis * 1e3:.1f} | {samples / total / 1e9:.1f} "
            f"| {samples / synthesis / 1e9:.1f} | {samples / RATE / total:,.0f} |",
            flush=True,
        )
        del mix, out
        cuda.current_context().deallocations.clear()


if __name__ == "__main__":
    main()
