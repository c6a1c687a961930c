"""Mamba2's scan, a chunk of steps as a product of matrices: in torch, from a state to a state, and by kernels of ours.

The kernels work on all heads of a chunk, where mamba-ssm's have programs for each head.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .base import upcast
from .mamba_layer import linear_recurrence
from .rotation import accumulate_angles, rotate
from .split import Place, make_gradient

CHUNK = 32  # steps at most, of the torch path, whose T x T products grow with T; 64 and 16 took a tenth more time on a CPU
SEGMENT = 1024  # steps whose chunks exist at once
LARGEST = 128  # d_state, whose products with headdim a program holds


def ssd(
    x: Tensor,
    log_decay: Tensor,
    weight: Tensor,
    B: Tensor,
    C: Tensor,
    chunk: int,
    state: Tensor,
    now: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y_t = C_t (sum over s < t of decay(s+1..t) weight_s B_s x_s, plus now_t B_t x_t), over a segment of T steps.

    x (B, T, H, P); log_decay, weight, now (B, T, H); B, C (B, T, G, N); state (B, H, P, N) -> y (B, T, H, P), state.
    Without `now` it is `weight`, as in Mamba2; Mamba3 weights a step otherwise at its own time than later.
    Letters below: b batch, k chunk, t and s steps in it, g group, r head in the group, p headdim, n state.
    """
    with torch.autocast(x.device.type, enabled=False):
        length, groups = x.shape[1], B.shape[2]
        chunk = min(chunk, length)
        fill = -length % chunk  # padding has decay 1 and weight 0, so it changes no state

        def chunk_steps(t: Tensor) -> Tensor:
            return F.pad(upcast(t), (0, 0) * (t.dim() - 2) + (0, fill)).unflatten(1, (-1, chunk))

        def steps_last(t: Tensor) -> Tensor:  # (b, l, h) -> (b, k, g, r, t)
            return chunk_steps(t).unflatten(3, (groups, -1)).movedim(2, -1)

        def steps_first(t: Tensor) -> Tensor:  # (b, k, g, r, t) -> (b, k, t, g, r, 1)
            return t.movedim(-1, 2)[..., None]

        x, B, C = chunk_steps(x).unflatten(3, (groups, -1)), chunk_steps(B), chunk_steps(C)
        weighted = x * steps_first(steps_last(weight))
        total = steps_last(log_decay).cumsum(-1)

        ahead = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1 if now is None else 0)
        # masked before exp: an infinity above the diagonal, times zero, would be a NaN in the gradient
        between = (total[..., :, None] - total[..., None, :]).masked_fill(ahead, -torch.inf)
        scores = torch.einsum("bktgn,bksgn->bkgts", C, B)
        y = torch.einsum("bkgrts,bksgrp->bktgrp", torch.exp(between) * scores[:, :, :, None], weighted)
        if now is not None:
            y = y + x * steps_first(steps_last(now) * scores.diagonal(dim1=-2, dim2=-1)[:, :, :, None])

        made = torch.einsum("bksgn,bksgrp->bkgrpn", B, weighted * steps_first(torch.exp(total[..., -1:] - total)))
        kept = torch.exp(total[..., -1])[..., None, None]
        first = upcast(state).unflatten(1, (groups, -1))[:, None]
        h = linear_recurrence(kept, torch.cat((made[:, :1] + kept[:, :1] * first, made[:, 1:]), dim=1))
        carried = torch.einsum("bktgn,bkgrpn->bktgrp", C, torch.cat((first, h[:, :-1]), dim=1))
        y = y + carried * steps_first(torch.exp(total))
        return y.flatten(1, 2)[:, :length].flatten(2, 3), h[:, -1].flatten(1, 2).clone()  # a view would keep all of h


def ssd_rotary(
    x: Tensor, log_decay: Tensor, dt: Tensor, B: Tensor, C: Tensor, rate: Tensor, chunk: int, state: tuple
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """ssd with B and C turned at `rate` (B, T, S): a state of complex numbers, each head at its own frequencies."""
    h, angles = state
    angles = accumulate_angles(dt, rate, angles)
    B, C = rotate(angles, upcast(B), upcast(C))
    y, h = ssd(x, log_decay, dt, B, C, chunk, h)
    return y, (h, angles[:, -1].clone())  # a view would keep all angles


def fits_tiles(headdim: int, state: int) -> bool:
    """Sizes must be powers of two from 16."""
    return all(16 <= size <= LARGEST and not size & (size - 1) for size in (headdim, state))


class ScanInChunks(torch.autograd.Function):
    """xBC (B, L, H P + 2 G N), raw (B, L, H), bias, A_log and D (H) -> y (B, L, H P), D x included.

    dt = softplus(raw + bias) within `limits`, A = -exp(A_log). bias, A_log and D are float32. place: of raw's gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        xBC: Tensor,
        raw: Tensor,
        bias: Tensor,
        A_log: Tensor,
        D: Tensor,
        limits: tuple[float, float],
        place: Place | None,
        *sizes: int,
    ) -> Tensor:
        from . import ssd_kernel

        ctx.place = place
        ctx.limits, ctx.sizes = limits, ssd_kernel.Sizes(*sizes)
        xBC, raw = (part if part.stride(2) == 1 else part.contiguous() for part in (xBC, raw))
        y, *kept = ssd_kernel.forward(xBC, raw, bias, A_log, D, limits, ctx.sizes)
        ctx.save_for_backward(xBC, raw, bias, A_log, D, *kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from . import ssd_gradient_kernel

        saved = ctx.saved_tensors  # once: what is computed again for it, by checkpoint, is there once
        grad_raw = make_gradient(ctx.place, saved[1])
        made = ssd_gradient_kernel.backward(ctx.sizes, ctx.limits, grad.contiguous(), grad_raw, *saved)
        return made[0], grad_raw, *made[1:], None, None, *(None for _ in ctx.sizes)
