"""Triton kernels of a residual sum with the LayerNorm after it, and of a gated RMSNorm.

Sums are in float32 and in the same order each time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .sums_kernel import add_rows

NUMBERS = 8192  # of a tile: a few rows of D
PROGRAMS = 264  # at most, of the backward pass, each with its part of the gradients of weight and bias
TYPE = torch.bfloat16  # of what is normed


def tile(width: int) -> tuple[int, int]:
    """Rows and columns of a tile."""
    columns = triton.next_power_of_2(width)
    return max(1, NUMBERS // columns), columns


def forward(x: Tensor, y: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x + y (R, D) in float32, its LayerNorm in bfloat16, and of each row mean and 1 / deviation (R, 2)."""
    rows, width = x.shape
    whole = x if y is None else torch.empty_like(x)
    normed = torch.empty(x.shape, dtype=TYPE, device=x.device)
    moments = torch.empty(rows, 2, device=x.device)
    high, wide = tile(width)
    with torch.cuda.device_of(x):  # Triton launches on the current device, wherever the tensors are
        forward_kernel[(triton.cdiv(rows, high),)](x, y, weight, bias, whole, normed, moments, eps, rows, width, high, wide)
    return whole, normed, moments


def backward(
    grad_whole: Tensor | None,
    grad_normed: Tensor,
    whole: Tensor,
    weight: Tensor,
    moments: Tensor,
    y_type: torch.dtype | None,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Gradients of x, of y in its type, of weight and of bias. On the device that is current."""
    rows, width = whole.shape
    high, wide = tile(width)
    tiles = triton.cdiv(rows, high)
    programs = min(PROGRAMS, tiles)
    grad_x = torch.empty_like(whole)
    grad_y = None if y_type in (None, whole.dtype) else torch.empty(whole.shape, dtype=y_type, device=whole.device)
    parts = torch.empty(programs, 2, width, device=whole.device)
    sizes = rows, width, triton.cdiv(tiles, programs), high, wide
    backward_kernel[(programs,)](grad_whole, grad_normed, whole, weight, moments, grad_x, grad_y, parts, *sizes)
    grad_weight, grad_bias = add_rows(parts)
    return grad_x, grad_x if y_type == whole.dtype else grad_y, grad_weight, grad_bias


def gated_forward(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x silu(gate) (R, D), normed, in the type of x; and of each row 1 / its root mean square (R). Its rows may be apart."""
    rows, width = x.shape
    y, scales = torch.empty_like(x), torch.empty(rows, device=x.device)
    high, wide = tile(width)
    with torch.cuda.device_of(x):  # Triton launches on the current device, wherever the tensors are
        gated_forward_kernel[(triton.cdiv(rows, high),)](
            x, gate, weight, y, scales, eps, rows, gate.stride(0), width, high, wide
        )
    return y, scales


def gated_backward(
    grad: Tensor, grad_gate: Tensor, x: Tensor, gate: Tensor, weight: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor]:
    """Writes the gradient of the gate, whose rows may be apart; gives those of x and of the weight. On the device that is
    current."""
    rows, width = x.shape
    high, wide = tile(width)
    tiles = triton.cdiv(rows, high)
    programs = min(PROGRAMS, tiles)
    grad_x, parts = torch.empty_like(x), torch.empty(programs, width, device=x.device)
    sizes = rows, gate.stride(0), grad_gate.stride(0), width, triton.cdiv(tiles, programs), high, wide
    gated_backward_kernel[(programs,)](grad, x, gate, weight, scales, grad_x, grad_gate, parts, *sizes)
    return grad_x, add_rows(parts)


@triton.jit
def place(tile, rows, width: tl.constexpr, HIGH: tl.constexpr, WIDE: tl.constexpr):
    """Rows, columns, offsets of (HIGH, WIDE), and which are within the tensor."""
    row, column = tile * HIGH + tl.arange(0, HIGH), tl.arange(0, WIDE)
    within = (row < rows)[:, None] & (column < width)[None, :]
    return row, column, row.to(tl.int64)[:, None] * width + column[None, :], within


@triton.jit(do_not_specialize=["rows"])
def forward_kernel(
    x,
    y,
    weight,
    bias,
    whole,
    normed,
    moments,
    eps,
    rows,
    width: tl.constexpr,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
):
    row, column, at, within = place(tl.program_id(0), rows, width, HIGH, WIDE)
    total = tl.load(x + at, mask=within, other=0.0).to(tl.float32)
    if y is not None:
        total += tl.load(y + at, mask=within, other=0.0).to(tl.float32)
        tl.store(whole + at, total, mask=within)
    mean = tl.sum(total, 1) / width
    apart = tl.where(within, total - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(apart * apart, 1) / width + eps)
    gain = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=column < width, other=0.0).to(tl.float32)
    made = apart * scale[:, None] * gain[None, :] + shift[None, :]
    tl.store(normed + at, made.to(normed.dtype.element_ty), mask=within)
    tl.store(moments + 2 * row.to(tl.int64), mean, mask=row < rows)
    tl.store(moments + 2 * row.to(tl.int64) + 1, scale, mask=row < rows)


