"""A Ray cluster renders: its tasks are shards. Ray is imported here alone, and only when a cluster is asked for.

The plan goes once into Ray's object store. A task writes its shard into the folder, which all nodes see, and returns only
who made it; the folder says what is there, as after any other render. The driver, which is the process of the command, holds
the lock of the folder.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dx7data.dataset.executors.local import log_written
from dx7data.errors import InputError, suggest_install
from dx7data.output import log
from dx7data.storage import LocalFolder

if TYPE_CHECKING:
    from dx7data.plan.plan import Plan
    from dx7data.plan.spec import Shard
    from dx7data.storage import Folder
    from dx7data.workers import Lock

_QUEUED = 10_000  # tasks that the cluster knows at once, for its autoscaler too; a plan may have a million shards
_LOST_WORKERS = 20  # of one task, after which it is given up: nodes may come and go, but a task takes only seconds
_ANSWER = 10.0  # seconds within which the address of a cluster has to answer; Ray itself would wait for minutes
_WHILE = 0.5  # seconds between two looks at what has ended
_STOP = 10.0  # seconds for tasks to leave after Ctrl-C, before Ray kills them


class _Made(NamedTuple):
    """What a task returns."""

    host: str
    node: str  # Ray's id of it, hexadecimal


def find_cluster(address: str | None) -> str:
    """The address of a cluster's head node: the one given, else that of RAY_ADDRESS.

    Raises InputError if Ray is not installed, if there is no address, or if nothing answers there. Ray's own search is not
    used: it finds clusters that have ended, too, and waits for them.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError(f"--executor ray needs Ray: {suggest_install('ray')}")
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        raise InputError("--executor ray needs a cluster: give the HOST:PORT of its head node as --ray-address")
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({error}): --ray-address is HOST:PORT of its head node, such as "
            "10.0.0.1:6379, and the command runs on a node of the cluster"
        ) from None
    return address


def render_shards(
    plan: Plan,
    shards: list[Shard],
    folder: Folder,
    progress: Callable[[int], None],
    address: str,
    workers: int | None,
    gpu: bool,
) -> str:
    """Render some shards of a plan into `folder`, which all nodes of a Ray cluster see.

    address: of its head node. workers: tasks at once, None for as many as there is room for. gpu: on GPUs, in turns of some
    processes each. Returns which nodes rendered how many shards, for the log. Raises InputError when a task fails, or when
    what it wrote is not seen here.
    """
    made = Counter[str]()
    with _connect(address) as ray, closing(_run_tasks(ray, plan, shards, folder, workers or _QUEUED, gpu)) as ended:
        for some, (host, node) in ended:
            name = f"{host}/{node[:8]}"
            if name not in made:
                _check_seen(plan, some, folder, host)
            made[name] += len(some)
            log_written(some)
            progress(sum(each.count for each in some))
    return f"ray ({', '.join(f'{count} on {node}' for node, count in sorted(made.items()))})"


@contextmanager
def _connect(address: str) -> Iterator[Any]:
    """The module `ray`, connected to a cluster, of which nothing but our own sentences comes to the terminal."""
    import ray

    answer = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError) as error:  # RuntimeError: other versions of Ray or Python there
        reason = " ".join(str(error).split())
        raise InputError(
            f"the Ray cluster at {address} can't be used: {reason}; one that asks for a token needs RAY_AUTH_MODE=token"
        ) from None
    signal.signal(signal.SIGTERM, answer)  # Ray has another, which ends with exit status 15
    try:
        yield ray
    finally:
        ray.shutdown()


