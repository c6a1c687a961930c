"""WaveNet, attention and S4 with a short convolution, each against its formula written out; and what they can't be."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.layers.s4 import S4
from models.layers.sliding_attention import SlidingAttention
from models.layers.wavenet import WaveNet
from models.memory import check_memory
from models.model import build
from models.registry import preset
from models.settings import find_default
from train import timescales

WIDTH = 12


def make(layer, **options):
    """In double, with values that no initialisation has."""
    torch.manual_seed(0)
    made = layer(WIDTH, **options).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def draw(length):
    return torch.randn(2, length, WIDTH, dtype=torch.float64)


# --- WaveNet ---


@torch.no_grad()
def test_wavenet_by_dilated_convolutions():
    """Those of torch, with the channels first."""
    layer, x = make(WaveNet, dilations=(1, 2, 5)), draw(40)
    y, skips = F.linear(x, layer.in_proj.weight, layer.in_proj.bias).mT, 0
    for unit in layer.units:
        # what a product takes from the past and from now are the two taps of a kernel
        kernel = torch.stack(unit.filter_gate.weight.chunk(2, dim=1), dim=2)
        both = F.conv1d(F.pad(y, (unit.dilation, 0)), kernel, unit.filter_gate.bias, dilation=unit.dilation)
        z = both[:, :6].tanh() * both[:, 6:].sigmoid()
        out = F.conv1d(z, unit.skip_residual.weight[..., None], unit.skip_residual.bias)
        skips = skips + out[:, :6]
        y = y if unit.last else y + out[:, 6:]
    mixed = layer.mix_proj(skips.mT.clamp(min=0))
    torch.testing.assert_close(layer(x), layer.out_proj(mixed.clamp(min=0)), rtol=1e-9, atol=1e-9)


def test_wavenet_hears_as_far_as_its_dilations_add_up_to():
    layer, x = make(WaveNet, dilations=(1, 2, 4)), draw(20).requires_grad_()
    layer(x)[:, 15].sum().backward()
    heard = x.grad.abs().amax((0, 2)) > 0
    assert heard.nonzero().flatten().tolist() == list(range(8, 16))
    assert sum(WaveNet(4).dilations) + 1 == 1024


# --- Attention ---


def attend(layer, x):
    """A query and a key at a time; the positions turn pairs as complex numbers."""
    count, half = WIDTH // layer.headdim, layer.headdim // 2
    projected = layer.in_proj(x).numpy().reshape(len(x), -1, 3, count, layer.headdim)
    speed = np.array([10_000 ** (-p / half) for p in range(half)])
    found = np.zeros((len(x), x.shape[1], count, layer.headdim))
    for b, t, h in np.ndindex(found.shape[:3]):
        q = projected[b, t, 0, h]
        past = range(max(0, t - layer.window), t + 1)
        scores = []
        for s in past:
            k = projected[b, s, 1, h]
            turned = (q[:half] + 1j * q[half:]).conj() * (k[:half] + 1j * k[half:]) * np.exp(1j * speed * (s - t))
            scores.append(turned.sum().real / math.sqrt(layer.headdim))
        weights = np.exp(scores)
        found[b, t, h] = sum(w * projected[b, s, 2, h] for w, s in zip(weights / weights.sum(), past, strict=True))
    return layer.out_proj(torch.from_numpy(found).flatten(2))


@pytest.mark.parametrize("length", [1, 5, 23])
@torch.no_grad()
def test_attention_one_query_and_key_at_a_time(length):
    """And with a state, in chunks shorter and longer than the window, which stays as large as it is."""
    layer, x = make(SlidingAttention, headdim=4, window=5), draw(length)
    expected = attend(layer, x)
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)
    state, outputs = layer.initial_state(2), []
    for chunk in x.split({1: [1], 5: [3, 2], 23: [1, 2, 13, 7]}[length], dim=1):
        y, state = layer(chunk, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), expected, rtol=1e-9, atol=1e-9)
    assert [tuple(part.shape) for part in state] == [(2, 5, 3, 4), (2, 5, 3, 4), (5,)]
    state, steps = layer.initial_state(2), []
    for position in x.unbind(1):
        y, state = layer.step(position, state)
        steps.append(y)
    torch.testing.assert_close(torch.stack(steps, 1), expected, rtol=1e-9, atol=1e-9)


def test_memory_of_attention_grows_with_the_length():
    once, twice = (check_memory(preset("transformer", "tiny"), 1, length) for length in (4000, 8000))
    weights = 20 * once.parameters
    assert twice.bytes - weights == pytest.approx(2 * (once.bytes - weights), rel=0.05)


# --- S4 with a short convolution ---


@torch.no_grad()
def test_s4_after_a_convolution():
    """The one of torch with SiLU; the weights that both have are named alike."""
    layer, x = make(S4, d_conv=16), draw(40)
    plain = S4(WIDTH).double()
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if "conv1d" not in name})
    convolved = F.conv1d(F.pad(x.mT, (15, 0)), layer.conv1d.weight, layer.conv1d.bias, groups=WIDTH)
    torch.testing.assert_close(layer(x), plain(F.silu(convolved).mT), rtol=1e-9, atol=1e-9)


def test_s4_conv_has_the_taps_of_mamba2():
    assert find_default(preset("s4-conv"), "s4", "d_conv") == find_default(preset("mamba2"), "mamba2", "d_conv") == 16
    assert find_default(preset("s4"), "s4", "d_conv") == 0


# --- All ---


@pytest.mark.parametrize("name", ["in_proj", "out_proj"])
@pytest.mark.parametrize("layer", [WaveNet, SlidingAttention])
def test_initial_weights(layer, name):
    """Glorot uniform has variance 2 / (inputs + outputs)."""
    linear = getattr(layer(256), name)
    assert linear.weight.var().item() == pytest.approx(2 / sum(linear.weight.shape), rel=0.03)
    assert not linear.bias.any()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: WaveNet(8, dilations=()), r"dilations is \(\): give one or more numbers from 1"),
        (lambda: WaveNet(8, dilations=(1, 0)), r"dilations is \(1, 0\): give one or more numbers from 1"),
        (lambda: WaveNet(8, expand=0.1), r"expand is 0.1: with a width of 8 it must be at least 0.125"),
        (lambda: SlidingAttention(8, headdim=3), "headdim is 3: it must be even, and divide the width, 8"),
        (lambda: SlidingAttention(8, headdim=6), "headdim is 6: it must be even, and divide the width, 8"),
        (lambda: SlidingAttention(8, headdim=8, window=0), "window is 0: it must be a whole number from 1"),
        (lambda: S4(8, d_conv=-1), "d_conv is -1: it must be a number of taps, or 0 for no convolution"),
    ],
)
def test_what_cannot_be(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        wrong()


@pytest.mark.parametrize("name", ["wavenet", "transformer"])
def test_references_have_no_time_scales(name):
    assert timescales.measure(name, build(preset(name, "tiny")), 8000) == []
