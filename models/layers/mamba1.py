"""Mamba1 (Gu & Dao 2023): a selective scan with one time step per channel.

Parameters have the names and shapes of mamba-ssm 2.3.2's module, so a checkpoint moves either way.
Shape letters: B batch, L steps, D width, E inner width (expand x D), N state, W conv width, T steps of one segment.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..timescales import Modes, spread
from .base import mark, register, ssm_parameter, upcast
from .convolution import causal_conv, causal_conv_by_kernel, causal_conv_step, depthwise_conv
from .mamba_layer import MambaLayer, check_int32, initial_dt_bias, linear_recurrence, run_segments


def selective_scan(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """x, dt (B, T, E); B, C (B, T, N); A (E, N); state (B, E, N) -> y (B, T, E), state.

    Makes tensors of B x T x E x N: keep T small. h_t = exp(dt_t A) h_(t-1) + dt_t B_t x_t, y_t = C_t h_t.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, B, C = upcast(x), upcast(B), upcast(C)
        decay = torch.exp(dt[..., None] * A)
        drive = (dt * x)[..., None] * B[:, :, None]
        drive[:, 0] += decay[:, 0] * state
        h = linear_recurrence(decay, drive)
        return (h @ C[..., None])[..., 0], h[:, -1].clone()  # a view would keep all of h


@register("mamba1")
class Mamba1(MambaLayer):
    """(B, L, D) -> (B, L, D)."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        dt_rank: int | Literal["auto"] = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        chunk_size: int = 128,  # steps whose states exist at once, in plain torch
        kernels: str = "auto",
    ):
        rank = math.ceil(d_model / 16) if isinstance(dt_rank, str) else dt_rank
        sizes = {"d_model": d_model, "d_state": d_state, "d_conv": d_conv, "dt_rank": rank, "chunk_size": chunk_size}
        super().__init__(kernels, expand, **sizes)
        self.d_conv, self.dt_rank = d_conv, rank

        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias)  # order: x, z
        self.conv1d = depthwise_conv(self.d_inner, d_conv, conv_bias)
        self.x_proj = nn.Linear(self.d_inner, rank + 2 * d_state, bias=False)  # order: dt, B, C
        self.dt_proj = nn.Linear(rank, self.d_inner)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)  # keeps the variance of its input
        self.dt_proj.bias = ssm_parameter(initial_dt_bias(self.d_inner, dt_min, dt_max, dt_init_floor))
        mark(self.dt_proj.bias, no_reinit=True)  # a model that zeroes biases would lose the time constants
        # S4D-Real: every channel has decay rates 1 .. N
        self.A_log = ssm_parameter(torch.log(torch.arange(1.0, d_state + 1)).repeat(self.d_inner, 1))
        self.D = ssm_parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)

    @property
    def segment(self) -> int:
        return self.chunk_size

    def run(self, u: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        past, h = state
        x, z = self.in_proj(u).chunk(2, dim=-1)  # (B, L, E) each
        x, past = causal_conv(x, past, self.conv1d)
        dt, B, C = self._select(x)
        dt = F.softplus(upcast(dt) + upcast(self.dt_proj.bias))
        y, h = run_segments(selective_scan, (x, dt, B, C), (-torch.exp(upcast(self.A_log)),), h, self.segment)
        y = (y + upcast(self.D) * x) * F.silu(upcast(z))
        return self.out_proj(y.to(x.dtype)), (past, h)

    def run_kernels(self, u: Tensor) -> Tensor:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        x, z = self.in_proj(u).chunk(2, dim=-1)
        x = causal_conv_by_kernel(x, self.conv1d)
        x, z, dt, B, C = (t.transpose(1, 2).contiguous() for t in (x, z, *self._select(x)))
        A, D, bias = -torch.exp(upcast(self.A_log)), self.D.float(), self.dt_proj.bias.float()
        y = selective_scan_fn(x, dt, A, B, C, D, z=z, delta_bias=bias, delta_softplus=True).transpose(1, 2)
        return self.out_proj(y.to(x.dtype))

    def _select(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (..., E) -> dt before its bias (..., E), B and C (..., N)."""
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return F.linear(dt, self.dt_proj.weight), B, C

    def check_size(self, batch: int, length: int) -> None:
        """Raises ValueError for what the kernels can't do."""
        if self.d_state > 256:
            raise ValueError(f"d_state={self.d_state} must be at most 256 with kernels: use 256, or kernels='torch'")
        check_int32(length * 2 * self.d_inner, batch, "B x L x d_in_proj")

    def step(self, u: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        past, h = state
        x, z = self.in_proj(u).chunk(2, dim=-1)
        x, past = causal_conv_step(x, past, self.conv1d)
        dt, B, C = self._select(x)
        dt = F.softplus(upcast(dt) + upcast(self.dt_proj.bias))
        y, h = selective_scan(x[:, None], dt[:, None], B[:, None], C[:, None], -torch.exp(upcast(self.A_log)), h)
        y = (y[:, 0] + upcast(self.D) * x) * F.silu(upcast(z))
        return self.out_proj(y.to(x.dtype)), (past, h)

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """Past inputs of the convolution (B, E, W-1) and the state (B, E, N)."""
        return self.zeros(batch, self.d_inner, self.d_conv - 1), self.zeros(batch, self.d_inner, self.d_state)

    def modes(self, inputs: Tensor | None) -> Modes:
        assert inputs is not None  # dt follows them
        x, _ = self.in_proj(inputs).chunk(2, dim=-1)
        x, _ = causal_conv(x, self.initial_state(len(x))[0], self.conv1d)
        rank = self.x_proj(x)[..., : self.dt_rank]
        dt = F.softplus(self.dt_proj(rank).double())
        decay = 1 / (F.softplus(self.dt_proj.bias.double())[:, None] * self.A_log.double().exp())  # H N
        return Modes(decay.flatten(), torch.zeros(decay.numel(), dtype=decay.dtype), decay.numel(), spread(dt))
