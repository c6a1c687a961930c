"""Files that are whole or not there: written under another name beside their own, and renamed when complete."""

import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"


@contextmanager
def whole(path: Path):
    """A binary file to write; it gets its name at the end of the block, or vanishes if the block raises."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, write: Callable) -> None:
    """Let `write(file)` make the file at `path`."""
    with whole(path) as file:
        write(file)
