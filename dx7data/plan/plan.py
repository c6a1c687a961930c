"""The plan of a data set: its spec, patches and phrases, from which sample (split, j) follows as a pure function.

A plan is computed before the first shard, kept in the folder (`dataset.json`, `patches.parquet`, `phrases.arrow`) and
never changed by a render. So a shard can be made alone, in any order and on any machine, and is always the same.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dx7data.errors import InputError
from dx7data.files import add_hash, check_hash, to_canonical_json, write_atomically
from dx7data.phrases.phrase import Phrase, Phrases
from dx7data.plan import drawn, sample
from dx7data.plan.patches import COUNTERFACTUAL, Patches
from dx7data.plan.permutation import Cycle
from dx7data.plan.spec import RANDOM_SOURCE, Choice, Shard, Spec
from dx7data.rng import KeyedRng

FORMAT = 3  # of the folder; changes when older readers would misread it
ENGINE = 3  # changes when the same patch and note give other integers, or the same (seed, j) another phrase
_READ_ONLY = (2, 2)  # format and engine whose folders are read as they are, but not rendered: that takes the old draws


@dataclass(frozen=True)
class Plan:
    """A data set before it is rendered: its spec (the options), its patches and phrases, and the size of each split.

    `plan["train", 7]` renders a sample, `len(plan)` counts those of all splits. Patches and phrases are in order of id.
    """

    spec: Spec
    patches: Patches
    phrases: Phrases | None  # None: drawn for each sample
    silent: list[dict]  # patches left out: id, name
    counts: dict[str, int]
    split_report: dict  # how far the splits are apart, see split.py
    hidden: dict | None = None  # what the target shows and the source does not, see hidden.py; None: not measured
    old_fingerprint: str | None = None  # of a data set of format 2, which can be read but not rendered

    @staticmethod
    def load(folder: Path) -> "Plan":
        """Read the plan in a folder. Raises InputError if there is none, or it is of another version, damaged or edited."""
        folder = Path(folder)
        document = _read_document(folder / "dataset.json")
        try:
            for name, digest in document["tables"].items():
                with open(folder / name, "rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                        raise InputError(f"{folder / name} is not what it was: put a copy back, or make the plan anew")
            spec = Spec.from_json(document["spec"])
            patches, phrases = Patches.from_parquet((folder / "patches.parquet").read_bytes()), None
            if "phrases.arrow" in document["tables"]:
                phrases = Phrases.map(folder / "phrases.arrow")
            elif "phrases.parquet" in document["tables"]:
                phrases = Phrases.from_parquet((folder / "phrases.parquet").read_bytes())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"the plan in {folder} can't be read: {error}") from None
        silent, report = document["left_out_as_silent"], document["split_report"]
        old = document["fingerprint"] if document["format"] != FORMAT else None
        return Plan(spec, patches, phrases, silent, document["samples"], report, document.get("hidden"), old)

    def check_current(self) -> None:
        """Raises InputError for a plan of an older format, which only the version that made it can render."""
        if self.old_fingerprint:
            raise InputError(
                f"this data set is of format {_READ_ONLY[0]}: train, inspect and verify read it, but only the version of "
                f"dx7data that made it can render its samples. Render a new one, of format {FORMAT}, into another folder"
            )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that a sample depends on: not the number of samples, nor the files the patches came from."""
        if self.old_fingerprint:
            return self.old_fingerprint
        state = hashlib.sha256(to_canonical_json({"format": FORMAT, "engine": ENGINE, "spec": asdict(self.spec)}))
        state.update(self.patches.stored.tobytes())
        state.update(to_canonical_json([self.patches.ids, self.patches.splits, self.patches.kinds]))
        state.update(to_canonical_json([self.patches.parents, self.patches.targets]))
        if self.phrases is not None:
            self.phrases.hash_into(state)
        return state.hexdigest()

    def __len__(self) -> int:
        """The number of samples in all splits."""
        return sum(self.counts.values())

    def __getitem__(self, place: tuple[str, int]) -> sample.Sample:
        """Render sample j of a split, `plan["train", 7]`. It is the same as in its shard."""
        return sample.render_samples(self, [place])[0]

    def shards(self) -> list[Shard]:
        """All shards: those of train, then val, then test, in order of their numbers."""
        size = self.spec.shard_samples
        return [
            Shard(split, number, first, min(size, count - first))
            for split, count in self.counts.items()
            for number, first in enumerate(range(0, count, size))
        ]

    def check_stats(self, shard: Shard, data: bytes) -> dict:
        """What the stats file of a shard holds. Raises ValueError if it was edited, or is of another plan or shard."""
        stats = check_hash(data)
        expected = {"fingerprint": self.fingerprint, "split": shard.split, "shard": shard.number, "samples": shard.count}
        if stats | expected != stats:
            raise ValueError(f"the stats of {shard.name} are those of another plan or shard")
        return stats

    @cached_property
    def targets(self) -> dict[str, np.ndarray]:
        """Indices of the patches that the samples of each split take as targets."""
        return {split: np.flatnonzero(self.patches.within(split) & self.patches.targets) for split in self.counts}

    @cached_property
    def _sources(self) -> dict[str, np.ndarray]:
        own = np.array(self.patches.kinds) != COUNTERFACTUAL
        return {split: np.flatnonzero(self.patches.within(split) & own) for split in self.counts}

    @cached_property
    def _cycles(self) -> dict[str, dict[str, Cycle]]:
        """Of each split, the order of its targets, of its sources and of its phrases from music."""
        own = {"target": self.targets, "source": self._sources}
        if self.phrases is not None:
            own["phrase"] = {split: self.phrases.within(split) for split in self.counts}
        return {
            split: {what: Cycle(items[split], self.spec.seed, split, what) for what, items in own.items()}
            for split in self.counts
        }

    @cached_property
    def _versions(self) -> dict[str, list[int]]:
        """Id of a patch -> indices of its counterfactuals."""
        versions: dict[str, list[int]] = {}
        for i, (kind, parents) in enumerate(zip(self.patches.kinds, self.patches.parents, strict=True)):
            if kind == COUNTERFACTUAL:
                versions.setdefault(parents[0], []).append(i)
        return versions

    def choose(self, split: str, j: int) -> Choice:
        """What sample (split, j) is made of: phrase, source and target patches. With pairs, samples 2 i and 2 i + 1 are one.

        Each target comes once before any target comes again; so do random sources and phrases from music. All j take the
        same time. Raises InputError for a plan of an older format.
        """
        self.check_current()
        i = j // 2 if self.spec.pairs else j
        rng, cycles = KeyedRng(self.spec.seed, split, i), self._cycles[split]
        turn, target = cycles["target"](i)
        layers: tuple[int, ...] = (target,)
        for _ in range(rng.between(*self.spec.layers) - 1):
            layers += (_pick_another(rng, self.targets[split], layers),)
        source = None
        if self.spec.source == RANDOM_SOURCE:
            source = cycles["source"](i)[1]
            if source == target:
                source = _pick_another(rng, self._sources[split], (target,))
        phrase = self._phrase(split, i, rng)
        if not self.spec.pairs:
            return Choice(phrase, source, layers, None)
        versions = self._versions[self.patches.ids[target]]
        pair = (target, versions[turn % len(versions)])
        return Choice(phrase, source, (pair[j % 2], *layers[1:]), (j ^ 1, pair[1 - j % 2]))

    def _phrase(self, split: str, i: int, rng: KeyedRng) -> Phrase:
        """From music, or drawn; phrases of one split are in no other."""
        if self.phrases is None:
            return drawn.draw_phrase(rng, self.spec, split)
        return self.phrases[self._cycles[split]["phrase"](i)[1]]

    def files(self) -> dict[str, bytes]:
        """Name and content of the files of a plan, `dataset.json`, which has the hashes of the others, last."""
        tables = {"patches.parquet": self.patches.to_parquet()}
        if self.phrases is not None:
            tables["phrases.arrow"] = self.phrases.to_arrow()
        document = {
            "format": FORMAT,
            "engine": ENGINE,
            "fingerprint": self.fingerprint,
            "spec": asdict(self.spec),
            "samples": self.counts,
            "patches": len(self.patches),
            "phrases": "drawn" if self.phrases is None else len(self.phrases),
            "split_report": self.split_report,
            "hidden": self.hidden,
            "left_out_as_silent": self.silent,
            "tables": {name: hashlib.sha256(data).hexdigest() for name, data in tables.items()},
        }
        return tables | {"dataset.json": add_hash(document)}

    def write(self, folder: Path) -> None:
        """Put the plan into a folder; a folder with a dataset.json has all of it."""
        for name, data in self.files().items():
            write_atomically(folder / name, lambda file, data=data: file.write(data))


