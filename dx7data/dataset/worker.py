"""What runs in a worker process. The fork server imports it once, early, and hands it on to every worker, loaded."""

import gc
import multiprocessing
import os
import signal
import threading

import numba
import numpy as np

from dx7data.audio import gain
from dx7data.dataset import shard
from dx7data.engine import device

_plan = None
_progress = None  # the queue that takes counts of finished samples
_device = "cpu"

# A first call loads numba's machinery, a third of a second. This function starts no threads, which would not survive a fork.
gain.apply(np.zeros((1, 1), np.int32), "native")


def start(plan, progress, threads: int, devices, gpu_locks: dict) -> None:
    """Make this process ready for `render_shards`. devices: a queue with one for each process; gpu_locks: by device."""
    global _plan, _progress, _device
    _plan, _progress, _device = plan, progress, devices.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # the latter: what the environment allows
    if _device != "cpu":
        device.use_gpu_lock(gpu_locks[_device])
    gc.freeze()  # all that was imported stays: it need not be searched again and again for garbage


def _end_with_parent() -> None:
    """A parent that is killed sends no notice: without this, its workers would wait for it for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def render_shards(shards, folder) -> None:
    """Render some shards."""
    shard.write_shards(_plan, shards, folder, _progress.put, _device)