@triton.jit(do_not_specialize=["rows", "turns"])
def backward_kernel(
    grad_whole,
    grad_normed,
    whole,
    weight,
    moments,
    grad_x,
    grad_y,
    parts,
    rows,
    width: tl.constexpr,
    turns,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
):
    column = tl.arange(0, WIDE)
    gain = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    of_weight, of_bias = tl.zeros((WIDE,), tl.float32), tl.zeros((WIDE,), tl.float32)
    for turn in range(0, turns):
        row, _, at, within = place(tl.program_id(0) + turn * tl.num_programs(0), rows, width, HIGH, WIDE)
        mean = tl.load(moments + 2 * row.to(tl.int64), mask=row < rows, other=0.0)
        scale = tl.load(moments + 2 * row.to(tl.int64) + 1, mask=row < rows, other=0.0)
        total = tl.load(whole + at, mask=within, other=0.0).to(tl.float32)
        slope = tl.load(grad_normed + at, mask=within, other=0.0).to(tl.float32)
        unit = tl.where(within, (total - mean[:, None]) * scale[:, None], 0.0)
        of_weight += tl.sum(slope * unit, 0)
        of_bias += tl.sum(slope, 0)
        slope *= gain[None, :]
        along = tl.sum(slope * unit, 1) / width
        made = (slope - tl.sum(slope, 1)[:, None] / width - unit * along[:, None]) * scale[:, None]
        if grad_whole is not None:
            made += tl.load(grad_whole + at, mask=within, other=0.0)
        tl.store(grad_x + at, made, mask=within)
        if grad_y is not None:
            tl.store(grad_y + at, made.to(grad_y.dtype.element_ty), mask=within)
    part = parts + tl.program_id(0).to(tl.int64) * 2 * width + column
    tl.store(part, of_weight, mask=column < width)
    tl.store(part + width, of_bias, mask=column < width)


@triton.jit(do_not_specialize=["rows"])
def gated_forward_kernel(
    x,
    gate,
    weight,
    y,
    scales,
    eps,
    rows,
    gate_stride,
    width: tl.constexpr,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
):
    row, column, at, within = place(tl.program_id(0), rows, width, HIGH, WIDE)
    door = row.to(tl.int64)[:, None] * gate_stride + column[None, :]
    opened = tl.load(gate + door, mask=within, other=0.0).to(tl.float32)
    value = tl.load(x + at, mask=within, other=0.0).to(tl.float32) * opened * tl.sigmoid(opened)
    scale = 1.0 / tl.sqrt(tl.sum(value * value, 1) / width + eps)
    gain = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    tl.store(y + at, (value * scale[:, None] * gain[None, :]).to(y.dtype.element_ty), mask=within)
    tl.store(scales + row, scale, mask=row < rows)


@triton.jit(do_not_specialize=["rows", "turns"])
def gated_backward_kernel(
    grad,
    x,
    gate,
    weight,
    scales,
    grad_x,
    grad_gate,
    parts,
    rows,
    gate_stride,
    made_stride,
    width: tl.constexpr,
    turns,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
):
    column = tl.arange(0, WIDE)
    gain = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    of_weight = tl.zeros((WIDE,), tl.float32)
    for turn in range(0, turns):
        row, _, at, within = place(tl.program_id(0) + turn * tl.num_programs(0), rows, width, HIGH, WIDE)
        door = row.to(tl.int64)[:, None] * gate_stride + column[None, :]
        opened = tl.load(gate + door, mask=within, other=0.0).to(tl.float32)
        part = tl.sigmoid(opened)
        plain = tl.load(x + at, mask=within, other=0.0).to(tl.float32)
        scale = tl.load(scales + row, mask=row < rows, other=0.0)[:, None]
        unit = plain * opened * part * scale
        slope = tl.load(grad + at, mask=within, other=0.0).to(tl.float32)
        of_weight += tl.sum(slope * unit, 0)
        slope *= gain[None, :]
        made = (slope - unit * (tl.sum(slope * unit, 1) / width)[:, None]) * scale
        tl.store(grad_x + at, (made * opened * part).to(grad_x.dtype.element_ty), mask=within)
        made *= plain * part * (1.0 + opened * (1.0 - part))
        door = row.to(tl.int64)[:, None] * made_stride + column[None, :]
        tl.store(grad_gate + door, made.to(grad_gate.dtype.element_ty), mask=within)
    tl.store(parts + tl.program_id(0).to(tl.int64) * width + column, of_weight, mask=column < width)
