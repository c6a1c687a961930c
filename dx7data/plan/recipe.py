"""What all samples of a data set are made of: its spec, patches and phrases, from which each follows as a pure function."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dx7data.errors import InputError
from dx7data.files import to_canonical_json
from dx7data.phrases.columns import Phrases
from dx7data.phrases.phrase import Phrase
from dx7data.plan import drawn, limits
from dx7data.plan.patches import COUNTERFACTUAL, Patches
from dx7data.plan.permutation import Cycle
from dx7data.plan.spec import RANDOM_SOURCE, Choice, Shard, Spec
from dx7data.rng import KeyedRng

FORMAT = 4  # of the folder; changes when older readers would misread it
FORMAT_3 = 3  # the same audio, and other keys in the json of a sample: rendered, repaired and extended as it began
ENGINE = 3  # changes when the same patch and note give other integers, or the same (seed, j) another phrase
READ_ONLY = (2, 2)  # format and engine whose folders are read as they are, but not rendered: that takes the old draws


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A spec, its patches in order of id, its phrases in order of id, and how many samples are wanted of each split."""

    spec: Spec
    patches: Patches
    phrases: Phrases | None  # None: drawn for each sample
    counts: dict[str, int]
    format: int = FORMAT  # or FORMAT_3
    old_fingerprint: str | None = None  # of a data set of format 2, which can be read but not rendered

    def check_current(self) -> None:
        """Raises InputError for a plan of an older format, which only the version that made it can render."""
        if self.old_fingerprint:
            raise InputError(
                f"this data set is of format {READ_ONLY[0]}: train, inspect and verify read it, but only the version of "
                f"dx7data that made it can render its samples. Render a new one, of format {FORMAT}, into another folder"
            )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that a sample depends on: not the number of samples, nor the files the patches came from."""
        if self.old_fingerprint:
            return self.old_fingerprint
        return self._hash(self.spec, self.patches)

    def hash_split(self, split: str) -> str:
        """The same of one split: plans that differ in --train-patches alone have one val and one test."""
        spec = self.spec if split == "train" else replace(self.spec, train_patches=None)
        return self._hash(spec, self.patches.take(np.flatnonzero(self.patches.within(split))))

    def _hash(self, spec: Spec, patches: Patches) -> str:
        state = hashlib.sha256(to_canonical_json({"format": self.format, "engine": ENGINE, "spec": spec.to_json()}))
        state.update(patches.stored.tobytes())
        state.update(to_canonical_json([patches.ids, patches.splits, patches.kinds]))
        state.update(to_canonical_json([patches.parents, patches.targets]))
        if self.phrases is not None:
            self.phrases.hash_into(state)
        return state.hexdigest()

    def shards(self) -> list[Shard]:
        """All shards: those of train, then val, then test, in order of their numbers. Raises InputError for too many."""
        size = self.spec.shard_samples
        limits.check_shards(size, self.counts)
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


def _pick_another(rng: KeyedRng, choices: np.ndarray, taken: tuple[int, ...]) -> int:
    """One of `choices`, and none that is taken, if others are left."""
    while (one := int(rng.pick(choices))) in taken and len(taken) < choices.size:
        pass
    return one
