"""The clips of a run, and the loader that makes batches of them."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from dx7data import prefix
from dx7data.errors import InputError
from train.config import RunSettings
from train.data import live
from train.data.datasets import Clips, LiveClips, clips
from train.data.example import Example, Form
from train.data.sampler import Batches
from train.data.web import UrlClips
from train.loop.distributed import Ranks
from train.loop.signals import leave_interrupts


def opened(settings: RunSettings) -> Clips | UrlClips:
    """The clips to train on."""
    data = clips(
        settings.shards,
        settings.split,
        settings.reader,
        codec=settings.prefix,
        sample_rate=settings.sample_rate,
        skip_missing=settings.skip_missing,
        seed=settings.seed,
    )
    if settings.seconds is not None:
        rate, longest = data.form.sample_rate, data.form.length
        crop = round(settings.seconds * rate)
        if not 1 <= crop <= longest:
            raise InputError(f"--seconds {settings.seconds:g}: the clips in {settings.shards} last {longest / rate:g} s")
        data.form = dataclasses.replace(data.form, crop=crop)
    return data


def steps_of(form: Form) -> int:
    """P + L, the model steps of a clip with its prefix; without a look at the data, which might render."""
    told = form.layers * prefix.samples(form.codec, form.sample_rate) if form.codec else 0
    return told + (form.crop or form.length)


class Unordered(NamedTuple):
    """What Batches are, where the data comes in an order of its own."""

    size: int  # samples of a batch

    def state(self, delivered: int) -> dict:
        return {}


def batches_of(data: Clips | UrlClips, settings: RunSettings, ranks: Ranks, state: dict | None) -> Batches | Unordered:
    """Of this process, from a state on."""
    if data.resumable:
        return Batches(data, settings.batch, settings.seed, rank=ranks.rank, ranks=ranks.count, state=state)
    return Unordered(settings.batch // ranks.count)


def loaded(data: Clips | UrlClips, batches: Batches | Unordered, workers: int, device: torch.device) -> Iterator[Example]:
    """Batches as Examples of (B, P), (B, L), (B, L), for ever; workers begin at once."""
    renders = isinstance(data, LiveClips)
    options = {
        "num_workers": workers,
        "pin_memory": device.type == "cuda",
        "multiprocessing_context": "forkserver" if renders and workers else None,
        "worker_init_fn": leave_interrupts,
        "generator": torch.Generator(),  # of its own: torch's is a part of the checkpoint
    }
    if not data.resumable:
        return _again(data, DataLoader(data, batch_size=batches.size, drop_last=True, **options))
    if renders and live.gpu(device)[0] is not None:
        return live.rendered(data, batches, device, **options)
    return iter(DataLoader(data, batch_sampler=batches, **options))


def _again(data: UrlClips, loader: DataLoader) -> Iterator[Example]:
    """Epoch after epoch. Raises InputError if there is nothing in one."""
    while True:
        batch = None
        for batch in loader:
            yield batch
        if batch is None:
            raise InputError(
                f"{data} does not fill a batch in any process that reads: take a smaller --batch or fewer --workers"
            )
