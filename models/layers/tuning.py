"""A quick start for Triton's kernels: mamba-ssm's are not tuned but given a configuration, and all are compiled together.

mamba-ssm lists 9 to 81 configurations for each of its kernels. Triton would compile them one after the other and time them:
more than 180 s before a first step on an H100.
"""

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

NARROW = 32  # the smallest side of a tile in mamba-ssm's lists
WARPS, STAGES = 4, 2
TILE = {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 64, "BLOCK_SIZE_K": 32, "CHUNK_SIZE": 64, "BLOCK_SIZE_H": 8, "BLOCK_SIZE": 512}


def choose_configurations(package: str) -> None:
    """Give each kernel of a package's imported modules that would be tuned the configuration that `nearest` chooses."""
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        for kernel in list(vars(sys.modules[name]).values()):
            if hasattr(kernel, "early_config_prune"):
                kernel.early_config_prune, kernel._do_bench = nearest, run_once


def run_once(call: Callable[[], object], quantiles: tuple[float, ...]) -> list[float]:
    """Instead of timing the only configuration."""
    call()
    return [0.0] * len(quantiles)


def nearest(configs: list, arguments: dict[str, Any], **constants: Any) -> list:
    """Of Triton's configurations the one nearest to TILE, in a list; a side along headdim is as narrow as that."""
    wanted = dict(TILE)
    # The kernels of Mamba2 name the sizes of their product in the order M, N, K.
    sides = [name for name in arguments if name in ("chunk_size", "hdim", "dstate")]
    for side, name in zip(("BLOCK_SIZE_M", "BLOCK_SIZE_N"), sides, strict=False):
        if name == "hdim":
            wanted[side] = min(wanted[side], max(NARROW, arguments[name]))

    def distance(config: Any) -> tuple:
        tile = sum(abs(math.log2(size / wanted[name])) for name, size in config.kwargs.items() if name in wanted)
        return tile, config.maxnreg is not None, abs(config.num_warps - WARPS), abs(config.num_stages - STAGES)

    return [min(configs, key=distance)]


class Compilers(ThreadPoolExecutor):
    """Threads that report(done, count) whenever one of their tasks is done."""

    def __init__(self, report: Callable[[int, int], None]):
        super().__init__(len(os.sched_getaffinity(0)))
        self._report, self._lock = report, threading.Lock()
        self._count = self._done = 0

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        with self._lock:
            self._count += 1
        future = super().submit(task, *arguments, **named)
        future.add_done_callback(self._add)
        return future

    def _add(self, _: Future) -> None:
        with self._lock:
            self._done += 1
            self._report(self._done, self._count)


@contextmanager
def compiling_only(executor: Executor) -> Iterator[None]:
    """What runs inside launches no kernel of Triton, so its numbers mean nothing; at the end these are compiled."""
    from triton.runtime._async_compile import AsyncCompileMode
    from triton.runtime.jit import JITFunction

    plain = JITFunction.run

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        return plain(self, *arguments, grid=grid, warmup=True, **named)

    with AsyncCompileMode(executor):
        JITFunction.run = compile_only
        try:
            yield
        finally:
            JITFunction.run = plain


def compile_ahead(act: Callable[[], object], report: Callable[[int, int], None]) -> None:
    """Compile what `act`, forward and backward, will launch, on all cores; its outputs and gradients mean nothing."""
    try:
        import torch
        from triton.runtime import _async_compile  # noqa: F401  (older versions of Triton have none)
    except ImportError:
        return
    # Backward in this thread: Triton keeps a mode of a thread.
    with Compilers(report) as compilers, torch.autograd.set_multithreading_enabled(False), compiling_only(compilers):
        act()
