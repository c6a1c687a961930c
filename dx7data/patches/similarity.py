"""Near-duplicate groups: patches connected by steps of at most NEAR audible differences. Public banks are full of them.

The distance of two patches is the number of parameters that differ and that can be heard in one of them (audible.py). All
pairs are compared, some 145 bytes at a time in vector registers: a billion of them in about ten seconds on one core.
"""

import numpy as np
from numba import njit

from dx7data import cache
from dx7data.patches.audible import find_audible
from dx7data.patches.patch import PARAMETERS

NEAR = 2
_FAR = 255  # a distance that none reaches: there are 145 parameters
_TILE = 4096  # patches compared with one at a time: their counts stay in the first-level cache


class Codes:
    """Patches as the comparison wants them: a column each, with what can be heard of it."""

    def __init__(self, stored: np.ndarray) -> None:
        self.values = np.ascontiguousarray(stored[:, :PARAMETERS].T)
        self.masks = np.ascontiguousarray(find_audible(stored).T).view(np.uint8)


def group_near_duplicates(codes: Codes) -> np.ndarray:
    """For each of N patches the first one of its near-duplicate group, int64 (N,)."""
    return _connect(codes.values, codes.masks)


def find_nearest(
    codes: Codes, others: Codes, labels: np.ndarray, labels_of_others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each patch the distance to the nearest of the others that has another label, uint8 (N,), and the index of that
    one, the first of several, int64 (N,); 255 and -1 if none has.

    labels: int64, of a split, say.
    """
    return _nearest(codes.values, codes.masks, labels, others.values, others.masks, labels_of_others)


@cache.inner
def _distances(
    values: np.ndarray,
    masks: np.ndarray,
    i: int,
    others: np.ndarray,
    other_masks: np.ndarray,
    first: int,
    count: int,
    out: np.ndarray,
) -> None:
    """Distances from patch i to the `count` others from `first` on."""
    out[:count] = 0
    for p in range(values.shape[0]):
        value, mask = values[p, i], masks[p, i]
        those, heard = others[p, first : first + count], other_masks[p, first : first + count]
        for j in range(count):
            k = np.uint64(j)  # an index that can't be negative, and single bytes: what it takes to vectorise
            out[k] = np.uint8(out[k] + np.uint8(np.uint8(those[k] != value) & np.uint8(heard[k] | mask)))


@cache.inner
def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _connect(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    count = values.shape[1]
    parent = np.arange(count)
    distance = np.empty(_TILE, np.uint8)
    for first in range(0, count, _TILE):
        for i in range(min(first + _TILE, count)):
            size = min(_TILE, count - first)
            _distances(values, masks, i, values, masks, first, size, distance)
            for j in range(max(0, i + 1 - first), size):
                if distance[j] <= NEAR:
                    a, b = _root(parent, i), _root(parent, first + j)
                    parent[max(a, b)] = min(a, b)
    for i in range(count):
        parent[i] = _root(parent, i)
    return parent


def _nearest(
    values: np.ndarray,
    masks: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    other_masks: np.ndarray,
    other_labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    nearest, index = np.full(values.shape[1], _FAR, np.uint8), np.full(values.shape[1], -1)
    distance = np.empty(_TILE, np.uint8)
    for first in range(0, others.shape[1], _TILE):
        size = min(_TILE, others.shape[1] - first)
        for i in range(values.shape[1]):
            _distances(values, masks, i, others, other_masks, first, size, distance)
            for j in range(size):
                if distance[j] < nearest[i] and labels[i] != other_labels[first + j]:
                    nearest[i], index[i] = distance[j], first + j
    return nearest, index


_connect = cache.keep(njit(nogil=True)(_connect))
_nearest = cache.keep(njit(nogil=True)(_nearest))
