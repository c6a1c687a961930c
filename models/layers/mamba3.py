"""Mamba3, single input and output: trapezoidal steps, decay chosen by the data, a rotary state, no convolution.

Parameters have the names and shapes of mamba-ssm 2.3.2.post1's module, so a checkpoint moves either way. Later versions of
mamba-ssm map dd_A to A by another function: their checkpoints load and mean something else.
Shape letters: B batch, L steps, D width, H heads, P headdim, N state, G groups that share B and C, S angles.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..timescales import Modes, rotary_modes
from . import mamba2
from .base import register, ssm_parameter, upcast
from .mamba2 import SMALLEST_TILE
from .mamba_layer import MambaLayer, check_divides, check_int32, initial_dt_bias, run_segments
from .norm import RMSNorm
from .rotation import accumulate_angles, count_angles, per_head, rotate
from .ssd import CHUNK, SEGMENT, ssd


def trapezoid(dt: Tensor, trap: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of B_t x_t at its own step and at every later one, (B, L, H) each.

    h_t = exp(dt_t A_t) (h_(t-1) + (1 - l_t) dt_t B_(t-1) x_(t-1)) + l_t dt_t B_t x_t with l = sigmoid(trap): a step enters
    with its own weight and again with the next one's.
    """
    share = torch.sigmoid(upcast(trap))
    own = share * dt
    return own, own + F.pad(((1 - share) * dt)[:, 1:], (0, 0, 0, 1))


