"""Sequence layers, one a file. Each registers itself under its names, and a new file here is found without a list."""

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from .base import LAYERS, SequenceLayer, register

__all__ = ["LAYERS", "SequenceLayer", "register"]

_HAS_TRITON = find_spec("triton") is not None  # in which kernels are written; not every machine has it
for _file in iter_modules(__path__):
    if _HAS_TRITON or not _file.name.endswith("_kernel"):
        import_module(f"{__name__}.{_file.name}")
