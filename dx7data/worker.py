"""What runs in a worker process. The fork server imports it once, early, and hands it on to every worker, loaded."""

import signal

import numba
import numpy as np

from dx7data import gain, shard

_progress = None  # the queue that takes counts of finished samples

# A first call loads numba's machinery, a third of a second. This function starts no threads, which would not survive a fork.
gain.apply(np.zeros((1, 1), np.int32), "native")


def begin(progress, threads: int) -> None:
    """Make this process ready for `work`."""
    global _progress
    _progress = progress
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    numba.set_num_threads(threads)


def work(plan, each, folder) -> None:
    """Render one shard."""
    shard.write(plan, each, folder, _progress.put)
