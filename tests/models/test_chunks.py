"""A chunk after another, of any lengths, is the whole sequence, and leaves the state that single steps leave."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.layers import LAYERS, SequenceLayer
from models.layers.blocks import LinearRecurrence
from models.layers.s4d import cache_recurrences
from models.model import build
from models.registry import MODELS, preset

LENGTH = 60
SMALL = {"backbone": "sashimi", "d_model": 16, "n_layers": 1, "pool": (4, 3)}
lengths = st.lists(st.integers(1, 50), max_size=6)


def cut(sequence: Tensor, sizes: list[int]) -> list[Tensor]:
    """Chunks of these sizes, as far as it goes, and the rest."""
    chunks = []
    for size in sizes:
        chunk, sequence = sequence.tensor_split([size], dim=1)
        chunks.append(chunk)
    return [chunk for chunk in (*chunks, sequence) if chunk.shape[1]]


def run(module, state, chunks):
    outputs = []
    for chunk in chunks:
        y, state = module(chunk, state)
        outputs.append(y)
    return torch.cat(outputs, 1), state


def step(module, state, sequence):
    outputs = []
    for position in sequence.unbind(1):
        y, state = module.step(position, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def leaves(state):
    return [leaf for part in state for leaf in leaves(part)] if isinstance(state, tuple) else [torch.as_tensor(state)]


def assert_alike(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * max(1.0, expected.abs().max().item()))


def assert_states_alike(found, expected):
    for one, other in zip(leaves(found), leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert_alike(one, other)


KNOWN = [*((name, "pooled") for name in MODELS), ("hybrid", "tiny"), ("hybrid", "film")]


@pytest.fixture(scope="module", params=KNOWN, ids="-".join)
def known(request):
    """A model, a sequence, and what comes out of it in parallel and step by step."""
    name, shape = request.param
    sizes = {"tiny": {}, "pooled": SMALL, "film": SMALL | {"film": 24}}[shape]
    torch.manual_seed(0)
    model = build(dataclasses.replace(preset(name, "tiny"), **sizes)).eval()
    tokens = torch.randint(0, 256, (2, LENGTH))
    with torch.no_grad():
        for parameter in model.parameters():  # values that no initialisation has
            parameter.add_(0.1 * torch.randn_like(parameter))
        cache_recurrences(model)
        return model, tokens, model(tokens), *step(model, model.initial_state(2), tokens)


@settings(max_examples=6, deadline=None)
@given(sizes=lengths)
@torch.no_grad()
def test_models(known, sizes):
    model, tokens, whole, stepped, last = known
    logits, state = run(model, model.initial_state(2), cut(tokens, sizes))
    assert_alike(logits, whole)
    assert_alike(logits, stepped)
    assert_states_alike(state, last)
    assert leaves(state)[0].device == leaves(last)[0].device


@torch.no_grad()
def test_chunks_and_steps_take_turns():
    torch.manual_seed(0)
    model = build(dataclasses.replace(preset("hybrid"), **SMALL)).eval()
    tokens = torch.randint(0, 256, (1, LENGTH))
    state, outputs = model.initial_state(1), []
    for i, chunk in enumerate(tokens.split(7, dim=1)):
        logits, state = run(model, state, [chunk]) if i % 2 else step(model, state, chunk)
        outputs.append(logits)
    assert_alike(torch.cat(outputs, 1), model(tokens))


FEW = {
    "mamba2": {"headdim": 4, "d_state": 4},
    "mamba3": {"headdim": 4, "d_state": 4},
    "sliding-attention": {"headdim": 4, "window": 20},
    "wavenet": {"dilations": (1, 2, 4)},
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_pass_from_chunk_to_chunk(name):
    torch.manual_seed(0)
    layer = LAYERS[name](4, **FEW.get(name, {"d_state": 4})).double()
    x = torch.randn(1, 70, 4, dtype=torch.float64)
    parameters = list(layer.parameters())
    whole = torch.autograd.grad(layer(x).square().sum(), parameters)
    y, _ = run(layer, layer.initial_state(1), x.split([1, 66, 3], dim=1))
    for found, expected in zip(torch.autograd.grad(y.square().sum(), parameters), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


class Delay(SequenceLayer):
    """A layer that has steps and nothing else: each output is the input before."""

    def __init__(self, d_model: int):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(d_model))

    def step(self, x, state):
        return self.scale * state, x

    def initial_state(self, batch):
        return self.scale.new_zeros(batch, len(self.scale))


@torch.no_grad()
def test_a_layer_that_has_only_steps():
    layer, x = Delay(3), torch.randn(2, 9, 3)
    expected = layer.scale * torch.cat((torch.zeros(2, 1, 3), x[:, :-1]), dim=1)
    assert torch.equal(layer(x), expected)
    chunked, state = run(layer, layer.initial_state(2), x.split(4, dim=1))
    assert torch.equal(chunked, expected)
    assert torch.equal(state, x[:, -1])


@settings(max_examples=6, deadline=None)
@given(length=st.integers(1, 3000), seed=st.integers(0, 99))
def test_linear_recurrence(length, seed):
    """Against the recurrence itself, in float64: many blocks, whose states are found in pairs, and what remains."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    A, B, C, u, x = 0.5 * draw(2, 3, 3), draw(2, 3), draw(2, 3), draw(1, 2, length), draw(1, 2, 3)
    A = A / torch.linalg.matrix_norm(A, 2).clamp(min=1)[:, None, None]
    CA, CB = (A @ C[..., None])[..., 0], (B * C).sum(-1)
    y, after = LinearRecurrence(A, B, CA, CB, torch.float64).run(u, x)
    expected = []
    for at in range(length):
        x = torch.einsum("bhn,hnm->bhm", x, A) + u[:, :, at, None] * B
        expected.append((x * C).sum(-1))
    torch.testing.assert_close(y, torch.stack(expected, 2), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(after, x, rtol=1e-9, atol=1e-9)
