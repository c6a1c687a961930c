"""The engine against the oracle: zero differing samples, whatever the patch, the note, the rate and the lengths."""

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dx7data.engine.render import render
from dx7data.engine.voice import voices
from dx7data.patches import algorithms, bank, patch

RATES = (44100, 48000, 22050)
LEGAL = np.concatenate([patch.MAXIMA, np.full(10, 127)]).astype(np.uint8)


def assert_equal(patches, notes, velocities, held, seconds, rate):
    """Render all at once and compare each voice with the oracle's."""
    ours = render(voices(patches, notes, velocities, held, rate), seconds)
    notes, velocities, held = (np.broadcast_to(x, len(ours)) for x in (notes, velocities, held))
    patches = np.broadcast_to(patches, (len(ours), 155))
    for i, native in enumerate(ours):
        expected = oracle.render(patches[i], notes[i], velocities[i], held[i], seconds, rate)
        assert native.shape == expected.shape
        differing = np.flatnonzero(native != expected)
        assert not differing.size, (
            f"voice {i} {patch.patch_name(patches[i])!r}, algorithm {patches[i][134] + 1}, note {notes[i]}, "
            f"velocity {velocities[i]}, {rate} Hz: {differing.size} samples differ, the first in block {differing[0] // 64}"
        )


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("held", [0.3, 2.0], ids=["released", "held"])
def test_example_bank(rate, held):
    patches = bank.load(["example"]).patches
    for note, velocity in ((24, 127), (60, 64), (96, 1)):
        assert_equal(patches, note, velocity, held, 1.0, rate)


@pytest.mark.slow
@oracle.needs_factory
@pytest.mark.parametrize("rate", RATES)
def test_factory_banks(rate):
    patches = bank.load([str(path) for path in oracle.FACTORY]).patches
    notes, velocities = (x.ravel() for x in np.meshgrid((24, 60, 96), (1, 64, 127)))
    for note, velocity in zip(notes, velocities, strict=True):
        assert_equal(patches, note, velocity, 0.7, 1.2, rate)


SITUATION = st.tuples(
    st.integers(0, 127),
    st.integers(0, 127),
    st.integers(0, 1500).map(lambda ms: ms / 1000),
    st.integers(0, 800).map(lambda ms: ms / 1000),
    st.sampled_from(RATES),
)


@settings(max_examples=400, deadline=None)
@given(npst.arrays(np.uint8, 155, elements=st.integers(0, 255)).map(lambda bytes_: np.minimum(bytes_, LEGAL)), SITUATION)
def test_extreme_patches(one, situation):
    note, velocity, held, seconds, rate = situation
    assert_equal(one[None], note, velocity, held, seconds, rate)


@pytest.mark.parametrize("seed", range(6))
def test_uniform_legal_patches(seed):
    """The full legal range, many at once: hypothesis likes corners, these fill the middle."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, LEGAL + 1, (150, 155)).astype(np.uint8)
    assert_equal(
        patches, rng.integers(0, 128, 150), rng.integers(0, 128, 150), rng.uniform(0, 1.5, 150), 1.0, RATES[seed % 3]
    )


def test_random_bytes():
    """Bytes as a damaged dump may hold them, brought into range by the rule."""
    random = np.random.default_rng(7).integers(0, 256, (150, 155)).astype(np.uint8)
    assert_equal(patch.legalize_stored(random)[0], 60, 100, 0.5, 0.8, 44100)


@pytest.mark.parametrize("algorithm", range(32))
def test_every_algorithm_with_every_feedback(algorithm):
    """All six operators loud, so that every connection and loop is heard; held and released inside the clip."""
    rng = np.random.default_rng(algorithm)
    patches = rng.integers(0, LEGAL + 1, (8, 155)).astype(np.uint8)
    patches[:, 134], patches[:, 135] = algorithm, np.arange(8)
    operators = patches[:, :126].reshape(8, 6, 21)
    operators[:, :, 4:7], operators[:, :, 9:11], operators[:, :, 16], operators[:, :, 17] = 90, 0, 85, 0
    assert_equal(patches, 57, 100, 0.2, 0.4, 44100)


@pytest.mark.parametrize("seconds", [0.0, 1 / 44100, 63 / 44100, 64 / 44100, 65 / 44100, 0.1])
def test_block_edges(seconds):
    patches = bank.load(["example"]).patches[:4]
    for held in (0.0, seconds, 64 / 44100, 65 / 44100):
        assert_equal(patches, 60, 100, held, seconds, 44100)


def test_a_minute():
    assert_equal(bank.load(["example"]).patches[:2], 48, 90, 50.0, 60.0, 44100)


def test_algorithms_are_the_oracles():
    """Carriers and modulators against dexed-py's own table of connections."""
    from dexed import algorithms as theirs
    from dexed import get_feedback_edge

    for ours in range(32):
        matrix = np.array(theirs[ours].mod_matrix, bool)  # [target][source] or [source][target], operator 1 first
        carriers = {5 - j for j in range(6) if algorithms.CARRIERS[ours] >> j & 1}
        assert carriers == set(theirs[ours].carriers)
        edges = {(5 - m, 5 - j) for j in range(6) for m in range(6) if algorithms.MODULATORS[ours, j] >> m & 1}
        assert edges == {tuple(map(int, edge[::-1])) for edge in np.argwhere(matrix) if edge[0] != edge[1]}
        head = algorithms.FEEDBACK_OPERATOR[ours]
        tail = head + algorithms.LOOP_LENGTH[ours] - 1
        assert (5 - tail, 5 - head) == tuple(get_feedback_edge(ours))
