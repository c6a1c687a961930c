"""What runs in a worker process. The fork server imports it once, early, and hands it on to every worker, loaded."""

from __future__ import annotations

import gc
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

import numba
import numpy as np

from dx7data.audio import gain
from dx7data.dataset import shard
from dx7data.engine.device import use_gpu_lock
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.storage import Folder
from dx7data.workers import Lock, avoid_names, begin_child

# A first call loads numba's machinery, a third of a second. This function starts no threads, which would not survive a fork.
gain.apply(np.zeros((1, 1), np.int32), "native")


def run(pipe: Connection, plan: Plan, folder: Folder, threads: int, device: str, gpu_lock: Lock | None) -> None:
    """Render the shards that come through a pipe, some at a time, until it is closed.

    Back go the numbers of finished samples, None after each task, and the error that ends it.
    """
    begin_child()
    prepare(threads, gpu_lock)
    with suppress(ConnectionError):  # the parent is gone, or has had enough of an error of another worker
        try:
            while (shards := _receive(pipe)) is not None:
                shard.write_shards(plan, shards, folder, pipe.send, device)
                pipe.send(None)
        except Exception as error:
            error.add_note(traceback.format_exc())
            pipe.send(error)


def prepare(threads: int, gpu_lock: Lock | None) -> None:
    """Before the first shard of a process that does nothing but render."""
    avoid_names()
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
