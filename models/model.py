"""Mu-law classes in, logits of mu-law classes out: an embedding, a backbone of sequence layers, a norm and a linear head."""

from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import SaShiMi, Stack
from .film import CODE, READERS, Reader
from .layers.base import SequenceLayer, mark, upcast
from .layers.norm import add_norm
from .mulaw import CLASSES
from .registry import LAYERS
from .settings import ModelSettings


class Model(nn.Module):
    """Causal: the logits at a position depend on the classes up to and including it. Make one with `build`.

    Starts as mamba-ssm's language model does: embedding N(0, 0.02), no biases in linear layers except where a layer keeps
    time constants in one, and residual branches that shrink with their number (`backbone.Stack`).

    With `film`, the first P classes are no input of the layers, which begin after them, and their logits are 0.

    `forward` takes a whole sequence or, given the state before it, a chunk of any length; `step` takes one position.
    """

    def __init__(self, settings: ModelSettings):
        super().__init__()
        names = cycle(settings.layers)

        def layer(width: int) -> SequenceLayer:
            name = next(names)
            options = settings.options.get(name, {})
            try:
                return LAYERS[name](width, **options)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} of width {width} can't be made with {options}: {error}") from None

        self.backbone: Stack | SaShiMi
        sizes = settings.d_model, settings.n_layers, settings.ff, settings.dropout, settings.film > 0
        self.embedding = nn.Embedding(CLASSES, settings.d_model)
        if settings.backbone == "stack":
            self.backbone = Stack(layer, *sizes)
        else:
            self.backbone = SaShiMi(layer, *sizes, settings.pool, settings.expand)
        self.norm = nn.LayerNorm(settings.d_model)
        self.head = nn.Linear(settings.d_model, CLASSES)
        self.reader: Reader | None = READERS[settings.film_reader](settings.film) if settings.film else None

        nn.init.normal_(self.embedding.weight, std=0.02)
        mark(self.embedding.weight, no_weight_decay=True)  # rare classes would fade between their gradients
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None and not hasattr(module.bias, "_no_reinit"):
                nn.init.zeros_(module.bias)

    def parameters_on_the_way(self) -> list[tuple[str, nn.Parameter]]:
        """All of them by name, in the order in which the data meets them."""
        path = ["reader.", "embedding.", *(f"backbone.{part}." for part in self.backbone.path()), "norm.", "head."]
        named = list(self.named_parameters())
        return [found for part in path for found in named if found[0].startswith(part)]

    def forward(self, tokens: Tensor, state: tuple | None = None) -> Any:
        """(B, L) -> logits (B, L, 256), float32 under any autocast; with a state also the state after them."""
        if state is not None:
            return self._run_chunk(tokens, state)
        if self.reader is None:
            return self._classify(self.backbone(self.embedding(tokens)))
        length = self.reader.length
        code = self.reader(tokens[:, :length])
        return F.pad(self._classify(self.backbone(self.embedding(tokens[:, length:]), code=code)), (0, 0, length, 0))

    def _run_chunk(self, tokens: Tensor, state: tuple) -> tuple[Tensor, tuple]:
        if self.reader is None:
            x, state = self.backbone(self.embedding(tokens), state)
            return self._classify(x), state
        count, prefix, code, inner = state
        read, tokens = tokens.tensor_split([self.reader.length - count], dim=1)
        count += read.shape[1]
        logits = prefix.new_zeros(*read.shape, CLASSES)
        if read.shape[1]:
            prefix = torch.cat([prefix, read.to(prefix.dtype)], dim=1)[:, -self.reader.length :]
            code = upcast(self.reader(prefix.long())) if count == self.reader.length else code
        if tokens.shape[1]:
            x, inner = self.backbone(self.embedding(tokens), inner, code)
            logits = torch.cat((logits, self._classify(x)), dim=1)
        return logits, (count, prefix, code, inner)

    def _classify(self, x: Tensor) -> Tensor:
        _, normed = add_norm(x, None, self.norm)
        return upcast(self.head(normed))

    def step(self, tokens: Tensor, state: tuple) -> tuple[Tensor, tuple]:  # B -> B 256
        if self.reader is None:
            x, state = self.backbone.step(self.embedding(tokens), state)
            return self._classify(x), state
        count, prefix, code, inner = state
        if count == self.reader.length:
            x, inner = self.backbone.step(self.embedding(tokens), inner, code)
            return self._classify(x), (count, prefix, code, inner)
        prefix = torch.cat([prefix[:, 1:], tokens[:, None].to(prefix.dtype)], dim=1)
        if count + 1 == self.reader.length:
            code = upcast(self.reader(prefix.long()))
        return prefix.new_zeros(len(tokens), CLASSES), (count + 1, prefix, code, inner)

    def initial_state(self, batch: int) -> tuple:
        """That of the backbone; with `film`, after how much of the prefix was read, its classes so far, and its code."""
        inner = self.backbone.initial_state(batch)
        if self.reader is None:
            return inner
        zeros = upcast(self.head.weight.new_zeros(batch, self.reader.length + CODE))
        return 0, *zeros.split([self.reader.length, CODE], dim=1), inner


def build(settings: ModelSettings) -> Model:
    """Raises ValueError, a sentence, where a layer can't be made with its options."""
    return Model(settings)
