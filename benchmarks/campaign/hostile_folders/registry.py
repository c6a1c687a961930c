"""The cases that need no more than the folder, by name: functions that change a good data set."""

from collections.abc import Callable
from pathlib import Path

CASES: dict[str, Callable[[Path], None]] = {}


def case(name: str):
    """Add a function to the cases."""

    def add(change):
        CASES[name] = change
        return change

    return add
