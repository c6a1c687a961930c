"""The plan of a data set: its spec, patches and phrases, from which sample (split, j) follows as a pure function.

A plan is computed before the first shard, kept in the folder (`dataset.json`, `patches.parquet`, `phrases.parquet`) and
never changed by a render. So a shard can be made alone, in any order and on any machine, and is always the same.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from dx7data import compose, sample
from dx7data.dice import Dice
from dx7data.errors import InputError
from dx7data.files import signed, unsigned, write_atomically
from dx7data.patches import COUNTERFACTUAL, Patches
from dx7data.phrase import Phrase, Phrases
from dx7data.spec import RANDOM_SOURCE, SPLITS, Choice, Shard, Spec

FORMAT = 2  # of the folder; changes when older readers would misread it
ENGINE = 2  # changes when the same patch and note give other integers, or the same (seed, j) another phrase


@dataclass(frozen=True)
class Plan:
    """A spec, its patches in order of id, its phrases in order of id, and how many samples are wanted of each split."""

    spec: Spec
    patches: Patches
    phrases: Phrases | None  # None: drawn for each sample
    phrase_splits: list[str]
    silent: list[dict]  # patches left out: id, name
    counts: dict[str, int]
    split_report: dict  # how far the splits are apart, see split.py
    hidden: dict | None = None  # what the target shows and the source does not, see hidden.py; None: not measured

    @staticmethod
    def load(folder: Path) -> "Plan":
        """The plan in a folder. Raises InputError when there is none, or it is of another version, damaged or edited."""
        folder = Path(folder)
        document = _read_document(folder / "dataset.json")
        try:
            tables = {name: (folder / name).read_bytes() for name in document["tables"]}
            for name, data in tables.items():
                if hashlib.sha256(data).hexdigest() != document["tables"][name]:
                    raise InputError(f"{folder / name} is not what it was: put a copy back, or make the plan anew")
            spec = Spec(**{name: tuple(v) if isinstance(v, list) else v for name, v in document["spec"].items()})
            patches, (phrases, phrase_splits) = Patches.from_parquet(tables["patches.parquet"]), (None, [])
            if "phrases.parquet" in tables:
                phrases, phrase_splits = Phrases.from_parquet(tables["phrases.parquet"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"the plan in {folder} can't be read: {error}") from None
        silent, report = document["left_out_as_silent"], document["split_report"]
        return Plan(spec, patches, phrases, phrase_splits, silent, document["samples"], report, document.get("hidden"))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that a sample depends on: neither how many are wanted, nor where the patches came from."""
        state = hashlib.sha256(_canonical({"format": FORMAT, "engine": ENGINE, "spec": asdict(self.spec)}))
        state.update(self.patches.stored.tobytes())
        state.update(_canonical([self.patches.ids, self.patches.splits, self.patches.kinds]))
        state.update(_canonical([self.patches.parents, self.patches.targets]))
        if self.phrases is not None:
            self.phrases.hash_into(state)
            state.update(_canonical(self.phrase_splits))
        return state.hexdigest()

    def __getitem__(self, place: tuple[str, int]) -> sample.Sample:
        """Sample (split, j), rendered here and now: the same as in its shard."""
        return sample.render(self, [place])[0]

    def shards(self) -> list[Shard]:
        """All shards, in the order of their names within train, val and test."""
        size = self.spec.shard_samples
        return [
            Shard(split, number, first, min(size, count - first))
            for split, count in self.counts.items()
            for number, first in enumerate(range(0, count, size))
        ]

    @cached_property
    def targets(self) -> dict[str, np.ndarray]:
        """Indices of the patches that the samples of each split take as targets."""
        return {split: np.flatnonzero(self.patches.within(split) & self.patches.targets) for split in self.counts}

    @cached_property
    def _sources(self) -> dict[str, np.ndarray]:
        own = np.array(self.patches.kinds) != COUNTERFACTUAL
        return {split: np.flatnonzero(self.patches.within(split) & own) for split in self.counts}

    @cached_property
    def _versions(self) -> dict[str, list[int]]:
        """Id of a patch -> indices of its counterfactuals."""
        versions: dict[str, list[int]] = {}
        for i, (kind, parents) in enumerate(zip(self.patches.kinds, self.patches.parents, strict=True)):
            if kind == COUNTERFACTUAL:
                versions.setdefault(parents[0], []).append(i)
        return versions

    @cached_property
    def _music(self) -> dict[str, np.ndarray]:
        """Indices of the phrases of each split."""
        return {split: np.flatnonzero(np.array(self.phrase_splits) == split) for split in self.counts}

    def choose(self, split: str, j: int) -> Choice:
        """What sample (split, j) is made of. Samples 2 i and 2 i + 1 are a pair, if there are pairs."""
        i = j // 2 if self.spec.pairs else j
        targets, dice = self.targets[split], Dice(self.spec.seed, split, i)
        turn, place = divmod(i, targets.size)  # targets take turns, so that none is rarer than another
        layers: tuple[int, ...] = (int(targets[place]),)
        for _ in range(dice.between(*self.spec.layers) - 1):
            layers += (_another(dice, targets, layers),)
        source = _another(dice, self._sources[split], layers[:1]) if self.spec.source == RANDOM_SOURCE else None
        phrase = self._phrase(split, i, dice)
        if not self.spec.pairs:
            return Choice(phrase, source, layers, None)
        versions = self._versions[self.patches.ids[layers[0]]]
        pair = (layers[0], versions[turn % len(versions)])
        return Choice(phrase, source, (pair[j % 2], *layers[1:]), (j ^ 1, pair[1 - j % 2]))

    def _phrase(self, split: str, i: int, dice: Dice) -> Phrase:
        """Phrases from music take turns too, in a new order each time; drawn ones are made to differ between splits."""
        if self.phrases is None:
            return _marked(compose.draw(dice, self.spec.seconds), SPLITS.index(split))
        own = self._music[split]
        turn, place = divmod(i, own.size)
        return self.phrases[int(own[_order(self.spec.seed, split, turn, own.size)[place]])]

    def files(self) -> dict[str, bytes]:
        """Name and content of the files of a plan, `dataset.json`, which has the hashes of the others, last."""
        tables = {"patches.parquet": self.patches.to_parquet()}
        if self.phrases is not None:
            tables["phrases.parquet"] = self.phrases.to_parquet(self.phrase_splits)
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
        return tables | {"dataset.json": signed(document)}

    def write(self, folder: Path) -> None:
        """Put the plan into a folder; a folder with a dataset.json has all of it."""
        for name, data in self.files().items():
            write_atomically(folder / name, lambda file, data=data: file.write(data))


