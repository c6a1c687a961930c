"""Triton kernels of Mamba2's scan for heads of few channels, in chunks of Q steps.

A chunk is worked on by few programs, each for several heads of a group: what heads share (B, C and their products) is read
and made once, and the heads' gradients of it are summed in registers. Products are of the type of the inputs, sums in
float32 and in the same order each time. The inputs are slices of one tensor, and so are their gradients: nothing is copied.

Shape letters: B batch, L steps, H heads, P headdim, N state, G groups that share B and C, K chunks.
With a = A dt, summed within a chunk to s_t: decay(u+1..t) = exp(s_t - s_u). dt = softplus(raw + bias), and A = -exp(A_log).
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 64  # Q
COLUMNS = 128  # channels, H P, of the states that a program makes
TOGETHER = 8  # heads whose outputs a program makes
AHEAD = tl.constexpr(4)  # chunks that are read before the first of them is needed


class Sizes(NamedTuple):
    heads: int
    headdim: int
    groups: int
    state: int

    @property
    def inner(self) -> int:
        return self.heads * self.headdim


def forward(
    xBC: Tensor, raw: Tensor, bias: Tensor, A_log: Tensor, D: Tensor, limits: tuple[float, float], sizes: Sizes
) -> tuple[Tensor, ...]:
    """xBC (B, L, H P + 2 G N), raw (B, L, H), bias, A_log, D (H) -> y (B, L, H P); for the gradient: dt, states before
    chunks, s, ends. limits: of dt."""
    batch, length, _ = xBC.shape
    y = torch.empty(batch, length, sizes.inner, dtype=xBC.dtype, device=xBC.device)
    chunks = triton.cdiv(length, CHUNK)
    count = divide(sizes, TOGETHER)
    with torch.cuda.device_of(xBC):  # Triton launches on the current device, wherever the tensors are
        dt, decays = torch.empty(2, *raw.shape, device=xBC.device)
        ends = torch.empty(batch, chunks, sizes.heads, device=xBC.device)
        strides, padded = (raw.stride(0), raw.stride(1)), triton.next_power_of_2(sizes.heads)
        decay_kernel[chunks, batch](
            raw, bias, A_log, dt, decays, ends, length, *strides, *limits, sizes.heads, padded, CHUNK, num_warps=1
        )
        made = make_states(xBC, xBC, dt, decays, ends, sizes, BACK=False)
        before = pass_states(made, ends, sizes, xBC.dtype, BACK=False)
        outputs_kernel[chunks, sizes.heads // count, batch](
            xBC, dt, decays, ends, D, before, y, length, xBC.stride(0), xBC.stride(1), *sizes, count, CHUNK, num_warps=4
        )
    return y, dt, before, decays, ends


def divide(sizes: Sizes, most: int) -> int:
    """Heads of a program: a power of two that divides a group's, at most `most`."""
    count = 1
    while 2 * count <= most and sizes.heads // sizes.groups % (2 * count) == 0:
        count *= 2
    return count


