"""Triton kernels of the gradient of Mamba2's scan. What it shares with the scan, and the letters, are in ssd_kernel.py."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import ssd_kernel
from .ssd_kernel import Sizes, divide, make_states, pass_states, read, read_decays

MOST, WARPS = 8, 4  # heads of a program, at most, and its warps
FEW = 512  # programs below which each gets fewer heads


def backward(
    sizes: Sizes,
    limits: tuple[float, float],
    grad: Tensor,
    grad_raw: Tensor,
    xBC: Tensor,
    raw: Tensor,
    bias: Tensor,
    A_log: Tensor,
    D: Tensor,
    dt: Tensor,
    before: Tensor,
    decays: Tensor,
    ends: Tensor,
) -> tuple[Tensor, ...]:
    """Gives the gradients of xBC, bias, A_log and D, and writes that of raw; `grad` (B, L, H P) is contiguous. On the device
    that is current."""
    batch, length, width = xBC.shape
    chunks = triton.cdiv(length, ssd_kernel.CHUNK)
    after = pass_states(make_states(xBC, grad, dt, decays, ends, sizes, BACK=True), ends, sizes, xBC.dtype, BACK=True)
    most = min(MOST, divide(sizes, sizes.heads))
    while most % 2 == 0 and batch * chunks * sizes.heads // most < FEW:
        most //= 2
    shares = sizes.heads // sizes.groups // most  # programs that each have a part of the gradient of a group's B and C
    grad_xBC = torch.empty(batch, length, width, dtype=xBC.dtype, device=xBC.device)
    parts = grad_xBC[:, :, sizes.inner :]
    if shares > 1:
        parts = torch.empty(shares, batch, length, 2 * sizes.groups * sizes.state, device=xBC.device)
    grad_dt, of_decays, of_passed = torch.empty(3, *dt.shape, device=xBC.device)
    strides = xBC.stride(0), xBC.stride(1)
    backward_kernel[chunks, sizes.heads // most, batch](
        grad, xBC, dt, decays, ends, D, before, after, grad_xBC, parts, grad_dt, of_decays, of_passed,
        length, *strides, parts.stride(0) if shares > 1 else 0, parts.stride(-3), parts.stride(-2),
        *sizes, most, ssd_kernel.CHUNK, num_warps=WARPS,
    )  # fmt: skip
    if shares > 1:
        grad_xBC[:, :, sizes.inner :] = parts.sum(0)
    sums = torch.empty(3, batch, chunks, sizes.heads, device=xBC.device)
    rates_kernel[chunks, sizes.heads // (count := divide(sizes, ssd_kernel.TOGETHER)), batch](
        grad, xBC, raw, bias, A_log, dt, ends, before, after, grad_dt, of_decays, of_passed, grad_raw, *sums,
        length, *strides, raw.stride(0), raw.stride(1), grad_raw.stride(0), grad_raw.stride(1), *limits,
        sizes.heads, sizes.headdim, sizes.state, count, ssd_kernel.CHUNK, num_warps=4,
    )  # fmt: skip
    return grad_xBC, *sums.sum((1, 2))


@triton.jit(do_not_specialize=["length", "share_stride"])
def backward_kernel(
    grad,
    xBC,
    dt,
    decays,
    ends,
    D,
    before,
    after,
    grad_xBC,
    parts,
    grad_dt,
    of_decays,
    of_passed,
    length,
    item_stride,
    step_stride,
    share_stride,
    part_item_stride,
    part_step_stride,
    HEADS: tl.constexpr,
    HEADDIM: tl.constexpr,
    GROUPS: tl.constexpr,
    STATE: tl.constexpr,
    COUNT: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """`before`: the state before each chunk; `after`: the gradient of the state after it.

    Here `grad_dt` gets what dt gives as a weight. What it gives as a rate follows in `rates_kernel`, from the gradient of s
    in `of_decays` and, in `of_passed`, from how much each step is heard after the chunk.
    """
    INNER: tl.constexpr = HEADS * HEADDIM
    WIDTH: tl.constexpr = INNER + 2 * GROUPS * STATE
    PER_GROUP: tl.constexpr = HEADS // GROUPS
    chunk, first, item = tl.program_id(0), tl.program_id(1) * COUNT, tl.program_id(2).to(tl.int64)
    time = tl.arange(0, CHUNK)
    step, state = chunk * CHUNK + time, tl.arange(0, STATE)
    group = first // PER_GROUP
    shared = INNER + group * STATE + state
    B = read(xBC, item, step, shared, length, item_stride, step_stride)
    C = read(xBC, item, step, shared + GROUPS * STATE, length, item_stride, step_stride)
    scores = tl.dot(C, tl.trans(B))
    earlier = time[:, None] >= time[None, :]
    within = (step < length)[:, None]
    of_scores = tl.zeros((CHUNK, CHUNK), tl.float32)
    of_B, of_C = tl.zeros((CHUNK, STATE), tl.float32), tl.zeros((CHUNK, STATE), tl.float32)
    for head in range(first, first + COUNT):
        column = head * HEADDIM + tl.arange(0, HEADDIM)
        steps, total, end = read_decays(dt, decays, ends, item, chunk, tl.num_programs(0), step, head, length, HEADS)
        x = read(xBC, item, step, column, length, item_stride, step_stride)
        slope = read(grad, item, step, column, length, length * INNER, INNER)
        place = (item * tl.num_programs(0) + chunk) * STATE * INNER + state[:, None] * INNER + column[None, :]
        past, ahead = tl.load(before + place), tl.load(after + place)
        x32, slope32 = x.to(tl.float32), slope.to(tl.float32)

        # y_t = sum over u <= t of decay dt_u (C_t B_u) x_u
        decay = tl.exp(tl.where(earlier, total[:, None] - total[None, :], float("-inf")))
        of_mix = tl.dot(slope, tl.trans(x)) * decay
        of_scores += of_mix * steps[None, :]
        of_mix *= scores
        of_x = tl.dot(tl.trans((scores * decay * steps[None, :]).to(x.dtype)), slope)
        of_steps = tl.sum(of_mix, 0)
        of_total = tl.sum(of_mix * steps[None, :], 1) - steps * of_steps

        # the state after the chunk = exp(end) past + sum of exp(end - s_u) dt_u B_u x_u
        left = tl.exp(end - total)
        passed = tl.dot(B, ahead)
        of_x += passed * (left * steps)[:, None]
        of_left = tl.sum(passed * x32, 1) * left
        of_B += tl.dot((x32 * (left * steps)[:, None]).to(x.dtype), tl.trans(ahead))

        # y_t += exp(s_t) C_t past
        weighted = slope32 * tl.exp(total)[:, None]
        of_total += tl.sum(tl.dot(C, past) * weighted, 1)
        of_C += tl.dot(weighted.to(x.dtype), tl.trans(past))

        at = (item * length + step) * HEADS + head
        tl.store(grad_dt + at, of_steps + of_left, mask=step < length)
        tl.store(of_decays + at, of_total, mask=step < length)
        tl.store(of_passed + at, of_left * steps, mask=step < length)
        of_x += tl.load(D + head) * slope32
        rows = (item * length + step)[:, None] * WIDTH + column[None, :]
        tl.store(grad_xBC + rows, of_x.to(grad_xBC.dtype.element_ty), mask=within)

    share = first % PER_GROUP // COUNT
    whole = of_scores.to(B.dtype)
    of_B = tl.dot(tl.trans(whole), C, of_B)
    of_C = tl.dot(whole, B, of_C)
    part = parts + share * share_stride + item * part_item_stride + step.to(tl.int64)[:, None] * part_step_stride
    part += group * STATE + state[None, :]
    tl.store(part, of_B.to(parts.dtype.element_ty), mask=within)
    tl.store(part + GROUPS * STATE, of_C.to(parts.dtype.element_ty), mask=within)


@triton.jit(do_not_specialize=["length"])
def rates_kernel(
    grad,
    xBC,
    raw,
    bias,
    A_log,
    dt,
    ends,
    before,
    after,
    grad_dt,
    of_decays,
    of_passed,
    grad_raw,
    grad_bias,
    grad_A_log,
    grad_D,
    length,
    item_stride,
    step_stride,
    raw_item_stride,
    raw_step_stride,
    made_item_stride,
    made_step_stride,
    low,
    high,
    HEADS: tl.constexpr,
    HEADDIM: tl.constexpr,
    STATE: tl.constexpr,
    COUNT: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Adds to `grad_dt` what dt gives as a rate: a step is in the s of all later ones, and before the end of the chunk. What
    raw, bias and A_log give follows from that."""
    INNER: tl.constexpr = HEADS * HEADDIM
    chunk, first, item = tl.program_id(0), tl.program_id(1) * COUNT, tl.program_id(2).to(tl.int64)
    step, head = chunk * CHUNK + tl.arange(0, CHUNK), first + tl.arange(0, COUNT)
    column = first * HEADDIM + tl.arange(0, COUNT * HEADDIM)
    at = (item * length + step)[:, None] * HEADS + head[None, :]
    within = (step < length)[:, None]
    place = (item * tl.num_programs(0) + chunk) * STATE * INNER + tl.arange(0, STATE)[:, None] * INNER + column[None, :]
    carried = tl.sum(tl.load(before + place).to(tl.float32) * tl.load(after + place).to(tl.float32), 0)
    number = (item * tl.num_programs(0) + chunk) * HEADS + head
    carried = tl.sum(tl.reshape(carried, (COUNT, HEADDIM)), 1) * tl.exp(tl.load(ends + number))
    passed = tl.load(of_passed + at, mask=within, other=0.0)
    later = tl.cumsum(tl.load(of_decays + at, mask=within, other=0.0), 0, reverse=True)
    of_rates = later + tl.cumsum(passed, 0) - passed + carried[None, :]  # of what earlier steps pass on, too
    A = -tl.exp(tl.load(A_log + head))
    steps = tl.load(dt + at, mask=within, other=0.0)
    tl.store(grad_A_log + number, A * tl.sum(steps * of_rates, 0))
    of_steps = tl.load(grad_dt + at, mask=within, other=0.0) + A[None, :] * of_rates
    row = item * raw_item_stride + step.to(tl.int64)[:, None] * raw_step_stride + head[None, :]
    before_softplus = tl.load(raw + row, mask=within, other=0.0).to(tl.float32) + tl.load(bias + head)[None, :]
    inside = within & (steps > low) & (steps < high)  # what is at a limit was put there
    of_raw = tl.where(inside, of_steps * tl.sigmoid(before_softplus), 0.0)
    row = item * made_item_stride + step.to(tl.int64)[:, None] * made_step_stride + head[None, :]
    tl.store(grad_raw + row, of_raw.to(grad_raw.dtype.element_ty), mask=within)
    tl.store(grad_bias + number, tl.sum(of_raw, 0))
    x = read(xBC, item, step, column, length, item_stride, step_stride).to(tl.float32)
    slope = read(grad, item, step, column, length, length * INNER, INNER).to(tl.float32)
    tl.store(grad_D + number, tl.sum(tl.reshape(tl.sum(x * slope, 0), (COUNT, HEADDIM)), 1))
