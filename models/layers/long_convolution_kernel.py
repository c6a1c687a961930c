"""Triton kernels of a convolution as long as its input, one kernel a channel, as products of matrices in bfloat16.

A sequence is cut into n blocks of T steps. What a block sends d blocks later is a product with the Toeplitz matrix
K_d[s, t] = k[d T + t - s], the same for every block and every item of the batch, so these are the rows of the other factor.
That keeps tensor cores busy, where an FFT moves each number through memory a dozen times. The work grows with the square of
the length.

Inside, time is last and each sequence is zero up to a multiple of T. Sums are in float32 and in the same order each time.
Shape letters: B batch, L steps, D channels, P padded steps, n T.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

STEPS = 64  # T
ROWS = 256  # pairs of block and item that a program convolves
DEPTH = 64  # pairs that the gradient of a kernel sums at once
TILE = 64  # steps and channels of a transposition
TYPE = torch.bfloat16


def pad_steps(length: int) -> int:
    return triton.cdiv(length, STEPS) * STEPS


def forward(x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """gelu(k * x): x (B, L, D), kernel k (D, L) -> (B, L, D); for the gradient, x and k * x with time last, and k."""
    batch, length, channels = x.shape
    padded = pad_steps(length)
    inputs, convolved = torch.empty(2, batch, channels, padded, dtype=TYPE, device=x.device)
    taps = torch.zeros(channels, STEPS + padded, dtype=TYPE, device=x.device)  # zeros before the first: K_0 is triangular
    taps[:, STEPS : STEPS + length] = kernel
    y = torch.empty(batch, length, channels, dtype=TYPE, device=x.device)
    with torch.cuda.device_of(x):  # Triton launches on the current device, wherever the tensors are
        to_time(x, inputs)
        convolve(inputs, taps, convolved, BACK=False)
        to_channels[grid(x)](convolved, y, length, padded, channels, GELU=True, TILE=TILE)
    return y, inputs, convolved, taps


def backward(grad: Tensor, inputs: Tensor, convolved: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x (B, L, D) in bfloat16 and of the kernel (D, L) in float32. On the device that is current."""
    batch, length, channels = grad.shape
    padded = inputs.shape[2]
    slopes, back = torch.empty_like(inputs), torch.empty_like(inputs)
    grad_x = torch.empty(grad.shape, dtype=inputs.dtype, device=grad.device)
    to_time(grad, slopes, convolved)
    convolve(slopes, taps, back, BACK=True)
    to_channels[grid(grad)](back, grad_x, length, padded, channels, GELU=False, TILE=TILE)
    blocks = padded // STEPS
    parts = torch.empty(channels, blocks, 2 * STEPS, device=grad.device)
    correlate_kernel[channels, blocks](slopes, inputs, parts, batch, blocks, channels, STEPS, DEPTH, num_warps=8)
    # Of block d: taps d T - T + 1 .. d T + T - 1, the first T - 1 of them also in block d - 1.
    early, late = parts[:, :, STEPS - 1 : -1], parts[:, 1:, : STEPS - 1]
    whole = early.clone()
    whole[:, :-1, 1:] += late
    return grad_x, whole.flatten(1)[:, :length]


def grid(x: Tensor) -> tuple[int, int, int]:
    return triton.cdiv(pad_steps(x.shape[1]), TILE), triton.cdiv(x.shape[2], TILE), x.shape[0]


def to_time(x: Tensor, made: Tensor, convolved: Tensor | None = None) -> None:
    """x (B, L, D) with time last, in `made`; times the slope of gelu at `convolved`, if given."""
    sizes = x.shape[1], made.shape[2], x.shape[2]
    to_time_kernel[grid(x)](x, made, convolved, *sizes, x.stride(0), x.stride(1), x.stride(2), TILE=TILE)


def convolve(x: Tensor, taps: Tensor, y: Tensor, BACK: bool) -> None:
    batch, channels, padded = x.shape
    blocks = padded // STEPS
    programs = channels, triton.cdiv(blocks * batch, ROWS)
    convolve_kernel[programs](x, taps, y, batch, blocks, channels, BACK, STEPS, ROWS, num_warps=8, num_stages=3)


@triton.jit
def normal_below(x):
    return 0.5 + 0.5 * tl.math.erf(x * 0.7071067811865476)


@triton.jit
def gelu_slope(x):
    return normal_below(x) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)


@triton.jit
def place(length, padded, channels, TILE: tl.constexpr):
    """Item, steps, channels, which of (TILE, TILE) are within; offsets with time last, and which are within the padding."""
    item = tl.program_id(2).to(tl.int64)
    step = tl.program_id(0) * TILE + tl.arange(0, TILE)
    channel = tl.program_id(1) * TILE + tl.arange(0, TILE)
    within = (step < length)[:, None] & (channel < channels)[None, :]
    columns = item * channels * padded + channel[:, None] * padded + step[None, :]
    return item, step, channel, within, columns, (channel < channels)[:, None] & (step < padded)[None, :]