def make_states(xBC: Tensor, values: Tensor, dt: Tensor, decays: Tensor, ends: Tensor, sizes: Sizes, BACK: bool) -> Tensor:
    """What each chunk adds to the state, (B, K, N, H P).

    BACK: what its outputs' gradients `values` add to the gradient of the state before it.
    """
    batch, length, _ = xBC.shape
    chunks, count = triton.cdiv(length, CHUNK), divide(sizes, max(1, COLUMNS // sizes.headdim))
    made = torch.empty(batch, chunks, sizes.state, sizes.inner, device=xBC.device)
    strides = xBC.stride(0), xBC.stride(1), values.stride(0), values.stride(1)
    states_kernel[chunks, sizes.heads // count, batch](
        xBC, values, dt, decays, ends, made, length, *strides, *sizes, count, CHUNK, BACK, num_warps=4
    )
    return made


def pass_states(made: Tensor, ends: Tensor, sizes: Sizes, kind: torch.dtype, BACK: bool) -> Tensor:
    """The state before each chunk, (B, K, N, H P); BACK: the gradient of the state after it."""
    batch, chunks, states, inner = made.shape
    passed = torch.empty(made.shape, dtype=kind, device=made.device)
    block = 256
    pass_kernel[triton.cdiv(states * inner, block), batch](
        made, ends, passed, chunks, states * inner, sizes.heads, sizes.headdim, block, BACK, num_warps=4
    )
    return passed


@triton.jit
def softplus(x):
    """log(1 + exp(x)). Near 1 a logarithm loses the digits of a small exp(x), dt of 0.001: there it is a series."""
    small = tl.exp(-tl.abs(x))
    return tl.maximum(x, 0.0) + tl.where(small < 0.01, small * (1 - small * (0.5 - small / 3)), tl.log(1 + small))


@triton.jit(do_not_specialize=["length"])
def decay_kernel(
    raw,
    bias,
    A_log,
    dt,
    decays,
    ends,
    length,
    item_stride,
    step_stride,
    low,
    high,
    HEADS: tl.constexpr,
    PADDED: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """dt, s, the sums of a so far in a chunk, (B, L, H) each, and the whole sums, (B, K, H)."""
    chunk, item = tl.program_id(0), tl.program_id(1).to(tl.int64)
    step, head = chunk * CHUNK + tl.arange(0, CHUNK), tl.arange(0, PADDED)
    at = (item * length + step)[:, None] * HEADS + head[None, :]
    known = head < HEADS
    within = (step < length)[:, None] & known[None, :]
    place = item * item_stride + step.to(tl.int64)[:, None] * step_stride + head[None, :]
    x = tl.load(raw + place, mask=within, other=0.0).to(tl.float32) + tl.load(bias + head, mask=known, other=0.0)[None, :]
    steps = tl.where(within, tl.minimum(tl.maximum(softplus(x), low), high), 0.0)
    tl.store(dt + at, steps, mask=within)
    rates = steps * -tl.exp(tl.load(A_log + head, mask=known, other=0.0))[None, :]
    tl.store(decays + at, tl.cumsum(rates, 0), mask=within)
    tl.store(ends + (item * tl.num_programs(0) + chunk) * HEADS + head, tl.sum(rates, 0), mask=head < HEADS)


@triton.jit
def read_decays(dt, decays, ends, item, chunk, chunks, step, head, length, HEADS: tl.constexpr):
    """dt and s, (Q), and the whole sum; steps after the end do not decay and weigh nothing."""
    at = (item * length + step) * HEADS + head
    end = tl.load(ends + (item * chunks + chunk) * HEADS + head)
    return tl.load(dt + at, mask=step < length, other=0.0), tl.load(decays + at, mask=step < length, other=end), end


@triton.jit
def read(x, item, step, column, length, item_stride, step_stride):
    """(Q, columns)."""
    at = item * item_stride + step.to(tl.int64)[:, None] * step_stride + column[None, :]
    return tl.load(x + at, mask=(step < length)[:, None], other=0.0)


@triton.jit(do_not_specialize=["length"])
def states_kernel(
    xBC,
    values,
    dt,
    decays,
    ends,
    made,
    length,
    item_stride,
    step_stride,
    values_item_stride,
    values_step_stride,
    HEADS: tl.constexpr,
    HEADDIM: tl.constexpr,
    GROUPS: tl.constexpr,
    STATE: tl.constexpr,
    COUNT: tl.constexpr,
    CHUNK: tl.constexpr,
    BACK: tl.constexpr,
):
    chunk, first, item = tl.program_id(0), tl.program_id(1) * COUNT, tl.program_id(2).to(tl.int64)
    step = chunk * CHUNK + tl.arange(0, CHUNK)
    head = first + tl.arange(0, COUNT)
    at = (item * length + step)[:, None] * HEADS + head[None, :]
    within = (step < length)[:, None]
    total = tl.load(decays + at, mask=within, other=0.0)  # steps after the end are 0 in `values`
    if BACK:
        weight = tl.exp(total)
    else:
        end = tl.load(ends + (item * tl.num_programs(0) + chunk) * HEADS + head)
        weight = tl.exp(end[None, :] - total) * tl.load(dt + at, mask=within, other=0.0)
    column = first * HEADDIM + tl.arange(0, COUNT * HEADDIM)
    x = read(values, item, step, column, length, values_item_stride, values_step_stride)
    weighted = tl.reshape(x, (CHUNK, COUNT, HEADDIM)).to(tl.float32) * weight[:, :, None]
    weighted = tl.reshape(weighted, (CHUNK, COUNT * HEADDIM)).to(x.dtype)
    group = first // (HEADS // GROUPS) + (GROUPS if BACK else 0)
    state = tl.arange(0, STATE)
    matrix = read(xBC, item, step, HEADS * HEADDIM + group * STATE + state, length, item_stride, step_stride)
    place = (item * tl.num_programs(0) + chunk) * STATE * (HEADS * HEADDIM) + state[:, None] * (HEADS * HEADDIM)
    tl.store(made + place + column[None, :], tl.dot(tl.trans(matrix), weighted))


@triton.jit(do_not_specialize=["chunks"])
def pass_kernel(
    made,
    ends,
    passed,
    chunks,
    size,
    HEADS: tl.constexpr,
    HEADDIM: tl.constexpr,
    BLOCK: tl.constexpr,
    BACK: tl.constexpr,
):
    number, item = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1).to(tl.int64)
    head = number % (HEADS * HEADDIM) // HEADDIM
    state = tl.zeros((BLOCK,), tl.float32)
    for turn in range(0, chunks, AHEAD):
        more, decays = (), ()
        for i in tl.static_range(AHEAD):
            at = item * chunks + (chunks - 1 - turn - i if BACK else turn + i)
            within = (number < size) & (turn + i < chunks)
            more += (tl.load(made + at * size + number, mask=within, other=0.0),)  # type: ignore[assignment]  # tuples of Triton grow
            decays += (tl.exp(tl.load(ends + at * HEADS + head, mask=within, other=0.0)),)  # type: ignore[assignment]  # tuples of Triton grow
        for i in tl.static_range(AHEAD):
            at = item * chunks + (chunks - 1 - turn - i if BACK else turn + i)
            within = (number < size) & (turn + i < chunks)
            tl.store(passed + at * size + number, state.to(passed.dtype.element_ty), mask=within)
            state = decays[i] * state + more[i]


@triton.jit(do_not_specialize=["length"])
def outputs_kernel(
    xBC,
    dt,
    decays,
    ends,
    D,
    before,
    y,
    length,
    item_stride,
    step_stride,
    HEADS: tl.constexpr,
    HEADDIM: tl.constexpr,
    GROUPS: tl.constexpr,
    STATE: tl.constexpr,
    COUNT: tl.constexpr,
    CHUNK: tl.constexpr,
):
    INNER: tl.constexpr = HEADS * HEADDIM
    chunk, first, item = tl.program_id(0), tl.program_id(1) * COUNT, tl.program_id(2).to(tl.int64)
    time = tl.arange(0, CHUNK)
    step, state = chunk * CHUNK + time, tl.arange(0, STATE)
    shared = INNER + first // (HEADS // GROUPS) * STATE + state
    B = read(xBC, item, step, shared, length, item_stride, step_stride)
    C = read(xBC, item, step, shared + GROUPS * STATE, length, item_stride, step_stride)
    scores = tl.dot(C, tl.trans(B))
    earlier = time[:, None] >= time[None, :]
    for head in range(first, first + COUNT):
        column = head * HEADDIM + tl.arange(0, HEADDIM)
        steps, total, _ = read_decays(dt, decays, ends, item, chunk, tl.num_programs(0), step, head, length, HEADS)
        x = read(xBC, item, step, column, length, item_stride, step_stride)
        mix = tl.exp(tl.where(earlier, total[:, None] - total[None, :], float("-inf"))) * scores * steps[None, :]
        place = (item * tl.num_programs(0) + chunk) * STATE * INNER + state[:, None] * INNER + column[None, :]
        made = tl.dot(C, tl.load(before + place)) * tl.exp(total)[:, None]
        made = tl.dot(mix.to(x.dtype), x, made) + tl.load(D + head) * x.to(tl.float32)
        at = (item * length + step)[:, None] * INNER + column[None, :]
        tl.store(y + at, made.to(y.dtype.element_ty), mask=(step < length)[:, None])
