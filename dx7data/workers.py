"""Processes that this one starts: they end when it does, and nothing that they share has a name.

Names, of locks for example, lie in /dev/shm until somebody removes them, which nobody does after a kill.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
from multiprocessing.reduction import DupFd
from typing import Any

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def preload(*modules: str) -> None:
    """Begin to load modules in a forkserver beside this process, whose workers then have them when they start.

    They must not talk to a GPU's driver, which would not survive a fork.
    """
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.set_forkserver_preload(list(modules))
    # What that process starts with, it keeps, and so do its workers: Ctrl-C and SIGTERM are for this one to answer.
    resource_tracker.ensure_running()  # first: it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_child(only_parent_ends: bool = False) -> None:
    """What a process does first that another one has started: Ctrl-C is for that one to answer.

    only_parent_ends: and so is a SIGTERM of others. A batch system sends it to all processes, and one that trains
    still needs its readers for its last step.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if only_parent_ends and hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads from here on
        threading.Thread(target=_heed_parent, daemon=True).start()
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def avoid_names() -> None:
    """From now on a lock that this process makes, numba's for example, has no name; it is to start no other processes."""
    multiprocessing.set_start_method("fork", force=True)


def _end_with_parent() -> None:
    """A parent that is killed sends no notice: without this, its children would wait for it for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _heed_parent() -> None:
    if parent := multiprocessing.parent_process():
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
            pass
        os._exit(0)


class Shared:
    """A file of memory alone, given to each process as it starts; it is gone with the last of them."""

    def __init__(self, descriptor: int | None = None):
        self.descriptor = os.memfd_create("dx7data") if descriptor is None else descriptor

    def __reduce__(self) -> tuple:
        return _inherit, (type(self), DupFd(self.descriptor))


def _inherit(kind: type[Shared], descriptor: Any) -> Shared:
    return kind(descriptor.detach())


class Lock(Shared):
    """A lock among processes, not among the threads of one; the kernel takes it from a process that is gone."""

    def __enter__(self) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)  # not flock, which processes with the same descriptor hold together

    def __exit__(self, *error: object) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
