"""Memory of results, used again: to touch fresh memory for the first time takes as long as the engine does."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

_MIN_BYTES, _MAX_BYTES = 1 << 20, 1 << 30  # below, malloc does as much; above, nothing is kept
# One is enough for `x = render(...)` in a loop: while a result is computed, the one before is still referenced.
_free: deque[np.ndarray] = deque(maxlen=1)


class _Loan:
    """Memory that an array and all its views refer to; when the last of them has gone, it is free again."""

    def __init__(self, memory: np.ndarray, shape: tuple[int, ...]) -> None:
        self._memory = memory
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": shape,
            "typestr": np.dtype(np.int32).str,
            "data": (memory.ctypes.data, False),
        }

    def __del__(self, free: deque[np.ndarray] = _free) -> None:  # bound: at exit, the module may be empty already
        free.append(self._memory)


def make_array(shape: tuple[int, ...]) -> np.ndarray:
    """An int32 array with anything in it, in memory that no other array refers to."""
    size = 4 * math.prod(shape)
    if not _MIN_BYTES <= size <= _MAX_BYTES:
        return np.empty(shape, np.int32)
    try:
        memory = _free.pop()
    except IndexError:
        memory = np.empty(0, np.uint8)
    if not size <= memory.size <= 2 * size:
        memory = np.empty(size, np.uint8)
    return np.asarray(_Loan(memory, shape))
