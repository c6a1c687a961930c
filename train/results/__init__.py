"""What a run writes, read back and drawn; `load_run` is for notebooks."""

from importlib import import_module
from typing import Any

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:  # on first use: matplotlib takes a while
    if name == "load_run":
        return import_module("train.results.notebook").load_run
    raise AttributeError(f"module 'train.results' has no attribute {name!r}")
