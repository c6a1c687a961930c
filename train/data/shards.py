"""The samples of a split from its shards, whose tars are mapped into memory."""

import hashlib
import mmap
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dx7data.audio.wav import HEADER_BYTES, encode_header
from dx7data.errors import InputError
from dx7data.files import open_regular
from dx7data.output import format_count
from dx7data.patches import sysex
from dx7data.plan import tables
from dx7data.plan.plan import Plan
from train.data.clips import Clips
from train.data.example import NO_PREFIX, Example
from train.data.plans import read_stats
from train.data.sampler import SampleKey
from train.data.storage import Local, Remote

_TAR_HEADER = 512  # bytes
_OPEN_TARS = 256  # maps of one process: each holds a file descriptor, of which many systems allow 1,024


class ShardClips(Clips):
    """Read from shards, by the offsets in their tables; the headers of each member are compared with what they must be."""

    def __init__(self, at: Local | Remote, plan: Plan, split: str, skip_missing: bool, **options: Any):
        self._at = at
        stats = read_stats(at, plan, split)
        missing = [each.name for each, found in stats if not found]
        whole = [(each, found) for each, found in stats if found]
        if (missing and not skip_missing) or not whole:
            raise InputError(
                f"{at.name} lacks {len(missing)} of {format_count(len(stats), f'{split} shard')}, such as {missing[0]}: "
                "render the rest with the same command, or do without by --skip-missing"
            )
        super().__init__(plan, split, [each for each, _ in whole], **options)
        self.skipped, self._stats = missing, [found for _, found in whole]
        self.largest_group = at.capacity(max(found["tar"]["bytes"] for found in self._stats))
        if at.default_group is not None and self.largest_group is not None:
            self.default_group = min(at.default_group, self.largest_group)
        self._tables: dict[int, dict[str, np.ndarray]] = {}
        self._maps: OrderedDict[int, tuple[Path, mmap.mmap]] = OrderedDict()
        header = encode_header(plan.spec.samples, plan.spec.sample_rate)
        self._headers = {"source.wav": header, "target.wav": header}
        if self._from_shards:
            samples = plan.spec.prefix_samples(options["codec"])
            self._headers[f"prefix.{options['codec']}.wav"] = encode_header(samples, plan.spec.sample_rate)

    def open_split(self, split: str, **options: Any) -> "ShardClips":
        return ShardClips(self._at, self.plan, split, skip_missing=True, **options)

    def target_patches(self, index: int) -> np.ndarray:
        dump = sysex.read(self._read_dump(*self.locate(SampleKey(0, 0, index))))
        return np.array([np.frombuffer(record.patch, np.uint8) for record in dump.voices])

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": OrderedDict()}  # to workers that are not forks: a map can't travel

    def _make_examples(self, found: list[tuple[int, int]], starts: list[int]) -> list[Example]:
        return [self._make_example(s, i, start) for (s, i), start in zip(found, starts, strict=True)]

    def _make_example(self, s: int, i: int, start: int) -> Example:
        format = self.format
        if format.codec is None:
            prefix = NO_PREFIX
        elif self._from_shards:
            prefix = torch.from_numpy(self._read_clip(s, i, f"prefix.{format.codec}.wav").astype(np.int16))
        else:
            prefix = format.encode_prefix(self._read_dump(s, i))
        return Example(prefix, *(format.clip(self._read_clip(s, i, name), start) for name in ("source.wav", "target.wav")))

    def _read_clip(self, s: int, i: int, name: str) -> np.ndarray:
        """A view of a clip in its map."""
        header, offset = self._headers[name], self._find_member(s, i, name)
        data = self._open_map(s)
        if data[offset : offset + HEADER_BYTES] != header:
            raise self._damage_error(s, i, name)
        size = int.from_bytes(header[-4:], "little") // 2
        return np.frombuffer(data, "<i2", size, offset + HEADER_BYTES)

    def _read_member(self, s: int, i: int, name: str) -> bytes:
        offset = self._find_member(s, i, name)
        return self._open_map(s)[offset : offset + int(self._load_table(s)[name.replace(".", "_") + "_bytes"][i])]

    def _read_dump(self, s: int, i: int) -> bytes:
        """The patches of a sample's target, as a dump of a voice for each layer. Raises InputError if it is none."""
        dump = self._read_member(s, i, "target.syx")
        if not 1 <= len(sysex.read(dump).voices) <= self.plan.spec.layers[1]:
            raise self._damage_error(s, i, "target.syx")
        return dump

    def _find_member(self, s: int, i: int, name: str) -> int:
        """Where a member begins. Raises InputError if the tar has another one there."""
        offset = int(self._load_table(s)[name.replace(".", "_") + "_offset"][i])
        full = f"{self.split}_{self.shards[s].first + i:08d}.{name}\0".encode()
        if self._open_map(s)[offset - _TAR_HEADER : offset - _TAR_HEADER + len(full)] != full:
            raise self._damage_error(s, i, name)
        return offset

    def _damage_error(self, s: int, i: int, name: str) -> InputError:
        return InputError(
            f"{name} of sample {i} in {self._at.name}/{self.shards[s].name}.tar is not where its table says: "
            "`dx7data verify --fix` mends it"
        )

    def _load_table(self, s: int) -> dict[str, np.ndarray]:
        """The columns of a shard's table that say where members lie, read when first needed."""
        if s not in self._tables:
            each, stats = self.shards[s], self._stats[s]
            where = f"{self._at.name}/{each.name}.parquet"
            try:
                data = self._at.read(f"{each.name}.parquet", stats["parquet"]["bytes"])
            except OSError:
                data = b""
            if hashlib.sha256(data).hexdigest() != stats["parquet"]["sha256"]:
                raise InputError(f"{where} is damaged or gone: `dx7data verify --fix` makes it again")
            table = tables.read_shard_table(data, self.plan.spec, each, stats["tar"]["bytes"], where)
            columns = [f"{name.replace('.', '_')}_offset" for name in (*self._headers, "target.syx")]
            self._tables[s] = {name: table[name].to_numpy() for name in (*columns, "target_syx_bytes")}
        return self._tables[s]

    def _open_map(self, s: int) -> mmap.mmap:
        """The tar of a shard as memory."""
        if s in self._maps:
            self._maps.move_to_end(s)
            return self._maps[s][1]
        name, tar = f"{self.shards[s].name}.tar", self._stats[s]["tar"]
        path = self._at.local_path(name, tar["bytes"], tar["sha256"])
        try:
            with open_regular(path) as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise InputError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None
        if len(data) != tar["bytes"]:
            raise InputError(f"{path} has {len(data):,} bytes, not {tar['bytes']:,}: `dx7data verify --fix` mends it")
        for old in [old for old, (path, _) in self._maps.items() if not path.exists()]:
            del self._maps[old]  # gone from the cache: its space on the disk is free once nobody maps it
        self._maps[s] = path, data
        if len(self._maps) > _OPEN_TARS:
            self._maps.popitem(last=False)
        return data
