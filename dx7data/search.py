"""Files that a person names, or a folder of them: found and read, with what goes wrong in a report."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol


class Refusals(Protocol):
    """A report of files that are refused, or doubtful."""

    def refuse(self, file: object, reason: str) -> None: ...

    def warn(self, file: object, sentence: str) -> None: ...


def find_files(folder: Path, suffixes: tuple[str, ...], report: Refusals, leave: Callable = lambda file: None) -> list[Path]:
    """The files under a folder that have one of these suffixes, sorted; `leave` is called with each of the others.

    Links to folders are not followed.
    """
    return [Path(path) for path in find_paths(folder, suffixes, report, leave)]


def find_paths(folder: Path, suffixes: tuple[str, ...], report: Refusals, leave: Callable = lambda file: None) -> list[str]:
    """The same as texts, which take a fifth of the memory."""
    found = []
    for path in _walk(str(folder), report):
        if path.lower().endswith(suffixes):
            found.append(path)
        else:
            leave(Path(path))
    if not found:
        report.refuse(folder, f"holds no {' or '.join(suffixes)} file")
    return found


def _walk(folder: str, report: Refusals) -> Iterator[str]:
    """All files under a folder, in the order of their paths, part by part."""
    left = [(folder, True, False)]
    while left:
        path, is_folder, is_link = left.pop()
        if not is_folder:
            yield path
        elif not is_link or path == folder:
            inside = "" if path == "." else path
            try:
                with os.scandir(path) as entries:
                    found = [(entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries]
            except OSError as error:
                report.refuse(error.filename, f"cannot be read: {error.strerror}")
                continue
            found.sort(reverse=True)
            left += [(os.path.join(inside, name), is_folder, is_link) for name, is_folder, is_link in found]


def read_file(path: Path, limit: int, report: Refusals) -> bytes | None:
    """The bytes of a regular file that has no more than `limit`."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            report.refuse(path, "is no regular file")
        elif status.st_size > limit:
            report.refuse(path, f"has {status.st_size:,} bytes, more than the {limit:,} that are read: split it")
        else:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        report.refuse(path, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return None
