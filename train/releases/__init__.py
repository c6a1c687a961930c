"""Trained models that are published: made of a run, read back, and heard on a page."""

from importlib import import_module
from typing import Any

__all__ = ["from_pretrained"]


def __getattr__(name: str) -> Any:  # on first use: torch takes a while
    if name == "from_pretrained":
        return import_module("train.releases.reader").from_pretrained
    raise AttributeError(f"module 'train.releases' has no attribute {name!r}")
