"""A Linear and the GELU or GLU after it. Where bfloat16 is enough its bias is added, and the bias's gradient summed, in the
pass over memory that the activation needs anyway."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .base import fits_bfloat16
from .norm import WIDEST


def linear_gelu(x: Tensor, linear: nn.Linear) -> Tensor:
    if fits_activation(x, linear):
        return Activation.apply(F.linear(x, linear.weight), linear.bias, False)
    return F.gelu(linear(x))


def linear_glu(x: Tensor, linear: nn.Linear) -> Tensor:
    if fits_activation(x, linear):
        return Activation.apply(F.linear(x, linear.weight), linear.bias, True)
    return F.glu(linear(x))


def fits_activation(x: Tensor, linear: nn.Linear) -> bool:
    return fits_bfloat16(x) and linear.bias is not None and linear.out_features <= WIDEST


class Activation(torch.autograd.Function):
    """z (..., D) in bfloat16 without its bias (D) -> gelu(z + bias) (..., D), or its GLU (..., D/2)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, bias: Tensor, glu: bool) -> Tensor:
        from . import activation_kernel

        z, ctx.glu = z.contiguous(), glu
        ctx.save_for_backward(z, bias)
        return activation_kernel.forward(z.flatten(0, -2), bias, glu).unflatten(0, z.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        from . import activation_kernel

        z, bias = ctx.saved_tensors
        rows = grad.contiguous().flatten(0, -2)
        grad_z, grad_bias = activation_kernel.backward(rows, z.flatten(0, -2), bias, ctx.glu)
        return grad_z.view(z.shape), grad_bias.to(bias.dtype), None
