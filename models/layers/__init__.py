"""Sequence layers, one a file. Each registers itself under its names, and a new file here is found without a list."""

from importlib import import_module
from pkgutil import iter_modules

from .base import LAYERS, SequenceLayer, register

__all__ = ["LAYERS", "SequenceLayer", "register"]

for _file in iter_modules(__path__):
    if _file.name != "convolution_kernel":  # is written in Triton, which not every machine has
        import_module(f"{__name__}.{_file.name}")
