"""Mamba2 (Dao & Gu 2024): one scalar decay per head, so that a chunk of steps is a product of matrices (SSD).

Without options, parameters have the names and shapes of mamba-ssm 2.3.2's module, so a checkpoint moves either way.
Shape letters: B batch, L steps, D width, H heads, P headdim, N state, G groups that share B and C, S angles, T segment.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..timescales import Modes, rotary_modes
from .base import fits_bfloat16, register, ssm_parameter, upcast
from .convolution import causal_conv, causal_conv_by_kernel, causal_conv_step, depthwise_conv
from .mamba_layer import (
    MambaLayer,
    causal_conv1d_usable,
    check_divides,
    check_int32,
    initial_dt_bias,
    run_segments,
)
from .norm import RMSNorm
from .rotation import accumulate_angles, count_angles, per_head, rotate
from .split import split
from .ssd import CHUNK, SEGMENT, ScanInChunks, fits_tiles, ssd, ssd_rotary

KERNEL_CHUNK = 64  # at most, of a kernel with rotary states
SMALLEST_TILE = 16  # of a product of matrices in bfloat16
EULER = 30.0  # sigmoid of it is 1: all of a step's weight in Mamba3 is that of its own time, which is Mamba2


def is_tile(size: int) -> bool:
    """Whether Mamba3's kernel takes it as d_state or headdim."""
    return size >= SMALLEST_TILE and not size & (size - 1)


def rotary_kernel(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    trap: Tensor,
    rate: Tensor,
    B_bias: Tensor,
    C_bias: Tensor,
    D: Tensor,
    chunk: int,
) -> Tensor:
    """mamba-ssm's kernel of Mamba3, which turns B and C itself. It agrees with float32 to about 1 %.

    x (B, L, H, P); dt, A, trap (B, L, H); B, C (B, L, G, N); rate (B, L, S); biases (H, N); D (H) -> y (B, L, H, P).
    """
    from mamba_ssm.ops.triton.mamba3.mamba3_siso_combined import mamba3_siso_combined

    return mamba3_siso_combined(
        Q=C,
        K=B,
        V=x,
        ADT=(A * dt).transpose(1, 2),
        DT=dt.transpose(1, 2),
        Trap=trap.transpose(1, 2),
        Q_bias=C_bias.float(),
        K_bias=B_bias.float(),
        Angles=rate.float()[:, :, None].expand(-1, -1, x.shape[2], -1),
        D=D.float(),
        chunk_size=chunk,
    )


