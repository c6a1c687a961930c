"""What the three Mamba layers share: when mamba-ssm's kernels run, segments of a long scan, checks, a base class.

Shape letters: B batch, L steps, D width.
"""

import functools
import importlib
import importlib.util
import logging
import math
import os
import re
from abc import abstractmethod
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .base import SequenceLayer, upcast
from .tuning import choose_configurations

logger = logging.getLogger("dx7data.models")  # below the one that -q silences

INT32 = 2**31  # the kernels index with 32 bits: beyond it they return wrong numbers without an error
# Times as many steps in a segment on a GPU, which waits for Python while segments are short: 16 s at 8 kHz, the chunk of
# train.convert, are one of Mamba2's.
_WITHOUT_GRADIENT = 128
OLDEST = (2, 2, 5)  # mamba-ssm before 2.2.3 has wrong gradients of A and dt, before 2.2.5 NaN in bf16


def import_or_explain(name: str) -> ModuleType | None:
    """The module, or None where it is not installed; one installed and broken is an error, never a silent fallback."""
    if importlib.util.find_spec(name) is None:
        return None
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} does not import ({error}): rebuild it (`make mamba`), or set kernels='torch'") from error


def configure_triton() -> None:
    """How the kernels are compiled, where the environment does not say otherwise."""
    os.environ.setdefault("TRITON_F32_DEFAULT", "ieee")  # else float32 is TF32: outputs 1.3e-3 off, not 4e-6 (on an H200)


@functools.cache
def mamba_ssm_usable() -> bool:
    configure_triton()
    package = import_or_explain("mamba_ssm")
    if package is None:
        logger.warning("mamba-ssm is not installed: Mamba layers run in plain torch, slower; `make mamba` installs it")
    elif tuple(map(int, re.findall(r"\d+", package.__version__)[:3])) < OLDEST:
        raise ImportError(
            f"mamba-ssm {package.__version__} has wrong gradients: build it anew (`make mamba`), or set kernels='torch'"
        )
    if package is not None:
        for part in ("ssd_combined", "layernorm_gated", "mamba3.mamba3_siso_combined"):
            import_or_explain(f"mamba_ssm.ops.triton.{part}")
        choose_configurations("mamba_ssm")
    return package is not None


@functools.cache
def causal_conv1d_usable() -> bool:
    """It is a part of mamba-ssm's fused path."""
    return import_or_explain("causal_conv1d") is not None


def check_int32(elements_each: int, batch: int, what: str) -> None:
    """`elements_each` is the size of the largest tensor for one item of the batch."""
    if batch * elements_each >= INT32:
        legal = (INT32 - 1) // elements_each
        remedy = f"use a batch of at most {legal}" if legal else "use shorter sequences"
        raise ValueError(f"{what} = {batch * elements_each} must stay below 2^31 with kernels: {remedy}, or kernels='torch'")


def check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name}={size} must be a whole number from 1: the nearest legal one is {max(1, round(size))}")


def check_divides(name: str, value: int, of: str, total: int) -> None:
    if value < 1 or total % value:
        divisors = [n for n in range(1, total + 1) if total % n == 0]
        near = {max((n for n in divisors if n < value), default=1), min((n for n in divisors if n > value), default=total)}
        nearest = " and ".join(map(str, sorted(near)))
        raise ValueError(f"{name}={value} must divide {of}={total}: the nearest legal values are {nearest}")


def initial_dt_bias(size: int, dt_min: float, dt_max: float, dt_floor: float) -> Tensor:
    """softplus of it is log-uniform in [dt_min, dt_max]: time constants of 10 to 1000 samples by default, at A = -1."""
    if not 0 < dt_min <= dt_max:
        raise ValueError(f"dt_min={dt_min}, dt_max={dt_max} must satisfy 0 < dt_min <= dt_max: mamba-ssm has 0.001 and 0.1")
    dt = torch.exp(torch.empty(size).uniform_(math.log(dt_min), math.log(dt_max))).clamp(min=dt_floor)
    return dt + torch.log(-torch.expm1(-dt))


