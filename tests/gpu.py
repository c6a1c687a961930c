"""A GPU for tests: the one that is there, or numba's simulator, in which nothing is compiled."""

import os
import subprocess
import sys

import pytest

from dx7data.engine import device


def has_gpu() -> bool:
    try:
        return device.choose("auto") is not None
    except ImportError:
        return False


needs_gpu = pytest.mark.skipif(not has_gpu(), reason="needs a GPU that numba-cuda can use")

SIMULATOR = """
import sys
from types import SimpleNamespace

import numpy as np
from numba import cuda
from numba.cuda.simulator.cudadrv.devices import FakeCUDAContext
from numba.cuda.simulator.kernelapi import FakeCUDAModule

# What the simulator lacks: a barrier of a warp, which is one of the block when that is one warp; memory that is freed late;
# options of the compiler.
FakeCUDAModule.syncwarp = FakeCUDAModule.syncthreads
FakeCUDAContext.deallocations = SimpleNamespace(clear=lambda: None)
jit = cuda.jit
cuda.jit = lambda f=None, device=False, **_: jit(f, device=device) if f else lambda f: jit(f, device=device)

from dx7data.engine import cuda as driver, cuda_synthesis, render

np.seterr(over="ignore")  # int32 wraps, on purpose
cuda_synthesis.THREADS = driver._CONTROL_THREADS = 32
driver._CLEAR_BLOCKS = 1
driver.is_usable = lambda number: True
plain = render.make_increment_table
render.make_increment_table = lambda rate: plain(rate).astype(np.int64)  # a compiler would widen it by itself
"""


def simulate(script, *arguments):
    """Run a script, after SIMULATOR, where numba simulates a GPU and compiles nothing."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", SIMULATOR + script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
