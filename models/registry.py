"""What is known by name: the layers, and models to start from."""

from dataclasses import replace
from functools import partial
from typing import Any

from .layers import LAYERS
from .settings import ModelSettings, check_known

__all__ = ["LAYERS", "MODELS", "SIZES", "interleave", "preset"]

# Models to compare: each has as many parameters as the predecessor's SaShiMi with S4, within 5 % of that. A Mamba
# layer of expand 2 has 6 D^2 weights; S4 has 2 D^2 and the feed-forward part beside it 4 D^2, so Mamba goes without one,
# as its authors have it. What it has beyond 6 D^2, for B, C and dt, costs one block in eight. S4D has an A for each channel
# where S4 shares one: half the states for the same number.
_S4D: dict[str, Any] = {"d_state": 32}
_MAMBA2: dict[str, Any] = {"d_state": 64, "headdim": 16, "d_conv": 16}
_BASE = {
    "s4": ModelSettings(("s4",)),
    "s4-conv": ModelSettings(("s4",), options={"s4": {"d_conv": 16}}),  # with the convolution of mamba2, all else as in S4
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
    # With voices given by a prefix it did 0.1 bits better with norms on B and C and rotary states, for which Mamba3's kernel
    # wants chunks of 64.
    "hybrid": ModelSettings(
        ("s4d", "mamba2"),
        n_layers=6,
        options={"s4d": _S4D, "mamba2": _MAMBA2 | {"d_state": 32, "bc_norm": True, "rotary": True, "chunk_size": 64}},
    ),
    # References from outside, in the same backbone. WaveNet has three cycles of ten dilations in each stage, 17 D^2 a cycle.
    "wavenet": ModelSettings(("wavenet",), n_layers=3, ff=0),
    # Attention has 4 D^2 weights, and a feed-forward part of ff 2 ff D^2. ff 4 is usual; with 3 the number comes out.
    "transformer": ModelSettings(("sliding-attention",), n_layers=5, ff=3),
}
SIZES: dict[str, dict[str, Any]] = {
    "base": {},
    "tiny": {"backbone": "stack", "d_model": 32, "n_layers": 2},  # below 60,000 parameters, for a CPU
}


def _resize(settings: ModelSettings, size: str = "base") -> ModelSettings:
    return replace(settings, **SIZES[size])


MODELS = {name: partial(_resize, settings) for name, settings in _BASE.items()}


def preset(name: str, size: str = "base") -> ModelSettings:
    """The settings of a model of MODELS at one of SIZES."""
    check_known("model", name, MODELS)
    check_known("size", size, SIZES)
    return MODELS[name](size)


def interleave(layers: tuple[str, ...], size: str = "base") -> ModelSettings:
    """Any layers, which alternate through the blocks, each with a feed-forward part, as in the hybrid.

    Their options are those of the model of the same name; where there is none, a layer's own defaults hold.
    """
    check_known("size", size, SIZES)
    options = {name: _BASE[name].options[name] for name in layers if name in _BASE and name in _BASE[name].options}
    return _resize(replace(_BASE["hybrid"], layers=layers, options=options), size)