def run_segments(scan: Callable[..., Any], sequences: tuple, constants: tuple, state: Any, size: int) -> tuple[Tensor, Any]:
    """Runs scan(*sequences, *constants, state) -> (y, state) over segments of `size` steps.

    What a scan keeps for its gradient is many times its input. So only the state between segments is kept and the
    rest computed again, one segment at a time: memory stays flat in L, for one more forward pass.
    """
    if not torch.is_grad_enabled():
        size *= _WITHOUT_GRADIENT if sequences[0].is_cuda else 1
    elif sequences[0].shape[1] > size:
        scan = functools.partial(checkpoint, scan, use_reentrant=False, preserve_rng_state=False)
    outputs = []
    for segment in zip(*(s.split(size, dim=1) for s in sequences), strict=True):
        y, state = scan(*segment, *constants, state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


def linear_recurrence(decay: Tensor, drive: Tensor) -> Tensor:
    """h_t = decay_t h_(t-1) + drive_t along dimension 1, from h = 0.

    Odd steps form the same problem at half the length: log2(T) rounds, about 3 T products, and never a quotient of decays,
    which would overflow.
    """
    length = drive.shape[1]
    if length == 1:
        return drive
    paired = length - length % 2
    after = decay[:, 1::2]
    odd = linear_recurrence(after * decay[:, :paired:2], after * drive[:, :paired:2] + drive[:, 1::2])
    h = torch.empty_like(drive)
    h[:, 1::2] = odd
    h[:, :1] = drive[:, :1]
    h[:, 2::2] = decay[:, 2::2] * odd[:, : (length - 1) // 2] + drive[:, 2::2]
    return h


class MambaLayer(SequenceLayer):
    """What Mamba1, 2 and 3 have in common. kernels: "auto" is mamba-ssm's on CUDA and torch elsewhere, "torch" is torch."""

    D: nn.Parameter  # of the skip
    out_proj: nn.Linear

    def __init__(self, kernels: str, expand: float, **sizes: int):
        super().__init__()
        check_positive(**sizes)
        if kernels not in ("auto", "torch"):
            raise ValueError(f"kernels={kernels!r} is unknown: use 'auto' (mamba-ssm on CUDA, torch elsewhere) or 'torch'")
        width = expand * sizes["d_model"]
        if width < 1 or width != int(width):
            near = max(1, round(width)) / sizes["d_model"]
            raise ValueError(f"expand={expand} x d_model must be a whole number: the nearest legal expand is {near}")
        self.kernels, self.d_inner = kernels, int(width)
        self.d_state, self.chunk_size = sizes["d_state"], sizes["chunk_size"]

    def forward(self, u: Tensor, state: Any = None) -> Any:
        if state is not None:
            return self.run(u, state)
        return self._on_cuda(u) if self.kernels == "auto" and u.is_cuda else self._run_all(u)

    @torch.compiler.disable  # torch 2.11 can't trace mamba-ssm's norms
    def _on_cuda(self, u: Tensor) -> Tensor:
        if not self.use_kernels(u):
            return self._run_all(u)
        self.check_size(*u.shape[:2])
        return self.run_kernels(u)

    def _run_all(self, u: Tensor) -> Tensor:
        return self.run(u, self.initial_state(len(u)))[0]

    @abstractmethod
    def run(self, u: Tensor, state: Any) -> tuple[Tensor, Any]:
        """A chunk (B, L, D) and the state before it -> (B, L, D) and the state after it, in plain torch."""

    @abstractmethod
    def run_kernels(self, u: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D) with mamba-ssm's kernels, from the initial state."""

    @abstractmethod
    def check_size(self, batch: int, length: int) -> None:
        """Raises ValueError for what the kernels can't do."""

    @property
    @abstractmethod
    def segment(self) -> int:
        """Steps that are computed again at once for the gradient, in plain torch."""

    def activation_bytes(self, measure: Callable[[int], int], length: int) -> tuple[int, int]:
        if length <= self.segment:
            return measure(length), 0
        return measure(2 * self.segment) * length // (2 * self.segment), measure(self.segment)

    def residual_weights(self) -> list[Tensor]:
        return [self.out_proj.weight]

    def use_kernels(self, u: Tensor) -> bool:
        """Of a layer that may, on CUDA. They have no float64."""
        return u.dtype != torch.float64 and mamba_ssm_usable()

    def zeros(self, *shape: int) -> Tensor:
        return upcast(self.D.new_zeros(shape))
