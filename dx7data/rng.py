"""Draws that are the same on every machine and in every version: raw Philox output and integer arithmetic, no floats."""

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from dx7data.files import to_canonical_json

T = TypeVar("T", covariant=True)


class Choices(Protocol[T]):
    """A sequence or an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> T: ...


class KeyedRng:
    """An endless stream of integers, named by what it is for: KeyedRng(seed, "train", 12, "phrase")."""

    def __init__(self, *name: object) -> None:
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

    def all_below(self, limits: Sequence[int] | np.ndarray) -> np.ndarray:
        """Int64 numbers, one below each of the limits (N,): what so many calls of `below` would give."""
        high = self.raw(len(limits)) >> np.uint64(32)
        return (high * np.asarray(limits, np.uint64) >> np.uint64(32)).astype(np.int64)

    def between(self, minimum: int, maximum: int) -> int:
        """A number from minimum to maximum, both included."""
        return minimum + self.below(maximum - minimum + 1)

    def pick(self, choices: Choices[T]) -> T:
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
