"""States that turn, as those of Mamba3: pairs of them, by angles that add up along the sequence.

Shape letters: L steps, H heads, N state, G groups that share B and C, S angles.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .base import upcast


def count_angles(d_state: int, rope_fraction: float) -> int:
    """One angle for each rotary pair of states."""
    if rope_fraction not in (0.5, 1.0):
        raise ValueError(f"rope_fraction={rope_fraction} must be 0.5 or 1.0, the part of d_state that is rotary")
    angles = int(d_state * rope_fraction) // 2
    if angles < 1 or d_state % 2:
        near = max(math.ceil(2 / rope_fraction), d_state + d_state % 2)
        raise ValueError(f"d_state={d_state} must be even and hold a rotary pair: the nearest legal value is {near}")
    return angles


def accumulate_angles(dt: Tensor, rate: Tensor, start: Tensor | None = None) -> Tensor:
    """Angles after each step, (B, L, H, S), from `start` (B, H, S): dt (B, L, H) times a speed in -pi..pi, rate (B, L, S).

    Summed in float64: after 40,000 steps a float32 sum is wrong by thousandths of a radian. And along the last dimension,
    where a GPU sums many steps at once.
    """
    speed = math.pi * torch.tanh(upcast(rate))
    angles = (dt.mT[:, :, None] * speed.mT[:, None]).double().cumsum(-1)  # B H S L
    if start is not None:
        angles = angles + start[..., None]
    return torch.remainder(angles, 2 * math.pi).to(dt.dtype).movedim(-1, 1).contiguous()


def rotate(angles: Tensor, *tensors: Tensor) -> Iterator[Tensor]:
    """Each (..., G, N) by angles (..., H, S) -> (..., H, N): pairs (0, 1), (2, 3), ... turn, what is beyond 2 S stays."""
    turned_size = 2 * angles.shape[-1]
    spin = torch.polar(torch.ones_like(angles), angles)
    for t in tensors:
        a, b = upcast(t[..., :turned_size]).unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.complex(a, b)[..., None, :] * spin.unflatten(-2, (t.shape[-2], -1))  # ... G H/G S
        turned = torch.view_as_real(turned).flatten(-2).to(t.dtype)
        still = t[..., None, turned_size:].expand(*turned.shape[:-1], -1)
        yield torch.cat([turned, still], dim=-1).flatten(-3, -2)


def per_head(t: Tensor, nheads: int) -> Tensor:
    """(..., G, N) -> (..., H, N): head h belongs to group h // (H / G)."""
    return t.repeat_interleave(nheads // t.shape[-2], dim=-2)
