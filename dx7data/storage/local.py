"""A folder of this machine: files are synced before they get their names, and nothing is written through a link."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, TypeVar

from dx7data.errors import InputError, explain_os_errors
from dx7data.files import (
    PARTIAL,
    measure_regular,
    open_atomically,
    open_log,
    open_regular,
    read_regular,
    remove_left_over,
    sync_folder,
    write_atomically,
)
from dx7data.storage import lock

T = TypeVar("T")
S = TypeVar("S")


class LocalFolder:
    """See Folder."""

    def __init__(self, path: Path):
        self.path, self.name = path, str(path)
        self.identity = os.path.realpath(path)  # Path.resolve raises RuntimeError for a link to itself
        self.title = os.path.basename(self.identity)
        self.simultaneous = os.cpu_count() or 1

    def __str__(self) -> str:
        return self.name

    def where(self, name: str) -> str:
        return str(self.path / name)

    def list_sizes(self) -> dict[str, int | None] | None:
        with explain_os_errors(f"{self} can't be read"):
            if not self.path.is_dir():
                raise InputError(f"{self} is no folder")
            return dict.fromkeys(os.listdir(self.path))

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def measure(self, name: str) -> int:
        return measure_regular(self.path / name)

    def read(self, name: str, limit: int) -> bytes:
        return read_regular(self.path / name, limit)

    def read_part(self, name: str, offset: int, size: int) -> bytes:
        with open_regular(self.path / name) as file:
            file.seek(offset)
            return file.read(size)

    def open(self, name: str, limit: int) -> AbstractContextManager[BinaryIO]:
        return open_regular(self.path / name)

    def map(self, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        return map(function, items)

    def check_writable(self) -> None:
        with explain_os_errors(f"can't write to {self}"):
            if not self.path.exists():
                self.path.mkdir(parents=True, exist_ok=True)  # another job may make it, just now
                sync_folder(self.path.parent)

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        _make_way(self.path / name)
        with open_atomically(self.path / name) as file:
            yield file

    def write(self, name: str, data: bytes) -> None:
        _make_way(self.path / name)
        write_atomically(self.path / name, lambda file: file.write(data))

    def claim(self, name: str, data: bytes) -> bool:
        return True

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def remove_partial(self, chosen: Callable[[str], bool]) -> None:
        for path in self.path.glob(f".*{PARTIAL}"):
            if chosen(get_final_name(path.name)):
                remove_left_over(path)

    def open_log(self, name: str) -> AbstractContextManager[TextIO]:
        return open_log(self.path / name)

    def lock(self, shared: bool = False) -> AbstractContextManager[None]:
        return lock.lock(self.path, shared)

    def lock_plan(self) -> AbstractContextManager[None]:
        return lock.plan_lock(self.path)

    def list_links(self) -> dict[str, str]:
        return {path.name: str(path.readlink()) for path in self.path.iterdir() if path.is_symlink()}

    def is_blocked(self, name: str) -> bool:
        path = self.path / name
        return path.is_dir() and not path.is_symlink() and any(path.iterdir())


def get_final_name(name: str) -> str:
    """The name of a file, of a partial one the name that it would have got."""
    return re.sub(rf"^\.[0-9a-f]{{8}}\.(.*)\{PARTIAL}$", r"\1", name)


def _make_way(path: Path) -> None:
    """Remove a link, a pipe or an empty folder that stands where a file is to be written: nothing is written through it."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
