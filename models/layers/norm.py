"""The LayerNorm that follows a residual sum, and the RMSNorm that follows a gate: one pass over memory in bfloat16."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .base import fits_bfloat16, ssm_parameter, upcast
from .split import Place, make_gradient

WIDEST = 4096  # channels that a kernel holds at once


def add_norm(x: Tensor, y: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """x + y, or x alone, and its LayerNorm: (B, L, D) each."""
    if fits_add_norm(x):
        return AddNorm.apply(x, y, norm.weight, norm.bias, norm.eps)
    x = x if y is None else x + y
    return x, norm(x)


def fits_add_norm(x: Tensor) -> bool:
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
    @once_differentiable
    def backward(ctx: Any, grad_whole: Tensor | None, grad_normed: Tensor | None) -> tuple[Tensor | None, ...]:
        from . import norm_kernel

        if grad_normed is None:  # where the sum alone is used
            grad_y = None if grad_whole is None or ctx.y_type is None else grad_whole.to(ctx.y_type)
            return grad_whole, grad_y, None, None, None
        whole, weight, moments = ctx.saved_tensors
        rows = None if grad_whole is None else grad_whole.contiguous().flatten(0, -2)
        slopes = grad_normed.contiguous().flatten(0, -2)
        grad_x, grad_y, grad_weight, grad_bias = norm_kernel.backward(rows, slopes, whole, weight, moments, ctx.y_type)
        grad_y = None if grad_y is None else grad_y.view(grad_normed.shape)
        return grad_x.view(grad_normed.shape), grad_y, grad_weight, grad_bias, None


class RMSNorm(nn.Module):
    """Each group of `group_size` channels divided by its root mean square, in float32."""

    def __init__(self, width: int, group_size: int | None = None, eps: float = 1e-5):
        super().__init__()
        self.weight = ssm_parameter(torch.ones(width))
        self.group_size, self.eps = group_size or width, eps

    def forward(self, x: Tensor, gate: Tensor | None = None, kernels: bool = False, place: Place | None = None) -> Tensor:
        """Of x, or of x silu(gate); in float32, if not with a kernel, which gives the type of x.

        place: of the gate's gradient, for a kernel.
        """
        if kernels and gate is not None and self.group_size == x.shape[-1] <= WIDEST and fits_bfloat16(x):
            return GatedNorm.apply(x, gate, self.weight, self.eps, place)
        if kernels:
            from mamba_ssm.ops.triton.layernorm_gated import rmsnorm_fn

            return rmsnorm_fn(x, upcast(self.weight), None, gate, self.eps, self.group_size, norm_before_gate=False)
        y = upcast(x) if gate is None else upcast(x) * F.silu(upcast(gate))
        y = F.rms_norm(y.unflatten(-1, (-1, self.group_size)), (self.group_size,), eps=self.eps)
        return y.flatten(-2) * upcast(self.weight)


class GatedNorm(torch.autograd.Function):
    """RMSNorm of x silu(gate), x and gate (..., D) in bfloat16, the result too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, weight: Tensor, eps: float, place: Place | None = None) -> Tensor:
        from . import norm_kernel

        ctx.place = place
        rows, gates = x.contiguous().flatten(0, -2), gate.flatten(0, -2)
        y, scales = norm_kernel.gated_forward(rows, gates, weight, eps)
        ctx.save_for_backward(rows, gates, weight, scales)
        return y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from . import norm_kernel

        rows = grad.contiguous().flatten(0, -2)
        grad_gate = make_gradient(ctx.place, grad)
        grad_x, grad_weight = norm_kernel.gated_backward(rows, grad_gate.flatten(0, -2), *ctx.saved_tensors)
        return grad_x.view(grad.shape), grad_gate, grad_weight, None, None
