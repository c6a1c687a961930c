"""What an example is made of, whatever it is read from: its prefix, its sample rate and where it is cropped."""

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch.utils.data import get_worker_info

from dx7data import prefix
from dx7data.audio.resample import ENGINE_RATE, HALF_TAPS, decimate
from dx7data.errors import InputError
from dx7data.patches import sysex
from dx7data.rng import KeyedRng
from train.data.sampler import SampleKey

NO_PREFIX = torch.empty(0, dtype=torch.int16)
_FILTER_REACH = 9  # output samples to each side that a filter of resample.py sees, whatever its factor


class Example(NamedTuple):
    """int16 tensors (P,), (L,), (L,); P is 0 without a prefix. torch's default collation makes a batch of them."""

    prefix: torch.Tensor
    source: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True)
class ExampleFormat:
    """The codec of the prefix, the rate, and the length of a clip at it; `own`: what the shards have."""

    codec: str | None
    layers: int  # places in the prefix
    own_rate: int
    own_length: int
    sample_rate: int
    crop: int | None  # samples at sample_rate
    rng: type[KeyedRng] = KeyedRng  # what draws where crops begin

    @property
    def factor(self) -> int:
        return self.own_rate // self.sample_rate

    @property
    def length(self) -> int:
        """Samples of a whole clip at the sample rate."""
        return -(-self.own_length // self.factor)

    def start(self, at: SampleKey, j: int) -> int:
        """Where sample j of its split is cropped: a pure function of seed, epoch and sample."""
        if self.crop in (None, self.length):
            return 0
        return int(self.rng("crop", at.seed, at.epoch, j).raw(1)[0]) % (self.length - self.crop + 1)

    def clip(self, whole: np.ndarray, start: int) -> torch.Tensor:
        """The part of a clip that is asked for, in memory of its own."""
        stop = self.length if self.crop is None else start + self.crop
        if self.factor > 1:
            return torch.from_numpy(lower_rate(whole, self.factor, start, stop))
        return torch.from_numpy(whole[start:stop].astype(np.int16))  # always a copy: a map can't be written to

    def encode_prefix(self, dump: bytes) -> torch.Tensor:
        """The prefix of the patches in a dump."""
        return torch.from_numpy(_encode_prefix(dump, self.codec, self.layers, self.sample_rate).copy())


@lru_cache
def make_format(
    codec: str | None, layers: int, own_rate: int, own_length: int, sample_rate: int | None, crop: int | None
) -> ExampleFormat:
    """Raises InputError, with the legal values, when there can be no such examples."""
    legal = [rate for rate in sorted(ENGINE_RATE) if own_rate % rate == 0 and own_rate // rate in (1, *HALF_TAPS)]
    rate = sample_rate or own_rate
    if rate != own_rate and rate not in legal:
        choices = ", ".join(map(str, legal)) or "none"
        raise InputError(f"clips at {own_rate} Hz can't be brought to {rate} Hz; these can be had: {choices}")
    if codec is not None and codec not in prefix.CODECS:
        raise InputError(f"the prefix codec must be one of {', '.join(sorted(prefix.CODECS))}, not {codec!r}")
    found = ExampleFormat(codec, layers, own_rate, own_length, rate, crop)
    if crop is not None and not 1 <= crop <= found.length:
        raise InputError(f"a crop must have from 1 to {found.length} samples, as many as a clip at {rate} Hz, not {crop}")
    return found


def lower_rate(clip: np.ndarray, factor: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Samples start to stop - 1 of an int16 clip at 1 / factor of its rate, cut to 16 bits where the filter overshoots.

    The filter is dx7data's, which is relative to the rates: 0.1 dB flat up to 0.4 of the new rate, 80 dB down from 0.6. It
    works on what the shard has, rounded to 16 bits, so the bits differ from those of a shard rendered at the lower rate.
    """
    stop = -(-clip.size // factor) if stop is None else stop
    first = max(0, start - _FILTER_REACH)
    seen = clip[first * factor : (stop + _FILTER_REACH) * factor].astype(np.int32)
    low = decimate(seen, 48000 // factor)  # 48000 // factor names the filter: `decimate` counts from the engine's rate
    return np.clip(low[start - first : stop - first], -32768, 32767).astype(np.int16)


@lru_cache(maxsize=1024)  # many samples have the same target; 17 MB of fsk at 16 kHz
def _encode_prefix(dump: bytes, codec: str, layers: int, rate: int) -> np.ndarray:
    claim_engine()
    patches = np.array([np.frombuffer(record.patch, np.uint8) for record in sysex.read(dump).voices])
    audio = np.zeros((layers, prefix.samples(codec, rate)), np.int16)
    audio[: len(patches)] = prefix.encode(patches, codec, rate)
    return audio.reshape(-1)


_claimed = None  # the process that may use the engine


def claim_engine() -> None:
    """Call before a worker renders; it gets one thread. Raises InputError if it is a fork of a process that has rendered."""
    global _claimed
    if _claimed == os.getpid():
        return
    if get_worker_info() is not None:
        try:
            layer = numba.threading_layer()
        except ValueError:  # nobody has rendered yet
            layer = None
        if layer not in (None, "tbb"):  # a fork would end with "Terminating: fork() called from ...", or hang
            raise InputError(
                "the process that started this worker had rendered before, and its threads do not survive a fork: "
                'give the DataLoader multiprocessing_context="forkserver"'
            )
        numba.set_num_threads(1)
    _claimed = os.getpid()