def _run_tasks(
    ray: Any, plan: Plan, shards: list[Shard], folder: Folder, at_once: int, gpu: bool
) -> Generator[tuple[list[Shard], _Made]]:
    """The shards of each task as soon as it has ended, and who made them."""
    from dx7data.dataset.executors import local

    there = ray.cluster_resources()
    for kind in ["CPU", *["GPU"] * gpu]:
        if not there.get(kind):
            log.info(f"No node of the Ray cluster has a {kind} yet: waiting for one")
    share = 1 / local.WORKERS_OF_A_GPU if gpu else 0
    divided = local.divide_shards(plan, shards, max(1, round(there.get("GPU", 0) * local.WORKERS_OF_A_GPU)), gpu)
    options = {"num_cpus": 1, "num_gpus": share, "max_retries": _LOST_WORKERS, "scheduling_strategy": "SPREAD"}
    submit = partial(ray.remote(**options)(_render).remote, ray.put(plan), _make_absolute(folder), gpu, _get_versions())
    left, tasks = iter(divided), dict[Any, list]()
    try:
        while True:
            for some in islice(left, at_once - len(tasks)):
                tasks[submit(some)] = some
            if not tasks:
                return
            # All that end within a while, since to look at them takes time for each that has not ended.
            for done in ray.wait(list(tasks), num_returns=len(tasks), timeout=_WHILE)[0]:
                some = tasks.pop(done)
                yield some, _get_result(ray, done, some)
    finally:
        if tasks:  # after an error or Ctrl-C
            _cancel(ray, list(tasks))


def _make_absolute(folder: Folder) -> Folder:
    return LocalFolder(folder.path.absolute()) if isinstance(folder, LocalFolder) else folder


def _get_result(ray: Any, done: Any, some: list[Shard]) -> _Made:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError | OSError):
            raise error.cause from None
        if isinstance(error.cause, ImportError | ray.exceptions.RaySystemError):  # the latter where the plan can't be read
            reason = str(error.cause).splitlines()[0]
            raise InputError(f"a node of the Ray cluster can't begin: {reason}; install the same dx7data on all") from None
        raise
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{some[0].name} was given up after {_LOST_WORKERS + 1} lost workers, perhaps for want of memory: {reason}"
        ) from None


def _cancel(ray: Any, tasks: list) -> None:
    """Those that run are interrupted, and remove what they had begun to write.

    Quirk: Ray 2.60 may end the whole process when a task is cancelled that has just ended (a failed check in
    task_manager.cc, in 24 of 115 drivers whose tasks all failed at once; in none of 128 that left out the ended ones).
    """
    left = ray.wait(tasks, num_returns=len(tasks), timeout=0)[1]
    for each in reversed(left):  # those that wait first, lest they begin
        ray.cancel(each)
    ray.wait(left, num_returns=len(left), timeout=_STOP)


def _check_seen(plan: Plan, some: list[Shard], folder: Folder, host: str) -> None:
    """Raises InputError if what the first task of a node has written is not in the folder that the driver sees."""
    from dx7data.dataset import shard

    for each in some:
        if shard.read_stats(plan, each, folder) is None:
            raise InputError(
                f"{host} has written {each.name}, but {folder} does not show it here: all nodes of the cluster must share "
                "the folder"
            )


# --- What runs on a node ---


def _render(plan: Plan, folder: Folder, gpu: bool, versions: dict[str, str], shards: list[Shard]) -> _Made:
    """A task. Raises InputError and OSError as a render on this machine does."""
    import ray

    from dx7data.dataset import shard

    host = socket.gethostname()
    for name, version in _get_versions().items():
        if version != versions[name]:
            raise InputError(f"{host} has {name} {version}, the driver {versions[name]}: install the same on all nodes")
    if not folder.exists("dataset.json"):
        raise InputError(f"{folder} has no plan on {host}: all nodes of the cluster must share the folder")
    _prepare(gpu)
    shard.write_shards(plan, shards, folder, device="cuda:0" if gpu else "cpu")
    return _Made(host, ray.get_runtime_context().get_node_id())


def _get_versions() -> dict[str, str]:
    """Of what the bytes of shards and of their tables depend on."""
    import pyarrow

    import dx7data

    return {"dx7data": dx7data.__version__, "pyarrow": pyarrow.__version__}


@lru_cache(maxsize=1)
def _prepare(gpu: bool) -> None:
    """Once in each process of Ray's, which runs many tasks."""
    from dx7data.dataset import worker

    if gpu:
        from dx7data.engine.device import choose

        choose("cuda")  # Ray shows each process its own GPU alone
    worker.prepare(1, _open_gpu_lock() if gpu else None)


def _open_gpu_lock() -> Lock:
    """In common with the other processes on this GPU, which have no parent of ours: a file, which holds nothing."""
    from dx7data.workers import Lock

    name = f"dx7data-{os.geteuid()}-gpu-{os.environ.get('CUDA_VISIBLE_DEVICES', '0')}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    return Lock(os.open(Path(tempfile.gettempdir(), name), flags, 0o600))
