"""Kernels are compiled side by side before they run, in one configuration; the compiler needs no GPU."""

import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="torch has no Triton on this machine")

import triton

from models.layers.tuning import nearest

SIZES = [(64, 128), (128, 64), (64, 64), (64, 32), (32, 64)]
CONFIGS = [triton.Config({"BLOCK_SIZE_M": m, "BLOCK_SIZE_N": n}, num_warps=w) for m, n in SIZES for w in (8, 4)]

SCRIPT = """
import os
from types import SimpleNamespace

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

driver.set_active(SimpleNamespace(
    get_current_target=lambda: GPUTarget("cuda", 90, 32), get_current_device=lambda: 0, get_current_stream=lambda device: 0
))
from models.layers import tuning
from models.layers.norm import AddNorm

norm, reports = torch.nn.LayerNorm(16), []

def act():
    x = torch.ones(2, 3, 16, requires_grad=True)
    _, normed = AddNorm.apply(x, None, norm.weight, norm.bias, norm.eps)
    normed.sum().backward()

tuning.compile_ahead(act, lambda done, count: reports.append((done, count)))
assert sorted(reports)[-1] == (3, 3), reports
kept = [name for _, _, names in os.walk(os.environ["TRITON_CACHE_DIR"]) for name in names]
assert {"forward_kernel.cubin", "backward_kernel.cubin", "add_kernel.cubin"} <= set(kept), kept
"""


@pytest.mark.parametrize(
    ("arguments", "tile"),
    [
        ({"chunk_size": 256, "hdim": 16, "dstate": 64}, (64, 32)),
        ({"hdim": 16, "dstate": 64, "chunk_size": 256}, (32, 64)),
        ({"chunk_size": 256, "dstate": 64, "hdim": 16}, (64, 64)),
        ({"chunk_size": 256, "hdim": 64, "dstate": 64}, (64, 64)),
        ({"K": 64}, (64, 64)),
    ],
    ids=str,
)
def test_configuration(arguments, tile):
    (chosen,) = nearest(CONFIGS, arguments, STRIDE=1)
    assert tuple(chosen.kwargs.values()) == tile
    assert chosen.num_warps == 4


def test_compiles_without_running(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
