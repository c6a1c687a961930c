"""The settings of a model: what there is to choose, models to start from, and what is wrong with a choice."""

import difflib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from .layers.mamba1 import Mamba1, MambaLayer, mamba_ssm_usable
from .layers.mamba2 import Mamba2
from .memory import BYTES_PER_PARAMETER, activation_bytes
from .model import LAYERS, Model

BACKBONES = ("sashimi", "stack")
WASTE = 0.05  # of the steps of a stage, as padding: what is less needs no warning


@dataclass(frozen=True)
class ModelSettings:
    """All of a model's structure, in values that JSON keeps. Raises ValueError, a sentence, for what can't be.

    The layers' dt_min and dt_max (in `options`) count in samples: 1e-3 to 1e-1 is meant for 8 kHz. At 16 kHz halve both to
    keep the same times. In a stage of SaShiMi that runs at a sixteenth of the rate, times are sixteen times as long.
    """

    layers: tuple[str, ...] = ("s4",)  # of LAYERS, in turn through the blocks
    backbone: str = "sashimi"
    d_model: int = 64
    n_layers: int = 8  # blocks of each stage
    pool: tuple[int, ...] = (4, 4)  # sashimi alone
    expand: int = 2  # how much wider a stage is than the one above; sashimi alone
    ff: int = 2  # how much wider the feed-forward part is inside; 0: none
    dropout: float = 0.0
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # of a layer: arguments of its constructor

    def __post_init__(self):
        for name in ("layers", "pool"):  # JSON has no tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.layers:
            raise ValueError(f"layers is empty: name one or more of {', '.join(LAYERS)}")
        for name in (*self.layers, *self.options):
            check_known("layer", name, LAYERS)
        check_known("backbone", self.backbone, BACKBONES)
        for name, options in self.options.items():
            if name not in self.layers:
                raise ValueError(
                    f"options has {name}, which is not among the layers, {', '.join(self.layers)}: leave it out"
                )
            for option in options:
                check_known(f"option of {name}", option, free_arguments(name))
        whole = {"d_model": self.d_model, "n_layers": self.n_layers, "expand": self.expand, "ff": self.ff}
        for name, size in [*whole.items(), *(("pool", p) for p in self.pool)]:
            least = 0 if name == "ff" else 1
            if type(size) is not int or size < least:
                near = max(least, round(size)) if isinstance(size, int | float) else least
                raise ValueError(f"{name} is {size!r}: it must be a whole number from {least}, the nearest is {near}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must be a number from 0 to below 1")


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no {what} {name!r}: {guess}There are {', '.join(known)}")


def free_arguments(name: str) -> list[str]:
    """The arguments of a layer's constructor that settings may give."""
    fixed = {"d_model", *getattr(LAYERS[name], "keywords", ())}
    return [argument for argument in inspect.signature(LAYERS[name]).parameters if argument not in fixed]


# Models to compare: each has as many parameters as the predecessor's SaShiMi with S4, within 5 % of one another. A Mamba
# layer of expand 2 has 6 D^2 weights; S4 has 2 D^2 and the feed-forward part beside it 4 D^2, so Mamba goes without one,
# as its authors have it. What it has beyond 6 D^2, for B, C and dt, costs one block in eight. S4D has an A for each channel
# where S4 shares one: half the states for the same number.
_S4D = {"d_state": 32}
_MAMBA2 = {"d_state": 64, "headdim": 16, "d_conv": 16}
_BASE = {
    "s4": ModelSettings(("s4",)),
    "s4d": ModelSettings(("s4d",), options={"s4d": _S4D}),
    "s4d-inv": ModelSettings(("s4d-inv",), options={"s4d-inv": _S4D}),
    "s4d-legs": ModelSettings(("s4d-legs",), options={"s4d-legs": _S4D}),
    "mamba1": ModelSettings(("mamba1",), n_layers=7, ff=0, options={"mamba1": {"d_state": 32}}),
    # 16 taps, 2 ms at 8 kHz, close the gap between mamba2-seed and S4; heads of 16 take two thirds of the time of 8.
    "mamba2": ModelSettings(("mamba2",), n_layers=7, ff=0, options={"mamba2": _MAMBA2}),
    # The predecessor's layer. It had 8 blocks with feed-forward parts around it: 67 % more parameters than its S4.
    "mamba2-seed": ModelSettings(
        ("mamba2",), n_layers=7, ff=0, options={"mamba2": {"d_state": 64, "headdim": 8, "A_init_range": [1, 1.1]}}
    ),
    "mamba3": ModelSettings(("mamba3",), n_layers=7, ff=0, options={"mamba3": {"d_state": 64, "headdim": 16}}),
    # Told of voices by a prefix it did 0.1 bits better with norms on B and C and states that turn, for which Mamba3's kernel
    # wants chunks of 64.
    "hybrid": ModelSettings(
        ("s4d", "mamba2"),
        n_layers=6,
        options={"s4d": _S4D, "mamba2": _MAMBA2 | {"d_state": 32, "bc_norm": True, "rotary": True, "chunk_size": 64}},
    ),
}
SIZES = {
    "base": {},
    "tiny": {"backbone": "stack", "d_model": 32, "n_layers": 2},  # below 60,000 parameters, for a CPU
}


