"""From a bank to shards: how long a render takes, and where its CPU time goes.

    python benchmarks/bench_render.py [--patches PATH ...] [--samples 1000] [--runs 5] [-- any options of dx7data render]

First the whole command with all workers, from launch to exit, the compile cache warm. Then one worker in this process,
its CPU time split by wrapping the functions of each step.
"""

import argparse
import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np

from dx7data import cli, prefix
from dx7data.audio import clips, gain
from dx7data.cli import planning
from dx7data.dataset import shard
from dx7data.engine import cpu
from dx7data.engine.speed import describe_machine
from dx7data.plan import plan, sample
from dx7data.storage import LocalFolder

STEPS = {
    "engine": [(cpu, "render")],
    "decimate": [(clips, "decimate"), (prefix, "decimate")],
    "gain": [(gain, "apply")],
    "prefixes, but for the steps above": [(prefix, "encode")],
    "choice of phrases and patches": [(plan.Plan, "choose")],
}


def arguments(options, folder):
    """What is measured, as `dx7data` takes it."""
    fixed = ["render", "--out", str(folder), "--samples", str(options.samples), "--sample-rate", "16000", "--overwrite"]
    return [*fixed, "--patches", *options.patches, *options.more]


def command(options, folder):
    """Wall time of a whole run, and of its rendering alone: from the first sample asked for to the last one done."""
    began = time.perf_counter()
    program = [sys.executable, "-m", "dx7data", *arguments(options, folder)]
    found = subprocess.run(program, capture_output=True, text=True, check=True)
    whole = time.perf_counter() - began
    rate = float(re.findall(r"([\d.,]+) samples/s", found.stderr)[-1].replace(",", ""))
    return whole, options.samples / rate


def by_step(options, folder):
    """CPU seconds of each step of rendering in one process with one thread, and of the whole."""
    spent = dict.fromkeys(STEPS, 0.0)

    def add_timer(name, function):
        def call(*arguments, **keywords):
            began, of_others = time.process_time(), sum(spent.values())
            result = function(*arguments, **keywords)
            spent[name] += time.process_time() - began - (sum(spent.values()) - of_others)
            return result

        return call

    numba.set_num_threads(1)
    made = planning.make_plan(cli.make_parser().parse_args(arguments(options, folder)))
    sample.render_samples(made, [("train", 0), ("train", 1)])
    for name, places in STEPS.items():
        for place, function in places:
            setattr(place, function, add_timer(name, getattr(place, function)))
    began = time.process_time()
    for each in made.shards():
        shard.write_shards(made, [each], LocalFolder(folder))
    whole = time.process_time() - began

    tars = [path.read_bytes() for path in folder.glob("*.tar")]
    began = time.process_time()
    for tar in tars:
        hashlib.sha256(tar).digest()
    spent["hash"] = time.process_time() - began
    began = time.process_time()
    for i, tar in enumerate(tars):
        (folder / f"again-{i}").write_bytes(tar)
    spent["write"] = time.process_time() - began
    spent["the rest: voices, wav, json, tar headers, table"] = whole - sum(spent.values())
    return whole, spent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", default=["example"], help="default: the example bank")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("more", nargs="*", help="after --: more options of dx7data render")
    options = parser.parse_args()

    names = ", ".join(Path(path).name for path in options.patches)
    print(
        f"{options.samples} samples x 2.5 s at 16 kHz ({names}{''.join(f' {word}' for word in options.more)})\n"
        f"{describe_machine()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        command(options, folder)  # compiles
        load = os.getloadavg()[0]
        whole, rendering = np.median([command(options, folder) for _ in range(options.runs)], axis=0)
        print(
            f"\nmedians of {options.runs} runs, load average before {load:.2f}: the command {whole:.2f} s from launch ",
            end="",
        )
        print(f"to exit, rendering {rendering:.2f} s of it, {options.samples / rendering:,.0f} samples/s")
    with tempfile.TemporaryDirectory() as folder:
        whole, spent = by_step(options, Path(folder))
    print(f"\none thread, CPU time {whole:.2f} s, {whole / spent['engine']:.2f} x the engine's own\n")
    print("| step | s | part |\n|---|---|---|")
    for name, took in spent.items():
        print(f"| {name} | {took:.3f} | {took / whole:.0%} |")
    print(f"\nmost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
