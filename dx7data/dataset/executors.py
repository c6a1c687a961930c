"""Who renders which shard: the processes of this machine, a whole shard each, on a GPU some shards at once.

Shards are independent and always the same, so who makes one, when, and how often does not matter. Several processes take
turns on a GPU: while it renders for one of them, the others compose, hash and write, which takes longer. The imports that
take time are inside the functions: `start_early` comes before them.
"""

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from dx7data.errors import InputError

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_WORKERS_OF_A_GPU = 8  # at most, unless more are asked for: each takes half a gigabyte of it for itself
CPU = ("cpu",)


def count_workers(devices: tuple[str, ...] = CPU) -> int:
    """The cores that this process may use, or as many as keep the GPUs busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if devices == CPU else max(len(devices), min(cores, _WORKERS_OF_A_GPU * len(devices)))


def start_early(workers: int, gpu: bool) -> None:
    """Begin to load what workers need, perhaps on a GPU, in a process beside this one, while this one makes the plan."""
    if workers > 1 and _METHOD == "forkserver":
        from multiprocessing import forkserver, resource_tracker

        # Neither talks to the GPU's driver, which would not survive a fork.
        modules = ["dx7data.dataset.worker", "pyarrow.parquet", *["dx7data.audio.clips_cuda"] * gpu]
        multiprocessing.set_forkserver_preload(modules)
        # What that process starts with, it keeps, and so do its workers: Ctrl-C is for this one to answer.
        resource_tracker.ensure_running()  # first: it unblocks the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def render_shards(
    plan, shards: list, folder: Path, workers: int, progress: Callable[[int], None], devices: tuple[str, ...] = CPU
) -> None:
    """Render some shards of a plan into `folder`; each worker gets one of the devices, in order.

    With one worker or shard, this process does it, with all its threads. Raises InputError when a GPU fails.
    """
    from dx7data.dataset import shard

    together = 1
    if devices != CPU:
        workers = max(workers, len(devices))
        maximum = max(1, shard.gpu_batch_size(plan) // plan.spec.shard_samples)
        rounds = max(1, -(-len(shards) // (workers * maximum)))
        together = max(1, -(-len(shards) // (workers * rounds)))  # the same for all, so that they end together
    tasks = [shards[i : i + together] for i in range(0, len(shards), together)]
    workers = min(workers, len(tasks))
    if workers > 1:
        _use_processes(plan, tasks, folder, workers, progress, devices)
        return
    for some in tasks:
        shard.write_shards(plan, some, folder, progress, devices[0])


def _use_processes(
    plan, tasks: list[list], folder: Path, workers: int, progress: Callable[[int], None], devices: tuple[str, ...]
) -> None:
    from dx7data.dataset import worker

    context = multiprocessing.get_context(_METHOD)
    done, places = context.Queue(), context.Queue()
    for i in range(workers):
        places.put(devices[i % len(devices)])
    threads, gpu_locks = max(1, count_workers() // workers), {each: context.Lock() for each in devices}
    pool = ProcessPoolExecutor(workers, context, initializer=worker.start, initargs=(plan, done, threads, places, gpu_locks))
    try:
        left = iter(tasks)  # few are submitted at a time: to wait for all of them takes as long as there are many
        pending = {pool.submit(worker.render_shards, some, folder) for some in islice(left, 2 * workers)}
        while pending:
            finished, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
            _drain(done, progress)
            for future in finished:
                future.result()
            pending |= {pool.submit(worker.render_shards, some, folder) for some in islice(left, len(finished))}
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
