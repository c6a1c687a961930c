"""Patches become audio that a model hears before the source, and back; each codec is a file.

A file that is put here is imported with the package; it registers its codec, see codec.py.
"""

from importlib import import_module
from pkgutil import iter_modules

from dx7data.prefix.codec import CODECS, STEP, Codec, PrefixError, decode, encode, register, samples

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["CODECS", "STEP", "Codec", "PrefixError", "decode", "encode", "register", "samples"]
