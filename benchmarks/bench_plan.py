"""What a plan costs: families of near-copies among many patches, and how fast a data set is verified.

    python benchmarks/bench_plan.py [--patches PATH ...] [--count 31380] [--folder FOLDER]

The patches are copies of those given, each with up to 60 parameters set to small values. --folder: a data set to verify,
which is also hashed by itself with the page cache warm.
"""

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
from bench_engine import machine

from dx7data import bank, split
from dx7data.patch import PARAMETERS
from dx7data.patches import BANK, NOWHERE, rows
from dx7data.spec import Spec
from dx7data.verify import verify


def near_copies(paths, count):
    rng = np.random.default_rng(0)
    stored = bank.load(paths).patches
    stored = stored[rng.integers(0, len(stored), count)].copy()
    for row in stored:
        fields = rng.integers(0, PARAMETERS, rng.integers(0, 60))
        row[fields] = rng.integers(0, 2, fields.size)
    return stored


def timed(what, function):
    began, cpu = time.perf_counter(), time.process_time()
    result = function()
    print(f"{what}: {time.perf_counter() - began:.1f} s, CPU {time.process_time() - cpu:.1f} s")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", default=["example"], help="default: the example bank")
    parser.add_argument("--count", type=int, default=31380, help="patches; default: as many as are public")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(machine())

    stored = near_copies(options.patches, options.count)
    table = rows(stored, [BANK] * len(stored), [NOWHERE] * len(stored), [True] * len(stored))
    spec = Spec(
        **{"seconds": 2.5, "sample_rate": 16000, "seed": 0, "source": "random", "split": (0.8, 0.1, 0.1)},
        **{"gain": "native", "keep_silent": False, "shard_bytes": 64_000_000},
    )
    split.with_families(table.take(range(100)))  # compiles
    table = timed(f"families of {len(stored):,} patches", lambda: split.with_families(table))
    table = timed("splits", lambda: split.divide(table, spec, set()))
    report = timed("report", lambda: split.report(table, spec))
    print(report)

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
