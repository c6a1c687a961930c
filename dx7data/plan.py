"""The plan of a data set: its spec and its patches, from which sample (split, j) follows as a pure function.

A plan is computed before the first shard, kept in the folder (`dataset.json`, `patches.parquet`) and never changed by a
render. So a shard can be made alone, in any order and on any machine, and is always the same.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dx7data import patch, phrase
from dx7data.bank import Bank
from dx7data.decimate import engine_rate
from dx7data.engine.render import render
from dx7data.errors import InputError
from dx7data.files import write_atomically
from dx7data.voice import voices

FORMAT = 1  # of the folder; changes when older readers would misread it
ENGINE = 1  # changes when the same patch and note give other integers, or the same (seed, j) another phrase
SPLITS = ("train", "val", "test")

AUDIBLE = 4  # native peak of a patch that is not silent: -60 dB of a carrier at output level 99, 4,093
_AUDITION_NOTES = (36, 60, 84)
_AUDITION_VELOCITY = 100
_AUDITION_BYTES = 128 << 20  # of native integers at a time
_FEWEST_PATCHES = 10  # with fewer, every split has all patches and other phrases


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a user asked for: with the patches, all that the audio depends on. See `dx7data render --help`."""

    seconds: float
    sample_rate: int
    seed: int
    source: str  # packed source patch, hexadecimal
    split: tuple[float, ...]  # parts of the samples, and of the patches, in train, val and test
    gain: str  # "native", "peak" or decibels
    keep_silent: bool
    shard_bytes: int

    @property
    def samples(self) -> int:
        """Audio samples of a clip."""
        return int(self.seconds * self.sample_rate + 0.5)

    @property
    def shard_samples(self) -> int:
        """Clips in a shard, from their nominal size: two wavs, a dump, a json of up to 2 KiB, and their tar headers."""
        blocks = 2 * (-(-(44 + 2 * self.samples) // 512)) + 1 + 4 + 4
        return max(1, self.shard_bytes // (512 * blocks))


@dataclass(frozen=True)
class Shard:
    """The samples first to first + count - 1 of a split."""

    split: str
    number: int
    first: int
    count: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:06d}"


@dataclass(frozen=True)
class Plan:
    """A spec, its patches in order of id, the split of each, and how many samples are wanted of each split."""

    spec: Spec
    patches: np.ndarray  # uint8 (N, 155)
    ids: list[str]
    splits: list[str]  # per patch; "all" where phrases, not patches, are split
    origins: list[dict]
    silent: list[dict]  # patches left out: id, name
    counts: dict[str, int]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that the audio depends on: neither how many samples are wanted, nor where patches came from."""
        state = hashlib.sha256(_canonical({"format": FORMAT, "engine": ENGINE, "spec": asdict(self.spec)}))
        state.update(self.patches.tobytes())
        state.update(_canonical(self.splits))
        return state.hexdigest()

    def shards(self) -> list[Shard]:
        """All shards, in the order of their names within train, val and test."""
        size = self.spec.shard_samples
        return [
            Shard(split, number, first, min(size, count - first))
            for split, count in self.counts.items()
            for number, first in enumerate(range(0, count, size))
        ]

    @cached_property
    def members(self) -> dict[str, np.ndarray]:
        """Indices of the patches that each split draws from."""
        return {split: np.flatnonzero([own in (split, "all") for own in self.splits]) for split in self.counts}

    def target(self, split: str, j: int) -> int:
        """Index of the target patch of a sample: all patches of a split in turn, so that none is rarer than another."""
        members = self.members[split]
        return int(members[j % members.size])

    def phrase(self, split: str, j: int) -> list[phrase.Note]:
        """The notes of a sample."""
        return phrase.draw(phrase.Dice(self.spec.seed, split, j), self.spec.seconds)

    def to_json(self) -> str:
        """`dataset.json`."""
        document = {
            "format": FORMAT,
            "engine": ENGINE,
            "fingerprint": self.fingerprint,
            "spec": asdict(self.spec),
            "samples": self.counts,
            "patches": len(self.ids),
            "left_out_as_silent": self.silent,
        }
        return json.dumps(document, indent=1, ensure_ascii=True) + "\n"

    def write(self, folder: Path) -> None:
        """Put the plan into a folder; dataset.json comes last, so that a folder with it has all of the plan."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {
                "id": self.ids,
                "name": [patch.patch_name(p) for p in self.patches],
                "split": self.splits,
                "packed": [p.tobytes() for p in patch.pack(self.patches)],
                **{key: [origin[key] for origin in self.origins] for key in ("file", "sha256", "index")},
            }
        )
        write_atomically(folder / "patches.parquet", lambda file: pq.write_table(table, file))
        write_atomically(folder / "dataset.json", lambda file: file.write(self.to_json().encode()))


