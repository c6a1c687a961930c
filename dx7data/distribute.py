"""Who renders which shard: the processes of this machine, a whole shard each.

Shards are independent and always the same, so who makes one, when, and how often does not matter.
"""

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numba

from dx7data import shard
from dx7data.errors import InputError
from dx7data.plan import Plan, Shard

_progress = None  # in a worker: the queue that takes counts of finished samples


def default_workers() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_early(workers: int) -> None:
    """Begin to load what workers need, in a process beside this one; worth it before this one plans."""
    if workers > 1 and "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        multiprocessing.set_forkserver_preload(["dx7data.shard", "pyarrow.parquet"])
        forkserver.ensure_running()


def render(plan: Plan, shards: list[Shard], folder: Path, workers: int, progress: Callable[[int], None]) -> None:
    """Render `shards` into `folder`. With one worker, or one shard, this process does it, with numba's threads."""
    workers = min(workers, len(shards))
    if workers <= 1:
        for each in shards:
            shard.write(plan, each, folder, progress)
        return
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    done = context.Queue()
    threads = max(1, default_workers() // workers)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(done, threads))
    try:
        futures = [pool.submit(_work, plan, each, folder) for each in shards]
        pending = set(futures)
        while pending:
            finished, pending = wait(pending, timeout=0.1)
            _drain(done, progress)
            for future in finished:
                future.result()
        _drain(done, progress)
    except BrokenProcessPool:
        raise InputError("a worker was killed, perhaps for want of memory; the same command goes on, best with fewer --workers") from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _drain(done, progress: Callable[[int], None]) -> None:
    while True:
        try:
            progress(done.get_nowait())
        except queue.Empty:
            return


def _begin(done, threads: int) -> None:
    global _progress
    _progress = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    numba.set_num_threads(threads)


def _work(plan: Plan, each: Shard, folder: Path) -> None:
    shard.write(plan, each, folder, _progress.put)
