"""Triton kernels of GELU and GLU after a bias. Sums are in float32 and in the same order each time."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .long_convolution_kernel import gelu_slope, normal_below
from .norm_kernel import PROGRAMS, place, tile
from .sums_kernel import add_rows


def forward(z: Tensor, bias: Tensor, glu: bool) -> Tensor:
    """z (R, D) and bias (D) -> (R, D), of a GLU (R, D/2)."""
    rows, width = len(z), z.shape[1] // (1 + glu)
    y = torch.empty(rows, width, dtype=z.dtype, device=z.device)
    high, wide = tile(width)
    with torch.cuda.device_of(z):  # Triton launches on the current device, wherever the tensors are
        forward_kernel[(triton.cdiv(rows, high),)](z, bias, y, rows, width, glu, high, wide)
    return y


def backward(grad: Tensor, z: Tensor, bias: Tensor, glu: bool) -> tuple[Tensor, Tensor]:
    """Gradients of z in its type and of the bias in float32. On the device that is current."""
    rows, width = grad.shape
    high, wide = tile(width)
    tiles = triton.cdiv(rows, high)
    programs = min(PROGRAMS, tiles)
    grad_z, parts = torch.empty_like(z), torch.empty(programs, z.shape[1], device=z.device)
    turns = triton.cdiv(tiles, programs)
    backward_kernel[(programs,)](grad, z, bias, grad_z, parts, rows, width, turns, glu, high, wide)
    return grad_z, add_rows(parts)


@triton.jit
def read_biased(z, bias, at, column, within, width: tl.constexpr):
    shift = tl.load(bias + column, mask=column < width, other=0.0).to(tl.float32)
    return tl.load(z + at, mask=within, other=0.0).to(tl.float32) + shift[None, :]


@triton.jit(do_not_specialize=["rows"])
def forward_kernel(
    z,
    bias,
    y,
    rows,
    width: tl.constexpr,
    GLU: tl.constexpr,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
):
    row, column, at, within = place(tl.program_id(0), rows, width, HIGH, WIDE)
    if GLU:
        source = at + row.to(tl.int64)[:, None] * width  # rows of twice the width: values, then gates
        value = read_biased(z, bias, source, column, within, width)
        made = value * tl.sigmoid(read_biased(z + width, bias + width, source, column, within, width))
    else:
        value = read_biased(z, bias, at, column, within, width)
        made = value * normal_below(value)
    tl.store(y + at, made.to(y.dtype.element_ty), mask=within)


@triton.jit(do_not_specialize=["rows", "turns"])
def backward_kernel(
    grad,
    z,
    bias,
    grad_z,
    parts,
    rows,
    width: tl.constexpr,
    turns,
    GLU: tl.constexpr,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
):
    column = tl.arange(0, WIDE)
    of_values, of_gates = tl.zeros((WIDE,), tl.float32), tl.zeros((WIDE,), tl.float32)
    for turn in range(0, turns):
        row, _, at, within = place(tl.program_id(0) + turn * tl.num_programs(0), rows, width, HIGH, WIDE)
        slope = tl.load(grad + at, mask=within, other=0.0).to(tl.float32)
        if GLU:
            source = at + row.to(tl.int64)[:, None] * width
            value = read_biased(z, bias, source, column, within, width)
            open = tl.sigmoid(read_biased(z + width, bias + width, source, column, within, width))
            of_gate = slope * value * open * (1.0 - open)
            slope *= open
            of_gates += tl.sum(of_gate, 0)
            tl.store(grad_z + source + width, of_gate.to(grad_z.dtype.element_ty), mask=within)
        else:
            source = at
            value = read_biased(z, bias, at, column, within, width)
            slope *= gelu_slope(value)
        of_values += tl.sum(slope, 0)
        tl.store(grad_z + source, slope.to(grad_z.dtype.element_ty), mask=within)
    part = parts + tl.program_id(0).to(tl.int64) * (2 * width if GLU else width) + column
    tl.store(part, of_values, mask=column < width)
    if GLU:
        tl.store(part + width, of_gates, mask=column < width)