@triton.jit(do_not_specialize=["length"])
def to_time_kernel(
    x,
    made,
    convolved,
    length,
    padded,
    channels,
    item_stride,
    step_stride,
    channel_stride,
    TILE: tl.constexpr,
):
    item, step, channel, within, columns, inside = place(length, padded, channels, TILE)
    rows = item * item_stride + step[:, None] * step_stride + channel[None, :] * channel_stride
    values = tl.trans(tl.load(x + rows, mask=within, other=0.0).to(tl.float32))
    if convolved is not None:
        y = tl.load(convolved + columns, mask=inside, other=0.0).to(tl.float32)
        values *= gelu_slope(y)
    tl.store(made + columns, values.to(made.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["length"])
def to_channels(x, y, length, padded, channels, GELU: tl.constexpr, TILE: tl.constexpr):
    """x (B, D, P) -> y (B, L, D), through gelu if asked."""
    item, step, channel, within, columns, inside = place(length, padded, channels, TILE)
    values = tl.load(x + columns, mask=inside, other=0.0).to(tl.float32)
    if GELU:
        values *= normal_below(values)
    rows = item * length * channels + step[:, None] * channels + channel[None, :]
    tl.store(y + rows, tl.trans(values).to(y.dtype.element_ty), mask=within)


@triton.jit(do_not_specialize=["batch", "blocks"])
def convolve_kernel(
    x,
    taps,
    y,
    batch,
    blocks,
    channels,
    BACK: tl.constexpr,
    STEPS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """y_I = sum over d of x_(I-d) K_d; BACK: y_I = sum of x_(I+d) K_d^T, the gradient of that. x, y (B, D, P)."""
    channel = tl.program_id(0)
    tile = tl.program_id(1) if BACK else tl.num_programs(1) - 1 - tl.program_id(1)  # the longest sums first
    row = tile * ROWS + tl.arange(0, ROWS)
    block, item = row // batch, row % batch
    within = row < blocks * batch
    time = tl.arange(0, STEPS)
    start = (item.to(tl.int64) * channels + channel) * (blocks * STEPS)
    places = start[:, None] + block[:, None] * STEPS + time[None, :]
    shift = time[:, None] - time[None, :] if BACK else time[None, :] - time[:, None]
    tap = taps + channel.to(tl.int64) * (blocks + 1) * STEPS + STEPS + shift
    first = (tile * ROWS) // batch
    last = tl.minimum((tile * ROWS + ROWS - 1) // batch, blocks - 1)
    total = tl.zeros((ROWS, STEPS), tl.float32)
    for d in range(0, (blocks - first) if BACK else (last + 1)):
        source = block + d if BACK else block - d
        heard = within & (source < blocks) if BACK else within & (source >= 0)
        steps = tl.load(x + places + ((d if BACK else -d) * STEPS), mask=heard[:, None], other=0.0)
        total = tl.dot(steps, tl.load(tap + d * STEPS), total)
    tl.store(y + places, total.to(y.dtype.element_ty), mask=within[:, None])


@triton.jit(do_not_specialize=["batch", "blocks"])
def correlate_kernel(grad, x, parts, batch, blocks, channels, STEPS: tl.constexpr, DEPTH: tl.constexpr):
    """The gradient of K_d, of which each tap is a diagonal: parts (D, n, 2T), at c the sum where t - s is c - (T - 1)."""
    channel, d = tl.program_id(0), tl.program_id(1)
    time = tl.arange(0, STEPS)
    total = tl.zeros((STEPS, STEPS), tl.float32)
    rows = (blocks - d) * batch
    for first in range(0, rows, DEPTH):
        row = first + tl.arange(0, DEPTH)
        block, item = row // batch, row % batch
        start = (item.to(tl.int64) * channels + channel) * (blocks * STEPS) + block * STEPS
        places = start[:, None] + time[None, :]
        within = (row < rows)[:, None]
        late = tl.load(grad + places + d * STEPS, mask=within, other=0.0)
        early = tl.load(x + places, mask=within, other=0.0)
        total = tl.dot(tl.trans(late), early, total)
    column = tl.arange(0, 2 * STEPS)
    s = time[:, None] - column[None, :] + (STEPS - 1)
    diagonals = tl.gather(total, tl.minimum(tl.maximum(s, 0), STEPS - 1), 1)
    sums = tl.sum(tl.where((s >= 0) & (s < STEPS), diagonals, 0.0), 0)
    tl.store(parts + (channel.to(tl.int64) * blocks + d) * 2 * STEPS + column, sums)
