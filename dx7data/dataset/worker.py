"""What runs in a worker process. The fork server imports it once, early, and hands it on to every worker, loaded."""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import os
import signal
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numba
import numpy as np

from dx7data.audio import gain
from dx7data.dataset import shard
from dx7data.engine.device import use_gpu_lock
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.storage import Folder

# A first call loads numba's machinery, a third of a second. This function starts no threads, which would not survive a fork.
gain.apply(np.zeros((1, 1), np.int32), "native")


def run(pipe: Connection, plan: Plan, folder: Folder, threads: int, device: str, gpu_lock: GpuLock | None) -> None:
    """Render the shards that come through a pipe, some at a time, until it is closed.

    Back go the numbers of finished samples, None after each task, and the error that ends it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(threads, gpu_lock)
    with suppress(ConnectionError):  # the parent is gone, or has had enough of an error of another worker
        try:
            while (shards := _receive(pipe)) is not None:
                shard.write_shards(plan, shards, folder, pipe.send, device)
                pipe.send(None)
        except Exception as error:
            error.add_note(traceback.format_exc())
            pipe.send(error)


def prepare(threads: int, gpu_lock: GpuLock | None) -> None:
    """Before the first shard of a process that does nothing but render."""
    # For the lock that numba makes: without a name, which would stay when this process is killed. It starts no others.
    multiprocessing.set_start_method("fork", force=True)
    allowed = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # numba sets it when it loads
    numba.set_num_threads(min(threads, allowed))
    if gpu_lock:
        use_gpu_lock(gpu_lock)
    gc.freeze()  # all that was imported stays: it need not be searched again and again for garbage


def _receive(pipe: Connection) -> list[Shard] | None:
    try:
        return pipe.recv()
    except EOFError:
        return None


def _end_with_parent() -> None:
    """A parent that is killed sends no notice: without this, its workers would wait for it for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


class GpuLock:
    """A lock among processes, given to each as it starts; a file of memory alone, which is gone with the last of them."""

    def __init__(self, descriptor: int | None = None):
        self._descriptor = os.memfd_create("gpu") if descriptor is None else descriptor

    def __reduce__(self) -> tuple:
        return _inherit, (multiprocessing.reduction.DupFd(self._descriptor),)

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)  # not flock, which processes with the same descriptor hold together

    def __exit__(self, *error: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _inherit(descriptor: Any) -> GpuLock:
    return GpuLock(descriptor.detach())
