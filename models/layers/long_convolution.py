"""The convolution of S4 layers with kernels as long as the sequence, through gelu, where bfloat16 is enough."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .base import fits_bfloat16

LONGEST = 16_384  # steps, beyond which an FFT does less work


def fits_long_convolution(x: Tensor) -> bool:
    return fits_bfloat16(x) and x.shape[1] <= LONGEST


class LongConvolution(torch.autograd.Function):
    """gelu(causal convolution): x (B, L, D), kernel (D, L) -> (B, L, D) in bfloat16, whatever the inputs are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        from . import long_convolution_kernel

        y, *kept = long_convolution_kernel.forward(x, kernel)
        ctx.save_for_backward(*kept)
        ctx.kinds = x.dtype, kernel.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        from . import long_convolution_kernel

        grad_x, grad_kernel = long_convolution_kernel.backward(grad, *ctx.saved_tensors)
        return grad_x.to(ctx.kinds[0]), grad_kernel.to(ctx.kinds[1])
