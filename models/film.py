"""A prefix read all at once: an MLP makes a code of it, and the code scales and shifts what each block receives.

FiLM is of Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer" (2018).
"""

import torch
from torch import Tensor, nn

from .mulaw import CLASSES

CODE = 128  # numbers that all blocks are given of a prefix
_HIDDEN = 512
_BITS = 8  # of a class


class PrefixReader(nn.Module):
    """Mu-law classes of a whole prefix (B, P) -> its code (B, CODE).

    Each class enters as a number from -1 to 1 and as its bits: levels of the `bytes` prefix pack several parameters of a
    patch into one, and order is what the number says and bits do not. Every place has weights of its own.
    """

    def __init__(self, length: int):
        super().__init__()
        self.length = length
        wide = nn.Linear((1 + _BITS) * length, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, CODE), nn.GELU()
        self.mlp = nn.Sequential(*wide)

    def forward(self, classes: Tensor) -> Tensor:
        bits = classes[..., None].bitwise_right_shift(torch.arange(_BITS, device=classes.device)).bitwise_and(1)
        numbers = 2 * classes[..., None] / (CLASSES - 1) - 1
        seen = torch.cat([numbers, 2 * bits - 1], dim=-1).flatten(1)
        return self.mlp(seen.to(next(self.parameters()).dtype))


class FiLM(nn.Module):
    """Scale and shift of each channel by a code: x (..., D) of B sequences or steps, code (B, CODE)."""

    def __init__(self, d_model: int):
        super().__init__()
        self.of_code = nn.Linear(CODE, 2 * d_model)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        both = self.of_code(code)
        scale, shift = (both if x.dim() == 2 else both[:, None]).chunk(2, dim=-1)
        return x * (1 + scale) + shift
