"""S4D, the diagonal state space layer, and the block around the state space that it shares with S4.

After Gu, Gupta, Goel and Ré, "On the Parameterization and Initialization of Diagonal State Space Models" (2022).
Shapes: B batch, L sequence length, D = H channels (each with its own state space), N real state dimensions. The N states
are N/2 conjugate pairs, of which one each is kept: real outputs are twice the real part of a sum over N/2 modes.
"""

import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..timescales import Modes
from .activation import linear_glu
from .base import LR_CAP, SequenceLayer, fits_bfloat16, register, ssm_parameter
from .blocks import LinearRecurrence
from .long_convolution import LongConvolution, fits_long_convolution


class S4Block(SequenceLayer):
    """A linear time-invariant state space per channel, then GELU, Linear and GLU, which mix the channels.

    Subclasses give the same system as a convolution (`respond`) and as a recurrence (`recur`).

    dt is log-uniform in [dt_min, dt_max], in units of one sample: 1e-3 to 1e-1 is meant for 8 kHz, where modes then decay in
    250 to 2.5 ms; halve both at 16 kHz to keep these times. C and D are standard normal, as in both papers.
    """

    def __init__(self, d_model: int, d_state: int, dt_min: float, dt_max: float):
        super().__init__()
        if d_state < 2 or d_state % 2:
            raise ValueError(f"d_state is {d_state}: states come in conjugate pairs, so take an even number from 2")
        if not 0 < dt_min <= dt_max:
            raise ValueError(f"dt_min is {dt_min} and dt_max {dt_max}: both must be above 0, dt_min not above dt_max")
        self.d_model, self.d_state = d_model, d_state
        log_dt = torch.empty(d_model, dtype=torch.float64).uniform_(math.log(dt_min), math.log(dt_max))
        self.log_dt = ssm_parameter(log_dt, LR_CAP)  # H
        # Complex parameters are stored as (real, imaginary): `module.double()` and most optimisers pass over complex ones.
        self.C = ssm_parameter(torch.randn(d_model, d_state // 2, 2) * math.sqrt(0.5))  # H N/2 2
        self.D = ssm_parameter(torch.randn(d_model))  # H
        self.output = nn.Linear(d_model, 2 * d_model)

    @property
    @abstractmethod
    def kind(self) -> tuple:
        """Layers of one kind differ in their parameters alone."""

    @abstractmethod
    def system(self) -> tuple[Tensor, ...]:
        """The parameters of the state space but C and D, each with the channels first."""

    @abstractmethod
    def respond(self, length: int, precision: torch.dtype, C: Tensor, *system: Tensor) -> Tensor:
        """The impulse response without D, H L, of the channels of any number of layers of this kind.

        precision: of the products; in float64 it is rounded once, in float32 it is exact enough to be rounded to bfloat16.
        """

    @abstractmethod
    def recurrence(self) -> tuple[Tensor, ...]:
        """What `recur` needs of the parameters, H N/2 each, complex128; it may be kept where they stay as they are."""

    @abstractmethod
    def recur(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step without D: input B H and state B H N/2, complex, to output and next state."""

    def kernel(self, length: int) -> Tensor:
        return cast(Tensor, compute_kernels([self], length)[0])

    @property
    def dtype(self) -> torch.dtype:
        """What kernels, convolutions and states are computed in: autocast and low-precision weights stop here."""
        return torch.promote_types(self.log_dt.dtype, torch.float32)

    def forward(self, x: Tensor, state: Any = None, kernel: Tensor | None = None) -> Any:
        """kernel: H L, where it is there already."""
        if state is None:
            return self._apply_kernel(x, self.kernel(x.shape[1]) if kernel is None else kernel)
        with torch.autocast(x.device.type, enabled=False):
            u = x.mT.to(self.dtype)  # B H L
            y, after = self.linear_recurrence().run(u, state.flatten(2))
            y = (y + self.D[:, None] * u).mT
        return self.mix(y), after.unflatten(2, (-1, 2))

    def _apply_kernel(self, x: Tensor, kernel: Tensor) -> Tensor:
        if fits_long_convolution(x):
            taps = torch.cat((kernel[:, :1] + self.D[:, None], kernel[:, 1:]), dim=1)
            return linear_glu(LongConvolution.apply(x, taps), self.output)
        with torch.autocast(x.device.type, enabled=False):
            u = x.mT.to(self.dtype)
            y = (causal_convolution(u, kernel) + self.D[:, None] * u).mT
        return self.mix(y)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:  # B D, B H N/2 2 -> the same
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(self.dtype)
            y, after = self.recur(u, torch.view_as_complex(state))
            y = y + self.D * u
        return self.mix(y), torch.view_as_real(after)

    def linear_recurrence(self) -> LinearRecurrence:
        """The same recurrence over real states, for chunks; it may be kept where the parameters stay as they are."""
        unit = torch.eye(self.d_state, dtype=torch.float64, device=self.log_dt.device)
        unit = torch.view_as_complex(unit.unflatten(1, (-1, 2)))[:, None].expand(-1, self.d_model, -1)  # N H N/2
        one = torch.ones(1, self.d_model, dtype=torch.float64, device=unit.device)
        CA, A = self.recur(torch.zeros_like(one), unit)  # from each state as if it were alone
        CB, B = self.recur(one, torch.zeros_like(unit[:1]))
        A, B = (torch.view_as_real(after).flatten(2).transpose(0, 1) for after in (A, B))  # H N N, H 1 N
        return LinearRecurrence(A, B[:, 0], CA.mT, CB[0], self.dtype)

    def initial_state(self, batch: int) -> Any:
        return torch.zeros(batch, self.d_model, self.d_state // 2, 2, dtype=self.dtype, device=self.log_dt.device)

    def mix(self, y: Tensor) -> Tensor:
        return linear_glu(F.gelu(y).to(self.output.weight.dtype), self.output)

    def residual_weights(self) -> list[Tensor]:
        # Of the GLU only the value: less gate would leave sigmoid near 1/2, and shrink its share of the signal twice.
        return [self.output.weight[: self.d_model]]

    def activation_bytes(self, measure: Callable[[int], int], length: int) -> tuple[int, int]:
        return measure(length), 0  # a few operations at any length


@register("s4d-legs", init="legs")
@register("s4d-inv", init="inv")
@register("s4d")
class S4D(S4Block):
    """Diagonal A: x' = A x + u, y = 2 Re(C x). B is 1 and folded into C: a diagonal system knows only their product.

    `init`, from section 4 of the paper, real parts always -1/2:
      lin   A_n = -1/2 + i pi n: evenly spaced frequencies, 0 to N/4 per unit of time
      inv   A_n = -1/2 + i N/pi (N/(2n+1) - 1): the approximate spacing of HiPPO-LegS
      legs  the eigenvalues of the normal part of HiPPO-LegS themselves
    `discretisation`: zero-order hold is exact for the decay and frequency of a mode, but modes above half the sample rate
    alias (at dt = 0.1 with N = 64, 21 of 32 in `lin`); bilinear compresses them below it instead.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        init: str = "lin",
        discretisation: str = "zoh",
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
    ):
        super().__init__(d_model, d_state, dt_min, dt_max)
        if discretisation not in ("zoh", "bilinear"):
            raise ValueError(f"discretisation is {discretisation!r}: take zoh or bilinear")
        self.discretisation = discretisation
        n = torch.arange(d_state // 2, dtype=torch.float64)
        if init == "lin":
            frequency = math.pi * n
        elif init == "inv":
            frequency = d_state / math.pi * (d_state / (2 * n + 1) - 1)
        elif init == "legs":
            frequency = hippo_legs(d_state)[0].imag
        else:
            raise ValueError(f"init is {init!r}: take lin, inv or legs")
        # Re A = -exp(log_A_real) stays negative whatever the optimiser does, hence every mode stable.
        self.log_A_real = ssm_parameter(torch.full((d_model, d_state // 2), math.log(0.5)), LR_CAP)  # H N/2
        self.A_imag = ssm_parameter(frequency.repeat(d_model, 1), LR_CAP)  # H N/2

    @property
    def kind(self) -> tuple:
        return S4D, self.d_state, self.discretisation

    def system(self) -> tuple[Tensor, ...]:
        return self.log_dt, self.log_A_real, self.A_imag

    def discretise(self, log_dt: Tensor, log_A_real: Tensor, A_imag: Tensor) -> tuple[Tensor, Tensor]:
        """log A and B of x_l = A x_(l-1) + B u_l, each H N/2, complex128."""
        A = torch.complex(-log_A_real.double().exp(), A_imag.double())
        dt = log_dt.double().exp()[:, None]
        if self.discretisation == "zoh":
            return dt * A, (dt * A).expm1() / A
        return ((1 + dt / 2 * A) / (1 - dt / 2 * A)).log(), dt / (1 - dt / 2 * A)

    def respond(self, length: int, precision: torch.dtype, C: Tensor, *system: Tensor) -> Tensor:
        """K_l = 2 Re sum_n C_n B_n A_n^l, H L, with l = q + Q p: 2 H sqrt(L) N numbers and one product, never H N L.

        Formed in double and rounded once: in float32 the phase of a mode after l steps would be off by l roundings, and its
        matrix product might run in TF32, with three decimal digits. It is small beside the convolution, for it has no batch.
        """
        log_A, B = self.discretise(*system)
        C = torch.view_as_complex(C.double())
        side = kernel_side(length)
        steps = torch.arange(side, dtype=torch.float64, device=B.device)[:, None]
        fine = (steps * log_A[:, None]).exp()  # H Q N/2: A^q
        leaps = side * steps[: -(-length // side)]
        coarse = (2 * C * B)[:, None] * (leaps * log_A[:, None]).exp()  # H P N/2: 2 C B A^(Qp)
        # Re(ab) = Re a Re b - Im a Im b is a real product over N.
        coarse, fine = (torch.view_as_real(part).flatten(2).to(precision) for part in (coarse, fine.conj().resolve_conj()))
        kernel = coarse @ fine.mT
        return kernel.flatten(1)[:, :length].to(self.dtype)  # H P Q -> H L

    def recurrence(self) -> tuple[Tensor, Tensor]:
        log_A, B = self.discretise(*self.system())
        return log_A.exp(), B

    def recur(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        A, B = (value.to(state.dtype) for value in self.recurrence())
        state = A * state + B * u[..., None]
        return 2 * (torch.view_as_complex(self.C.to(self.dtype)) * state).real.sum(-1), state

    def modes(self, inputs: Tensor | None) -> Modes:
        log_A, _ = self.discretise(*self.system())
        return Modes(-1 / log_A.real.flatten(), log_A.imag.abs().flatten() / (2 * math.pi), 2 * log_A.numel())


def compute_kernels(layers: Sequence[nn.Module], length: int) -> list[Tensor | None]:
    """Of each layer that is an S4Block, the impulse response, H L.

    Those of one kind are computed together. A kernel is hundreds of operations on few numbers: of the 7,200 of a pass forth
    and back through 24 blocks of S4, kernels made one by one are 6,500.
    """
    alike: defaultdict[tuple, list[tuple[int, S4Block]]] = defaultdict(list)
    made: list[Tensor | None] = [None] * len(layers)
    for i, layer in enumerate(layers):
        if isinstance(layer, S4Block):
            alike[layer.kind].append((i, layer))
    for group in alike.values():
        places, some = zip(*group, strict=True)
        parameters = (torch.cat(parts) for parts in zip(*((layer.C, *layer.system()) for layer in some), strict=True))
        precision = torch.float32 if fits_bfloat16(some[0].C) else torch.float64
        with torch.autocast(some[0].C.device.type, enabled=False):
            together = some[0].respond(length, precision, *parameters)
        for i, kernel in zip(places, together.split([layer.d_model for layer in some]), strict=True):
            made[i] = kernel
    return made


def cache_recurrences(model: nn.Module) -> None:
    """Let S4 layers form the matrices of steps and chunks once, for weights that stay as they are from now on."""
    for layer in model.modules():
        if isinstance(layer, S4Block):
            for name in ("recurrence", "linear_recurrence"):
                setattr(layer, name, cache(getattr(layer, name)))


def kernel_side(length: int) -> int:
    """Q of l = q + Q p, not below P: the power of two next to sqrt(L), so that repeated squaring ends on the Q-th power."""
    return 1 << ((length - 1).bit_length() + 1) // 2


def causal_convolution(u: Tensor, kernel: Tensor) -> Tensor:
    """y_l = sum_k kernel_k u_(l-k), along the last dimension: B H L and H L to B H L."""
    length = u.shape[-1]
    # Zero-padded against wrap-around, to a length with small prime factors, which the FFT handles several times faster.
    odd = (1, 3, 5, 9, 15, 25, 27, 45, 75, 81, 125)
    padded = min(factor << (-(-(2 * length - 1) // factor) - 1).bit_length() for factor in odd)
    return torch.fft.irfft(torch.fft.rfft(u, n=padded) * torch.fft.rfft(kernel, n=padded), n=padded)[..., :length]


def hippo_legs(d_state: int) -> tuple[Tensor, Tensor, Tensor]:
    """HiPPO-LegS as (Lambda, P, B), complex128, N/2 each: A = Lambda - P P* in the basis where its normal part is diagonal.

    S4 paper (Gu, Goel, Ré 2022), appendix C.1: A_nk = -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it, 0 above;
    B_n = sqrt(2n+1); and A + P P^T with P_n = sqrt(n+1/2) is -1/2 I plus a skew-symmetric matrix, so unitarily diagonal.
    """
    B = torch.sqrt(2 * torch.arange(d_state, dtype=torch.float64) + 1)
    P = B / math.sqrt(2)
    skew = (torch.tril(-torch.outer(B, B), -1) + torch.triu(torch.outer(B, B), 1)) / 2
    # i times a skew-symmetric matrix is Hermitian. Eigenvalues ascend: the upper half is the one of positive frequency.
    frequency, V = torch.linalg.eigh(-1j * skew)
    frequency, V = frequency[d_state // 2 :], V[:, d_state // 2 :]
    # An eigenvector's phase is free and differs between LAPACKs: turned so that V* B, and with it V* P, is positive.
    return (
        torch.complex(torch.full_like(frequency, -0.5), frequency),
        (V.mH @ (P + 0j)).abs() + 0j,
        (V.mH @ (B + 0j)).abs() + 0j,
    )
