"""The folder of a run belongs to one process at a time, and what is written lies in it."""

import fcntl
import json
import os
from pathlib import Path

from dx7data.errors import InputError
from dx7data.files import write_atomically
from dx7data.output import log
from train.loop import checkpoint
from train.results import reader


def lock_run(run: Path) -> int:
    """A descriptor to close when the run ends; the lock is gone with the process. Raises InputError if another has it."""
    lock = os.open(run / ".lock", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone, not of those that it starts
    except (BlockingIOError, PermissionError):  # the two that say that another process has it
        os.close(lock)
        raise InputError(f"another process trains in {run}: wait for it, or name another folder") from None
    except OSError as error:  # some network file systems have no locks
        log.debug(f"{run} can't be locked: {error.strerror}")
    return lock


def release_run(run: Path, lock: int) -> None:
    """The lock goes before anything was written: a run that has not begun leaves no file by which it seems to be there."""
    if not (run / "config.json").exists():
        (run / ".lock").unlink()
    os.close(lock)


def read_state(run: Path) -> tuple[bytes | None, Path | None]:
    """What a run that goes on is made from: config.json, and the last checkpoint; None for what is not there."""
    path = run / "config.json"
    return path.read_bytes() if path.is_file() else None, checkpoint.find_last(run)


def check_state(run: Path, before: tuple[bytes | None, Path | None]) -> None:
    """Raises InputError if another process has trained in a run since `read_state`, which is of before the lock."""
    if read_state(run) != before:
        raise InputError(
            f"another process has trained in {run} meanwhile: continue it with --resume, or name another folder"
        )


def write_config(run: Path, about: dict, settings: dict) -> dict:
    """config.json, of which a run that goes on keeps all but its settings; what it says now."""
    found = (reader.read_config(run) if (run / "config.json").exists() else about) | {"settings": settings}
    write_atomically(run / "config.json", lambda file: file.write(json.dumps(found, indent=1).encode()))
    return found


def check_contents(run: Path) -> None:
    """Raises InputError for what is never followed or opened in a run or a study that goes on: a link that leads out of it,
    or to itself, and a pipe or a device, which may wait for ever.
    """
    for path in [*run.glob("*"), run / ".lock", *run.glob("*/*"), *run.glob("*/*/*")]:
        there = Path(os.path.realpath(path))  # of a link to itself, the link
        if path.is_symlink() and (there.is_symlink() or not there.is_relative_to(os.path.realpath(run))):
            where = "to itself" if there.is_symlink() else f"out of {run}"
            raise InputError(f"{path} leads {where}: remove this link, or put what it leads to in its place")
        if not path.is_symlink() and path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"{path} is no regular file: remove it")
