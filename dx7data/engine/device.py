"""Which device renders: the CPU, or one of the GPUs that numba-cuda finds here."""

import importlib.util
import re


def choose(device: str) -> int | None:
    """The number of the GPU that `device` names ("cuda" or "cuda:N"), None for the CPU ("cpu").

    "auto" is the first GPU if it can run the engine, else the CPU. Raises ValueError, with the reason, for one
    that cannot be used.
    """
    if device == "cpu" or (device == "auto" and _missing(0)):
        return None
    named = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
    if not named:
        raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:0' and so on, or 'auto', not {device!r}")
    number = int(named[1] or 0)
    if reason := _missing(number):
        raise ValueError(f"device {device!r} cannot be used: {reason}; device 'cpu' gives the same samples")
    return number


def _missing(number: int) -> str | None:
    """What keeps GPU `number` from being used; None if nothing does."""
    try:
        from numba import cuda

        if not cuda.is_available():
            if importlib.util.find_spec("numba_cuda") is None:
                return "numba-cuda is not installed (pip install 'dx7data[cuda]')"
            return "there is no NVIDIA GPU with a driver that numba-cuda can use"
        if number >= len(cuda.gpus):
            return f"this machine has {len(cuda.gpus)} GPU(s), counted from 0"

        from dx7data.engine.cuda import usable

        return None if usable(number) else "it computes wrongly"
    except Exception as error:  # of numba, NVVM, the linker, the driver: each has its own
        return f"numba-cuda fails on it with {type(error).__name__}: {str(error).strip().splitlines()[:1]}"
