"""Samples for training as (prefix, source, target), int16: from shards, from a plan rendered live, or from any webdataset.

Shards are read by byte offset from memory-mapped tars, local or fetched into a cache (storage.py). They and a live plan give
the same samples under torch's plain DataLoader, in the order of sampler.py, which can be resumed exactly.

    data = open_clips("shards/", "train", codec="fsk", crop=16000)
    loader = DataLoader(data, batch_sampler=Batches(data, 64), num_workers=4)
"""

import hashlib
import json
import mmap
import tempfile
from bisect import bisect_right
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from dx7data.errors import InputError
from dx7data.patches import sysex
from dx7data.plan import sample, schema, tables
from dx7data.plan.plan import Plan
from dx7data.plan.sample import encode_wav
from dx7data.rng import KeyedRng, OldKeyedRng
from train.data.example import NO_PREFIX, Example, claim_engine, make_format
from train.data.sampler import SampleKey
from train.data.storage import CACHE_BYTES, Local, Remote, open_folder
from train.data.web import UrlClips

READERS = ("shards", "live", "webdataset")
_WAV_HEADER, _TAR_HEADER = 44, 512  # bytes
_OPEN_TARS = 256  # maps of one process: each holds a file descriptor, of which many systems allow 1,024


def open_clips(
    where: str | Path | Plan,
    split: str = "train",
    reader: str = "shards",
    codec: str | None = None,
    sample_rate: int | None = None,
    crop: int | None = None,
    skip_missing: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> "Clips | UrlClips":
    """The samples of a split, from a folder or a URL of one; reader "webdataset": from any address that webdataset reads.

    codec: of the prefix; None: none. sample_rate: the shards' own or, lowered, a part of it. crop: samples at that rate.
    skip_missing: do without shards that are not there; `skipped` names them. seed: of crops of the reader "webdataset".
    cache: of shards at URLs.
    Raises InputError, a sentence, when the data or an option is wrong.
    """
    if reader not in READERS:
        raise InputError(f"the reader must be one of {', '.join(READERS)}, not {reader!r}")
    options = {"codec": codec, "sample_rate": sample_rate, "crop": crop}
    if reader == "webdataset":
        return UrlClips(str(where), **options, seed=seed)
    if isinstance(where, Plan):
        return LiveClips(where, split, **options)
    at = open_folder(where, cache, cache_bytes)
    plan = _load_plan(at)
    if reader == "live":
        return LiveClips(plan, split, **options)
    return ShardClips(at, plan, split, skip_missing, **options)


class Clips(Dataset):
    """The samples of a split, by index or by SampleKey. `counts`, `fingerprint` and groups are what sampler.py goes by."""

    resumable = True
    default_group: int | None = None
    largest_group: int | None = None

    def __init__(self, plan: Plan, split: str, shards: list, codec: str | None, sample_rate: int | None, crop: int | None):
        spec, self.plan = plan.spec, plan
        self.rng = OldKeyedRng if plan.old_fingerprint else KeyedRng  # what draws the order and the crops of a training
        found = make_format(codec, spec.layers[1], spec.sample_rate, spec.samples, sample_rate, crop)
        self.format = replace(found, rng=self.rng)
        self.split, self.shards = split, shards
        self.skipped: list[str] = []  # names of shards that are missing
        self.counts = [each.count for each in shards]
        self._firsts = list(accumulate(self.counts, initial=0))
        self._from_shards = codec in spec.prefixes and self.format.factor == 1

    @cached_property
    def fingerprint(self) -> str:
        """Of all that the order depends on: also of how many samples there are, which a plan's fingerprint leaves out."""
        state = json.dumps([self.plan.fingerprint, self.split, [(each.first, each.count) for each in self.shards]])
        return hashlib.sha256(state.encode()).hexdigest()

    def __len__(self) -> int:
        return self._firsts[-1]

    def __str__(self) -> str:
        return f"{len(self)} clips" + (f", without those of {len(self.skipped)} missing shards" if self.skipped else "")

    def __getitem__(self, at: SampleKey | int) -> Example:
        return self.__getitems__([at])[0]

    def __getitems__(self, places: list[SampleKey | int]) -> list[Example]:
        """Several at once, as torch's DataLoader asks for them; an index alone is a place of seed 0 and epoch 0."""
        places = [at if isinstance(at, tuple) else SampleKey(0, 0, at) for at in places]
        found = [self.locate(at) for at in places]
        starts = [self.format.start(at, self.shards[s].first + i) for at, (s, i) in zip(places, found, strict=True)]
        return self._make_examples(found, starts)

    def locate(self, at: SampleKey) -> tuple[int, int]:
        """Which of `shards` has a sample, and where in it."""
        index = range(len(self))[at.index]
        s = bisect_right(self._firsts, index) - 1
        return s, index - self._firsts[s]

    def sample_number(self, index: int) -> int:
        """The number of a sample in its split."""
        s, i = self.locate(SampleKey(0, 0, index))
        return self.shards[s].first + i

    def target_patches(self, index: int) -> np.ndarray:
        """The patches of a sample's target, uint8 (n, 155)."""
        raise NotImplementedError

    def _make_examples(self, found: list[tuple[int, int]], starts: list[int]) -> list[Example]:
        """Of samples, each by shard and place in it, the crops that start there."""
        raise NotImplementedError


class LiveClips(Clips):
    """Rendered here and now: the samples that the shards have, or would have."""

    def __init__(self, plan: Plan, split: str, shards: list | None = None, **options):
        """shards: of whatever samples of the split, also of ones beyond its last; None: all that it has.

        Raises InputError for a plan of an older format.
        """
        plan.check_current()
        super().__init__(plan, split, shards or _list_shards(plan, split), **options)

    def target_patches(self, index: int) -> np.ndarray:
        return self.plan.patches.stored[list(self.plan.choose(self.split, self.sample_number(index)).layers)]

    def _make_examples(self, found: list[tuple[int, int]], starts: list[int]) -> list[Example]:
        claim_engine()
        places = [(self.split, self.shards[s].first + i) for s, i in found]
        size = sample.batch_size(self.plan)
        parts = [sample.render_samples(self.plan, places[i : i + size]) for i in range(0, len(places), size)]
        return [
            Example(self.encode_prefix(one.layers), self.format.clip(one.source, start), self.format.clip(one.target, start))
            for one, start in zip(chain.from_iterable(parts), starts, strict=True)
        ]

    def encode_prefix(self, layers: np.ndarray) -> torch.Tensor:
        """The prefix of a target's patches, uint8 (n, 155)."""
        return self.format.encode_prefix(b"".join(map(sysex.write_voice, layers))) if self.format.codec else NO_PREFIX


class ShardClips(Clips):
    """Read from shards, by the offsets in their tables; the headers of each member are compared with what they must be."""

    def __init__(self, at: Local | Remote, plan: Plan, split: str, skip_missing: bool, **options):
        self._at = at
        stats = _read_stats(at, plan, split)
        missing = [each.name for each, found in stats if not found]
        whole = [(each, found) for each, found in stats if found]
        if (missing and not skip_missing) or not whole:
            raise InputError(
                f"{at.name} lacks {len(missing)} of {len(stats)} {split} shards, such as {missing[0]}: "
                "render the rest with the same command, or do without by --skip-missing"
            )
        super().__init__(plan, split, [each for each, _ in whole], **options)
        self.skipped, self._stats = missing, [found for _, found in whole]
        self.largest_group = at.capacity(max(found["tar"]["bytes"] for found in self._stats))
        self.default_group = at.default_group and min(at.default_group, self.largest_group)
        self._tables: dict[int, dict[str, np.ndarray]] = {}
        self._maps: OrderedDict[int, tuple[Path, mmap.mmap]] = OrderedDict()
        header = encode_wav(np.zeros(plan.spec.samples, np.int16), plan.spec.sample_rate)[:_WAV_HEADER]
        self._headers = {"source.wav": header, "target.wav": header}
        if self._from_shards:
            audio = np.zeros(plan.spec.prefix_samples(options["codec"]), np.int16)
            self._headers[f"prefix.{options['codec']}.wav"] = encode_wav(audio, plan.spec.sample_rate)[:_WAV_HEADER]

    def open_split(self, split: str, **options) -> "ShardClips":
        """Those of another split, without shards that are missing."""
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
        if data[offset : offset + _WAV_HEADER] != header:
            raise self._damage_error(s, i, name)
        size = int.from_bytes(header[-4:], "little") // 2
        return np.frombuffer(data, "<i2", size, offset + _WAV_HEADER)

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
            with schema.open_regular(path) as file:
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


def _load_plan(at: Local | Remote) -> Plan:
    """The plan in a folder, of which the tables come along when it is remote."""
    if isinstance(at, Local):
        return Plan.load(Path(at.name))
    with tempfile.TemporaryDirectory() as folder:
        try:
            document = at.read("dataset.json", schema.DOCUMENT_BYTES)
            (Path(folder) / "dataset.json").write_bytes(document)
            for name in ("patches.parquet", "phrases.arrow", "phrases.parquet"):
                if name.encode() in document:
                    (Path(folder) / name).write_bytes(at.read(name, tables.PLAN_BYTES))
        except FileNotFoundError as error:
            missing = Path(str(error.filename or error)).name
            raise InputError(f"{at.name} is no data set, or not a whole one: it has no {missing}") from None
        try:
            return Plan.load(Path(folder))
        except InputError as error:
            raise InputError(str(error).replace(folder, at.name)) from None


def _list_shards(plan: Plan, split: str) -> list:
    shards = [each for each in plan.shards() if each.split == split]
    if not shards:
        raise InputError(
            f"the data set has no {split!r} samples; it has {', '.join(s for s, n in plan.counts.items() if n)}"
        )
    return shards


def _read_stats(at: Local | Remote, plan: Plan, split: str) -> list[tuple]:
    """Every shard of a split with the lengths and hashes of its files; None where it is missing, or of another plan."""
    shards, names, listed = _list_shards(plan, split), at.list_names(), {}
    try:
        index = schema.decode(at.read("index.json", schema.index_bytes(len(plan.shards()))), schema.Index, at.name)
        if index["fingerprint"] == plan.fingerprint:
            listed = {each["name"]: each for each in index["shards"]}
    except (OSError, InputError):
        pass  # it is only the shorter way

    def read_stats(each):
        expected = {"fingerprint": plan.fingerprint, "split": split, "shard": each.number, "samples": each.count}
        try:
            if each.name in listed and listed[each.name]["samples"] == each.count:
                stats = listed[each.name]
            else:
                name = f"{each.name}.stats.json"
                stats = schema.decode(at.read(name, schema.STATS_BYTES), schema.Stats, f"{at.name}/{name}")
                if any(stats[name] != value for name, value in expected.items()):
                    return None
            return stats if at.is_complete(f"{each.name}.tar", stats["tar"]["bytes"]) else None
        except (OSError, InputError):
            return None

    if names is not None:  # a plan may have a million shards, and none of them made
        return [(each, read_stats(each) if f"{each.name}.tar" in names else None) for each in shards]
    with ThreadPoolExecutor(16) as pool:  # what takes long is to wait for a remote
        return list(zip(shards, pool.map(read_stats, shards), strict=True))
