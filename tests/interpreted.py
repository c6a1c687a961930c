"""Our Triton kernels as Triton's interpreter runs them: as Python, in a process of its own, which needs no GPU."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import pytest
import torch


@contextmanager
def start_interpreter():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("TRITON_INTERPRET", "1")  # Triton looks at it when kernels are defined, its own with its import
            pool.submit(interpret).result()  # the process begins here, and has it
        yield pool


def interpret():
    """In float32, in small tiles and short runs, so that small inputs have several of each."""
    from triton.runtime import interpreter

    from models.layers import (
        activation_kernel,
        convolution_kernel,
        long_convolution_kernel,
        norm_kernel,
        ssd_gradient_kernel,
        ssd_kernel,
        sums_kernel,
    )

    plain = interpreter._patch_lang_tensor

    def patch(tensor, scope):
        """The interpreter's scalars are arrays of one number, of which numpy 2.4 makes no index."""
        plain(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch
    convolution_kernel.RUN = 8
    for name in ("STEPS", "ROWS", "DEPTH", "TILE"):
        setattr(long_convolution_kernel, name, 16)
    long_convolution_kernel.TYPE = norm_kernel.TYPE = torch.float32
    norm_kernel.NUMBERS, activation_kernel.PROGRAMS = 64, 3
    norm_kernel.PROGRAMS = sums_kernel.PROGRAMS = 3
    sums_kernel.NUMBERS, sums_kernel.COLUMNS, sums_kernel.FEW_COLUMNS = 64, 16, 8
    ssd_kernel.CHUNK, ssd_kernel.COLUMNS, ssd_kernel.TOGETHER, ssd_gradient_kernel.FEW = 16, 32, 2, 16
