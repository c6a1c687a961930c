"""The folder of a run belongs to one process at a time."""

import fcntl
import os
from pathlib import Path

from dx7data.errors import InputError


def lock_run(run: Path) -> int:
    """A descriptor to close when the run ends; the lock is gone with the process. Raises InputError if another has it."""
    lock = os.open(run / ".lock", os.O_CREAT | os.O_WRONLY)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone, not of those that it starts
    except OSError:
        os.close(lock)
        raise InputError(f"another process trains in {run}: wait for it, or name another folder") from None
    return lock
