"""The LayerNorm that follows a residual sum: both in one pass over memory where bfloat16 is enough."""

from typing import Any

import torch
from torch import Tensor, nn

from .base import fits_bfloat16

WIDEST = 4096  # channels that a kernel holds at once


def add_norm(x: Tensor, y: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """x + y, or x alone, and its LayerNorm: (B, L, D) each."""
    if is_usable(x):
        return AddNorm.apply(x, y, norm.weight, norm.bias, norm.eps)
    x = x if y is None else x + y
    return x, norm(x)


def is_usable(x: Tensor) -> bool:
    return fits_bfloat16(x) and x.dtype == torch.float32 and x.shape[-1] <= WIDEST and x.is_contiguous()


class AddNorm(torch.autograd.Function):
    """The sum in float32 and its norm in bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        from . import norm_kernel

        rows = None if y is None else y.contiguous().flatten(0, -2)
        whole, normed, moments = norm_kernel.forward(x.flatten(0, -2), rows, weight, bias, eps)
        ctx.save_for_backward(whole, weight, moments)
        ctx.y_type = None if y is None else y.dtype
        ctx.set_materialize_grads(False)
        return whole.view(x.shape), normed.view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad_whole: Tensor | None, grad_normed: Tensor) -> tuple[Tensor | None, ...]:
        from . import norm_kernel

        whole, weight, moments = ctx.saved_tensors
        rows = None if grad_whole is None else grad_whole.contiguous().flatten(0, -2)
        slopes = grad_normed.contiguous().flatten(0, -2)
        grad_x, grad_y, grad_weight, grad_bias = norm_kernel.backward(rows, slopes, whole, weight, moments, ctx.y_type)
        grad_y = None if grad_y is None else grad_y.view(grad_normed.shape)
        return grad_x.view(grad_normed.shape), grad_y, grad_weight, grad_bias, None
