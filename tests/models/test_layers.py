"""A layer that only this file knows works like those of models/layers; and the weights of known models keep their names."""

import dataclasses
import hashlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import LAYERS, SequenceLayer, register
from models.memory import check_memory
from models.model import build
from models.registry import MODELS, preset
from models.settings import ModelSettings
from models.timescales import modes
from train import timescales
from train.config import make_settings


class Attention(SequenceLayer):
    """Causal attention, written out, so that it keeps L x L numbers for the gradient. Positions count by their distance."""

    def __init__(self, d_model: int, heads: int = 4, slope: float = 0.1):
        super().__init__()
        if d_model % heads:
            raise ValueError(f"heads is {heads}: it must divide {d_model}")
        self.heads, self.slope = heads, slope
        self.qkv, self.output = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:  # B L D -> B H L P, three times
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).movedim(1, 3).unbind(1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        behind = torch.arange(k.shape[2])[None] - torch.arange(k.shape[2] - q.shape[2], k.shape[2])[:, None]
        scores = (q @ k.mT / math.sqrt(q.shape[-1]) + self.slope * behind).masked_fill(behind > 0, -torch.inf)
        return self.output((scores.softmax(-1) @ v).movedim(1, 2).flatten(2))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None):
        q, k, v = self.split(x)
        if state is None:
            return self.attend(q, k, v)
        k, v = (torch.cat((past, now), dim=2) for past, now in zip(state, (k, v), strict=True))
        return self.attend(q, k, v), (k, v)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self(x[:, None], state)
        return y[:, 0], state

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        empty = self.output.weight.new_zeros(batch, self.heads, 0, self.output.in_features // self.heads)
        return empty, empty


class Measured(Attention):
    def activation_bytes(self, measure, length):
        return measure(length), 0


@pytest.fixture(autouse=True)
def attention():
    before = dict(LAYERS)
    register("attention")(Attention)
    register("attention-steep", slope=1.0)(Attention)
    register("measured")(Measured)
    yield
    LAYERS.clear()
    LAYERS.update(before)


def tiny(*layers: str, **others) -> ModelSettings:
    return ModelSettings(layers or ("attention",), **{"backbone": "stack", "d_model": 32, "n_layers": 2} | others)


def build_seeded(of: ModelSettings):
    torch.manual_seed(0)
    return build(of)


@pytest.mark.parametrize("layers", [("attention",), ("s4d", "attention-steep"), ("attention", "mamba1")])
@pytest.mark.parametrize("backbone", ["stack", "sashimi"])
def test_it_trains(layers, backbone):
    """And whole sequences and single steps give the same, before and after."""
    model = build_seeded(tiny(*layers, backbone=backbone, pool=(2,)))
    tokens = torch.arange(40).remainder(10).repeat(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    with torch.no_grad():
        whole, state, steps = model(tokens), model.initial_state(4), []
        for t in range(tokens.shape[1]):
            logits, state = model.step(tokens[:, t], state)
            steps.append(logits)
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [100, 1000, 5000])
def test_estimate_of_a_layer_that_says_nothing(length):
    """Goes on from two short lengths to what a long one takes when it is measured itself."""
    guessed, true = (check_memory(tiny(name), 2, length).bytes for name in ("attention", "measured"))
    assert guessed == pytest.approx(true, rel=0.01)


def test_estimate_grows_with_the_square():
    assert check_memory(tiny(), 2, 16_000).bytes == pytest.approx(4 * check_memory(tiny(), 2, 8000).bytes, rel=0.05)


def test_it_is_chosen_by_name():
    """As with --layers; its options are those of its constructor but the width, and what a name fixes."""
    run = make_settings("shards", ("attention", "s4d"), "tiny")
    assert run.model.layers == ("attention", "s4d")
    assert build(run.model).backbone.blocks[0].layer.heads == 4
    ModelSettings(("attention-steep",), options={"attention-steep": {"heads": 2}})
    with pytest.raises(ValueError, match=r"there is no option of attention-steep 'slope': There are heads$"):
        ModelSettings(("attention-steep",), options={"attention-steep": {"slope": 2.0}})
    with pytest.raises(ValueError, match=r"attention of width 32 can't be made with \{'heads': 5\}: heads is 5"):
        build(tiny(options={"attention": {"heads": 5}}))


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="there is a layer 's4' already: register Attention under another name"):
        register("s4")(Attention)
    assert LAYERS["s4"] is not Attention


def test_a_layer_takes_a_state():
    class Stateless(Attention):
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(TypeError, match=r"forward of Stateless takes no state: docs/extending.md shows one"):
        register("stateless")(Stateless)


def test_time_scales_are_those_of_layers_that_have_some():
    model = build_seeded(tiny("attention", "s4d"))
    assert modes(model.backbone.blocks[0].layer, None) is None
    rows = timescales.measure("mixed", model, 8000)
    assert [row.kind for row in rows] == ["s4d"]
    timescales.draw([dataclasses.replace(row, kind="another") for row in rows])  # a kind without a colour of its own


# Of "name shape" for each weight, in order: with one of these changed, checkpoints no longer load.
WEIGHTS = {
    "s4": "42be98fb72a4a082",
    "s4-conv": "f68e0d0d70e17a9b",
    "s4d": "d1995b6abb7fe892",
    "s4d-inv": "d1995b6abb7fe892",
    "s4d-legs": "d1995b6abb7fe892",
    "mamba1": "fe1fafbd52c66991",
    "mamba2": "944897851d44a781",
    "mamba2-seed": "9b7d0eab0501813c",
    "mamba3": "9f6b1f91dd19f858",
    "hybrid": "5883138eabadfcb0",
    "wavenet": "9fb00fd3168291f9",
    "transformer": "48a37378a0ce9a3f",
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_keep_their_names(name):
    text = "\n".join(f"{key} {list(value.shape)}" for key, value in build(preset(name)).state_dict().items())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == WEIGHTS[name]