def make(bank: Bank, spec: Spec, samples: int) -> Plan:
    """The plan for a bank. Raises InputError when nothing audible is in it, or a split that is asked for stays empty."""
    order = np.argsort(bank.ids)
    audible = np.ones(len(order), bool) if spec.keep_silent else heard(bank.patches[order], spec)
    kept = order[audible]
    if not kept.size:
        raise InputError("no patch in the bank can be heard on notes 36, 60 and 84; --keep-silent renders it all the same")
    counts = dict(zip(SPLITS, _shares(samples, spec.split), strict=True))
    return Plan(
        spec=spec,
        patches=bank.patches[kept],
        ids=[bank.ids[i] for i in kept],
        splits=_patch_splits(kept.size, spec.split),
        origins=[bank.origins[i] for i in kept],
        silent=[{"id": bank.ids[i], "name": bank.names[i]} for i in order[~audible]],
        counts={split: count for split, count in counts.items() if count},
    )


def load(folder: Path) -> Plan:
    """The plan in a folder. Raises InputError when there is none, or it is of another version, damaged or edited."""
    import pyarrow.parquet as pq

    try:
        document = json.loads((folder / "dataset.json").read_text())
    except FileNotFoundError:
        raise InputError(f"{folder} is no data set: it has no dataset.json") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'dataset.json'} can't be read: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("engine") != ENGINE:
        raise InputError(
            f"{folder / 'dataset.json'} was made by another version of dx7data (format {FORMAT}, engine {ENGINE} here)"
        )
    try:
        table = pq.read_table(folder / "patches.parquet").to_pydict()
        spec = Spec(**document["spec"] | {"split": tuple(document["spec"]["split"])})
        packed = np.frombuffer(b"".join(table["packed"]), np.uint8).reshape(-1, 128)
        origins = [
            dict(zip(("file", "sha256", "index"), row, strict=True))
            for row in zip(table["file"], table["sha256"], table["index"], strict=True)
        ]
        plan = Plan(
            spec,
            patch.unpack(packed),
            table["id"],
            table["split"],
            origins,
            document["left_out_as_silent"],
            document["samples"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the plan in {folder} can't be read: {error}") from None
    if plan.fingerprint != document["fingerprint"]:
        raise InputError(f"the plan in {folder} was edited: dataset.json and patches.parquet do not match its fingerprint")
    return plan


def differences(old: Plan, new: Plan) -> list[str]:
    """What another plan asks for, in words; empty when both make the same data set."""
    before, after = asdict(old.spec), asdict(new.spec)
    found = [f"{name} is {before[name]!r} there and {after[name]!r} here" for name in before if before[name] != after[name]]
    if old.counts != new.counts:
        found.append(f"samples are {old.counts} there and {new.counts} here")
    if old.ids != new.ids:
        found.append(
            f"{len(set(old.ids) - set(new.ids))} patches are only there and {len(set(new.ids) - set(old.ids))} only here"
        )
    elif not found and old.fingerprint != new.fingerprint:
        found.append("the patches differ in name")
    return found


def heard(patches: np.ndarray, spec: Spec) -> np.ndarray:
    """Which patches sound: on one of three notes, held for the clip, the native peak reaches AUDIBLE."""
    rate = engine_rate(spec.sample_rate)
    few = max(1, int(_AUDITION_BYTES / (4 * len(_AUDITION_NOTES) * rate * spec.seconds)))
    peaks = []
    for first in range(0, len(patches), few):
        some = np.repeat(patches[first : first + few], len(_AUDITION_NOTES), axis=0)
        notes = np.tile(_AUDITION_NOTES, len(some) // len(_AUDITION_NOTES))
        native = render(voices(some, notes, _AUDITION_VELOCITY, spec.seconds, rate), spec.seconds)
        peaks.append(np.abs(native).max(axis=1).reshape(-1, len(_AUDITION_NOTES)).max(axis=1))
    return np.concatenate(peaks) >= AUDIBLE


def _patch_splits(patches: int, parts: tuple[float, ...]) -> list[str]:
    """A split for each patch in order of id. Ids are hashes, so their order is a random one that never changes."""
    if patches < _FEWEST_PATCHES:
        return ["all"] * patches
    shares = _shares(patches, parts)
    for i, part in enumerate(parts):
        if part and not shares[i]:  # a split that is asked for gets at least one patch, from the largest
            shares[i] += 1
            shares[int(np.argmax(shares))] -= 1
    return [split for split, share in zip(SPLITS, shares, strict=True) for _ in range(share)]


def _shares(total: int, parts: tuple[float, ...]) -> list[int]:
    """`total` divided in proportion to `parts`, by largest remainder."""
    exact = [total * part / sum(parts) for part in parts]
    shares = [int(share) for share in exact]
    for i in sorted(range(len(parts)), key=lambda i: shares[i] - exact[i])[: total - sum(shares)]:
        shares[i] += 1
    return shares


def _canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
