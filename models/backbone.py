"""What stacks sequence layers: an isotropic stack, and the U-Net of SaShiMi, whose inner stages run at a part of the rate.

Shapes: B batch, L steps, D width. A factory makes each layer for its width; factories are called in the order of the data.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .film import FiLM
from .layers.activation import linear_gelu
from .layers.base import SequenceLayer, upcast
from .layers.linear import apply_linear
from .layers.norm import add_norm
from .layers.s4d import compute_kernels

Factory = Callable[[int], SequenceLayer]


class Block(nn.Module):
    """Two residual branches, each after a LayerNorm: the sequence layer, then a feed-forward part `ff` times as wide.

    film: between norm and layer, the code of a prefix scales and shifts.
    """

    feed_forward: nn.Sequential | None

    def __init__(self, layer: SequenceLayer, d_model: int, ff: int, dropout: float, film: bool = False):
        super().__init__()
        self.norm, self.layer, self.dropout = nn.LayerNorm(d_model), layer, nn.Dropout(dropout)
        self.film = FiLM(d_model) if film else None
        self.feed_forward = None
        if ff:
            wide = nn.Linear(d_model, ff * d_model), nn.GELU(), nn.Linear(ff * d_model, d_model)
            self.feed_forward = nn.Sequential(nn.LayerNorm(d_model), *wide, self.dropout)

    def forward(self, x: Tensor, state: Any = None, code: Tensor | None = None, kernel: Tensor | None = None) -> Any:
        """x (B, L, D) -> (B, L, D).

        state: that before the chunk; if it is given, the state after it is returned as well. code: that of the prefix, with
        film. kernel: the convolution kernel (H, L) of an S4Block, if it is already computed.
        """
        given = {} if kernel is None else {"kernel": kernel}
        x, normed = self._prepare(x, code)
        if state is None:
            return self._finish(x, self.layer(normed, **given))
        y, state = self.layer(normed, state)
        return self._finish(x, y), state

    def step(self, x: Tensor, state: Any, code: Tensor | None = None) -> tuple[Tensor, Any]:
        x, normed = self._prepare(x, code)
        y, state = self.layer.step(normed, state)
        return self._finish(x, y), state

    def _prepare(self, x: Tensor, code: Tensor | None) -> tuple[Tensor, Tensor]:
        """x, which the branch goes round, and what its layer receives."""
        x, normed = add_norm(x, None, self.norm)
        return x, normed if self.film is None else self.film(normed, code)

    def _finish(self, x: Tensor, y: Tensor) -> Tensor:
        if self.feed_forward is None:
            return x + self.dropout(y)
        norm, widen, _, narrow, dropout = self.feed_forward
        x, y = add_norm(x, self.dropout(y), cast(nn.LayerNorm, norm))
        return x + dropout(apply_linear(linear_gelu(y, cast(nn.Linear, widen)), cast(nn.Linear, narrow)))

    def residual_weights(self) -> list[Tensor]:
        """The weights of each branch that its output is proportional to."""
        own = self.layer.residual_weights()
        return own if self.feed_forward is None else [*own, cast(nn.Linear, self.feed_forward[3]).weight]


class Stack(nn.Module):
    """Blocks at one rate, (B, L, D) -> (B, L, D); given the state before a chunk, also the state after it."""

    def __init__(self, layer: Factory, d_model: int, n_layers: int, ff: int, dropout: float, film: bool = False):
        super().__init__()
        self.blocks = nn.ModuleList(Block(layer(d_model), d_model, ff, dropout, film) for _ in range(n_layers))
        branches = n_layers * (2 if ff else 1)
        with torch.no_grad():  # n branches of variance 1/n: the sum has that of one, however deep the stack is
            for block in self.each:
                for weight in block.residual_weights():
                    weight /= math.sqrt(branches)

    @property
    def each(self) -> list[Block]:
        """The blocks in order; nn.ModuleList does not know the type of its items."""
        return cast("list[Block]", self.blocks)

    def forward(self, x: Tensor, state: tuple | None = None, code: Tensor | None = None) -> Any:
        if state is not None:
            states = []
            for block, before in zip(self.each, state, strict=True):
                x, after = block(x, before, code)
                states.append(after)
            return x, tuple(states)
        layers = [block.layer for block in self.each]
        # A CPU's caches hold the numbers of one kernel, not of eight: there, each layer makes its own.
        ready = compute_kernels(layers, x.shape[1]) if x.is_cuda else [None] * len(layers)
        for block, kernel in zip(self.each, ready, strict=True):
            x = block(x, code=code, kernel=kernel)
        return x

    def step(self, x: Tensor, state: tuple, code: Tensor | None = None) -> tuple[Tensor, tuple]:
        states = []
        for block, before in zip(self.each, state, strict=True):
            x, after = block.step(x, before, code)
            states.append(after)
        return x, tuple(states)

    def initial_state(self, batch: int) -> tuple:
        return tuple(block.layer.initial_state(batch) for block in self.each)

    def path(self) -> list[str]:
        """Names of the parts in the order in which the data passes them."""
        return ["blocks"]

    def layers(self) -> list[tuple[str, int, SequenceLayer]]:
        """Name, divisor of the sample rate, layer."""
        return [(f"blocks.{i}", 1, block.layer) for i, block in enumerate(self.each)]


class SaShiMi(nn.Module):
    """The backbone of Goel et al., "It's Raw! Audio Generation with State-Space Models" (2022), (B, L, D) -> (B, L, D).

    Going down, each pool p makes one step of p, `expand` times as wide; going up, each stage of blocks runs on what the
    stage below it made of the past, plus what went down at its own rate, and is itself a residual branch. As in the
    authors' default, which the predecessor of this project trained, no blocks stand on the way down.

    Stage 0 runs at the full rate, stage i at 1 / (product of the first i pools). Any L will do: the end is padded, or, where
    there is a state, kept in it until the step is complete. Given the state before a chunk, it also gives the one after it.
    """

    def __init__(
        self,
        layer: Factory,
        d_model: int,
        n_layers: int,
        ff: int,
        dropout: float,
        film: bool,
        pool: tuple[int, ...],
        expand: int,
    ):
        super().__init__()
        self.pool = pool
        self.divisors = [math.prod(pool[:i]) for i in range(len(pool) + 1)]
        widths = [d_model * expand**i for i in range(len(pool) + 1)]
        self.down = nn.ModuleList(nn.Linear(p * widths[i], widths[i + 1]) for i, p in enumerate(pool))
        self.up = nn.ModuleList(nn.Linear(widths[i + 1], p * widths[i]) for i, p in enumerate(pool))
        deepest_first = [Stack(layer, width, n_layers, ff, dropout, film) for width in reversed(widths)]
        self.stages = nn.ModuleList(reversed(deepest_first))

    @property
    def each(self) -> list[Stack]:
        """The stages; nn.ModuleList does not know the type of its items."""
        return cast("list[Stack]", self.stages)

    def forward(self, x: Tensor, state: tuple | None = None, code: Tensor | None = None) -> Any:
        if state is not None:
            return self._run_chunk(x, state, code)
        length = x.shape[1]
        x = F.pad(x, (0, 0, 0, -length % self.divisors[-1]))
        skips = []
        for p, down in zip(self.pool, self.down, strict=True):
            skips.append(x)
            x = down(x.unflatten(1, (-1, p)).flatten(2)).to(x.dtype)  # under autocast the residual stream stays float32
        x = x + self.stages[-1](x, code=code)
        for i in reversed(range(len(self.pool))):
            made = F.pad(self.up[i](x), (0, 0, 1, -1))  # a pooled step has seen all of its own time: it serves the next
            x = skips[i] + made.unflatten(2, (self.pool[i], -1)).flatten(1, 2)
            x = x + self.stages[i](x, code=code)
        return x[:, :length]

    def _run_chunk(self, x: Tensor, state: tuple, code: Tensor | None) -> tuple[Tensor, tuple]:
        """Any number of steps. A pooled stage runs only on the groups that this chunk completes, which may be none."""
        time, states, gathered, made = state[0], *map(list, state[1:])
        length, inputs, phases = x.shape[1], [x], []
        for i, (p, down) in enumerate(zip(self.pool, self.down, strict=True)):
            phase = time // self.divisors[i] % p
            steps = torch.cat((gathered[i].to(x.dtype), x), dim=1)  # the last `phase` of those that are held count
            complete = (phase + x.shape[1]) // p
            begun = steps[:, p - 1 - phase :][:, : complete * p]
            gathered[i] = steps[:, x.shape[1] :].to(gathered[i].dtype)
            x = down(begun.unflatten(1, (complete, p)).flatten(2)).to(x.dtype)
            inputs.append(x)
            phases.append(phase)
        for i in reversed(range(len(self.each))):
            x = inputs[i]
            if not x.shape[1]:
                continue
            if i < len(self.pool):
                x = x + made[i][:, phases[i] : phases[i] + x.shape[1]].to(x.dtype)
                made[i] = made[i][:, -self.pool[i] :]
            written, states[i] = self.each[i](x, states[i], code)
            x = x + written
            if i:
                up = self.up[i - 1](x).unflatten(2, (self.pool[i - 1], -1)).flatten(1, 2)
                made[i - 1] = torch.cat((made[i - 1], up.to(made[i - 1].dtype)), dim=1)
        return x, ((time + length) % self.divisors[-1], tuple(states), tuple(gathered), tuple(made))

    def step(self, x: Tensor, state: tuple, code: Tensor | None = None) -> tuple[Tensor, tuple]:
        """A pooled stage works once its step is complete; what it makes is held for the steps after this one."""
        time, states, gathered, made = state[0], *map(list, state[1:])
        output = x  # of stage 0, the first
        for i, stage in enumerate(self.each):
            inner = i < len(self.pool)
            phase = time // self.divisors[i] % self.pool[i] if inner else 0
            y = x + made[i][:, phase].to(x.dtype) if inner else x
            written, states[i] = stage.step(y, states[i], code)
            y = y + written
            if i == 0:
                output = y
            else:
                made[i - 1] = self.up[i - 1](y).unflatten(1, (self.pool[i - 1], -1)).to(made[i - 1].dtype)
            if inner:
                steps = torch.cat((gathered[i], x[:, None].to(gathered[i].dtype)), dim=1)
                gathered[i] = steps[:, 1:]
                if phase < self.pool[i] - 1:
                    break
                x = self.down[i](steps.flatten(1).to(x.dtype)).to(x.dtype)
        return output, ((time + 1) % self.divisors[-1], tuple(states), tuple(gathered), tuple(made))

    def initial_state(self, batch: int) -> tuple:
        """Steps so far, counted up to one of the slowest stage; states of the stages; of each pool, the inputs of its
        unfinished step (B, p - 1, D) and what the stage below made last for this one (B, p, D)."""

        def zeros(i: int, steps: int) -> Tensor:
            weight = cast(nn.Linear, self.up[i]).weight  # p D of the stage above, D of the stage below
            return upcast(weight.new_zeros(batch, steps, len(weight) // self.pool[i]))

        gathered = tuple(zeros(i, p - 1) for i, p in enumerate(self.pool))
        made = tuple(zeros(i, p) for i, p in enumerate(self.pool))
        return 0, tuple(stage.initial_state(batch) for stage in self.each), gathered, made

    def path(self) -> list[str]:
        """Names of the parts in the order in which the data passes them."""
        depth = len(self.pool)
        return ["down", f"stages.{depth}", *(name for i in reversed(range(depth)) for name in (f"up.{i}", f"stages.{i}"))]

    def layers(self) -> list[tuple[str, int, SequenceLayer]]:
        """Name, divisor of the sample rate, layer; in the order of the data, slowest stage first."""
        stages = reversed(list(enumerate(zip(self.divisors, self.each, strict=True))))
        return [
            (f"stages.{i}.{name}", divisor, layer) for i, (divisor, stage) in stages for name, _, layer in stage.layers()
        ]
