"""A choice among phrases that depends on nothing but their ids and the seed: not on the order in which they come.

Every phrase has a rank, a hash of its id; kept are those with the lowest ranks. So a corpus gives the same choice with any
number of workers, and a larger choice contains a smaller one.
"""

import numpy as np

from dx7data.rng import KeyedRng

_PENDING = 1 << 20  # ranks that are collected before the best are selected


def rank(ids: np.ndarray, seed: int) -> np.ndarray:
    """A uint64 for each id, none for two (the finalizer of splitmix64, which can be undone)."""
    mixed = ids ^ KeyedRng(seed, "phrases").raw(1)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class Reservoir:
    """The `size` phrases with the lowest ranks, of all that are offered."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._best = np.empty(0, np.uint64)
        self._pending: list[np.ndarray] = []

    def offer(self, ids: np.ndarray) -> np.ndarray:
        """Which phrases may still be among them, bool."""
        ranks = rank(ids, self._seed)
        good = ranks <= self._best[-1] if len(self._best) == self._size else np.ones(len(ids), bool)
        self._pending.append(ranks[good])
        if sum(map(len, self._pending)) > max(self._size, _PENDING):
            self._select()
        return good

    def choose(self, ids: np.ndarray) -> np.ndarray:
        """Which phrases are among them, bool; nothing is offered any more."""
        if self._pending:
            self._select()
        return rank(ids, self._seed) <= self._best[-1]

    def _select(self) -> None:
        self._best = np.unique(np.concatenate([self._best, *self._pending]))[: self._size]
        self._pending = []
