"""The short convolution of Mamba1 and Mamba2, and of S4 if it is given one: depthwise, causal, of any width, with SiLU.

Shape letters: B batch, L steps, E channels, W width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .base import has_triton
from .split import Place, make_gradient


def depthwise_conv(channels: int, width: int, bias: bool) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, width, groups=channels, padding=width - 1, bias=bias)


def is_kernel_usable(x: Tensor) -> bool:
    """It runs on a GPU and sums in float32; torch.compile can't look into it."""
    return x.is_cuda and x.dtype != torch.float64 and not torch.compiler.is_compiling() and has_triton()


def causal_conv_by_kernel(x: Tensor, conv: nn.Conv1d, place: Place | None = None) -> Tensor:
    """silu(conv(x)), (B, L, E) -> same; output t sees inputs t-W+1 .. t, zeros before the first. place: of x's gradient."""
    return KernelConvolution.apply(x, conv.weight.flatten(1), conv.bias, place)


def causal_conv(x: Tensor, past: Tensor, conv: nn.Conv1d) -> tuple[Tensor, Tensor]:
    """The same in plain torch, after the inputs `past` (B, E, W-1) -> y, the next past."""
    window = torch.cat([past.to(x.dtype), x.mT], dim=-1)
    y = F.silu(F.conv1d(window, conv.weight, conv.bias, groups=conv.groups)).mT.to(x.dtype)
    return y, window[..., x.shape[1] :].to(past.dtype)


def causal_conv_step(x: Tensor, past: Tensor, conv: nn.Conv1d) -> tuple[Tensor, Tensor]:
    """The same for one step, x (B, E)."""
    window = torch.cat([past, x[..., None].to(past.dtype)], dim=-1)
    y = (window * conv.weight[:, 0]).sum(-1)
    y = F.silu(y if conv.bias is None else y + conv.bias)
    return y.to(x.dtype), window[..., 1:]


class KernelConvolution(torch.autograd.Function):
    """By our own kernel: causal-conv1d knows 4 taps at most, and cuDNN is slow where each channel has its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, place: Place | None) -> Tensor:
        from . import convolution_kernel

        ctx.place = place
        x = x if x.stride(2) == 1 else x.contiguous()
        ctx.save_for_backward(x, weight, bias)
        return convolution_kernel.forward(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        from . import convolution_kernel

        x, weight, bias = ctx.saved_tensors
        grad_x = make_gradient(ctx.place, x)
        grad_weight, grad_bias = convolution_kernel.backward(grad.contiguous(), x, weight, bias, grad_x)
        return grad_x, grad_weight.to(weight.dtype), None if bias is None else grad_bias.to(bias.dtype), None
