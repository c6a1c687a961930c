"""What a terabyte costs: the CPU time of shards of the usual size, here and now, and what follows from it.

    python benchmarks/bench_terabyte.py [--shards 3] [--core-hour 0.04] [--gpu-hour 3] [-- any options of dx7data render]

One process renders whole shards with one thread, as a task on a cluster does. Counted is CPU time, which others on the same
machine disturb little. Prices are in whatever money they are given in; none is built in.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numba

from dx7data import cli
from dx7data.cli import planning
from dx7data.dataset import shard
from dx7data.engine.speed import describe_machine
from dx7data.plan import sample
from dx7data.storage import LocalFolder

GPU_SECONDS = 1e12 / 1.33e9  # of one H200 with 8 processes, to disk: benchmarks/results/2026-11-22-h200.md


def measure(options, folder):
    """CPU seconds, bytes and samples of some whole shards, the compile cache warm."""
    arguments = ["render", "--out", str(folder), "--sample-rate", "16000", "--samples", "4000", *options.more]
    made = planning.make_plan(cli.make_parser().parse_args([*arguments, "--patches", *options.patches]))
    sample.render_samples(made, [("train", 0), ("train", 1)])
    chosen = [each for each in made.shards() if each.split == "train"][: options.shards]
    began = time.process_time()
    for each in chosen:
        shard.write_shards(made, [each], LocalFolder(folder))
    took = time.process_time() - began
    return took, sum(path.stat().st_size for path in folder.glob("train-*")), sum(each.count for each in chosen), made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", default=["example"], help="default: the example bank")
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--core-hour", type=float, help="what an hour of one core costs")
    parser.add_argument("--gpu-hour", type=float, help="what an hour of a GPU and 8 cores costs")
    parser.add_argument("more", nargs="*", help="after --: more options of dx7data render")
    options = parser.parse_args()
    numba.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        took, size, count, made = measure(options, Path(folder))
    core_hours = took / size * 1e12 / 3600
    hours_of_audio = 1e12 / size * count * made.spec.seconds / 3600
    print(
        f"{describe_machine()}\n{options.shards} shards: {count:,} samples, {size / 1e6:,.0f} MB, {took:.1f} s of CPU time\n"
    )
    print("| a terabyte | |\n|---|---|")
    print(f"| samples; hours of target audio | {1e12 / size * count:,.0f}; {hours_of_audio:,.0f} |")
    print(f"| shards; files | {1e12 / size * options.shards:,.0f}; {3e12 / size * options.shards:,.0f} |")
    print(f"| core-hours: {took / count * 1000:.2f} ms a sample, {took / size * 1e9:.1f} s a GB | {core_hours:,.1f} |")
    print(f"| GPU-hours: 1.33 GB/s of one H200 | {GPU_SECONDS / 3600:.2f} |")
    for cores in (64, 1000):
        print(f"| minutes with {cores:,} cores | {core_hours / cores * 60:.1f} |")
    if options.core_hour:
        print(f"| at {options.core_hour} a core-hour | {core_hours * options.core_hour:,.2f} |")
    if options.gpu_hour:
        print(f"| at {options.gpu_hour} a GPU-hour | {GPU_SECONDS / 3600 * options.gpu_hour:,.2f} |")


if __name__ == "__main__":
    main()