def _sized(settings: ModelSettings, size: str = "base") -> ModelSettings:
    return replace(settings, **SIZES[size])


MODELS = {name: partial(_sized, settings) for name, settings in _BASE.items()}


def preset(name: str, size: str = "base") -> ModelSettings:
    """The settings of a model of MODELS at one of SIZES."""
    check_known("model", name, MODELS)
    check_known("size", size, SIZES)
    return MODELS[name](size)


def build(settings: ModelSettings) -> Model:
    """Raises ValueError, a sentence, where a layer can't be made with its options."""
    return Model(settings)


@dataclass(frozen=True)
class Estimate:
    parameters: int
    bytes: int  # of a training step: weights, gradients, AdamW, moving average, activations
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = f"{self.parameters:,} parameters; a training step takes about {self.bytes / 1e9:.1f} GB", *self.warnings
        return "\n".join(lines)


def check(
    settings: ModelSettings, batch: int, length: int, device: str | torch.device = "cpu", precision: str = "fp32"
) -> Estimate:
    """Of a step with `batch` sequences of `length` = P + L, before anything is allocated; takes about a second.

    Raises ValueError, a sentence, for what can't be made or run, or does not fit into the device's free memory. Where
    kernels run, whose memory differs from the estimate's, the last is a warning.
    """
    device = torch.device(device)
    with FakeTensorMode():
        model = build(settings)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        kernels = kernel_layers(model) if device.type == "cuda" else {}
        warnings = [found for of, layer in kernels.items() for found in kernel_warnings(*of, layer, batch, length)]
        activations = activation_bytes(model, batch, length, precision)
    weights = BYTES_PER_PARAMETER * parameters
    if device.type == "cuda":
        try:
            check_fits(weights, activations, batch, length, torch.cuda.mem_get_info(device)[0])
        except TooLarge as error:
            if not kernels:
                raise
            warnings.append(f"{error} (kernels may take less, or more)")
    return Estimate(parameters, weights + activations, tuple(warnings))


class TooLarge(ValueError):
    """A training step needs more memory than there is."""


def check_fits(weights: int, activations: int, batch: int, length: int, free: int) -> None:
    """All in bytes; activations of a batch of sequences of `length`. Raises TooLarge."""
    if weights + activations > free:
        part = max(0, free - weights) / activations
        fitting, steps = int(batch * part), int(batch * length * part)
        room = f"{fitting} clips" if fitting else f"1 clip of {steps} steps" if steps else "no clip: the model is too large"
        raise TooLarge(
            f"a training step with {batch} clips of {length} steps in memory takes about "
            f"{(weights + activations) / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free, enough for {room}"
        )


def kernel_layers(model: Model) -> dict[tuple[str, int], MambaLayer]:
    """One layer for each kind and divisor of the rate that will use mamba-ssm's kernels on CUDA."""
    layers = [(divisor, layer) for _, divisor, layer in model.backbone.layers() if isinstance(layer, MambaLayer)]
    found = {(type(layer).__name__, divisor): layer for divisor, layer in layers if layer.kernels == "auto"}
    try:
        return found if found and mamba_ssm_usable() else {}
    except ImportError as error:
        raise ValueError(str(error)) from None


def kernel_warnings(kind: str, divisor: int, layer: MambaLayer, batch: int, length: int) -> list[str]:
    """What is slower than it need be. Raises ValueError for what the kernels can't do."""
    where, steps, found = f"{kind} at 1/{divisor} of the rate", -(-length // divisor), []
    try:
        layer.check_size(batch, steps)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if isinstance(layer, Mamba2) and layer.plain:
        if layer.conv_dim % 8:
            found.append(
                f"{where} does not use the fused kernel: its convolution has {layer.conv_dim} channels, d_inner and twice "
                f"ngroups x d_state, and needs a multiple of 8"
            )
        elif layer.nheads % 8:
            near = [n for n in range(1, layer.d_inner + 1) if layer.d_inner % (8 * n) == 0]
            remedy = f"headdim {min(near, key=lambda n: abs(n - layer.headdim))}" if near else "a d_inner of a multiple of 8"
            found.append(f"{where} copies its input, for {layer.nheads} heads are no multiple of 8: {remedy} avoids it")
    padded = -(-steps // layer.chunk_size) * layer.chunk_size
    waste = 1 - steps / padded
    if not isinstance(layer, Mamba1) and waste > WASTE:
        whole = layer.chunk_size * divisor
        found.append(
            f"{where} pads {steps} steps to {padded}, a multiple of chunk_size={layer.chunk_size}, and wastes {waste:.0%} "
            f"of its work: a length of {max(1, round(length / whole)) * whole} wastes none, a smaller chunk_size less"
        )
    return found
