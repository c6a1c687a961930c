"""Which device renders: the CPU, or one of the GPUs that numba-cuda finds here."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dx7data.errors import InputError, suggest_install

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Unusable(InputError, ValueError):
    """A device that is none, or that cannot be used here: one sentence, with the reason."""


def choose(device: str) -> int | None:
    """The number of the GPU that `device` names ("cuda" or "cuda:N"), None for the CPU ("cpu").

    "auto" is the first GPU if it can run the engine, else the CPU. Raises Unusable.
    """
    if device == "cpu" or (device == "auto" and (importlib.util.find_spec("numba_cuda") is None or _find_obstacle(0))):
        return None
    named = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
    if not named:
        raise Unusable(f"device must be 'cpu', 'cuda', 'cuda:0' and so on, or 'auto', not {device!r}")
    number = int(named[1] or 0)
    if reason := _find_obstacle(number):
        raise Unusable(f"device {device!r} cannot be used: {reason}; device 'cpu' gives the same samples")
    return number


def _find_obstacle(number: int) -> str | None:
    """What keeps GPU `number` from being used; None if nothing does."""
    try:
        from numba import cuda

        if not cuda.is_available():
            if importlib.util.find_spec("numba_cuda") is None:
                return f"numba-cuda is not installed ({suggest_install('cuda')})"
            return "there is no NVIDIA GPU with a driver that numba-cuda can use"
        if number >= len(cuda.gpus):
            return f"this machine has {len(cuda.gpus)} GPU(s), counted from 0"

        from dx7data.engine.cuda import is_usable

        return None if is_usable(number) else "it computes wrongly"
    except Exception as error:  # of numba, NVVM, the linker, the driver: each has its own
        return f"numba-cuda fails on it with {type(error).__name__}: {' '.join(str(error).split())[:200]}"


_gpu_lock = None  # the lock of use_gpu_lock


def use_gpu_lock(lock: AbstractContextManager) -> None:
    """From now on `hold_gpu_lock` waits for `lock`, which this process has in common with the others that use its GPU.

    A GPU runs the kernels of several processes in turn anyway, and large ones better than many. So each has all its memory.
    """
    global _gpu_lock
    _gpu_lock = lock


@contextmanager
def hold_gpu_lock() -> Iterator[None]:
    """While this process alone uses the current GPU, whose memory it frees afterwards."""
    if _gpu_lock is None:
        yield
        return
    from numba import cuda

    with _gpu_lock:
        yield
        cuda.current_context().deallocations.clear()  # numba frees late


@contextmanager
def use_gpu(number: int) -> Iterator[None]:
    """GPU `number` is the current one. Raises InputError, one sentence, when it fails: mostly for want of memory."""
    from numba import cuda
    from numba.cuda.cudadrv.driver import CudaAPIError

    try:
        with cuda.gpus[number]:
            yield
    except CudaAPIError as error:
        raise InputError(
            f"GPU {number} failed ({error.args[-1]}); what is complete is kept, and the same command continues, "
            "with fewer --workers if memory ran out, or with --device cpu"
        ) from None
