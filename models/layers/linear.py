"""A Linear whose bias gets its gradient from a kernel of ours, where bfloat16 is enough."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .base import fits_bfloat16


def apply_linear(x: Tensor, linear: nn.Linear) -> Tensor:
    if not fits_bfloat16(x) or linear.bias is None:
        return linear(x)
    return AddedBias.apply(F.linear(x, linear.weight, linear.bias.detach()), linear.bias)


class AddedBias(torch.autograd.Function):
    """y (..., D), to which bias (D) has been added: itself, and the bias's gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor) -> Tensor:
        ctx.type = bias.dtype
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        from . import sums_kernel

        return grad, sums_kernel.add_rows(grad.flatten(0, -2)).to(ctx.type)
