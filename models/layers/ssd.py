"""Mamba2's scan by our own kernels, which work on all heads of a chunk where mamba-ssm's have programs for each head."""

from typing import Any

import torch
from torch import Tensor

from .base import fits_bfloat16

LARGEST = 128  # d_state, whose products with headdim a program holds


def is_usable(x: Tensor) -> bool:
    return fits_bfloat16(x) and x.dtype != torch.float64


def fits_tiles(headdim: int, state: int) -> bool:
    """Sizes must be powers of two from 16."""
    return all(16 <= size <= LARGEST and not size & (size - 1) for size in (headdim, state))


class ScanInChunks(torch.autograd.Function):
    """xBC (B, L, H P + 2 G N), dt (B, L, H), A and D (H) -> y (B, L, H P), D x included; dt, A and D in float32."""

    @staticmethod
    def forward(ctx: Any, xBC: Tensor, dt: Tensor, A: Tensor, D: Tensor, *sizes: int) -> Tensor:
        from . import ssd_kernel

        ctx.sizes = ssd_kernel.Sizes(*sizes)
        xBC, dt = xBC if xBC.stride(2) == 1 else xBC.contiguous(), dt.contiguous()
        y, *kept = ssd_kernel.forward(xBC, dt, A, D, ctx.sizes)
        ctx.save_for_backward(xBC, dt, A, D, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from . import ssd_gradient_kernel

        made = ssd_gradient_kernel.backward(ctx.sizes, grad.contiguous(), *ctx.saved_tensors)
        return *made, *(None for _ in ctx.sizes)
