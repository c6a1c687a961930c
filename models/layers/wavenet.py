"""Dilated causal convolutions as in WaveNet: a reference from outside the state space models.

After van den Oord et al., "WaveNet: A Generative Model for Raw Audio" (2016), section 2.
Shape letters: B batch, L steps, D width, E channels inside.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .base import SequenceLayer, register, upcast

State = tuple[Tensor, ...]


def glorot_linear(inputs: int, outputs: int) -> nn.Linear:
    """Starts Glorot uniform, derived for tanh (Glorot and Bengio 2010), with biases of 0; the WaveNet paper says nothing."""
    linear = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class GatedUnit(nn.Module):
    """z = tanh(W_f * x) sigmoid(W_g * x), each of x now and `dilation` steps ago; out come x + W_r z and the skip W_s z.

    last: nothing follows in the layer, so there is no W_r.
    """

    def __init__(self, channels: int, dilation: int, last: bool):
        super().__init__()
        self.channels, self.dilation, self.last = channels, dilation, last
        self.filter_gate = glorot_linear(2 * channels, 2 * channels)  # the two taps of both convolutions, as one product
        self.skip_residual = glorot_linear(channels, channels if last else 2 * channels)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, L, E) and the inputs before it (B, dilation, E) -> the next unit's x, the skip (B, L, E), the next past."""
        window = torch.cat((past.to(x.dtype), x), dim=1)
        signal, gate = self.filter_gate(torch.cat((window[:, : x.shape[1]], x), dim=-1)).chunk(2, dim=-1)
        skip, *residual = self.skip_residual(signal.tanh() * gate.sigmoid()).split(self.channels, dim=-1)
        return (x if self.last else x + residual[0]), skip, window[:, x.shape[1] :].to(past.dtype)


@register("wavenet")
class WaveNet(SequenceLayer):
    """One cycle of gated units, (B, L, D) -> (B, L, D).

    The input becomes E = expand D channels, which pass a unit for each dilation. The sum of the skips passes ReLU, Linear,
    ReLU and Linear, as in the paper.

    With dilations of 1 to 512, the paper's, an output depends on the last 1,024 inputs. The paper repeats the cycle, as a
    stack of these layers does.
    """

    def __init__(
        self,
        d_model: int,
        expand: float = 0.5,
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),  # steps
    ):
        super().__init__()
        if not dilations or min(dilations) < 1:
            raise ValueError(f"dilations is {dilations}: give one or more numbers from 1")
        if not expand * d_model >= 1:
            raise ValueError(f"expand is {expand}: with a width of {d_model} it must be at least {1 / d_model:g}")
        self.channels = round(expand * d_model)
        self.in_proj = glorot_linear(d_model, self.channels)
        last = len(dilations) - 1
        self.units = nn.ModuleList(GatedUnit(self.channels, dilation, i == last) for i, dilation in enumerate(dilations))
        self.dilations = tuple(dilations)
        self.mix_proj = glorot_linear(self.channels, d_model)
        self.out_proj = glorot_linear(d_model, d_model)

    def forward(self, x: Tensor, state: State | None = None) -> Any:
        if state is None:
            return self._run(x, self.initial_state(len(x)))[0]
        return self._run(x, state)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self._run(x[:, None], state)
        return y[:, 0], state

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        x, skips, after = self.in_proj(x), [], []
        for unit, past in zip(self.units, state, strict=True):
            x, skip, past = unit(x, past)
            skips.append(skip)
            after.append(past)
        mixed = self.mix_proj(torch.stack(skips).sum(0).relu())
        return self.out_proj(mixed.relu()), tuple(after)

    def initial_state(self, batch: int) -> State:
        """Of each unit, its last inputs (B, dilation, E)."""
        weight = self.in_proj.weight
        return tuple(upcast(weight.new_zeros(batch, dilation, self.channels)) for dilation in self.dilations)

    def residual_weights(self) -> list[Tensor]:
        return [self.out_proj.weight]

    def activation_bytes(self, measure: Callable[[int], int], length: int) -> tuple[int, int]:
        return measure(length), 0  # a few operations at any length