def _read_document(path: Path) -> dict:
    try:
        data = path.read_bytes()
        version = json.loads(data)
        if not isinstance(version, dict) or (version.get("format"), version.get("engine")) != (FORMAT, ENGINE):
            raise InputError(f"{path} was made by another version of dx7data (format {FORMAT}, engine {ENGINE} here)")
        return unsigned(data)
    except FileNotFoundError:
        raise InputError(f"{path.parent} is no data set: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}") from None


def differences(old: Plan, new: Plan) -> list[str]:
    """What another plan asks for, in words; empty when both make the same data set."""
    before, after = asdict(old.spec), asdict(new.spec)
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


@lru_cache(maxsize=8)
def _order(seed: int, split: str, turn: int, count: int) -> np.ndarray:
    return Dice(seed, split, "phrases", turn).shuffled(count)


def _marked(phrase: Phrase, mark: int) -> Phrase:
    """The phrase with the first note's velocity changed by one or two, so that it leaves `mark` when divided by three."""
    first, *others = phrase.notes
    velocity = first.velocity - first.velocity % 3 + mark
    velocity += 3 * (velocity < 1) - 3 * (velocity > 127)
    return replace(phrase, notes=(first._replace(velocity=velocity), *others))


def _another(dice: Dice, choices: np.ndarray, taken: tuple[int, ...]) -> int:
    """One of `choices`, and none that is taken, if others are left."""
    while (one := int(dice.pick(choices))) in taken and len(taken) < choices.size:
        pass
    return one


def _canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
