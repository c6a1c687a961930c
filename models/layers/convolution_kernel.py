"""Triton kernels of the short convolution. Sums are in float32, whatever the tensors are, and in the same order each time.

The channels are last, as projections leave them, so a slice of a projection's output needs no copy. A warp walks along its
run of steps and keeps the last inputs in registers: each is read once. Back along the same way go all three gradients.
Shape letters: B batch, L steps, E channels, W width.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .sums_kernel import add_rows

RUN = 64  # steps of a run
RUNS, CHANNELS = 4, 32  # of a block: a run for each of its four warps, a channel for each thread
AHEAD = tl.constexpr(4)  # steps that are read before the first of them is needed


def grid(batch: int, length: int, channels: int) -> tuple[int, int]:
    return batch * triton.cdiv(length, RUN * RUNS), triton.cdiv(channels, CHANNELS)


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """silu(bias + convolution): x (B, L, E) with channels side by side, weight (E, W), bias (E) -> (B, L, E)."""
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    sizes = x.shape[1], x.stride(0), x.stride(1), x.shape[2], weight.shape[1], RUN, RUNS, CHANNELS
    with torch.cuda.device_of(x):  # Triton launches on the current device, wherever the tensors are
        forward_kernel[grid(*x.shape)](x, weight, bias, y, *sizes)
    return y


def backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, grad_x: Tensor) -> tuple[Tensor, Tensor]:
    """Writes the gradient of x, gives those of weight and bias; `grad` (B, L, E) is contiguous. On the current device."""
    width, blocks = weight.shape[1], grid(*x.shape)
    parts = torch.empty(blocks[0], width + 1, x.shape[2], device=x.device)
    strides = x.stride(0), grad_x.stride(0), x.stride(1), grad_x.stride(1)
    sizes = x.shape[1], *strides, x.shape[2], width, RUN, RUNS, CHANNELS
    backward_kernel[blocks](grad, x, weight, bias, grad_x, parts, *sizes)
    parts = add_rows(parts)
    return parts[:width].mT, parts[width]


@triton.jit
def block(length, RUN: tl.constexpr, RUNS: tl.constexpr, CHANNELS: tl.constexpr):
    """This program's item of the batch, the first steps of its runs, and its channels."""
    blocks = tl.cdiv(length, RUN * RUNS)
    first = (tl.program_id(0) % blocks * RUNS + tl.arange(0, RUNS)) * RUN
    return (tl.program_id(0) // blocks).to(tl.int64), first, tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)


@triton.jit
def place(item, step, channel, length, channels, item_stride, step_stride):
    """Offsets of (RUNS, CHANNELS), and which are within the tensor."""
    within = ((step >= 0) & (step < length))[:, None] & (channel < channels)[None, :]
    return item * item_stride + step[:, None] * step_stride + channel[None, :], within


@triton.jit
def read(x, item, first, COUNT: tl.constexpr, channel, length, channels, item_stride, step_stride):
    """COUNT steps from the first on, each (RUNS, CHANNELS); zeros before the sequence and after it."""
    steps = ()
    for i in tl.static_range(COUNT):
        at, within = place(item, first + i, channel, length, channels, item_stride, step_stride)
        steps += (tl.load(x + at, mask=within, other=0.0).to(tl.float32),)  # type: ignore[assignment]  # tuples of Triton grow
    return steps


@triton.jit
def read_columns(table, COUNT: tl.constexpr, channel, channels):
    """COUNT numbers of each channel, from a table (E, COUNT), as columns of (1, CHANNELS)."""
    found = ()
    for i in tl.static_range(COUNT):
        found += (tl.load(table + channel * COUNT + i, mask=channel < channels, other=0.0).to(tl.float32)[None, :],)  # type: ignore[assignment]  # tuples of Triton grow
    return found


@triton.jit
def convolve(seen, taps, start, bias, WIDTH: tl.constexpr):
    total = seen[start] * taps[0]
    for tap in tl.static_range(1, WIDTH):
        total += seen[start + tap] * taps[tap]
    return total if bias is None else total + bias[0]


@triton.jit
def zeros(COUNT: tl.constexpr, RUNS: tl.constexpr, CHANNELS: tl.constexpr):
    made = ()
    for _ in tl.static_range(COUNT):
        made += (tl.zeros((RUNS, CHANNELS), tl.float32),)  # type: ignore[assignment]  # tuples of Triton grow
    return made


# Compiled for each layer's sizes, but once for all lengths.


@triton.jit(do_not_specialize=["length"])
def forward_kernel(
    x,
    weight,
    bias,
    y,
    length,
    item_stride,
    step_stride: tl.constexpr,
    channels: tl.constexpr,
    WIDTH: tl.constexpr,
    RUN: tl.constexpr,
    RUNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    item, first, channel = block(length, RUN, RUNS, CHANNELS)
    taps = read_columns(weight, WIDTH, channel, channels)
    offset = None if bias is None else read_columns(bias, 1, channel, channels)
    past = read(x, item, first - (WIDTH - 1), WIDTH - 1, channel, length, channels, item_stride, step_stride)
    for step in range(0, RUN, AHEAD):
        seen = past + read(x, item, first + step, AHEAD, channel, length, channels, item_stride, step_stride)
        for i in tl.static_range(AHEAD):
            total = convolve(seen, taps, i, offset, WIDTH)
            at, within = place(item, first + step + i, channel, length, channels, length * channels, channels)
            tl.store(y + at, (total * tl.sigmoid(total)).to(y.dtype.element_ty), mask=within)
        past = seen[AHEAD:]


@triton.jit(do_not_specialize=["length"])
def backward_kernel(
    grad,
    x,
    weight,
    bias,
    grad_x,
    parts,
    length,
    item_stride,
    made_item_stride,
    step_stride: tl.constexpr,
    made_step_stride: tl.constexpr,
    channels: tl.constexpr,
    WIDTH: tl.constexpr,
    RUN: tl.constexpr,
    RUNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """The gradient of x, and this block's part of those of weight and bias, (W + 1, E) of (blocks, W + 1, E).

    An input is heard for W - 1 more steps: so far a run goes beyond its end, into what others count as theirs.
    """
    item, first, channel = block(length, RUN, RUNS, CHANNELS)
    taps = read_columns(weight, WIDTH, channel, channels)
    offset = None if bias is None else read_columns(bias, 1, channel, channels)
    past = read(x, item, first - (WIDTH - 1), WIDTH - 1, channel, length, channels, item_stride, step_stride)
    slopes = zeros(WIDTH - 1, RUNS, CHANNELS)  # gradients before SiLU
    sums = zeros(WIDTH + 1, RUNS, CHANNELS)
    for step in range(0, RUN + WIDTH - 1, AHEAD):
        seen = past + read(x, item, first + step, AHEAD, channel, length, channels, item_stride, step_stride)
        grads = read(grad, item, first + step, AHEAD, channel, length, channels, length * channels, channels)
        for i in tl.static_range(AHEAD):
            total = convolve(seen, taps, i, offset, WIDTH)
            sigmoid = tl.sigmoid(total)
            slope = grads[i] * sigmoid * (1.0 + total * (1.0 - sigmoid))
            slopes += (slope,)
            counted = tl.where(step + i < RUN, slope, 0.0)
            more = ()
            for tap in tl.static_range(WIDTH):
                more += (sums[tap] + counted * seen[i + tap],)  # type: ignore[assignment]  # tuples of Triton grow
            more += (sums[WIDTH] + counted,)  # type: ignore[assignment]  # tuples of Triton grow
            sums = more
            made = slopes[i] * taps[WIDTH - 1]
            for late in tl.static_range(1, WIDTH):
                made += slopes[i + late] * taps[WIDTH - 1 - late]
            done = step + i - (WIDTH - 1)
            at, within = place(item, first + done, channel, length, channels, made_item_stride, made_step_stride)
            tl.store(grad_x + at, made.to(grad_x.dtype.element_ty), mask=within & (done >= 0) & (done < RUN))
        past = seen[AHEAD:]
        slopes = slopes[AHEAD:]
    part = parts + tl.program_id(0).to(tl.int64) * (WIDTH + 1) * channels + channel
    for row in tl.static_range(WIDTH + 1):
        tl.store(part + row * channels, tl.sum(sums[row], 0), mask=channel < channels)
