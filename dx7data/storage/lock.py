"""One process at a time changes a data-set folder; those that read it are never held up.

The kernel keeps the lock and drops it with the process, so none stays behind after a kill. File systems without locks, such
as some of clusters, are written to without.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dx7data.errors import InputError, explain_os_errors

NAME = ".lock"  # an empty file, there for as long as it is needed
_PATIENCE = 2.0  # seconds: a process that was killed just now may take a while to be gone


@contextmanager
def lock(folder: Path, shared: bool = False) -> Iterator[None]:
    """Inside the block nobody else changes the folder, or, if shared, only others who share it.

    Raises InputError if somebody does, or if the lock is no file in the folder.
    """
    path, end = folder / NAME, time.monotonic() + _PATIENCE
    while True:
        with explain_os_errors(f"can't write to {folder}: {NAME}"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            if _take(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX) and _is_at(path, descriptor):
                yield
                return
            if time.monotonic() > end:
                raise InputError(
                    f"another process renders, extends or mends {folder}: wait until it has ended, or take another folder"
                )
            time.sleep(0.05)
        finally:
            if _take(descriptor, fcntl.LOCK_EX) and _is_at(path, descriptor):
                path.unlink()  # who has opened it and waits sees that it is gone, and makes a new one
            os.close(descriptor)


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a file has still its name: its last owner takes it away."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def plan_lock(folder: Path) -> Iterator[None]:
    """Waits while others who share the folder put their plan into it, which takes moments."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
