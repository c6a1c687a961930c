"""What every sequence layer offers, and how its parameters tell the optimiser what they need."""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# S4 trains its state matrix and step sizes at no more than this rate, whatever that of the other weights.
LR_CAP = 1e-3


class SequenceLayer(Protocol):
    """A causal layer: `forward` on a whole sequence and `step` on one position after another give the same output.

    The layers are plain `nn.Module`s. Between steps they keep nothing themselves: what a layer remembers is the state, one
    tensor or nested tuples of them, in float32 (float64 if the layer is) whatever precision the rest runs in.
    """

    def forward(self, x: Tensor) -> Tensor: ...  # B L D -> B L D

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]: ...  # B D -> B D

    def initial_state(self, batch: int) -> Any: ...


def ssm_parameter(value: Tensor, lr_cap: float | None = None) -> nn.Parameter:
    """A parameter of the state space: decaying it to zero would change timescales, not the size of a weight."""
    parameter = nn.Parameter(value.to(torch.get_default_dtype()))
    parameter._no_weight_decay = True
    if lr_cap is not None:
        parameter._lr_cap = lr_cap
    return parameter


def full(t: Tensor) -> Tensor:
    """At least float32: decays, time steps and sums of them do not survive 8 bits of mantissa."""
    return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t


class RMSNorm(nn.Module):
    """Each group of `group_size` channels divided by its root mean square, in float32."""

    def __init__(self, width: int, group_size: int | None = None, eps: float = 1e-5):
        super().__init__()
        self.weight = ssm_parameter(torch.ones(width))
        self.group_size, self.eps = group_size or width, eps

    def forward(self, x: Tensor, gate: Tensor | None = None, kernels: bool = False) -> Tensor:
        """Of x, or of x silu(gate); in float32, if not with a kernel, which gives the type of x."""
        if kernels:
            from mamba_ssm.ops.triton.layernorm_gated import rmsnorm_fn

            return rmsnorm_fn(x, full(self.weight), None, gate, self.eps, self.group_size, norm_before_gate=False)
        y = full(x) if gate is None else full(x) * F.silu(full(gate))
        y = F.rms_norm(y.unflatten(-1, (-1, self.group_size)), (self.group_size,), eps=self.eps)
        return y.flatten(-2) * full(self.weight)
