"""The order of training: which samples make which batch, a pure function of (seed, epoch, step).

In every epoch the shards are permuted, then the samples inside groups of G shards. The global batch is fixed and ranks take
slices of it. So neither workers nor ranks change what a step sees, and a few numbers resume it exactly.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple, Protocol

import numpy as np
from torch.utils.data import Sampler

from dx7data.errors import InputError
from dx7data.output import format_count
from dx7data.rng import KeyedRng


class SampleKey(NamedTuple):
    """What a batch asks the data set for. It travels with its epoch, for workers do not know when an epoch begins."""

    seed: int
    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs of a key


def epoch_order(counts: Sequence[int], seed: int, epoch: int, group: int, rng: type[KeyedRng] = KeyedRng) -> np.ndarray:
    """Every sample once, int64 (N,); counts: the samples of each shard; rng: what draws, see `Clips.rng`."""
    firsts = np.cumsum([0, *counts])
    shards = rng("shards", seed, epoch).permute(len(counts))
    order = []
    for g, start in enumerate(range(0, len(counts), group)):
        inside = np.concatenate([np.arange(firsts[s], firsts[s + 1]) for s in shards[start : start + group]])
        order.append(inside[rng("samples", seed, epoch, g).permute(inside.size)])
    return np.concatenate(order)


class Ordered(Protocol):
    """What the order of samples goes by, as in clips.py."""

    counts: list[int]  # samples of each shard
    rng: type[KeyedRng]
    default_group: int | None
    largest_group: int | None

    @property
    def fingerprint(self) -> str: ...


class Batches(Sampler):
    """A `batch_sampler` for torch's DataLoader: the batches of one rank from a state on, epoch after epoch.

    The N % batch_size samples at the end of an epoch's order are left out of that epoch. What was prefetched is no part of
    the state: only the trainer knows what was delivered, and `state(steps)` is said of that.

        batches = Batches(data, 64, seed=0, state=saved)
        for step, batch in enumerate(DataLoader(data, batch_sampler=batches, num_workers=4), batches.delivered + 1):
            ...
            saved = batches.state(step)
    """

    def __init__(
        self,
        data: Ordered,
        batch_size: int,
        seed: int | None = None,
        group: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        epochs: int | None = None,
        state: dict | None = None,
    ):
        """batch_size: of all ranks together.

        seed, group: of the state if there is one; else 0 and the data set's default, which for local shards is all of them.
        epochs: the last one ends the iteration, counted from the beginning of training; None: it never ends.
        Raises InputError when the data can't fill a batch, or isn't what the state was saved with.
        """
        if ranks < 1 or not 0 <= rank < ranks:
            raise InputError(f"rank must be from 0 to {ranks - 1}, not {rank}")
        if batch_size < 1 or batch_size % ranks:
            raise InputError(
                f"a global batch of {batch_size} can't be divided among {ranks} ranks: make it a multiple of {ranks}"
            )
        self.steps = sum(data.counts) // batch_size  # of an epoch
        if not self.steps:
            raise InputError(
                f"a batch of {batch_size} is more than {format_count(sum(data.counts), 'sample')}: "
                "take a smaller one, or render more"
            )
        wanted = {"seed": seed, "group": group, "batch_size": batch_size, "fingerprint": data.fingerprint}
        if state is not None:
            _check_state(state, wanted)
        default = {"seed": 0, "group": data.default_group or len(data.counts)}
        chosen = {name: value for name, value in wanted.items() if value is not None}
        self._fixed = default | chosen | {name: state[name] for name in default if state is not None}
        if self._fixed["group"] < 1:
            raise InputError(f"a group must have at least 1 shard, not {self._fixed['group']}")
        if data.largest_group is not None and self._fixed["group"] > data.largest_group:
            raise InputError(
                f"the cache holds {format_count(data.largest_group, 'shard')} and a group has {self._fixed['group']}: "
                "enlarge the cache or make groups smaller"
            )
        self.delivered = 0 if state is None else state["epoch"] * self.steps + state["step"]
        self.epochs = epochs
        self._counts, self._rng = data.counts, data.rng
        self.size = batch_size // ranks  # samples of a batch
        self._slice = slice(rank * self.size, (rank + 1) * self.size)

    def state(self, delivered: int) -> dict:
        """What to save once so many steps were delivered, those of earlier runs included."""
        epoch, step = divmod(delivered, self.steps)
        return {"epoch": epoch, "step": step, **self._fixed}

    def __iter__(self) -> Iterator[list[SampleKey]]:
        seed, group, size = (self._fixed[name] for name in ("seed", "group", "batch_size"))
        order, of = np.empty(0), None
        for total in count(self.delivered):
            epoch, step = divmod(total, self.steps)
            if self.epochs is not None and epoch >= self.epochs:
                return
            if epoch != of:
                order, of = epoch_order(self._counts, seed, epoch, group, self._rng), epoch
            batch = order[step * size : (step + 1) * size]
            yield [SampleKey(seed, epoch, index) for index in batch[self._slice].tolist()]

    def __len__(self) -> int:
        if self.epochs is None:
            raise TypeError("these batches never end: epochs was not given")
        return max(0, self.epochs * self.steps - self.delivered)


def _check_state(state: dict, wanted: dict) -> None:
    """Raises InputError when a state belongs to other data or to another order."""
    if missing := [name for name in ("epoch", "step", *wanted) if name not in state]:
        raise InputError(f"the state to resume from has no {missing[0]}: it was saved by another version")
    if state["fingerprint"] != wanted["fingerprint"]:
        raise InputError(
            f"the state was saved with other data (fingerprint {state['fingerprint'][:12]} there, "
            f"{wanted['fingerprint'][:12]} here): resume with the data set, split and shards of that run"
        )
    for name, value in wanted.items():
        if value is not None and state[name] != value:
            raise InputError(f"{name} is {state[name]} in the state and {value} here: an exact resume needs the same")
