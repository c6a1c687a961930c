"""Samples from any address that webdataset reads: no exact order, and no exact resume."""

import hashlib
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dx7data import prefix
from dx7data.audio.wav import decode_wav
from dx7data.errors import InputError
from dx7data.output import log
from dx7data.storage.address import EXTRAS
from dx7data.storage.remote import open_url
from train.data.example import NO_PREFIX, Example, ExampleFormat, make_format

_SHUFFLED = 1000  # samples of which the next one is drawn


def _open(url: str, *options: object, **more: object) -> BinaryIO:
    """What webdataset reads a URL with, instead of curl and the like: as shards are read."""
    folder, _, name = url.rpartition("/")
    return open_url(folder).request(lambda fs, path: fs.open(path, "rb"), name)


class UrlClips(IterableDataset):
    """Samples with `source.wav`, `target.wav` and, for a prefix, `prefix.<codec>.wav` or, at a lower rate, `target.syx`."""

    resumable = False

    def __init__(self, url: str, codec: str | None, sample_rate: int | None, crop: int | None, seed: int = 0):
        """Reads the first sample, for its format. Raises InputError if there is none, or not such a one."""
        self._url, self._seed, self._epoch = url, seed, 0
        self.fingerprint = hashlib.sha256(url.encode()).hexdigest()
        log.warning(
            f"{url} is read by webdataset: its order depends on workers and ranks, and training can't be resumed exactly"
        )
        first = next(self._read_members(), None)
        if first is None:
            raise InputError(f"{url} has no sample, or fewer shards than there are processes")
        self._options = codec, sample_rate
        self.format = self._read_sample(first, crop)[0]

    def __str__(self) -> str:
        return self._url

    def describe(self) -> dict[str, str]:
        """What a run records of its data: which patches these have is not known."""
        return {"fingerprint": self.fingerprint}

    def _read_members(self, shuffled: int = 0) -> Iterator[dict]:
        """Of each sample of this process, the files by name; shuffled: so many samples are held back to choose from."""
        import webdataset
        from webdataset.gopen import gopen_schemes

        gopen_schemes.update(dict.fromkeys(EXTRAS, _open))
        split = {"nodesplitter": webdataset.split_by_node, "shardshuffle": 100 if shuffled else False, "empty_check": False}
        try:
            yield from webdataset.WebDataset(self._url, **split).shuffle(shuffled)
        except (OSError, tarfile.TarError) as error:
            reason = getattr(error, "strerror", None) or error.args[0]
            raise InputError(f"{self._url} can't be read: {reason}") from None

    def __iter__(self) -> Iterator[Example]:
        worker = get_worker_info()
        self._epoch += 1
        rng = np.random.default_rng([self._seed, self._epoch, worker.seed if worker else 0])  # of crops alone
        for members in self._read_members(_SHUFFLED):
            yield self._make_example(members, rng)

    def _make_example(self, members: dict, rng: np.random.Generator) -> Example:
        found, prefix_audio, source, target = self._read_sample(members, self.format.crop)
        length, expected = (each.crop or each.length for each in (found, self.format))
        if length != expected:
            raise InputError(
                f"{self._url} has clips of {length} and of {expected} samples: take as much of all of them, with --seconds"
            )
        start = int(rng.integers(found.length - length + 1))
        return Example(prefix_audio, found.clip(source, start), found.clip(target, start))

    def _read_sample(self, members: dict, crop: int | None) -> tuple[ExampleFormat, torch.Tensor, np.ndarray, np.ndarray]:
        """The format of a sample, its prefix, source and target. Raises InputError."""
        codec, sample_rate = self._options
        try:
            source, rate = decode_wav(members["source.wav"])
            target, _ = decode_wav(members["target.wav"])
            audio = decode_wav(members[f"prefix.{codec}.wav"])[0] if codec else NO_PREFIX.numpy()
            layers = len(audio) // prefix.samples(codec, rate) if codec else 1
            found = make_format(codec, layers, rate, source.size, sample_rate, crop)
            prefix_audio = NO_PREFIX
            if codec and found.factor == 1:
                prefix_audio = torch.from_numpy(audio.astype(np.int16))
            elif codec:
                prefix_audio = found.encode_prefix(members["target.syx"])
        except (KeyError, ValueError) as error:
            raise InputError(f"sample {members['__key__']} of {self._url} lacks or garbles a member: {error}") from None
        if source.size != target.size:
            raise InputError(f"sample {members['__key__']} of {self._url} has a source and a target of different lengths")
        return found, prefix_audio, source, target
