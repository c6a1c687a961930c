"""Causal softmax attention over a sliding window, the layer of a transformer: a reference from outside state space models.

After Vaswani et al., "Attention Is All You Need" (2017), with rotary positions after Su et al., "RoFormer" (2021), and the
window after Beltagy et al., "Longformer" (2020). With this layer the U-Net of SaShiMi is an hourglass transformer, as in
Nawrot et al., "Hierarchical Transformers Are More Efficient Language Models" (2021).
Shape letters: B batch, L steps, D width, H heads, P headdim, W window, N blocks of Q steps.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import SequenceLayer, register, upcast

BASE = 10_000  # of the wavelengths of rotary positions, from 2 pi steps to 2 pi BASE, as in both papers

State = tuple[Tensor, Tensor, Tensor]


def rotate_by_position(t: Tensor) -> Tensor:
    """(B, L, H, P) -> the same, position l with its pairs (p, p + P/2) turned by l BASE^(-2p/P) radians."""
    half = t.shape[-1] // 2
    speed = (torch.arange(half, dtype=torch.float64, device=t.device) * (-math.log(BASE) / half)).exp()
    angle = torch.arange(t.shape[1], dtype=torch.float64, device=t.device)[:, None, None] * speed  # L 1 P/2
    one, other = upcast(t).chunk(2, dim=-1)
    cos, sin = angle.cos().to(one.dtype), angle.sin().to(one.dtype)
    return torch.cat((one * cos - other * sin, one * sin + other * cos), dim=-1).to(t.dtype)


@register("sliding-attention")
class SlidingAttention(SequenceLayer):
    """(B, L, D) -> (B, L, D): each step attends to itself and the `window` steps before it.

    Memory is linear in L. Weights start as those of torch.nn.MultiheadAttention: Glorot uniform for queries, keys and values
    as one matrix, biases of 0. So does the output here, as in tensor2tensor, the code of the first paper.
    """

    def __init__(self, d_model: int, headdim: int = 16, window: int = 512):
        super().__init__()
        if headdim < 2 or headdim % 2 or d_model % headdim:
            raise ValueError(f"headdim is {headdim}: it must be even, and divide the width, {d_model}")
        if window < 1:
            raise ValueError(f"window is {window}: it must be a whole number from 1")
        self.headdim, self.window = headdim, window
        self.in_proj, self.out_proj = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        for linear in (self.in_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, state: State | None = None) -> Any:
        if state is None:  # a shorter window is as good, where there are fewer steps
            return self._run(x, self._zeros(len(x), min(self.window, x.shape[1])))[0]
        return self._run(x, state)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self._run(x[:, None], state)
        return y[:, 0], state

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        past_keys, past_values, past_seen = state
        queries, keys, values = self.in_proj(x).unflatten(-1, (3, -1, self.headdim)).unbind(2)  # B L H P
        keys, values = (
            torch.cat((past.to(now.dtype), now), dim=1) for past, now in ((past_keys, keys), (past_values, values))
        )
        seen = torch.cat((past_seen, past_seen.new_ones(x.shape[1])))
        y = self._attend(queries, keys, values, seen)
        window = len(past_seen)
        after = keys[:, -window:].to(past_keys.dtype), values[:, -window:].to(past_values.dtype), seen[-window:]
        return self.out_proj(y), after

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """queries (B, L, H, P); keys, values (B, W + L, H, P); seen (W + L), 1 where there is a step -> (B, L, D).

        A block of Q queries sees the W + Q keys up to its last one. Blocks are the batch of the product, for they differ in
        what is seen: that way the mask has N Q (W + Q) numbers, and not B times as many.
        """
        batch, length = queries.shape[:2]
        window = len(seen) - length
        size = min(window, length)
        fill = -length % size
        # Keys as they are in the state have no positions: only distances matter, so each call counts from its first key.
        queries = rotate_by_position(F.pad(queries, (0, 0, 0, 0, window, fill)))[:, window:]
        keys, values = (F.pad(t, (0, 0, 0, 0, 0, fill)) for t in (rotate_by_position(keys), values))
        seen = F.pad(seen, (0, fill), value=1.0).unfold(0, window + size, size)  # N W+Q
        queries = queries.unflatten(1, (-1, size)).permute(1, 0, 3, 2, 4).flatten(1, 2)  # N BH Q P
        keys, values = (
            t.unfold(1, window + size, size).permute(1, 0, 2, 4, 3).flatten(1, 2) for t in (keys, values)
        )  # N BH W+Q P
        offset = torch.arange(window + size, device=seen.device) - torch.arange(size, device=seen.device)[:, None]
        mask = ((offset >= 0) & (offset <= window)) & (seen[:, None, None] > 0)  # N 1 Q W+Q
        y = F.scaled_dot_product_attention(queries, keys, values, mask)
        return y.unflatten(1, (batch, -1)).permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :length].flatten(2)

    def initial_state(self, batch: int) -> State:
        """Keys and values of the last W steps (B, W, H, P), and which of these there were (W), 0 or 1."""
        return self._zeros(batch, self.window)

    def _zeros(self, batch: int, window: int) -> State:
        weight = self.out_proj.weight
        shape = batch, window, len(weight) // self.headdim, self.headdim
        keys, values = (upcast(weight.new_zeros(shape)) for _ in range(2))
        return keys, values, keys.new_zeros(window)

    def residual_weights(self) -> list[Tensor]:
        return [self.out_proj.weight]

    def activation_bytes(self, measure: Callable[[int], int], length: int) -> tuple[int, int]:
        return measure(length), 0  # a few operations at any length