def scan_segment(
    x: Tensor,
    log_decay: Tensor,
    weight: Tensor,
    now: Tensor,
    B: Tensor,
    C: Tensor,
    dt: Tensor,
    rate: Tensor,
    B_bias: Tensor,
    C_bias: Tensor,
    chunk: int,
    state: tuple[Tensor, Tensor],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Angles, B and C per head exist for one segment only: of a whole sequence they would be the layer's largest tensors."""
    (angles, h), nheads = state, x.shape[2]
    angles = accumulate_angles(dt, rate, angles)
    B, C = rotate(angles, *(per_head(upcast(t), nheads) + upcast(b) for t, b in ((B, B_bias), (C, C_bias))))
    y, h = ssd(x, log_decay, weight, B, C, chunk, h, now)
    return y, (angles[:, -1].clone(), h)  # a view would keep all angles


@register("mamba3")
class Mamba3(MambaLayer):
    """(B, L, D) -> (B, L, D)."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        expand: float = 2,
        headdim: int = 64,
        ngroups: int = 1,
        rope_fraction: float = 0.5,
        dt_min: float = 0.001,
        dt_max: float = 0.1,  # a rotary state turns by at most pi dt a step: 0.1 is 400 Hz at 8 kHz
        dt_init_floor: float = 1e-4,
        A_floor: float = 1e-4,
        is_outproj_norm: bool = False,
        chunk_size: int = 64,
        kernels: str = "auto",
    ):
        super().__init__(kernels, expand, d_model=d_model, d_state=d_state, chunk_size=chunk_size)
        check_divides("headdim", headdim, "d_inner", self.d_inner)
        self.nheads = self.d_inner // headdim
        check_divides("ngroups", ngroups, "nheads", self.nheads)
        self.headdim, self.ngroups = headdim, ngroups
        self.n_angles = count_angles(d_state, rope_fraction)
        self.A_floor, self.is_outproj_norm = A_floor, is_outproj_norm

        # order: z, x, B, C, dt, A, trapezoid, angles
        self.sizes = [self.d_inner] * 2 + [ngroups * d_state] * 2 + [self.nheads] * 3 + [self.n_angles]
        self.in_proj = nn.Linear(d_model, sum(self.sizes), bias=False)
        self.dt_bias = ssm_parameter(initial_dt_bias(self.nheads, dt_min, dt_max, dt_init_floor))
        # mamba-ssm's dimension of size 1 is the rank of its MIMO form
        self.B_bias = ssm_parameter(torch.ones(self.nheads, 1, d_state))
        self.C_bias = ssm_parameter(torch.ones(self.nheads, 1, d_state))
        self.B_norm, self.C_norm = RMSNorm(d_state), RMSNorm(d_state)
        self.D = ssm_parameter(torch.ones(self.nheads))
        if is_outproj_norm:
            self.norm = RMSNorm(self.d_inner, group_size=headdim)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    @property
    def segment(self) -> int:
        return SEGMENT

    def run(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        angles, h, last_B, last_x = state
        z, x, B, C, dt, A, trap, rate = self._project(u)
        now, weight = trapezoid(dt, trap)  # the last step enters with its own weight; with its other in the next chunk
        h = h + ((dt - now)[:, 0, :, None] * last_x)[..., None] * last_B[:, :, None]
        sequences = (x, A * dt, weight, now, B, C, dt, rate)
        constants = (self.B_bias[:, 0], self.C_bias[:, 0], min(CHUNK, self.chunk_size))
        y, (angles, h) = run_segments(scan_segment, sequences, constants, (angles, h), self.segment)
        y = y + upcast(self.D)[:, None] * x
        (last_B,) = rotate(angles, per_head(upcast(B[:, -1]), self.nheads) + upcast(self.B_bias[:, 0]))
        return self._finish(y, z), (angles, h, last_B, upcast(x[:, -1]))

    def run_kernels(self, u: Tensor) -> Tensor:
        z, x, B, C, dt, A, trap, rate = self._project(u, kernels=True)
        biases = self.B_bias[:, 0], self.C_bias[:, 0]
        y = mamba2.rotary_kernel(x, dt, A, B, C, trap, rate, *biases, self.D, self.chunk_size)
        return self._finish(y, z)

    def use_kernels(self, u: Tensor) -> bool:
        """Not in float32: the kernel rounds to bfloat16 whatever it is given."""
        precision = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else u.dtype
        return precision != torch.float32 and super().use_kernels(u)

    def _project(self, u: Tensor, kernels: bool = False) -> tuple[Tensor, ...]:
        """u (..., D) -> z (..., E); x (..., H, P); B, C (..., G, N); dt, A, trap (..., H); rate (..., S)."""
        z, x, B, C, dt, A, trap, rate = self.in_proj(u).split(self.sizes, dim=-1)
        B = self.B_norm(B.unflatten(-1, (self.ngroups, self.d_state)), kernels=kernels)
        C = self.C_norm(C.unflatten(-1, (self.ngroups, self.d_state)), kernels=kernels)
        dt = F.softplus(upcast(dt) + upcast(self.dt_bias))
        A = -F.softplus(upcast(A)).clamp(min=self.A_floor)
        return z, x.unflatten(-1, (self.nheads, self.headdim)), B, C, dt, A, trap, rate

    def _finish(self, y: Tensor, z: Tensor) -> Tensor:
        y = upcast(y.flatten(-2))
        y = self.norm(y) if self.is_outproj_norm else y
        return self.out_proj((y * F.silu(upcast(z))).to(z.dtype))

    def check_size(self, batch: int, length: int) -> None:
        """Raises ValueError for what the kernels can't do."""
        for name, size in (("d_state", self.d_state), ("headdim", self.headdim)):
            if not mamba2.is_tile(size):
                below = max(SMALLEST_TILE, 1 << (size.bit_length() - 1))
                near = below if size < below else f"{below} or {2 * below}"
                raise ValueError(
                    f"{name}={size} must be a power of two from {SMALLEST_TILE} with kernels: take {near} or kernels='torch'"
                )
        check_int32(length * sum(self.sizes), batch, "B x L x d_in_proj")
        check_int32(length * self.nheads * self.d_state, batch, "B x L x heads x d_state")
        check_int32(-(-length // self.chunk_size) * self.d_inner * self.d_state, batch, "B x chunks x d_inner x d_state")

    def step(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        angles, h, last_B, last_x = state
        z, x, B, C, dt, A, trap, rate = self._project(u)
        angles = accumulate_angles(dt[:, None], rate[:, None], angles)[:, 0]
        biased = (per_head(upcast(t), self.nheads) + upcast(b[:, 0]) for t, b in ((B, self.B_bias), (C, self.C_bias)))
        B, C = rotate(angles, *biased)
        now, value = torch.sigmoid(upcast(trap)) * dt, upcast(x)
        h = h + ((dt - now)[..., None] * last_x)[..., None] * last_B[:, :, None]
        h = torch.exp(A * dt)[..., None, None] * h + (now[..., None] * value)[..., None] * B[:, :, None]
        y = (h * C[:, :, None]).sum(-1) + upcast(self.D)[:, None] * value
        return self._finish(y, z), (angles, h, B, value)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """Angles (B, H, S), the state (B, H, P, N), and the last step's turned B (B, H, N) and x (B, H, P)."""
        shapes = (self.n_angles,), (self.headdim, self.d_state), (self.d_state,), (self.headdim,)
        return tuple(self.zeros(batch, self.nheads, *shape) for shape in shapes)

    def modes(self, inputs: Tensor | None) -> Modes:
        assert inputs is not None  # dt, A and the angles follow them
        *_, dt, A, _, rate = self._project(inputs)
        rest = F.softplus(self.dt_bias.double())
        at_rest = rest * max(math.log(2), self.A_floor)  # softplus(0)
        states, still = self.d_inner * self.d_state, 2 * self.n_angles < self.d_state
        return rotary_modes(1 / at_rest, rest, dt, -dt * A, rate.double(), states, still)
