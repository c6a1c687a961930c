"""The CUDA driver against the CPU driver, which the oracle proves: on a GPU, and in numba's simulator of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu import needs_gpu, simulate
from hypothesis import given
from hypothesis import strategies as st

from dx7data.engine import device, lfo
from dx7data.engine.render import Curves, divide_rows, mix, render
from dx7data.engine.voice import voices
from dx7data.patches import algorithms, bank, patch

LEGAL = np.concatenate([patch.MAXIMA, np.full(10, 127)]).astype(np.uint8)
FACTORY = sorted((Path(__file__).resolve().parents[3] / "shared" / "patches").glob("rom*.syx"))
RATES = (44100, 48000, 22050)


def assert_same(some, row, part, rows, seconds, curves=None):
    expected = mix(some, row, part, rows, seconds, curves=curves)
    ours = mix(some, row, part, rows, seconds, device="cuda", curves=curves)
    wrong = np.flatnonzero((ours != expected).any(axis=1))
    assert not wrong.size, (
        f"{(ours != expected).sum()} samples differ, in {wrong.size} rows, the first of which is {wrong[0]}"
    )


def random_phrases(seed: int, count: int, rows: int, seconds: float):
    """Voices of random legal patches, two parts to a row, each with one patch; and curves for half of the rows."""
    rng = np.random.default_rng(seed)
    rate = RATES[seed % 3]
    row = rng.integers(0, rows, count)
    part = 2 * row + rng.integers(0, 2, count)
    patches = rng.integers(0, LEGAL + 1, (2 * rows, 155)).astype(np.uint8)
    patches[::4, 134] = np.resize([3, 5], len(patches[::4]))  # the two algorithms with long feedback loops
    loud = patches[:, :126].reshape(-1, 6, 21)
    loud[::2, :, 16] = np.maximum(loud[::2, :, 16], 70)
    blocks = int(seconds * rate) // 64
    start = rng.integers(0, blocks + 20, count) * rng.integers(0, 2, count)
    held = rng.uniform(0, seconds, count) * rng.integers(0, 2, count)
    some = voices(patches[part], rng.integers(0, 128, count), rng.integers(0, 128, count), held, rate, start)
    bend = rng.integers(-1 << 23, 1 << 23, (rows, blocks + 1)).astype(np.int32)
    wheel = rng.integers(0, 128, (rows, blocks + 1)).astype(np.int32)
    return some, row, part, rows, seconds, Curves(np.where(np.arange(rows) % 2, np.arange(rows), -1), bend, wheel)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("seed", range(6))
def test_random_phrases(seed):
    assert_same(*random_phrases(seed, 3000, 700, 0.7))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("seed", range(6))
def test_random_voices(seed):
    """Uniformly random bytes, brought into the legal range, one voice to a row."""
    rng = np.random.default_rng(100 + seed)
    patches = patch.legalize_stored(rng.integers(0, 256, (2500, 155)).astype(np.uint8))[0]
    some = voices(
        patches, rng.integers(0, 128, 2500), rng.integers(0, 128, 2500), rng.uniform(0, 1.2, 2500), RATES[seed % 3]
    )
    assert (render(some, 1.0, device="cuda") == render(some, 1.0)).all()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("rate", RATES)
def test_banks(rate):
    patches = bank.load(["example", *map(str, FACTORY)]).patches
    for note, velocity, held in ((24, 127, 0.5), (60, 64, 2.0), (96, 1, 0.0)):
        some = voices(patches, note, velocity, held, rate)
        assert (render(some, 1.5, device="cuda") == render(some, 1.5)).all()


@pytest.mark.gpu
@needs_gpu
def test_long_notes():
    some = voices(bank.load(["example"]).patches, 48, 90, 25.0, 44100)
    assert (render(some, 30.0, device="cuda") == render(some, 30.0)).all()


@pytest.mark.gpu
@needs_gpu
def test_batches_do_not_matter(monkeypatch):
    """With next to no memory: a warp of voices and a few rows at a time."""
    from dx7data.engine import cuda

    arguments = random_phrases(9, 400, 90, 0.3)
    monkeypatch.setattr(cuda, "_SHARE", 1e-6)
    assert_same(*arguments)


@pytest.mark.gpu
@needs_gpu
def test_sixteen_bits():
    """The benchmark's output: native integers, cut to 16 bits; six full carriers need that."""
    from dx7data.engine import cuda, tables

    patches = bank.load(["example"]).patches.copy()
    patches[:8, 134] = 31
    patches[:8, :126].reshape(8, 6, 21)[:, :, 16] = 99
    some = voices(patches, 60, 127, 1.0, 44100)
    alone = np.arange(32)
    out = cuda.zeros((32, 44100), np.int16)
    curves = Curves(np.full(32, -1), np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32))
    cuda.mix(some, curves, np.stack([alone, alone + 1], axis=1), alone, out, tables.make_increment_table(44100), alone=True)
    assert (out.copy_to_host() == np.clip(render(some, 1.0), -32768, 32767)).all()


