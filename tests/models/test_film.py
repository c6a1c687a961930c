"""A prefix that an MLP reads: its classes reach all that follows, by any layer, in parallel and step by step."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu

from dx7data import prefix
from dx7data.patches.patch import MAXIMA
from models.film import CODE, OperatorReader, PrefixReader, PrefixTable
from models.memory import check_memory
from models.model import build
from models.mulaw import mu_law_encode, mu_law_table
from models.registry import preset
from models.settings import ModelSettings, override

PREFIX = 24
SMALL = {"backbone": "sashimi", "d_model": 16, "n_layers": 1, "pool": (4, 4), "film": PREFIX}


def make(name="s4", **others):
    torch.manual_seed(0)
    return build(dataclasses.replace(preset(name), **SMALL | others)).eval()


def draw_patches(count):
    patches = np.full((count, 155), 32, np.uint8)
    patches[:, :145] = np.random.default_rng(0).integers(0, MAXIMA + 1, (count, 145))
    return patches


def encode(patches):
    return mu_law_encode(torch.from_numpy(prefix.encode(patches, "bytes", 8000)), mu_law_table())


def step_all(model, tokens):
    state, steps = model.initial_state(len(tokens)), []
    for token in tokens.T:
        logits, state = model.step(token, state)
        steps.append(logits)
    return torch.stack(steps, 1), state


@pytest.mark.parametrize(("reader", "length"), [("mlp", PREFIX), ("table", PREFIX), ("operators", 192)])
@pytest.mark.parametrize("name", ["s4", "s4-conv", "mamba1", "mamba3", "hybrid", "wavenet", "transformer"])
@torch.no_grad()
def test_parallel_is_step_by_step(name, reader, length):
    model, tokens = make(name, film_reader=reader, film=length), torch.randint(0, 256, (2, length + 35))
    whole, (stepped, state) = model(tokens), step_all(model, tokens)
    assert (stepped - whole).abs().max() < 1e-4 * max(1, whole.abs().max())
    assert (whole[:, :length] == 0).all()
    count, classes, code, _ = state
    assert (count, classes.dtype, code.dtype) == (length, torch.float32, torch.float32)
    assert (classes == tokens[:, :length]).all()


@torch.no_grad()
def test_every_class_of_the_prefix_is_heard_from_the_first_sample_on():
    """In double: an effect, however small, is far above rounding."""
    model = make("s4d", backbone="stack").double()
    tokens = torch.randint(0, 256, (1, PREFIX + 20)).repeat(1 + PREFIX, 1)
    places = torch.arange(PREFIX)
    tokens[1 + places, places] = (tokens[0, places] + 1) % 256
    logits = model(tokens)
    changed = (logits[1:] - logits[0]).abs().amax(2)
    assert (changed[:, PREFIX:] > 1e-9).all()
    assert (changed[:, :PREFIX] == 0).all()


def test_gradients_reach_the_reader_and_all_blocks():
    model = make("hybrid", n_layers=2)
    model(torch.randint(0, 256, (2, PREFIX + 20))).square().mean().backward()
    weights = {name: weight for name, weight in model.named_parameters() if "reader" in name or "film" in name}
    assert len(weights) == 2 * (2 + 2 * 3)  # weight and bias of two matrices, and of two blocks in each of three stages
    assert all(weight.grad.abs().max() > 0 for weight in weights.values())
    names = [name for name, _ in model.parameters_on_the_way()]
    assert names[0].startswith("reader.")
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


@torch.no_grad()
def test_the_reader_by_hand():
    """The bits, from Python's own; the last class of a place, all ones."""
    read = PrefixReader(2)
    classes = torch.tensor([[0b01100010, 255]])
    seen = [2 * 0b01100010 / 255 - 1, -1, 1, -1, -1, -1, 1, 1, -1, *[1.0] * 9]
    weights = dict(read.named_parameters())
    hidden = gelu(weights["mlp.0.weight"] @ torch.tensor(seen) + weights["mlp.0.bias"])
    expected = gelu(weights["mlp.2.weight"] @ hidden + weights["mlp.2.bias"])
    torch.testing.assert_close(read(classes)[0], expected)


@torch.no_grad()
def test_operators_are_read_with_the_same_weights():
    """If two operators of a patch change places, so do their parts of the code, and nothing else changes."""
    read = OperatorReader(192).double()
    patches = draw_patches(20)
    swapped = patches.copy()
    swapped[:, 0:21], swapped[:, 63:84] = patches[:, 63:84], patches[:, 0:21]  # operators 6 and 3
    code, other = read(encode(patches)), read(encode(swapped))
    parts, other_parts = (each[:, :96].unflatten(1, (6, 16)) for each in (code, other))
    torch.testing.assert_close(other_parts, parts[:, [3, 1, 2, 0, 4, 5]])
    assert (other[:, 96:] == code[:, 96:]).all()
    assert (code[:, :16] != code[:, 48:64]).any()