@register("mamba2")
class Mamba2(MambaLayer):
    """(B, L, D) -> (B, L, D)."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,  # any width
        expand: float = 2,
        headdim: int = 64,
        ngroups: int = 1,
        A_init_range: tuple[float, float] = (1, 16),
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init_floor: float = 1e-4,
        dt_limit: tuple[float, float] = (0.0, math.inf),
        bias: bool = False,
        conv_bias: bool = True,
        bc_norm: bool = False,  # RMSNorm and a bias of 1 on B and C
        rotary: bool = False,  # a state that turns, as in Mamba3
        rope_fraction: float = 0.5,
        chunk_size: int = 256,
        kernels: str = "auto",
    ):
        super().__init__(kernels, expand, d_model=d_model, d_state=d_state, d_conv=d_conv, chunk_size=chunk_size)
        check_divides("headdim", headdim, "d_inner", self.d_inner)
        self.nheads = self.d_inner // headdim
        check_divides("ngroups", ngroups, "nheads", self.nheads)
        if not 0 < A_init_range[0] <= A_init_range[1]:
            raise ValueError(f"A_init_range={A_init_range} must be two rising numbers above 0: mamba-ssm has (1, 16)")
        self.d_conv, self.headdim, self.ngroups = d_conv, headdim, ngroups
        self.dt_limit, self.bc_norm = dt_limit, bc_norm
        self.n_angles = count_angles(d_state, rope_fraction) if rotary else 0
        self.conv_dim = self.d_inner + 2 * ngroups * d_state

        # order: z, x, B, C, dt, angles
        self.d_in_proj = self.d_inner + self.conv_dim + self.nheads + self.n_angles
        self.in_proj = nn.Linear(d_model, self.d_in_proj, bias=bias)
        self.conv1d = depthwise_conv(self.conv_dim, d_conv, conv_bias)
        self.dt_bias = ssm_parameter(initial_dt_bias(self.nheads, dt_min, dt_max, dt_init_floor))
        self.A_log = ssm_parameter(torch.log(torch.empty(self.nheads).uniform_(*A_init_range)))
        self.D = ssm_parameter(torch.ones(self.nheads))
        if bc_norm:
            self.B_norm, self.C_norm = RMSNorm(d_state), RMSNorm(d_state)
            self.B_bias, self.C_bias = (ssm_parameter(torch.ones(ngroups, d_state)) for _ in "BC")
        self.norm = RMSNorm(self.d_inner, group_size=self.d_inner // ngroups)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)

    @property
    def segment(self) -> int:
        return SEGMENT

    def run(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        past, *inner = state  # h and, if rotary, angles
        z, xBC, dt, rate = self._split(self.in_proj(u))
        xBC, past = causal_conv(xBC, past, self.conv1d)
        x, B, C = self._heads(xBC)
        B, C = self._add_biases(B, C)
        dt, A = self._dt(dt), -torch.exp(upcast(self.A_log))
        scan, rates = (ssd_rotary, (rate,)) if self.n_angles else (ssd, ())
        sequences, chunk = (x, A * dt, dt, B, C, *rates), min(CHUNK, self.chunk_size)
        y, after = run_segments(scan, sequences, (chunk,), tuple(inner) if rates else inner[0], self.segment)
        y = y + upcast(self.D)[:, None] * x
        return self._finish(y, z), (past, *(after if rates else (after,)))

    def use_kernels(self, u: Tensor) -> bool:
        return self._uses_own_kernels(u) or super().use_kernels(u)

    @property
    def has_own_kernels(self) -> bool:
        """Whether kernels of ours do it all in bfloat16, without mamba-ssm."""
        one_group = self.norm.group_size == self.d_inner  # of the norm
        return not self.bc_norm and not self.n_angles and one_group and fits_tiles(self.headdim, self.d_state)

    def _uses_own_kernels(self, u: Tensor) -> bool:
        return self.has_own_kernels and fits_bfloat16(u)

    def run_kernels(self, u: Tensor) -> Tensor:
        projected = self.in_proj(u)
        if self._uses_own_kernels(u):
            return self._run_own_kernels(projected)
        if self._fusable():
            return self._run_fused(projected)
        z, xBC, dt, rate = self._split(projected)
        xBC = causal_conv_by_kernel(xBC, self.conv1d)
        dt, A = self._dt(dt), -torch.exp(upcast(self.A_log))
        y = self._kernel_scan(*self._heads(xBC, kernels=True), dt, A, rate)
        return self._finish(y, z, kernels=True)

    def _run_own_kernels(self, projected: Tensor) -> Tensor:
        (z, of_z), (xBC, of_xBC), (dt, of_dt) = split(projected, [self.d_inner, self.conv_dim, self.nheads])
        xBC = causal_conv_by_kernel(xBC, self.conv1d, of_xBC)
        of_heads = (upcast(each) for each in (self.dt_bias, self.A_log, self.D))
        sizes = self.nheads, self.headdim, self.ngroups, self.d_state
        y = ScanInChunks.apply(xBC, dt, *of_heads, self.dt_limit, of_dt, *sizes)
        return self.out_proj(self.norm(y, z, kernels=True, place=of_z))

    def _split(self, projected: Tensor) -> tuple[Tensor, ...]:
        """in_proj(u) -> z (..., E), x with B and C (..., conv_dim), dt (..., H), the rate of the angles (..., S)."""
        return projected.split([self.d_inner, self.conv_dim, self.nheads, self.n_angles], dim=-1)

    def _kernel_scan(self, x: Tensor, B: Tensor, C: Tensor, dt: Tensor, A: Tensor, rate: Tensor) -> Tensor:
        if not self.n_angles or x.dtype == torch.float32 or not (is_tile(self.d_state) and is_tile(self.headdim)):
            from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

            B, C = self._add_biases(B, C)
            B, C = rotate(accumulate_angles(dt, rate), B, C) if self.n_angles else (B, C)
            return mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size=self.chunk_size, D=self.D.float())
        # In bfloat16, to which this kernel rounds whatever it is given.
        trap = torch.full_like(dt, EULER)
        none = self.D.new_zeros(self.ngroups, self.d_state)
        shared = (self.B_bias, self.C_bias) if self.bc_norm else (none, none)
        B_bias, C_bias = (per_head(bias, self.nheads) for bias in shared)
        return rotary_kernel(x, dt, A, B, C, trap, rate, B_bias, C_bias, self.D, min(KERNEL_CHUNK, self.chunk_size))

    def _finish(self, y: Tensor, z: Tensor, kernels: bool = False) -> Tensor:
        return self.out_proj(self.norm(y.flatten(-2), z, kernels).to(z.dtype))

    def _dt(self, dt: Tensor) -> Tensor:
        return F.softplus(upcast(dt) + upcast(self.dt_bias)).clamp(*self.dt_limit)

    def _heads(self, xBC: Tensor, kernels: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """(..., conv_dim) -> x (..., H, P), B and C (..., G, N)."""
        groups = self.ngroups * self.d_state
        x, B, C = xBC.split([self.d_inner, groups, groups], dim=-1)
        B, C = (t.unflatten(-1, (self.ngroups, self.d_state)) for t in (B, C))
        if self.bc_norm:
            B, C = self.B_norm(B, kernels=kernels).to(x.dtype), self.C_norm(C, kernels=kernels).to(x.dtype)
        return x.unflatten(-1, (self.nheads, self.headdim)), B, C

    def _add_biases(self, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        return ((B + self.B_bias).to(B.dtype), (C + self.C_bias).to(C.dtype)) if self.bc_norm else (B, C)

    def check_size(self, batch: int, length: int) -> None:
        """Raises ValueError for what the kernels can't do."""
        check_int32(length * self.d_in_proj, batch, "B x L x d_in_proj")
        if self.n_angles:
            check_int32(length * self.nheads * self.d_state, batch, "B x L x heads x d_state")
        check_int32(-(-length // self.chunk_size) * self.d_inner * self.d_state, batch, "B x chunks x d_inner x d_state")

    @property
    def plain(self) -> bool:
        """The one-kernel path is mamba-ssm's Mamba2 and no more, with a convolution that causal-conv1d knows."""
        return not self.bc_norm and not self.n_angles and 2 <= self.d_conv <= 4

    def _fusable(self) -> bool:
        return self.plain and self.conv_dim % 8 == 0 and causal_conv1d_usable()  # which wants channels in multiples of 8

    def _run_fused(self, zxbcdt: Tensor) -> Tensor:
        from mamba_ssm.ops.triton.ssd_combined import mamba_split_conv1d_scan_combined

        conv = self.conv1d.weight[:, 0], self.conv1d.bias
        sizes = {"chunk_size": self.chunk_size, "headdim": self.headdim, "ngroups": self.ngroups, "dt_limit": self.dt_limit}
        norm = {"rmsnorm_weight": self.norm.weight, "rmsnorm_eps": self.norm.eps, "norm_before_gate": False}
        out = {"outproj_weight": self.out_proj.weight, "outproj_bias": self.out_proj.bias}
        A = -torch.exp(self.A_log.float())
        return mamba_split_conv1d_scan_combined(zxbcdt, *conv, self.dt_bias, A, D=self.D, **sizes, **norm, **out)

    def step(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        past, h, *angles = state
        z, xBC, dt, rate = self._split(self.in_proj(u))
        xBC, past = causal_conv_step(xBC, past, self.conv1d)
        x, B, C = self._heads(xBC)
        x, B, C = (upcast(t) for t in (x, *self._add_biases(B, C)))
        dt = self._dt(dt)
        if angles:
            angles = [accumulate_angles(dt[:, None], rate[:, None], *angles)[:, 0]]
            B, C = rotate(angles[0], B, C)
        else:
            B, C = per_head(B, self.nheads), per_head(C, self.nheads)
        decay, drive = torch.exp(-torch.exp(upcast(self.A_log)) * dt), (dt[..., None] * x)[..., None] * B[:, :, None]
        h = decay[..., None, None] * h + drive
        y = (h * C[:, :, None]).sum(-1) + upcast(self.D)[:, None] * x
        return self._finish(y, z), (past, h, *angles)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """Past inputs of the convolution (B, conv_dim, W-1), the state (B, H, P, N) and, if rotary, angles (B, H, S)."""
        state = self.zeros(batch, self.conv_dim, self.d_conv - 1), self.zeros(batch, self.nheads, self.headdim, self.d_state)
        return (*state, self.zeros(batch, self.nheads, self.n_angles)) if self.n_angles else state

    def modes(self, inputs: Tensor | None) -> Modes:
        sizes = [self.d_inner + self.conv_dim, self.nheads, self.n_angles]
        _, dt, rate = self.in_proj(inputs).double().split(sizes, dim=-1)
        A = self.A_log.double().exp()
        rest, dt = self._dt(torch.zeros_like(A)), self._dt(dt)
        states, still = self.d_inner * self.d_state, 2 * self.n_angles < self.d_state
        return rotary_modes(1 / (rest * A), rest, dt, dt * A, rate, states, still)
