"""What a plan costs: families of near-copies among many patches, choosing samples, and verifying a data set.

    PYTHONPATH=. python benchmarks/bench_plan.py [--patches PATH ...] [--count 31380] [--folder FOLDER]

The patches are copies of those given, each with up to 60 parameters set to small values. --folder: a data set to verify,
which is also hashed by itself with the page cache warm. Samples are chosen one after the other, and at random places, from
plans with music of 10, 24,000 and a million phrases; the sets of an evaluation are prepared for one voice with 1.6 million.
"""

import argparse
import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from dx7data.dataset.verify import verify
from dx7data.engine.speed import describe_machine
from dx7data.patches import bank, patch
from dx7data.patches.patch import PARAMETERS
from dx7data.phrases import compose
from dx7data.phrases.columns import Phrases
from dx7data.plan import split
from dx7data.plan.patches import BANK, NOWHERE, make_rows
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Spec
from dx7data.rng import KeyedRng
from train.data.datasets import open_clips
from train.evaluation.evaluate import load_held_out


def make_plan(spec, patches, phrases, counts):
    report = {"split_by": "patch"}
    return Plan(spec=spec, patches=patches, phrases=phrases, counts=counts, silent=[], split_report=report)


def near_copies(paths, count):
    rng = np.random.default_rng(0)
    stored = bank.load(paths).patches
    stored = stored[rng.integers(0, len(stored), count)].copy()
    for row in stored:
        fields = rng.integers(0, PARAMETERS, rng.integers(0, 60))
        row[fields] = rng.integers(0, 2, fields.size)
    return stored


def time_call(what, function):
    began, cpu = time.perf_counter(), time.process_time()
    result = function()
    print(f"{what}: {time.perf_counter() - began:.1f} s, CPU {time.process_time() - cpu:.1f} s")
    return result


def music(count):
    """So many phrases of some notes; a few thousand are drawn, and come again and again."""
    few = Phrases.of([compose.draw(KeyedRng(i), 2.5) for i in range(min(count, 4000))])
    table = pa.concat_tables([few.table] * -(-count // len(few))).slice(0, count).combine_chunks()
    return Phrases(table).with_splits(["train"] * (count - count // 10) + ["val"] * (count // 10))


def choosing(plan, count, samples=4000):
    """Microseconds of Plan.choose for consecutive and for random samples of `count`, the medians of five rounds each."""
    rng = np.random.default_rng(0)
    medians = []
    for places in (range(samples), rng.integers(0, count, samples).tolist()):
        rounds = []
        for _ in range(5):
            began = time.perf_counter()
            for j in places:
                plan.choose("train", j)
            rounds.append((time.perf_counter() - began) / samples * 1e6)
        medians.append(float(np.median(rounds)))
    return medians


def bench_choose(patches, spec):
    for phrases in (None, 10, 24_000, 1_000_000):
        played = None if phrases is None else music(phrases)
        plan = make_plan(spec, patches, played, {"train": 10**8, "val": 1000})
        one_by_one, at_random = choosing(plan, 10**8)
        what = "drawn phrases" if phrases is None else f"{phrases:,} phrases"
        print(f"choose, {what}: {one_by_one:.1f} us, at random {at_random:.1f} us, {at_random / one_by_one:.2f} x")


def bench_held_out(patches, spec):
    spec = replace(spec, source=patch.pack(patch.SINE).tobytes().hex(), seconds=0.5, sample_rate=8000)
    for phrases in (24_000, 1_000_000):
        plan = make_plan(spec, patches.take([0]), music(phrases), {"train": 1_600_000, "val": 1000})
        time_call(
            f"1,024 held-out clips of one voice, {phrases:,} phrases",
            lambda plan=plan: load_held_out(open_clips(plan, reader="live"), 1024),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", default=["example"], help="default: the example bank")
    parser.add_argument("--count", type=int, default=31380, help="patches; default: as many as are public")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(describe_machine())

    stored = near_copies(options.patches, options.count)
    table = make_rows(stored, [BANK] * len(stored), [NOWHERE] * len(stored), [True] * len(stored))
    spec = Spec(
        **{"seconds": 2.5, "sample_rate": 16000, "seed": 0, "source": "random", "split": (0.8, 0.1, 0.1)},
        **{"gain": "native", "keep_silent": False, "shard_bytes": 64_000_000},
    )
    split.group_patches(table.take(range(100)))  # compiles
    table = time_call(f"near-duplicate groups of {len(stored):,} patches", lambda: split.group_patches(table))
    table = time_call("splits", lambda: split.divide(table, spec, set()))
    report = time_call("report", lambda: split.make_report(table, spec))
    print(report)

    bench_choose(replace(table, splits=["train"] * len(table)), spec)
    bench_held_out(replace(table, splits=["all"] * len(table)), spec)

    if options.folder:
        tars = sorted(options.folder.glob("*.tar"))
        size = sum(path.stat().st_size for path in tars) / 1e6
        for what, function in (
            ("sha256 alone", lambda: [hashlib.sha256(path.read_bytes()).digest() for path in tars]),
            ("verify", lambda: verify(options.folder)),
        ):
            function()
            began = time.perf_counter()
            function()
            print(f"{what}: {size / (time.perf_counter() - began):,.0f} MB/s of {size:,.0f} MB in {len(tars)} shards")


if __name__ == "__main__":
    main()