@torch.no_grad()
def test_of_a_patch_all_but_the_name_is_read():
    """Each parameter that is another one changes the code; it is in its operator's part, or in that of all operators."""
    read, patch = OperatorReader(192).double(), draw_patches(1)
    others = patch.repeat(145, 0)
    places = np.arange(145)
    others[places, places] = np.where(patch[0, :145] < MAXIMA, patch[0, :145] + 1, 0)
    changed = (read(encode(others)) - read(encode(patch))).abs() > 1e-9
    part = np.where(places < 126, places // 21, 6)
    expected = torch.from_numpy(part[:, None] == np.minimum(np.arange(CODE) // 16, 6))
    assert (changed == expected).all()
    renamed = patch.copy()
    renamed[:, 145:] = 65
    assert (encode(renamed) != encode(patch)).sum() > 10
    assert (read(encode(renamed)) == read(encode(patch))).all()


def test_a_prefix_without_operators_is_refused():
    with pytest.raises(ValueError, match="film_reader is operators, and film is 100: a bytes prefix has 192 samples"):
        make(film=100, film_reader="operators")


@torch.no_grad()
def test_the_table_by_hand():
    """The rows, from Python's own integers, also where all classes are the highest."""
    read = PrefixTable(PREFIX)
    prime = 2**31 - 1
    for classes in (torch.randint(0, 256, (PREFIX,)), torch.full((PREFIX,), 255)):
        hashed = sum(each * 16807 ** (i + 1) for i, each in enumerate(classes.tolist()))
        rows = [hashed * 16807 ** (7 + i) % prime % 2**14 for i in range(4)]
        code = sum(table.weight[row] for table, row in zip(read.tables, rows, strict=True))
        torch.testing.assert_close(read(classes[None].expand(3, -1)), code.expand(3, CODE))
    many = read(torch.randint(0, 256, (1000, PREFIX)))
    assert many.var() == pytest.approx(1, abs=0.05)


def test_the_table_can_give_20_000_voices_any_code():
    """Then some voice has a row that no other has; without it the same is true of those that are left, until none is."""
    count = 20_000
    patches = np.zeros((count, 155), np.uint8)
    patches[:, 145:] = 32
    patches[:, :8] = np.random.default_rng(0).integers(0, 100, (count, 8))  # all in the envelope of one operator
    classes = mu_law_encode(torch.from_numpy(prefix.encode(patches, "bytes", 8000)), mu_law_table())
    read, rows = PrefixTable(classes.shape[1]), []
    for i, table in enumerate(read.tables):
        table.register_forward_pre_hook(lambda _, given, i=i: rows.append(given[0] + i * 2**14))
    read(classes)
    rows, left = np.stack(rows, 1), count
    while left:
        alone = (np.bincount(rows.ravel(), minlength=4 * 2**14) == 1)[rows].any(1)
        assert alone.any(), f"{left} voices share all their rows"
        rows, left = rows[~alone], left - alone.sum()


def test_a_table_learns_known_voices_alone():
    """Random codes for random prefixes, by gradients; what it says of other prefixes does not move with them."""
    torch.manual_seed(0)
    read, known, other = PrefixTable(PREFIX), *torch.randint(0, 256, (2, 200, PREFIX))
    wanted, before = torch.randn(200, CODE), read(other).detach()
    optimiser = torch.optim.AdamW(read.parameters(), 0.03, weight_decay=0)
    for _ in range(150):
        optimiser.zero_grad()
        loss = (read(known) - wanted).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 1e-3
    assert (read(other) == before).all(1).float().mean() > 0.9  # 200 of 16,384 rows are taken: 5 % have one of them


@torch.no_grad()
def test_what_two_voices_are_told_apart_by():
    """One parameter of one operator, in the prefix that `bytes` makes of two patches, changes what is predicted."""
    patches = np.full((2, 155), 0, np.uint8)
    patches[:, 145:] = 32
    patches[1, 20] = 3  # detune of operator 6
    heard = mu_law_encode(torch.from_numpy(prefix.encode(patches, "bytes", 8000)), mu_law_table())
    model = make(film=heard.shape[1])
    source = torch.randint(0, 256, (1, 30)).expand(2, -1)
    logits = model(torch.cat([heard, source], 1))[:, heard.shape[1] :]
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_settings():
    """Without film, models and their settings are as they were; with it, JSON and options have it."""
    stored = json.loads(json.dumps(dataclasses.asdict(preset("s4"))))
    del stored["film"], stored["film_reader"]  # as in a checkpoint of before
    assert ModelSettings(**stored) == preset("s4")
    assert not any("film" in name or "reader" in name for name in build(preset("s4", "tiny")).state_dict())
    assert override(preset("s4"), {"film": "192"}).film == 192
    with pytest.raises(ValueError, match="film is -1: it must be a whole number from 0 to 1048576, the nearest is 0"):
        ModelSettings(film=-1)
    assert override(preset("s4"), {"film": "192", "film_reader": "table"}).film_reader == "table"
    with pytest.raises(ValueError, match="there is no film_reader 'tabel': did you mean 'table'"):
        ModelSettings(film=192, film_reader="tabel")
    with pytest.raises(ValueError, match="film_reader is table, and film is 0: give it the length of the prefix"):
        ModelSettings(film_reader="table")


def test_memory_counts_what_film_keeps():
    """A scaled copy of each block's input, at least."""
    without = check_memory(preset("s4"), 2, 4000)
    read = check_memory(dataclasses.replace(preset("s4"), film=192), 2, 4192)
    blocks = 2 * 4 * sum(8 * 4000 // divisor * width for divisor, width in ((1, 64), (4, 128), (16, 256)))
    weights = 5 * 4 * (read.parameters - without.parameters)
    assert read.bytes - without.bytes - weights > 0.9 * blocks
