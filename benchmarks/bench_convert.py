"""How fast recordings are converted, and how much memory that takes: real models of random weights, the whole command.

    PYTHONPATH=. python benchmarks/bench_convert.py [--models s4 mamba2 ...] [--sizes tiny base] [--seconds 60]
        [--chunk 64ms] [--device cpu] [--memory]

Each conversion is a process of train.convert, with random notes at 8 kHz, the `bytes` prefix and as many threads as torch
takes; `taskset -c 0,1` leaves it two cores. What it prints as `x real time` counts reading, converting and writing, but not
the start of Python and the loading of the model; CPU seconds count these too. --memory converts 1 and 10 minutes and
compares the peaks of memory.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from dx7data.audio.wav import encode_wav
from dx7data.engine.speed import describe_machine
from models.model import build
from models.registry import MODELS, SIZES, preset
from train.config import RunSettings
from train.loop import checkpoint, optim

RATE = 8000
NOTE = 0.25  # seconds


def save_run(folder, name, size):
    """A run folder with a checkpoint of random weights, as a training leaves it."""
    settings = preset(name, size)
    torch.manual_seed(0)
    model = build(settings)
    about = RunSettings("shards", name, size, settings, prefix="bytes", sample_rate=RATE)
    state = {"settings": about.to_json(), "fingerprint": "0" * 64, "layers": 1, "stream": {}, "seconds": 0.0}
    checkpoint.save(folder, 1, model, model, optim.make_adamw(optim.group_parameters(model, 1e-3, 0.0)), state)


def save_recording(path, seconds):
    """Sine notes of random pitch."""
    frequencies = 110 * 2 ** (np.random.default_rng(0).integers(0, 36, round(seconds / NOTE)) / 12)
    phase = np.cumsum(np.repeat(frequencies, round(NOTE * RATE))) / RATE
    path.write_bytes(encode_wav((8000 * np.sin(2 * np.pi * phase)).astype(np.int16), RATE))


def convert(run, source, options):
    """How many times real time, CPU seconds, and the peak of memory in MB."""
    command = [sys.executable, "-m", "train.convert", "--checkpoint", run, "--source", source, "--patch", "example:1"]
    command += ["--out", source.with_suffix(".out.wav"), "--device", options.device]
    command += ["--chunk", options.chunk] if options.chunk else []
    done = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = done.stdout.read()
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return float(re.search(r"([\d.e+]+) x real time", said)[1]), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["s4", "s4d", "mamba2", "hybrid"])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--seconds", type=float, default=60, help="of the recording")
    parser.add_argument("--chunk", help="as of train.convert; default: its own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{len(os.sched_getaffinity(0))} cores"
    print(f"{describe_machine()}, {device}, torch {torch.__version__}, {platform.system()}, ", end="")
    print(f"load average before {os.getloadavg()[0]:.2f}; chunks: {options.chunk or 'as the command chooses'}\n")
    lengths = [60.0, 600.0] if options.memory else [options.seconds]
    titles = [title for seconds in lengths for title in (f"{seconds:g} s: x real time", "CPU s", "peak MB")]
    print(f"| model | size | {' | '.join(titles)} |" + (" ratio of peaks |" if options.memory else ""))
    print("|---|---|" + "---|" * (len(titles) + options.memory))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in lengths:
            save_recording(folder / f"{seconds:g}.wav", seconds)
        for size in options.sizes:
            for model in options.models:
                save_run(folder / f"{model}-{size}", model, size)
                found = [convert(folder / f"{model}-{size}", folder / f"{seconds:g}.wav", options) for seconds in lengths]
                cells = " | ".join(f"{speed:.3g} | {cpu:.1f} | {memory:,.0f}" for speed, cpu, memory in found)
                ratio = f" {found[-1][2] / found[0][2]:.3f} |" if options.memory else ""
                print(f"| {model} | {size} | {cells} |{ratio}", flush=True)


if __name__ == "__main__":
    main()
