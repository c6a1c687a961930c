"""Mu-law classes in, logits of mu-law classes out: an embedding, a backbone of sequence layers, a norm and a linear head."""

from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .backbone import SaShiMi, Stack
from .layers.base import SequenceLayer, full
from .layers.mamba1 import Mamba1
from .layers.mamba2 import Mamba2
from .layers.mamba3 import Mamba3
from .layers.s4 import S4
from .layers.s4d import S4D
from .mulaw import CLASSES

if TYPE_CHECKING:
    from .settings import ModelSettings

LAYERS = {
    "s4": S4,
    "s4d": S4D,
    "s4d-inv": partial(S4D, init="inv"),
    "s4d-legs": partial(S4D, init="legs"),
    "mamba1": Mamba1,
    "mamba2": Mamba2,
    "mamba3": Mamba3,
}


class Model(nn.Module):
    """Causal: the logits at a position depend on the classes up to and including it. Make one with `settings.build`.

    Starts as mamba-ssm's language model does: embedding N(0, 0.02), no biases in linear layers except where a layer keeps
    time constants in one, and residual branches that shrink with their number (`backbone.Stack`).
    """

    def __init__(self, settings: "ModelSettings"):
        super().__init__()
        names = cycle(settings.layers)

        def layer(width: int) -> SequenceLayer:
            name = next(names)
            options = settings.options.get(name, {})
            try:
                return LAYERS[name](width, **options)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} of width {width} can't be made with {options}: {error}") from None

        sizes = settings.d_model, settings.n_layers, settings.ff, settings.dropout
        self.embedding = nn.Embedding(CLASSES, settings.d_model)
        if settings.backbone == "stack":
            self.backbone = Stack(layer, *sizes)
        else:
            self.backbone = SaShiMi(layer, *sizes, settings.pool, settings.expand)
        self.norm = nn.LayerNorm(settings.d_model)
        self.head = nn.Linear(settings.d_model, CLASSES)

        nn.init.normal_(self.embedding.weight, std=0.02)
        self.embedding.weight._no_weight_decay = True  # rare classes would fade between their gradients
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None and not hasattr(module.bias, "_no_reinit"):
                nn.init.zeros_(module.bias)

    def parameters_on_the_way(self) -> list[tuple[str, nn.Parameter]]:
        """All of them by name, in the order in which the data meets them."""
        path = ["embedding.", *(f"backbone.{part}." for part in self.backbone.path()), "norm.", "head."]
        named = list(self.named_parameters())
        return [found for part in path for found in named if found[0].startswith(part)]

    def forward(self, tokens: Tensor) -> Tensor:  # B L -> B L 256, float32 under any autocast
        return full(self.head(self.norm(self.backbone(self.embedding(tokens)))))

    def step(self, tokens: Tensor, state: tuple) -> tuple[Tensor, tuple]:  # B -> B 256
        x, state = self.backbone.step(self.embedding(tokens), state)
        return full(self.head(self.norm(x))), state

    def initial_state(self, batch: int) -> tuple:
        return self.backbone.initial_state(batch)
