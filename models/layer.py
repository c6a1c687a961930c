"""What every sequence layer offers, and how its parameters tell the optimiser what they need."""

from typing import Any, Protocol

import torch
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
