"""What a person reads once a training runs: its devices, their memory and speed; and what to do when they wait for data."""

import os
from collections.abc import Iterator

import torch
import torch.distributed as dist

from dx7data.output import align_columns, format_count
from train.config import RunSettings
from train.data import live
from train.data.clips import Clips, LiveClips
from train.data.web import UrlClips
from train.loop.cudagraph import Replay
from train.loop.distributed import Ranks
from train.loop.timer import FIRST_STEPS, StepTimer

MAX_WAIT = 0.05  # of the time of a step; more is worth a hint


class SpeedReport:
    """What is said once: of the first steps, when the next are timed, with a table; and a hint when steps wait for data."""

    def __init__(self, settings: RunSettings, ranks: Ranks, data: Clips | UrlClips, replay: Replay):
        self._settings, self._ranks, self._data, self._replay = settings, ranks, data, replay
        self._described = self._advised = False

    def update(self, timer: StepTimer, tokens_per_second: float) -> Iterator[str]:
        """What there is to say now; all processes must call it as often."""
        if not self._described:
            self._described = True
            took = f"{timer.first:.2f} s, {timer.first_wait:.2f} of them waiting for data"
            yield f"the first {FIRST_STEPS} steps, which also compile and tune, took {took}"
            if self._replay.refused:
                yield f"no CUDA graph, so Python launches each kernel: {self._replay.refused}"
            yield describe_devices(self._ranks, tokens_per_second)
        wait = timer.take_wait()
        if wait is not None and wait > MAX_WAIT and not self._advised:
            self._advised = True
            gpu_renders = isinstance(self._data, LiveClips) and live.choose_gpu(self._ranks.device)[0] is not None
            yield advise(wait, self._settings, gpu_renders)


def describe_devices(ranks: Ranks, tokens_per_second: float) -> str:
    """A table with a row for each process, for all of which `tokens_per_second` is; all of them must call it."""
    device = ranks.device
    if device.type == "cuda":
        name, memory = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
    else:
        threads = torch.get_num_threads()
        name = f"CPU, {format_count(threads, 'thread')}"
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    own = (name, f"{ranks.peak_memory() / 1e9:.1f} of {memory / 1e9:.1f} GB")
    found = [own] * ranks.count
    if ranks.count > 1:
        dist.all_gather_object(found, own)
    each = f"{tokens_per_second / ranks.count:,.0f}"
    rows = [("process", "device", "memory", "tokens/s"), *((str(i), *one, each) for i, one in enumerate(found))]
    if ranks.count > 1:
        rows.append(("all", "", "", f"{tokens_per_second:,.0f}"))
    return "\n".join(["the next steps:", *align_columns(rows, 3)])


def advise(wait: float, settings: RunSettings, gpu_renders: bool) -> str:
    """wait: the part of the time in which nothing was computed for want of data."""
    cores = len(os.sched_getaffinity(0))
    if gpu_renders:
        advice = "the GPU that trains also renders, so train on shards that `dx7data render` has written"
    elif settings.workers < cores:
        advice = f"raise --workers, {settings.workers} now on {format_count(cores, 'core')}, after Ctrl-C with --resume too"
    elif settings.reader == "live":
        advice = "rendering takes all cores, so train on shards that `dx7data render` has written"
    elif "://" in settings.shards:
        advice = "copy the shards to a disk of this machine"
    else:
        advice = "move the shards to a faster disk, or lower --seconds"
    return f"{wait:.0%} of the time is spent waiting for data: {advice}"
