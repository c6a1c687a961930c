"""The engine against dexed-py, one note after another: CPU time per voice, interleaved pairs, medians.

    python benchmarks/bench_engine.py [--patches PATH ...] [--pairs 7]

Both sides begin with 155 stored bytes and end with samples in memory. One core: process time. Two threads: wall time,
which means something only on an idle machine, so the load average stands beside it.
"""

import argparse
import os
import time
from pathlib import Path

import dexed
import numba
import numpy as np

from dx7data.engine.render import render
from dx7data.engine.speed import HELD, RATE, SECONDS, describe_machine
from dx7data.engine.voice import voices
from dx7data.patches import bank

VOICES = 512
OUT = np.zeros((VOICES, int(SECONDS * RATE)), np.int32)  # dexed-py too gets the same memory again and again, from malloc


def ours(patches, notes, velocities, out=OUT):
    render(voices(patches, notes, velocities, HELD, RATE), SECONDS, out=out)


def theirs(patches, notes, velocities):
    synth = dexed.DexedSynth(sample_rate=float(RATE))
    for patch, note, velocity in zip(patches, notes, velocities, strict=True):
        synth.load_patch(patch)
        synth.render(note, velocity, HELD, SECONDS)


def seconds(clock, play, *arguments):
    began = clock()
    play(*arguments)
    return clock() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", default=["example"], help="default: the example bank")
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    found = bank.load(options.patches)
    patches = found.patches[np.arange(VOICES) % len(found.ids)]
    notes, velocities = rng.integers(36, 85, VOICES).tolist(), rng.integers(40, 128, VOICES).tolist()
    loaded = [dexed.Patch.from_raw(patch) for patch in patches]
    ours(patches, notes, velocities)  # compiles

    numba.set_num_threads(1)
    pairs = []
    for _ in range(options.pairs):
        mine = seconds(time.process_time, ours, patches, notes, velocities)
        fresh = seconds(time.process_time, ours, patches, notes, velocities, None)
        pairs.append((mine, fresh, seconds(time.process_time, theirs, loaded, notes, velocities)))
    mine, fresh, other = np.array(pairs).T

    threads = numba.config.NUMBA_NUM_THREADS
    numba.set_num_threads(threads)
    load = os.getloadavg()[0]
    wall = np.median([seconds(time.perf_counter, ours, patches, notes, velocities) for _ in range(options.pairs)])

    samples = VOICES * SECONDS * RATE
    print(
        f"{VOICES} voices of {len(found.ids)} patches ({', '.join(Path(path).name for path in options.patches[:3])}), ",
        end="",
    )
    print(f"{SECONDS:g} s at {RATE} Hz, medians of {options.pairs} interleaved pairs\n{describe_machine()}\n")
    print("| | s | Msamples/s | x real time | x dexed-py, median (least to most) |\n|---|---|---|---|---|")
    ratio, fresh_ratio = (f"{np.median(x):.2f} ({x.min():.2f} to {x.max():.2f})" for x in (other / mine, other / fresh))
    for name, took, than in (
        ("dexed-py, one core, CPU time", np.median(other), "1"),
        ("dx7data, one core, CPU time, into a given array", np.median(mine), ratio),
        ("dx7data, one core, CPU time, a new array each time", np.median(fresh), fresh_ratio),
        (f"dx7data, {threads} threads, wall time, load average before {load:.2f}", wall, ""),
    ):
        print(f"| {name} | {took:.3f} | {samples / took / 1e6:,.0f} | {VOICES * SECONDS / took:,.0f} | {than} |")


if __name__ == "__main__":
    main()
