"""How long the states of a layer remember, and at which frequencies they ring.

A mode is one pole of a layer's recurrence, h_t = pole h_(t-1) + ...: its decay is the time in which |h| falls to 1/e, its
frequency how far h turns in a step. Units are steps of the layer, and cycles a step: 0.5 is half its sample rate.
Shape letters: B batch, L steps, D width, H channels or heads, N state, S angles.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers.convolution import causal_conv
from .layers.mamba1 import Mamba1
from .layers.mamba2 import Mamba2
from .layers.mamba3 import Mamba3
from .layers.s4 import S4
from .layers.s4d import S4D


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


@torch.no_grad()
def modes(layer: nn.Module, inputs: Tensor) -> Modes:
    """`inputs` (B, L, D), as the layer sees them, matter to Mamba layers alone, whose dt, A and angles follow them.

    Decays of Mamba layers are what their biases alone give: the projections that move dt and A count as 0.
    """
    return _FINDERS[type(layer)](layer, inputs)


def _s4d(layer: S4D, inputs: Tensor) -> Modes:
    log_A, _ = layer.discretise(*layer.system())
    return Modes(-1 / log_A.real.flatten(), log_A.imag.abs().flatten() / (2 * math.pi), 2 * log_A.numel())


def _s4(layer: S4, inputs: Tensor) -> Modes:
    """Of each state h by itself, after an impulse at the input: how its energy is spread over time and frequency.

    Eigenvalues do not tell. Those of HiPPO-LegS are -1 .. -N, all real, though its states ring: the modes cancel each other
    so finely that at N = 64 rounding P to float32 turns them into quite other ones. Energies are well conditioned, and where
    states are not coupled they give the poles: |h_l|^2 = r^l has its mean at l = r / (1 - r), and the sum of h_(l+1) h*_l
    has the angle of the pole.

    Sums over all l solve Lyapunov equations, and the bilinear step takes these from the discrete A to the continuous one,
    the same for every dt. With A X + X A* = -B B*, A Z + Z A* = -X and a = dt/2, the sum of h_l h*_l is dt X, and that of
    l h_l h*_l is Z - a X + a^2 A Z A*.
    """
    Lambda = torch.complex(-layer.log_A_real.double().exp(), layer.A_imag.double())
    P, B = (torch.view_as_complex(value.double()) for value in (layer.P, layer.B))
    Lambda, P, B = (torch.cat((half, half.conj())) for half in (Lambda, P, B))
    A = torch.diag(Lambda) - torch.outer(P, P.conj())
    X = lyapunov(A, torch.outer(B, B.conj()))
    Z = lyapunov(A, X)

    dt = layer.log_dt.double().exp()[:, None]  # H 1
    x, z, aza = (value.diagonal().real[: len(P) // 2] for value in (X, Z, A @ Z @ A.mH))
    mean = (z - dt / 2 * x + dt**2 / 4 * aza) / (dt * x)  # H N/2
    unit = torch.eye(len(P), dtype=A.dtype)
    later = 2 * torch.linalg.inv(unit - dt[..., None] / 2 * A) @ X - X  # H N N: the sum of h_(l+1) h*_l, over dt
    turn = later.diagonal(dim1=1, dim2=2)[:, : len(P) // 2].angle()
    return Modes((2 / torch.log1p(1 / mean)).flatten(), turn.abs().flatten() / (2 * math.pi), 2 * mean.numel())


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


def _mamba1(layer: Mamba1, inputs: Tensor) -> Modes:
    x, _ = layer.in_proj(inputs).chunk(2, dim=-1)
    rank = layer.x_proj(causal_conv(x, layer.conv1d, kernels=False))[..., : layer.dt_rank]
    dt = F.softplus(layer.dt_proj(rank).double())
    decay = 1 / (F.softplus(layer.dt_proj.bias.double())[:, None] * layer.A_log.double().exp())  # H N
    return Modes(decay.flatten(), torch.zeros(decay.numel(), dtype=decay.dtype), decay.numel(), _spread(dt))


def _mamba2(layer: Mamba2, inputs: Tensor) -> Modes:
    sizes = [layer.d_inner + layer.conv_dim, layer.nheads, layer.n_angles]
    _, dt, rate = layer.in_proj(inputs).double().split(sizes, dim=-1)
    A = layer.A_log.double().exp()
    rest, dt = layer._dt(torch.zeros_like(A)), layer._dt(dt)
    return _turning(layer, 1 / (rest * A), rest, dt, dt * A, rate)


def _mamba3(layer: Mamba3, inputs: Tensor) -> Modes:
    *_, dt, A, _, rate = layer._project(inputs)
    rest = F.softplus(layer.dt_bias.double())
    at_rest = rest * max(math.log(2), layer.A_floor)  # softplus(0)
    return _turning(layer, 1 / at_rest, rest, dt, -dt * A, rate.double())


def _turning(layer: Mamba2 | Mamba3, decay: Tensor, rest: Tensor, dt: Tensor, loss: Tensor, rate: Tensor) -> Modes:
    """The mean speed of each angle of each head, whichever way it turns; of the states that stay, one mode a head.

    decay, rest (H): decay time and dt at rest; dt, loss = dt |A| (B, L, H); rate (B, L, S).
    """
    states = layer.nheads * layer.headdim * layer.d_state
    speed = dt.double().flatten(0, 1).mT @ rate.tanh().abs().flatten(0, 1) / (2 * dt[..., 0].numel())  # H S
    if 2 * layer.n_angles < layer.d_state:
        speed = F.pad(speed, (1, 0))
    decay = decay[:, None].expand_as(speed).flatten()
    return Modes(decay, speed.flatten(), states, _spread(loss), rest.max().item() / 2 if layer.n_angles else None)


def _spread(rate: Tensor) -> float:
    """rate (B, L, H)."""
    return rate.double().log().flatten(0, 1).std(0).median().exp().item()


_FINDERS = {S4: _s4, S4D: _s4d, Mamba1: _mamba1, Mamba2: _mamba2, Mamba3: _mamba3}