SIMULATED = """
given = np.load(sys.argv[1], allow_pickle=True)["arguments"]
some, row, part, rows, seconds, curves = given
if most := int(sys.argv[3]):
    driver.count_voices = lambda memory: most
wide = {name: getattr(some, name).astype(np.int64) for name in some._fields[1:] if getattr(some, name).dtype != bool}
np.save(sys.argv[2], render.mix(some._replace(**wide), row, part, rows, seconds, "cuda", curves=curves))
"""


@pytest.mark.parametrize(("seed", "count", "rows", "at_once"), [(1, 24, 24, 0), (2, 24, 6, 0), (3, 24, 6, 5)])
def test_the_kernels_in_the_simulator(tmp_path, seed, count, rows, at_once):
    """The code of the kernels, run by Python, without a GPU: every voice with its own row, then several to a row, then rows
    whose voices don't fit the memory together.
    """
    arguments = random_phrases(seed, count, rows, 500 / 48000)
    some, row, part, *rest = arguments
    if count == rows:
        row = part = np.arange(count)
    boxed = np.empty(6, object)
    boxed[:] = (some, row, part, *rest)
    np.savez(tmp_path / "in.npz", arguments=boxed)
    simulate(SIMULATED, tmp_path / "in.npz", tmp_path / "out.npy", at_once)
    expected = mix(some, row, part, *rest[:2], curves=rest[2])
    assert expected.any(axis=1).sum() > rows // 2
    assert (np.load(tmp_path / "out.npy") == expected).all()


@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 14), st.integers(1, 20))
def test_rows_are_divided_by_their_voices(row, max_rows, max_voices):
    """All rows once and in order, also those without voices; no range could have had one more row."""
    row, rows = np.sort(np.array(row, int)), 13
    found = list(divide_rows(row, rows, max_rows, max_voices))
    assert [r for place in found for r in range(place.start, place.stop)] == list(range(rows))

    def fits(begin, end):
        return end - begin <= max_rows and ((row >= begin) & (row < end)).sum() <= max_voices

    for place in found:
        assert place.stop == place.start + 1 or fits(place.start, place.stop)
        assert place.stop == rows or not fits(place.start, place.stop + 1)


def test_the_parameters_of_a_voice_are_not_underestimated():
    from dx7data.engine.cuda import _VOICE_BYTES

    some = voices(np.stack([patch.SINE] * 8), 60, 64, 1.0, 48000)
    places = 8 + 2 * 8 + 8  # row, range of notes, curve
    assert sum(field.nbytes for field in some[1:]) / 8 + places <= _VOICE_BYTES


def test_slots_are_the_algorithms():
    """In the order of slots every modulator comes before what it modulates, and nothing else is changed."""
    for algorithm in range(32):
        order = algorithms.SLOT_OPERATOR[algorithm].tolist()
        assert sorted(order) == list(range(6))
        assert order[0] == algorithms.FEEDBACK_OPERATOR[algorithm]
        bits = algorithms.SLOT_MODULATORS[algorithm]
        links = {(order[m], order[slot]) for slot in range(1, 6) for m in range(slot) if bits >> (5 * (slot - 1) + m) & 1}
        assert links == {(m, j) for j in range(6) for m in range(6) if algorithms.MODULATORS[algorithm, j] >> m & 1}
        heard = {order[slot] for slot in range(6) if algorithms.SLOT_CARRIERS[algorithm] >> slot & 1}
        assert heard == {j for j in range(6) if algorithms.CARRIERS[algorithm] >> j & 1}


def test_a_fused_multiply_add_changes_no_tremolo():
    """A GPU's compiler may fuse the multiply and the add before exp, whose own error may be a step; the integer stays."""
    step = 2.0**-52
    for begin in range(0, 1 << 24, 1 << 16):  # small arrays stay in the cache
        argument = np.arange(begin, begin + (1 << 16) + 1) / 262144 * 0.07 + 12.2
        expected = np.floor(np.exp(argument))
        assert (np.exp(np.nextafter(argument, 0)) * (1 - step) >= expected).all()
        assert (np.exp(np.nextafter(argument, 99)) * (1 + step) < expected + 1).all()
    assert lfo.attenuate(1 << 28, 1 << 24, 1 << 24) == (1 << 28) - (((1 << 28) * (int(expected[-1]) << 4)) >> 28)


@pytest.mark.parametrize("name", ["abacus", "cuda:", "cuda:-1", "gpu", ""])
def test_unknown_devices(name):
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda'"):
        device.choose(name)


def test_a_device_that_cannot_be_used_says_why():
    with pytest.raises(ValueError, match=r"device 'cuda:99' cannot be used: .*; device 'cpu' gives the same samples"):
        device.choose("cuda:99")


def test_auto_is_the_cpu_where_no_gpu_can_be_used():
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    script = "from dx7data.engine import device; import json; print(json.dumps(device.choose('auto')))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout) is None, done.stderr
