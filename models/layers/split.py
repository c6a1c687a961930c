"""A projection that is split among kernels, each of which writes its part of the gradient where it belongs: torch would copy
all parts into one tensor."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Place = Callable[[], Tensor]  # where a kernel writes the gradient of its input; its rows may be apart


def split(whole: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Place]]:
    """Parts of the last dimension of (..., sum of sizes), each with the place of its gradient."""
    gradient = _Gradient(whole, sizes)
    return [(part, partial(gradient.part, i)) for i, part in enumerate(_Split.apply(whole, gradient))]


def make_gradient(place: Place | None, like: Tensor) -> Tensor:
    """Where a kernel writes the gradient of its input: in its place, if it has one, else in a tensor of its own."""
    return place() if place else torch.empty_like(like, memory_format=torch.contiguous_format)


class _Gradient:
    """Of the whole, in one backward pass after another. Memory is there from the first request for a part on."""

    def __init__(self, whole: Tensor, sizes: Sequence[int]):
        self.sizes = list(sizes)
        self._make = partial(torch.empty, whole.shape, dtype=whole.dtype, device=whole.device)
        self._made: Tensor | None = None

    def part(self, number: int) -> Tensor:
        if self._made is None:
            self._made = self._make()
        return self._made.split(self.sizes, -1)[number]

    def take(self, parts: Sequence[Tensor]) -> Tensor:
        """These gradients of all parts as one; a copy, if one of them is not in its place."""
        made, self._made = self._made, None
        if made is not None and all(map(_is_same, parts, made.split(self.sizes, -1))):
            return made
        return torch.cat(list(parts), -1)


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, gradient: _Gradient) -> tuple[Tensor, ...]:
        ctx.gradient = gradient
        return whole.split(gradient.sizes, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *parts: Tensor) -> tuple[Tensor, None]:
        return ctx.gradient.take(parts), None


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.stride() == other.stride() and one.dtype == other.dtype
