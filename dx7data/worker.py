"""What runs in a worker process. The fork server imports it once, early, and hands it on to every worker, loaded."""

import gc
import signal

import numba
import numpy as np

from dx7data import gain, shard
from dx7data.engine import device

_progress = None  # the queue that takes counts of finished samples
_device = "cpu"

# A first call loads numba's machinery, a third of a second. This function starts no threads, which would not survive a fork.
gain.apply(np.zeros((1, 1), np.int32), "native")


def begin(progress, threads: int, devices, turns: dict) -> None:
    """Make this process ready for `work`. devices: a queue with one for each process; turns: of each device its lock."""
    global _progress, _device
    _progress, _device = progress, devices.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    numba.set_num_threads(threads)
    if _device != "cpu":
        device.take_turns(turns[_device])
    gc.freeze()  # all that was imported stays: it need not be searched again and again for garbage


def work(plan, shards, folder) -> None:
    """Render some shards."""
    shard.render(plan, shards, folder, _progress.put, _device)