def _read_document(path: Path) -> dict:
    try:
        data = path.read_bytes()
        version = json.loads(data)
        found = (version.get("format"), version.get("engine")) if isinstance(version, dict) else None
        if found not in ((FORMAT, ENGINE), _READ_ONLY):
            raise InputError(f"{path} was made by another version of dx7data (format {FORMAT}, engine {ENGINE} here)")
        return check_hash(data)
    except FileNotFoundError:
        raise InputError(f"{path.parent} is no data set: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}") from None


def find_differences(old: Plan, new: Plan) -> list[str]:
    """What another plan asks for, in words; empty when both make the same data set."""
    if old.old_fingerprint:
        return [f"its format is {_READ_ONLY[0]}, which only an older version renders, and {FORMAT} here"]
    before, after = ({**asdict(plan.spec), **asdict(plan.spec.filters)} for plan in (old, new))
    del before["filters"]  # each is one difference
    found = [f"{name} is {before[name]!r} there and {after[name]!r} here" for name in before if before[name] != after[name]]
    if old.counts != new.counts:
        found.append(f"samples are {old.counts} there and {new.counts} here")
    for what, there, here in (
        ("patches", old.patches.ids, new.patches.ids),
        ("phrases", old.phrases.ids if old.phrases else [], new.phrases.ids if new.phrases else []),
    ):
        if there != here:
            only_there, only_here = len(set(there) - set(here)), len(set(here) - set(there))
            found.append(f"{only_there} {what} are only there and {only_here} only here")
    if not found and old.fingerprint != new.fingerprint:
        found.append("patches or phrases differ in name, place or role")
    return found


def _pick_another(rng: KeyedRng, choices: np.ndarray, taken: tuple[int, ...]) -> int:
    """One of `choices`, and none that is taken, if others are left."""
    while (one := int(rng.pick(choices))) in taken and len(taken) < choices.size:
        pass
    return one
