"""How fast the engine is on this machine: one table, of the CPU and of each GPU that can run it.

A voice is 4 s at 44.1 kHz, its key held for 3; patches are taken in turn. Wall time, medians. On the CPU a run begins with
stored patches; on a GPU it begins with the voices' integers in its memory, and ends with 16-bit samples there.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numba
import numpy as np

from dx7data.engine.arrays import GpuArray
from dx7data.engine.device import Unusable, choose, use_gpu
from dx7data.engine.render import render
from dx7data.engine.tables import make_increment_table
from dx7data.engine.voice import Curves, Voices, voices
from dx7data.output import format_count

if TYPE_CHECKING:
    from dx7data.engine.cuda import Mix

SECONDS, HELD, RATE = 4.0, 3.0, 44100
_ON_CPU, _ON_GPU = 512, 32768  # voices
_RUNS = 5


def measure(patches: np.ndarray) -> dict:
    """The machine, and a row for one core, for all of them, and for each GPU; or why there is none."""
    rows, gpu, reason = [_make_row(name, _ON_CPU, seconds) for name, seconds in _measure_cpu(patches)], 0, None
    while not reason:
        try:
            choose(f"cuda:{gpu}")
        except Unusable as unusable:
            reason = str(unusable)
        else:
            rows.append(_make_row(*_measure_gpu(patches, gpu)))
            gpu += 1
    return {"machine": describe_machine(), "rows": rows, "no_gpu": None if gpu else reason}


def describe(found: dict) -> list[str]:
    """A table in Markdown."""
    lines = [found["machine"], "", "| | voices | M samples/s | x real time |", "|---|---|---|---|"]
    lines += [
        f"| {row['name']} | {row['voices']:,} | {row['samples_per_second'] / 1e6:,.0f} | {row['x_real_time']:,.0f} |"
        for row in found["rows"]
    ]
    return lines if found["no_gpu"] is None else [*lines, "", f"No GPU: {found['no_gpu']}"]


def describe_machine() -> str:
    """What figures are quoted with."""
    described = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in described if line.startswith("model name")), platform.processor())
    cores = format_count(os.cpu_count() or 1, "core")
    return f"{model}, {cores}, Python {platform.python_version()}, numba {numba.__version__}"


def draw_voices(patches: np.ndarray, count: int) -> Voices:
    """So many voices of the patches, on random keys."""
    rng = np.random.default_rng(0)
    notes, velocities = rng.integers(36, 85, count), rng.integers(40, 128, count)
    return voices(patches[np.arange(count) % len(patches)], notes, velocities, HELD, RATE)


def _make_row(name: str, voices: int, seconds: float) -> dict:
    samples = voices * SECONDS * RATE / seconds
    return {"name": name, "voices": voices, "samples_per_second": samples, "x_real_time": samples / RATE}


def _median(play: Callable[[], float]) -> float:
    """The median of what some calls return; the first of all, which compiles, does not count."""
    play()
    return statistics.median(play() for _ in range(_RUNS))


def _measure_cpu(patches: np.ndarray) -> list[tuple[str, float]]:
    out, all_threads = np.zeros((_ON_CPU, int(SECONDS * RATE)), np.int32), numba.get_num_threads()

    def play() -> float:
        began = time.perf_counter()
        render(draw_voices(patches, _ON_CPU), SECONDS, out=out)
        return time.perf_counter() - began

    found = []
    try:
        for threads in sorted({1, all_threads}):
            numba.set_num_threads(threads)
            found.append((f"CPU, {format_count(threads, 'thread')}", _median(play)))
    finally:
        numba.set_num_threads(all_threads)
    return found


def _measure_gpu(patches: np.ndarray, gpu: int) -> tuple[str, int, float]:
    """The GPU's name, how many voices it played, and in how many seconds."""
    from numba import cuda

    from dx7data.engine.cuda import count_rows, zeros

    with use_gpu(gpu):
        name = cuda.get_current_device().name
        voices = min(_ON_GPU, count_rows(int(SECONDS * RATE)))
        mix = prepare_mix(draw_voices(patches, voices), zeros((voices, int(SECONDS * RATE)), np.int16))
        return name.decode() if isinstance(name, bytes) else name, voices, _median(lambda: sum(time_stages(mix)))


def prepare_mix(some: Voices, out: GpuArray) -> Mix:
    """The work of a GPU, not yet begun: each voice into its own row of `out`, in the memory of the current one."""
    from dx7data.engine.cuda import Mix

    alone = np.arange(some.start.size)
    at_rest = Curves(np.full(alone.size, -1), np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32))
    return Mix(some, at_rest, np.stack([alone, alone + 1], axis=1), alone, out, make_increment_table(RATE), alone=True)


def time_stages(mix: Mix) -> tuple[float, float]:
    """Seconds of the control stage and of the synthesis, over all batches, by the GPU's clock."""
    from numba import cuda

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
    return stages[0], stages[1]
