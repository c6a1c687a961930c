"""The types of numbers and arrays that compiled code gets, on a CPU and on a GPU."""

from typing import Any, Protocol

import numpy as np

# Of Python or NumPy, which compiled code does not tell apart.
Integer = int | np.integer
Truth = bool | np.bool


class GpuArray(Protocol):
    """An array in the memory of a GPU, of numba or with the same interface."""

    shape: tuple[int, ...]
    size: int
    dtype: np.dtype

    def __getitem__(self, place: Any) -> Any: ...

    def reshape(self, *shape: int) -> "GpuArray": ...

    def view(self, dtype: np.typing.DTypeLike) -> "GpuArray": ...

    def copy_to_host(self, out: np.ndarray | None = None) -> np.ndarray: ...
