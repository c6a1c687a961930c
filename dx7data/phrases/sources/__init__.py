"""Where phrases come from; each source is a file.

A file that is put here is imported with the package; it registers its source, see source.py.
"""

from importlib import import_module
from pkgutil import iter_modules

from dx7data.phrases.source import SOURCES, find_source

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["SOURCES", "find_source"]
