"""A new order of a million things for every turn, in which any place is found without a list of them.

A generalized Feistel network with cycle walking (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002):
a number is taken apart as left * b + right, and each half in turn is moved around its circle by a hash of the other. That
can be undone, so no two numbers end at the same one; what ends beyond the last is sent through again.
"""

from math import isqrt

import numpy as np

from dx7data.rng import KeyedRng

_ROUNDS = 8
_MASK = (1 << 64) - 1


class Permutation:
    """For every turn, a bijection of 0 to count - 1, all of them named like KeyedRng."""

    def __init__(self, count: int, *name: object) -> None:
        self._count = count
        self._left = isqrt(max(count - 1, 0)) + 1
        self._right = -(-count // self._left)
        self._keys = KeyedRng(*name).raw(_ROUNDS).tolist()

    def __call__(self, turn: int, place: int) -> int:
        """What is at a place, 0 to count - 1, in a turn."""
        value = self._walk(turn, place)
        while value >= self._count:  # at most left * right - count < sqrt(count) + 1 numbers are, so hardly ever twice
            value = self._walk(turn, value)
        return value

    def _walk(self, turn: int, value: int) -> int:
        left, right = divmod(value, self._right)
        for i in range(0, _ROUNDS, 2):
            left = (left + _hash(self._keys[i], turn, right)) % self._left
            right = (right + _hash(self._keys[i + 1], turn, left)) % self._right
        return left * self._right + right


class Cycle:
    """Goes through some items over and over, each time in a new order: number i is the same whenever it is asked for."""

    def __init__(self, items: np.ndarray, *name: object) -> None:
        self._items, self._order = items, Permutation(items.size, *name)

    def __call__(self, i: int) -> tuple[int, int]:
        """How often all items were there before number i, and the item that it is."""
        turn, place = divmod(i, self._items.size)
        return turn, int(self._items[self._order(turn, place)])


def _hash(key: int, turn: int, value: int) -> int:
    """32 bits that depend on all bits of all three, by the multiplications and shifts of splitmix64 (Steele, Lea, 2014)."""
    mixed = (key + turn * 0x9E3779B97F4A7C15 + value * 0xD1342543DE82EF95) & _MASK
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _MASK
    return mixed >> 32
