"""S4, the structured state space layer: HiPPO-LegS as a diagonal matrix minus one of rank 1 (DPLR).

After Gu, Goel and Ré, "Efficiently Modeling Long Sequences with Structured State Spaces" (2022). Shapes as in s4d.py.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..timescales import Modes, lyapunov
from .base import LR_CAP, register, ssm_parameter
from .convolution import causal_conv, causal_conv_by_kernel, causal_conv_step, depthwise_conv, is_kernel_usable
from .s4d import S4Block, hippo_legs, kernel_side


@register("s4")
class S4(S4Block):
    """x' = (Lambda - P P*) x + B u, y = 2 Re(C x), discretised bilinearly. Starts as HiPPO-LegS, with C and D random.

    Lambda, P and B are shared by the channels, which differ in dt, C and D. With Re Lambda < 0 the system is stable for any
    P, for Lambda - P P* has a negative Hermitian part.

    d_conv: taps of a short convolution with SiLU before the state space, the same as in Mamba2; 0: none, as in the paper.
    """

    def __init__(self, d_model: int, d_state: int = 64, dt_min: float = 1e-3, dt_max: float = 1e-1, d_conv: int = 0):
        super().__init__(d_model, d_state, dt_min, dt_max)
        if d_conv < 0:
            raise ValueError(f"d_conv is {d_conv}: it must be a number of taps, or 0 for no convolution")
        Lambda, P, B = hippo_legs(d_state)
        self.log_A_real = ssm_parameter(torch.full((d_state // 2,), math.log(0.5)), LR_CAP)  # N/2
        self.A_imag = ssm_parameter(Lambda.imag, LR_CAP)  # N/2
        self.P = ssm_parameter(torch.view_as_real(P), LR_CAP)  # N/2 2
        self.B = ssm_parameter(torch.view_as_real(B), LR_CAP)  # N/2 2
        self.d_conv = d_conv
        if d_conv:
            self.conv1d = depthwise_conv(d_model, d_conv, bias=True)

    def forward(self, x: Tensor, state: Any = None, kernel: Tensor | None = None) -> Any:
        if not self.d_conv:
            return super().forward(x, state, kernel)
        if state is None:
            return super().forward(self._apply_conv(x), kernel=kernel)
        past, inner = state
        x, past = causal_conv(x, past, self.conv1d)
        y, inner = super().forward(x, inner)
        return y, (past, inner)

    def _apply_conv(self, x: Tensor) -> Tensor:
        if is_kernel_usable(x):
            return causal_conv_by_kernel(x, self.conv1d)
        return causal_conv(x, self._no_past(len(x)), self.conv1d)[0]

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if not self.d_conv:
            return super().step(x, state)
        past, inner = state
        x, past = causal_conv_step(x, past, self.conv1d)
        y, inner = super().step(x, inner)
        return y, (past, inner)

    def initial_state(self, batch: int) -> Any:
        """(B, H, N/2, 2); with a convolution, before it its past inputs (B, H, W-1)."""
        state = super().initial_state(batch)
        return (self._no_past(batch), state) if self.d_conv else state

    def _no_past(self, batch: int) -> Tensor:
        return torch.zeros(batch, self.d_model, self.d_conv - 1, dtype=self.dtype, device=self.log_dt.device)

    @property
    def kind(self) -> tuple:
        return S4, self.d_state

    def system(self) -> tuple[Tensor, ...]:
        shared = self.log_A_real, self.A_imag, self.P, self.B
        return self.log_dt, *(parameter.expand(self.d_model, *parameter.shape) for parameter in shared)

    def discretise(
        self, log_dt: Tensor, log_A_real: Tensor, A_imag: Tensor, P: Tensor, B: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four of x_l = diagonal x_(l-1) - column Re(row · x_(l-1)) + drive u_l, each H N/2, complex128.

        The bilinear x_l = (1 - dt/2 A)^-1 (2 x_(l-1) + dt B u_l) - x_(l-1) is again diagonal minus rank 1. Woodbury, with
        E = (1 - dt/2 Lambda)^-1: (1 - dt/2 A)^-1 v = E v - E P (dt/2 P* E v) / (1 + dt/2 P* E P). P* v runs over all N
        conjugate states, so it is 2 Re over the N/2 that are kept.
        """
        Lambda = torch.complex(-log_A_real.double().exp(), A_imag.double())
        P, B = torch.view_as_complex(P.double()), torch.view_as_complex(B.double())
        dt = log_dt.double().exp()[:, None]
        E = 1 / (1 - dt / 2 * Lambda)
        column = E * P * (dt / 2) / (1 + dt * (E * P * P.conj()).real.sum(-1, keepdim=True))
        row = P.conj() * E
        drive = dt * (E * B - column * 2 * (row * B).real.sum(-1, keepdim=True))
        return 2 * E - 1, column, 4 * row, drive

    def respond(self, length: int, precision: torch.dtype, C: Tensor, *system: Tensor) -> Tensor:
        """K_l = C A^l B, H L, with l = q + Q p: powers of A by repeated squaring, the largest tensors H N N and H sqrt(L) N.

        A acts on (Re x, Im x), for with the conjugate halves coupled it is linear over the reals only. It is a contraction,
        so that rounding it grows with L alone. No roots of unity: it is the exact kernel for every L, and C needs no
        (1 - A^L) in front.
        """
        kind = torch.complex64 if precision == torch.float32 else torch.complex128
        diagonal, column, row, drive = (value.to(kind) for value in self.discretise(*system))
        unit = torch.eye(self.d_state, dtype=precision, device=drive.device)
        unit = torch.view_as_complex(unit.unflatten(1, (-1, 2)))  # N N/2: where each real coordinate goes, one a row
        image = diagonal[:, None] * unit - column[:, None] * (row @ unit.mT).real[..., None]
        transposed = torch.view_as_real(image).flatten(2)  # H N N, acts on row vectors
        # y = 2 Re(C x) as a product of real coordinates
        C = torch.view_as_complex(C.to(precision))
        readout = 2 * torch.view_as_real(C.conj().resolve_conj()).flatten(1)
        side = kernel_side(length)
        first = torch.view_as_real(drive).flatten(1)[:, None]
        states, leap = Powers.apply(first, transposed, side, True)  # H Q N: A^q B
        readouts, _ = Powers.apply(readout[:, None], leap.mT, side, False)  # H Q N: C A^(Qp)
        return (readouts @ states.mT).flatten(1)[:, :length].to(self.dtype)  # H Q Q -> H L

    def recurrence(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.discretise(*self.system())

    def recur(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        diagonal, column, row, drive = (value.to(state.dtype) for value in self.recurrence())
        state = diagonal * state - column * (row * state).real.sum(-1, keepdim=True) + drive * u[..., None]
        return 2 * (torch.view_as_complex(self.C.to(self.dtype)) * state).real.sum(-1), state

    def modes(self, inputs: Tensor | None) -> Modes:
        """Of each state h by itself, after an impulse at the input: how its energy is spread over time and frequency.

        Eigenvalues do not tell. Those of HiPPO-LegS are -1 .. -N, all real, though its states ring: the modes cancel each
        other so finely that at N = 64 rounding P to float32 turns them into quite other ones. Energies are well conditioned,
        and where states are not coupled they give the poles: |h_l|^2 = r^l has its mean at l = r / (1 - r), and the sum of
        h_(l+1) h*_l has the angle of the pole.

        Sums over all l solve Lyapunov equations, and the bilinear step takes these from the discrete A to the continuous
        one, the same for every dt. With A X + X A* = -B B*, A Z + Z A* = -X and a = dt/2, the sum of h_l h*_l is dt X, and
        that of l h_l h*_l is Z - a X + a^2 A Z A*.
        """
        Lambda = torch.complex(-self.log_A_real.double().exp(), self.A_imag.double())
        P, B = (torch.view_as_complex(value.double()) for value in (self.P, self.B))
        Lambda, P, B = (torch.cat((half, half.conj())) for half in (Lambda, P, B))
        A = torch.diag(Lambda) - torch.outer(P, P.conj())
        X = lyapunov(A, torch.outer(B, B.conj()))
        Z = lyapunov(A, X)

        dt = self.log_dt.double().exp()[:, None]  # H 1
        x, z, aza = (value.diagonal().real[: len(P) // 2] for value in (X, Z, A @ Z @ A.mH))
        mean = (z - dt / 2 * x + dt**2 / 4 * aza) / (dt * x)  # H N/2
        unit = torch.eye(len(P), dtype=A.dtype)
        later = 2 * torch.linalg.inv(unit - dt[..., None] / 2 * A) @ X - X  # H N N: the sum of h_(l+1) h*_l, over dt
        turn = later.diagonal(dim1=1, dim2=2)[:, : len(P) // 2].angle()
        return Modes((2 / torch.log1p(1 / mean)).flatten(), turn.abs().flatten() / (2 * math.pi), 2 * mean.numel())


class Powers(torch.autograd.Function):
    """first · factor^k for k < count, a power of two, and, if wanted, factor^count: H 1 N and H N N to H K N and H N N.

    Each square is kept; their gradients are summed within products, where autograd would make and add three matrices.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, factor: Tensor, count: int, last: bool) -> tuple[Tensor, Tensor | None]:
        rows, factors = first, [factor]
        while rows.shape[1] < count:
            rows = torch.cat((rows, rows @ factors[-1]), dim=1)
            if last or rows.shape[1] < count:
                factors.append(factors[-1] @ factors[-1])
        ctx.save_for_backward(rows, *factors[: count.bit_length() - 1])  # those that doubled the rows
        ctx.set_materialize_grads(False)
        return rows, factors[-1] if last else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rows: Tensor | None, grad_factor: Tensor | None) -> tuple[Tensor | None, ...]:
        rows, *factors = ctx.saved_tensors
        grad_rows = torch.zeros_like(rows) if grad_rows is None else grad_rows
        with torch.autocast(rows.device.type, enabled=False):  # also where a caller's own loop goes back under autocast
            for factor in reversed(factors):
                early, late = grad_rows.chunk(2, dim=1)
                made = rows[:, : early.shape[1]].mT @ late
                if grad_factor is not None:
                    made.baddbmm_(grad_factor, factor.mT).baddbmm_(factor.mT, grad_factor)
                grad_rows, grad_factor = torch.baddbmm(early, late, factor.mT), made
        return grad_rows, grad_factor, None, None
