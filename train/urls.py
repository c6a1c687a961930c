"""Samples from any address that webdataset reads: no exact order, and no exact resume."""

import io
import json
import logging
import tarfile
import wave
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dx7data.errors import InputError
from train.form import NO_PREFIX, Example, form


class UrlClips(IterableDataset):
    """Samples with `source.wav`, `target.wav` and, for a prefix, `prefix.<codec>.wav` or, at a lower rate, `target.syx`."""

    resumable = False

    def __init__(self, url: str, codec: str | None, sample_rate: int | None, crop: int | None, seed: int = 0):
        self._url, self._wishes, self._seed = url, (codec, sample_rate, crop), seed
        logging.getLogger(__name__).warning(
            "%s is read by webdataset: its order depends on workers and ranks, and training can't be resumed exactly", url
        )

    def __iter__(self) -> Iterator[Example]:
        import webdataset

        worker = get_worker_info()
        rng = np.random.default_rng([self._seed, worker.seed if worker else 0])  # only crops: webdataset has its own
        split = {"nodesplitter": webdataset.split_by_node, "shardshuffle": 100, "empty_check": False}
        try:
            for members in webdataset.WebDataset(self._url, **split).shuffle(1000):
                yield self._example(members, rng)
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{self._url} can't be read: {error}") from None

    def _example(self, members: dict, rng: np.random.Generator) -> Example:
        codec, sample_rate, crop = self._wishes
        try:
            rate, source = _read_wav(members["source.wav"])
            _, target = _read_wav(members["target.wav"])
            layers = json.loads(members["json"])["prefix"][codec]["max_layers"] if codec else 1
            found = form(codec, layers, rate, source.size, sample_rate, crop)
            told = NO_PREFIX
            if codec and found.factor == 1:
                told = torch.from_numpy(_read_wav(members[f"prefix.{codec}.wav"])[1].astype(np.int16))
            elif codec:
                told = found.encoded(members["target.syx"])
        except (KeyError, ValueError, wave.Error, EOFError) as error:
            raise InputError(f"sample {members['__key__']} of {self._url} lacks or garbles a member: {error}") from None
        if source.size != target.size:
            raise InputError(f"sample {members['__key__']} of {self._url} has a source and a target of different lengths")
        start = int(rng.integers(found.length - crop + 1)) if crop else 0
        return Example(told, found.clip(source, start), found.clip(target, start))


def _read_wav(data: bytes) -> tuple[int, np.ndarray]:
    """Rate and int16 samples. Raises ValueError if it is not mono or has not 16 bits."""
    with wave.open(io.BytesIO(data)) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise ValueError("a wav is not mono with 16 bits")
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
