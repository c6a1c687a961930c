"""How long the states of a layer remember, and at which frequencies they ring.

A mode is one pole of a layer's recurrence, h_t = pole h_(t-1) + ...: its decay is the time in which |h| falls to 1/e, its
frequency how far h turns in a step. Units are steps of the layer, and cycles a step: 0.5 is half its sample rate.
Shape letters: B batch, L steps, D width, H channels or heads, N state, S angles.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Modes:
    """The distinct modes of a layer, float64; of conjugate pairs one.

    Frequencies above 0.5 alias: they sound at their distance from the nearest whole number.
    """

    decay: Tensor  # steps
    frequency: Tensor  # cycles a step
    states: int  # numbers that the layer keeps from step to step, the past of a convolution aside
    spread: float | None = None  # the input moves dt |A| by this factor up and down: one standard deviation, median of heads
    fastest: float | None = None  # cycles a step that the head with the largest dt can reach, if the input sets frequencies


class Layer(Protocol):
    """A SequenceLayer, as far as this is about it."""

    def modes(self, inputs: Tensor | None) -> Modes | None: ...


@torch.no_grad()
def modes(layer: Layer, inputs: Tensor | None) -> Modes | None:
    """`inputs` (B, L, D), as the layer sees them, matter to Mamba layers alone, whose dt, A and angles follow them.

    Decays of Mamba layers are what their biases alone give: the projections that move dt and A count as 0. None for a layer
    that has no time scales.
    """
    return layer.modes(inputs)


def lyapunov(A: Tensor, Q: Tensor) -> Tensor:
    """X with A X + X A* + Q = 0, N N, for A whose Hermitian part is negative.

    As the sum over k of W^k R W*^k with W = (1 - A)^-1 (1 + A), which is a contraction, by doubling.
    """
    unit = torch.eye(len(A), dtype=A.dtype)
    W = torch.linalg.solve(unit - A, unit + A)
    left = torch.linalg.inv(unit - A)
    X = 2 * left @ Q @ left.mH
    for _ in range(32):
        X, W = X + W @ X @ W.mH, W @ W
    return X


def rotary_modes(decay: Tensor, rest: Tensor, dt: Tensor, loss: Tensor, rate: Tensor, states: int, still: bool) -> Modes:
    """The mean speed of each angle of each head, whichever way it turns; of the states that are `still`, one mode a head.

    decay, rest (H): decay time and dt at rest; dt, loss = dt |A| (B, L, H); rate (B, L, S).
    """
    speed = dt.double().flatten(0, 1).mT @ rate.tanh().abs().flatten(0, 1) / (2 * dt[..., 0].numel())  # H S
    if still:
        speed = F.pad(speed, (1, 0))
    decay = decay[:, None].expand_as(speed).flatten()
    return Modes(decay, speed.flatten(), states, spread(loss), rest.max().item() / 2 if rate.shape[-1] else None)


def spread(rate: Tensor) -> float:
    """rate (B, L, H)."""
    return rate.double().log().flatten(0, 1).std(0).median().exp().item()
