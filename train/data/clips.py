"""The samples of a split of a plan, by index, whatever they are read from; and those that are rendered when asked for."""

import hashlib
import json
from bisect import bisect_right
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from dx7data.output import format_count
from dx7data.patches import sysex
from dx7data.plan import sample
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.rng import KeyedRng, OldKeyedRng
from train.data.example import NO_PREFIX, Example, claim_engine, make_format
from train.data.plans import list_shards
from train.data.sampler import SampleKey


class Clips(Dataset):
    """The samples of a split, by index or by SampleKey. `counts`, `fingerprint` and groups are what sampler.py goes by."""

    resumable = True
    default_group: int | None = None
    largest_group: int | None = None

    def __init__(
        self, plan: Plan, split: str, shards: list[Shard], codec: str | None, sample_rate: int | None, crop: int | None
    ):
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

    def describe(self) -> dict[str, Any]:
        """What a run records of its data: with it, runs on more and on fewer patches can be compared."""
        plan = self.plan
        found = {"fingerprint": self.fingerprint, "patches": int(plan.targets[self.split].size)}
        found["groups"] = plan.patches.count_groups(self.split)
        return found | ({"unseen_fingerprint": plan.hash_split("val")} if "val" in plan.counts else {})

    def __len__(self) -> int:
        return self._firsts[-1]

    def __str__(self) -> str:
        return format_count(len(self), "clip") + (
            f", without those of {format_count(len(self.skipped), 'missing shard')}" if self.skipped else ""
        )

    def __getitem__(self, at: SampleKey | int) -> Example:
        return self.__getitems__([at])[0]

    def __getitems__(self, places: list[SampleKey | int]) -> list[Example]:
        """Several at once, as torch's DataLoader asks for them; an index alone is a place of seed 0 and epoch 0."""
        keys = [at if isinstance(at, SampleKey) else SampleKey(0, 0, at) for at in places]
        found = [self.locate(at) for at in keys]
        starts = [self.format.start(at, self.shards[s].first + i) for at, (s, i) in zip(keys, found, strict=True)]
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

    def open_split(self, split: str, **options: Any) -> "Clips":
        """Those of another split, without shards that are missing."""
        raise NotImplementedError

    def target_patches(self, index: int) -> np.ndarray:
        """The patches of a sample's target, uint8 (n, 155)."""
        raise NotImplementedError

    def _make_examples(self, found: list[tuple[int, int]], starts: list[int]) -> list[Example]:
        """Of samples, each by shard and place in it, the crops that start there."""
        raise NotImplementedError


class LiveClips(Clips):
    """Rendered here and now: the samples that the shards have, or would have."""

    def __init__(self, plan: Plan, split: str, shards: list[Shard] | None = None, **options: Any):
        """shards: of whatever samples of the split, also of ones beyond its last; None: all that it has.

        Raises InputError for a plan of an older format.
        """
        plan.check_current()
        super().__init__(plan, split, shards or list_shards(plan, split), **options)

    def open_split(self, split: str, **options: Any) -> "LiveClips":
        return LiveClips(self.plan, split, **options)

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
