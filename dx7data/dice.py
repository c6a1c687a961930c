"""Draws that are the same on every machine and in every version: raw Philox output and integer arithmetic, no floats."""

import hashlib

import numpy as np


class Dice:
    """An endless stream of integers, named by what it is for: Dice(seed, "train", 12, "phrase")."""

    def __init__(self, *name):
        digest = hashlib.sha256(repr(name).encode()).digest()
        self._bits = np.random.Philox(key=np.frombuffer(digest[:16], "<u8"))

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1; the bias, limit / 2^32, does not matter."""
        return (int(self._bits.random_raw()) >> 32) * limit >> 32

    def all_below(self, limits) -> np.ndarray:
        """Int64 numbers, one below each of the limits (N,): what so many calls of `below` would give."""
        return (
            (self._bits.random_raw(len(limits)) >> np.uint64(32)) * np.asarray(limits, np.uint64) >> np.uint64(32)
        ).astype(np.int64)

    def between(self, least: int, most: int) -> int:
        """A number from least to most, both included."""
        return least + self.below(most - least + 1)

    def pick(self, choices):
        """One of `choices`."""
        return choices[self.below(len(choices))]

    def shuffled(self, count: int) -> np.ndarray:
        """The numbers 0 to count - 1 in random order, int64."""
        return np.argsort(self._bits.random_raw(count), kind="stable")
