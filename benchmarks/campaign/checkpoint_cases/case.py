"""What a case is: one thing of a run with two good checkpoints, of steps 4 and 8, is changed, mostly of the newer one."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

NEWEST, OLDER = "checkpoints/00000008", "checkpoints/00000004"
PARTS = ("model", "ema", "optimiser", "rng")
LEVELS = 100_000  # of nested JSON


class Case(NamedTuple):
    name: str
    change: Callable[[Path], object]  # of the folder of a run
    commands: tuple[str, ...] = ()  # that read what is changed; none: all are tried
    whole: bool = False  # other numbers, which a checkpoint may well have: any result is right


READERS = {
    "checkpoint.json": ("resume", "convert", "timescales"),
    "config.json": ("resume", "compare"),
    "result.json": ("resume", "compare"),
}
