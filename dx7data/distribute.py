"""Who renders which shard: the processes of this machine, a whole shard each.

Shards are independent and always the same, so who makes one, when, and how often does not matter. The imports that take
time are inside the functions: `start_early` comes before them.
"""

import multiprocessing
import os
import queue
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from dx7data.errors import InputError

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def default_workers() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_early(workers: int) -> None:
    """Begin to load what workers need, in a process beside this one, while this one makes the plan."""
    if workers > 1 and _METHOD == "forkserver":
        from multiprocessing import forkserver

        multiprocessing.set_forkserver_preload(["dx7data.worker", "pyarrow.parquet"])
        forkserver.ensure_running()


def render(plan, shards: list, folder: Path, workers: int, progress: Callable[[int], None]) -> None:
    """Render some shards of a plan into `folder`. With one worker or shard, this process does it, with all its threads."""
    workers = min(workers, len(shards))
    if workers > 1:
        _in_processes(plan, shards, folder, workers, progress)
        return
    from dx7data import shard

    for each in shards:
        shard.write(plan, each, folder, progress)


def _in_processes(plan, shards: list, folder: Path, workers: int, progress: Callable[[int], None]) -> None:
    from dx7data import worker

    context = multiprocessing.get_context(_METHOD)
    done = context.Queue()
    threads = max(1, default_workers() // workers)
    pool = ProcessPoolExecutor(workers, context, initializer=worker.begin, initargs=(done, threads))
    try:
        pending = {pool.submit(worker.work, plan, each, folder) for each in shards}
        while pending:
            finished, pending = wait(pending, timeout=0.1)
            _drain(done, progress)
            for future in finished:
                future.result()
        _drain(done, progress)
    except BrokenProcessPool:
        raise InputError(
            "a worker was killed, perhaps for want of memory; the same command goes on, best with fewer --workers"
        ) from None
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
