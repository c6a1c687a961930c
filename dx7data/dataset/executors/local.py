"""The processes of this machine render: a whole shard each, on a GPU some shards at once.

Several processes share a GPU: while it renders for one of them, the others compose, hash and write, which takes
longer. The imports that take time are inside the functions: `start_early` comes before them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import connection
from typing import TYPE_CHECKING

from dx7data.errors import InputError
from dx7data.output import log
from dx7data.workers import METHOD, preload

if TYPE_CHECKING:
    from dx7data.plan.plan import Plan
    from dx7data.plan.spec import Shard
    from dx7data.storage import Folder

WORKERS_OF_A_GPU = 8  # at most, unless more are asked for: each takes half a gigabyte of it for itself
CPU = ("cpu",)


def count_workers(devices: tuple[str, ...] = CPU) -> int:
    """The cores that this process may use, or as many as keep the GPUs busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if devices == CPU else max(len(devices), min(cores, WORKERS_OF_A_GPU * len(devices)))


def start_early(workers: int, gpu: bool) -> None:
    """Begin to load what workers need, perhaps on a GPU, in a process beside this one, while this one makes the plan."""
    if workers > 1 and METHOD == "forkserver":
        preload("dx7data.dataset.worker", "pyarrow.parquet", *["dx7data.audio.clips_cuda"] * gpu)


def render_shards(
    plan: Plan, shards: list, folder: Folder, progress: Callable[[int], None], workers: int, devices: tuple[str, ...] = CPU
) -> str:
    """Render some shards of a plan into `folder`; each worker gets one of the devices, in order.

    With one worker or shard, this process does it, with all its threads. Returns the devices, for the log. Raises
    InputError when a GPU fails.
    """
    from dx7data.dataset import shard

    if devices != CPU:
        workers = max(workers, len(devices))
    tasks = divide_shards(plan, shards, workers, devices != CPU)
    workers = min(workers, len(tasks))
    if workers > 1:
        _use_processes(plan, tasks, folder, workers, progress, devices)
    else:
        for some in tasks:
            shard.write_shards(plan, some, folder, progress, devices[0])
            log_written(some)
    return ",".join(devices)


def log_written(shards: list[Shard]) -> None:
    """A line each, with -v."""
    for each in shards:
        log.debug(f"{each.name} is written")


def divide_shards(plan: Plan, shards: list, workers: int, gpu: bool) -> list[list]:
    """The shards of each task: one, or as many as a GPU renders at once, in all tasks alike, so that they end together."""
    together = 1
    if gpu:
        from dx7data.dataset import shard

        maximum = max(1, shard.gpu_batch_size(plan) // plan.spec.shard_samples)
        rounds = max(1, -(-len(shards) // (workers * maximum)))
        together = max(1, -(-len(shards) // (workers * rounds)))
    return [shards[i : i + together] for i in range(0, len(shards), together)]


def _use_processes(
    plan: Plan, tasks: list[list], folder: Folder, workers: int, progress: Callable[[int], None], devices: tuple[str, ...]
) -> None:
    """Through pipes alone: queues and locks of multiprocessing have names, which stay when this process is killed."""
    from dx7data.dataset import worker
    from dx7data.workers import Lock

    context = multiprocessing.get_context(METHOD)
    threads, gpu_locks = max(1, count_workers() // workers), {each: Lock() for each in devices if each != "cpu"}
    left, processes, tasks_of = iter(tasks), [], dict[connection.Connection, deque[list]]()
    try:
        for i in range(workers):
            pipe, theirs = context.Pipe()
            device = devices[i % len(devices)]
            arguments = (theirs, plan, folder, threads, device, gpu_locks.get(device))
            process = context.Process(target=worker.run, args=arguments, daemon=True)  # type: ignore[attr-defined]
            process.start()
            processes.append(process)
            theirs.close()
            tasks_of[pipe] = deque()
        for pipe in [*tasks_of] * 2:  # while one is rendered, the next one waits
            _submit(pipe, left, tasks_of)
        while tasks_of:
            for pipe in connection.wait(list(tasks_of)):  # type: ignore[assignment]  # they are what it was given
                message = pipe.recv()
                if isinstance(message, Exception):
                    raise message
                if message is not None:
                    progress(message)
                    continue
                log_written(tasks_of[pipe].popleft())  # a worker does its tasks in order
                _submit(pipe, left, tasks_of)
                if not tasks_of[pipe]:
                    del tasks_of[pipe]
                    pipe.close()  # which ends the worker
    except (EOFError, ConnectionError):
        raise InputError(
            "a worker was killed, perhaps for want of memory; the same command goes on, best with fewer --workers"
        ) from None
    finally:
        for pipe in tasks_of:  # after an error or Ctrl-C: the others have no time to end their shards
            pipe.close()
        for process in processes:
            if tasks_of:
                process.terminate()
            process.join()


def _submit(pipe: connection.Connection, left: Iterator[list], tasks_of: dict[connection.Connection, deque[list]]) -> None:
    """Give a worker one more task, if one is left. If it has failed meanwhile, the next that it says is why."""
    if (task := next(left, None)) is not None:
        with suppress(ConnectionError):
            pipe.send(task)
        tasks_of[pipe].append(task)
