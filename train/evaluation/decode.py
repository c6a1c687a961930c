"""Audio from what a model says: its mean, its likeliest class or a drawn one at each sample."""

from typing import Literal, get_args

import torch
from torch import Tensor

from models.mulaw import CLASSES, mu_law_decode

# mean: the least squared error that can be had if the model is right about its own doubt, so the best SNR; never a class
# of its own, so softer where the model is in doubt. argmax: full loudness, with jumps. sample: noise as loud as the doubt.
Decoder = Literal["mean", "argmax", "sample"]
DECODERS: tuple[str, ...] = get_args(Decoder)


def decode(logits: Tensor, how: str, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
    """float32 audio in -1..1, (...), of logits (..., 256). how: one of DECODERS; the last two are for "sample" alone."""
    if how == "mean":
        return posterior_mean(logits)
    if how == "argmax":
        return mu_law_decode(logits.argmax(-1))
    if how == "sample":
        return mu_law_decode(draw(logits, temperature, generator))
    raise ValueError(f"decode must be one of {', '.join(DECODERS)}, not {how!r}")


def posterior_mean(logits: Tensor) -> Tensor:
    """The mean of the classes' levels by their probabilities, float32 (...), of logits (..., 256)."""
    levels = mu_law_decode(torch.arange(CLASSES, device=logits.device))
    return logits.float().softmax(-1) @ levels


def draw(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Classes (...) drawn from logits (..., 256) by their probability to the power of 1 / temperature; 0: the likeliest.

    The generator is the CPU's. It gives one number a position, so batches and pieces of any size give the same classes.
    """
    if not temperature:
        return logits.argmax(-1)
    scaled = (logits.double() - logits.max(-1, keepdim=True).values) / temperature
    cumulative = scaled.softmax(-1).cumsum(-1)
    chance = torch.rand(*logits.shape[:-1], 1, dtype=torch.float64, generator=generator).to(logits.device)
    return torch.searchsorted(cumulative, chance * cumulative[..., -1:], right=True)[..., 0]
