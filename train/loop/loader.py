"""The clips of a run, and the loader that makes batches of them."""

import dataclasses
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from dx7data import prefix
from dx7data.errors import InputError
from dx7data.workers import avoid_names, begin_child
from train.config import RunSettings
from train.data import live
from train.data.clips import Clips, LiveClips
from train.data.datasets import open_clips
from train.data.example import Example, ExampleFormat
from train.data.sampler import Batches
from train.data.web import UrlClips
from train.loop.distributed import Ranks
from train.loop.nameless import NamelessContext


def open_training_clips(settings: RunSettings) -> Clips | UrlClips:
    """The clips to train on."""
    data = open_clips(
        settings.shards,
        settings.split,
        settings.reader,
        codec=settings.prefix,
        sample_rate=settings.sample_rate,
        skip_missing=settings.skip_missing,
        seed=settings.seed,
    )
    if settings.seconds is not None:
        rate, longest = data.format.sample_rate, data.format.length
        crop = round(settings.seconds * rate)
        if not 1 <= crop <= longest:
            raise InputError(
                f"--seconds {settings.seconds:g}: the clips in {settings.shards} last {longest / rate:g} s; --seconds none "
                "takes them whole"
            )
        data.format = dataclasses.replace(data.format, crop=crop)
    return data


def count_prefix(format: ExampleFormat) -> int:
    """P, the samples of a prefix, 0 without one; without a look at the data, which might render."""
    return format.layers * prefix.samples(format.codec, format.sample_rate) if format.codec else 0


def count_steps(format: ExampleFormat) -> int:
    """P + L, the model steps of a clip with its prefix."""
    return count_prefix(format) + (format.crop or format.length)


_SHARED_MEMORY = Path("/dev/shm")
_PREFETCHED = 2  # batches of each process that reads, torch's default


class Unordered(NamedTuple):
    """What Batches are, where the data comes in an order of its own."""

    size: int  # samples of a batch

    def state(self, delivered: int) -> dict:
        return {}


def make_batches(data: Clips | UrlClips, settings: RunSettings, ranks: Ranks, state: dict | None) -> Batches | Unordered:
    """Of this process, from a state on."""
    if isinstance(data, Clips):
        return Batches(data, settings.batch, settings.seed, rank=ranks.rank, ranks=ranks.count, state=state)
    return Unordered(settings.batch // ranks.count)


def load_batches(
    data: Clips | UrlClips, batches: Batches | Unordered, workers: int, device: torch.device
) -> Iterator[Example]:
    """Batches as Examples of (B, P), (B, L), (B, L), for ever; workers begin at once."""
    warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores: the report says if they wait
    if workers:
        samples = count_steps(data.format) + (data.format.crop or data.format.length)  # of int16
        check_shared_memory(2 * batches.size * samples * workers * _PREFETCHED)
    options: dict[str, Any] = {
        "num_workers": workers,
        "pin_memory": device.type == "cuda",
        "multiprocessing_context": NamelessContext() if isinstance(data, LiveClips) and workers else None,
        "worker_init_fn": _begin_reading,
        "generator": torch.Generator(),  # of its own: torch's is a part of the checkpoint
    }
    if isinstance(data, UrlClips):
        return _repeat(data, DataLoader(data, batch_size=batches.size, drop_last=True, **options))
    assert isinstance(batches, Batches)  # as make_batches gives for such data
    if isinstance(data, LiveClips) and live.choose_gpu(device)[0] is not None:
        return live.render_batches(data, batches, device, **options)
    return iter(DataLoader(data, batch_sampler=batches, **options))


def _begin_reading(worker: int) -> None:
    """In each reading process; the last steps after a Ctrl-C or SIGTERM still need its batches."""
    begin_child(only_parent_ends=True)
    avoid_names()


def check_shared_memory(needed: int) -> None:
    """Raises InputError when the memory through which reading processes hand over batches has not so many bytes free.

    Else one of them is killed by a bus error, or torch says that it failed with "Success".
    """
    if not _SHARED_MEMORY.is_dir():
        return
    found = os.statvfs(_SHARED_MEMORY)
    free = 0 if found.f_flag & os.ST_RDONLY else found.f_bavail * found.f_frsize
    if free < needed:
        raise InputError(
            f"{_SHARED_MEMORY} has {free / 1e6:,.1f} MB free, and the processes that read need {needed / 1e6:,.1f}: enlarge "
            "it (docker: --shm-size), or take --workers 0, which needs none"
        )


def _repeat(data: UrlClips, loader: DataLoader) -> Iterator[Example]:
    """Epoch after epoch. Raises InputError if there is nothing in one."""
    while True:
        batch = None
        for batch in loader:
            yield batch
        if batch is None:
            raise InputError(
                f"{data} does not fill a batch in any process that reads: take a smaller --batch or fewer --workers"
            )
