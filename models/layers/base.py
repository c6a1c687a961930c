"""What every sequence layer offers, and how its parameters tell the optimiser what they need."""

import functools
import importlib.util
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..timescales import Modes

# S4 trains its state matrix and step sizes at no more than this rate, whatever that of the other weights.
LR_CAP = 1e-3


# Constructors by name: a class, or a partial of one. Settings name them, and so does --layers.
LAYERS: dict[str, Callable[..., "SequenceLayer"]] = {}

MEASURED_STEPS = 256  # steps from which an estimate goes on to more


class SequenceLayer(nn.Module, ABC):
    """A causal layer: `forward` on a whole sequence, or on one chunk after another, and `step` on one position after another
    give the same output.

    The constructor of a subclass takes d_model first, the rest by keyword and with defaults; `register` gives it a name.
    What a layer remembers between steps is in the state alone: one tensor or nested tuples of tensors, in float32 (float64
    if the layer is), whatever precision the rest runs in.
    """

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """(B, L, D) -> (B, L, D) of a whole sequence; of a chunk, given the state before it: (B, L, D) and the state after.

        This one takes L steps. A layer has its own, which computes them together; the chunks may stay with this one.
        """
        after, outputs = self.initial_state(len(x)) if state is None else state, []
        for position in x.unbind(1):
            y, after = self.step(position, after)
            outputs.append(y)
        together = torch.stack(outputs, dim=1)
        return together if state is None else (together, after)

    @abstractmethod
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """(B, D) and the state before -> (B, D) and the state after."""

    @abstractmethod
    def initial_state(self, batch: int) -> Any:
        """The state before the first step."""

    def residual_weights(self) -> list[Tensor]:
        """Weights that the output is proportional to: a deep stack starts with smaller ones. Empty: nothing is scaled."""
        return []

    def activation_bytes(self, measure: Callable[[int], int], length: int) -> tuple[int, int]:
        """Bytes kept for the gradient of a sequence, and bytes that are recomputed for it. measure(steps): those kept by
        the layer's block.

        Without a method of its own, a layer is measured at two lengths. They show whether it grows with the square of the
        length, as attention does.
        """
        if length <= 2 * MEASURED_STEPS:
            return measure(length), 0
        once, twice = measure(MEASURED_STEPS), measure(2 * MEASURED_STEPS)
        times = length / MEASURED_STEPS
        square = max(0, twice - 2 * once) / 2
        return round((once - square) * times + square * times**2), 0

    def modes(self, inputs: Tensor | None) -> Modes | None:
        """Decay times and frequencies, if the layer has any; some layers need `inputs` (B, L, D), what they receive."""
        return None


def register(name: str, **options: Any) -> Callable[[type["SequenceLayer"]], type["SequenceLayer"]]:
    """A decorator: makes the class known as the layer `name`. Settings can't change the options that are given here."""

    def add(layer: type[SequenceLayer]) -> type[SequenceLayer]:
        if name in LAYERS:
            raise ValueError(f"there is a layer {name!r} already: register {layer.__name__} under another name")
        if "state" not in inspect.signature(layer.forward).parameters:
            raise TypeError(f"forward of {layer.__name__} takes no state: docs/extending.md shows one that does")
        LAYERS[name] = partial(layer, **options) if options else layer
        return layer

    return add


def mark(parameter: Tensor, **marks: Any) -> None:
    """What the optimiser and the start of a model ask a parameter: `_no_weight_decay`, `_no_reinit`, `_lr_cap`."""
    for name, value in marks.items():
        setattr(parameter, f"_{name}", value)


def ssm_parameter(value: Tensor, lr_cap: float | None = None) -> nn.Parameter:
    """A parameter of the state space: decaying it to zero would change timescales, not the size of a weight."""
    parameter = nn.Parameter(value.to(torch.get_default_dtype()))
    mark(parameter, no_weight_decay=True)
    if lr_cap is not None:
        mark(parameter, lr_cap=lr_cap)
    return parameter


def upcast(t: Tensor) -> Tensor:
    """At least float32: decays, time steps and sums of them do not survive 8 bits of mantissa."""
    return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t


@functools.cache
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def fits_bfloat16(x: Tensor) -> bool:
    """Whether kernels of ours that round to bfloat16 may stand for torch: on a GPU, where autocast would round too, which
    leaves float64 as it is.

    torch.compile fuses operations of torch itself, and needs none of them.
    """
    if not x.is_cuda or x.dtype == torch.float64 or torch.version.hip or torch.compiler.is_compiling() or not has_triton():
        return False
    return torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.bfloat16
