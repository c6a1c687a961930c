"""What else may stand in the place of the files and folders of a run."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.campaign.checkpoint_cases.case import NEWEST, OLDER, PARTS, Case


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def move_and_link(path: Path) -> None:
    """It lies elsewhere now, outside the run; a link leads there."""
    elsewhere = next(parent for parent in path.parents if parent.name == "run").with_name("elsewhere")
    os.rename(path, elsewhere)
    path.symlink_to(elsewhere)


def place(path: Path, make: Callable[[Path], object]) -> None:
    remove(path)
    make(path)


def fill_sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


STANDINS: dict[str, Callable[[Path], None]] = {
    "missing": remove,
    "a link": move_and_link,
    "a dangling link": partial(place, make=lambda path: path.symlink_to("nowhere")),
    "a link to itself": partial(place, make=lambda path: path.symlink_to(path.name)),
    "a link to /dev/zero": partial(place, make=lambda path: path.symlink_to("/dev/zero")),
    "a pipe": partial(place, make=os.mkfifo),
    "a folder": partial(place, make=os.mkdir),
    "an empty file": partial(place, make=Path.touch),
    "a terabyte of zeros": partial(place, make=fill_sparse),
}


def copy_older(run: Path, name: str) -> None:
    shutil.copytree(run / OLDER, run / "checkpoints" / name)


FOLDERS: dict[str, Callable[[Path], object]] = {
    "both checkpoints lack a part": lambda run: [remove(path) for path in run.glob("checkpoints/*/ema.safetensors")],
    "a copy of an older one under a later step": partial(copy_older, name="00000011"),
    "a copy that a person named": partial(copy_older, name="00000004-best"),
    "a later folder, empty": lambda run: (run / "checkpoints/00000011").mkdir(),
    "a later folder with notes": lambda run: [
        (run / "checkpoints/00000012").mkdir(),
        (run / "checkpoints/00000012/notes.txt").write_text("mine"),
    ],
    "a later link": lambda run: (run / "checkpoints/00000012").symlink_to("00000004"),
    "a later file": lambda run: (run / "checkpoints/00000012").touch(),
    "a partial one that is a link": lambda run: (run / "checkpoints/.00000012.partial").symlink_to("00000004"),
    "a name of 5,000 digits": lambda run: (run / "checkpoints" / ("9" * 200)).mkdir(),
}


def of_places(run: Path) -> Iterator[Case]:
    files = [f"{NEWEST}/checkpoint.json", *(f"{NEWEST}/{part}.safetensors" for part in PARTS), "config.json"]
    for file in [*files, NEWEST, "checkpoints", "result.json", "metrics.csv", "validation.csv", "samples/00000008"]:
        if os.path.lexists(run / file):
            for name, change in STANDINS.items():
                yield Case(f"{file} is {name}", lambda run, file=file, change=change: change(run / file))
    for name, change in FOLDERS.items():
        yield Case(name, change)
