"""Draws that are the same on every machine and in every version: raw Philox output and integer arithmetic, no floats."""

import hashlib

import numpy as np

from dx7data.files import to_canonical_json


class KeyedRng:
    """An endless stream of integers, named by what it is for: KeyedRng(seed, "train", 12, "phrase")."""

    def __init__(self, *name):
        digest = hashlib.sha256(self._encode_name(name)).digest()
        self._bits = np.random.Philox(key=np.frombuffer(digest[:16], "<u8"))

    @staticmethod
    def _encode_name(name: tuple) -> bytes:
        return to_canonical_json(name)

    def raw(self, count: int) -> np.ndarray:
        """The next `count` numbers as they are, uint64."""
        return self._bits.random_raw(count)

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1; the bias, limit / 2^32, does not matter."""
        return (int(self._bits.random_raw()) >> 32) * limit >> 32

    def all_below(self, limits) -> np.ndarray:
        """Int64 numbers, one below each of the limits (N,): what so many calls of `below` would give."""
        high = self.raw(len(limits)) >> np.uint64(32)
        return (high * np.asarray(limits, np.uint64) >> np.uint64(32)).astype(np.int64)

    def between(self, minimum: int, maximum: int) -> int:
        """A number from least to most, both included."""
        return minimum + self.below(maximum - minimum + 1)

    def pick(self, choices):
        """One of `choices`."""
        return choices[self.below(len(choices))]

    def permute(self, count: int) -> np.ndarray:
        """The numbers 0 to count - 1 in random order, int64."""
        return np.argsort(self.raw(count), kind="stable")


class OldKeyedRng(KeyedRng):
    """The same, named as for data sets of format 2: trainings on them go on in the order in which they began."""

    @staticmethod
    def _encode_name(name: tuple) -> bytes:
        return repr(name).encode()
