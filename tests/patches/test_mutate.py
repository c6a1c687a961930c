"""Derived patches: legal, within their bounds, a function of the rng, and heard."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data.engine.render import render
from dx7data.engine.voice import voices
from dx7data.patches import bank
from dx7data.patches.audible import find_audible, find_differences
from dx7data.patches.mutate import change_one, cross, draw_uniform, mutate
from dx7data.patches.patch import FIELDS, INIT, MAXIMA, PARAMETERS, legalize_stored, patch_name, require_legal
from dx7data.rng import KeyedRng

EXAMPLE = bank.load(["example"]).patches
SEEDS = st.integers(0, 2**32)
ANY = st.binary(min_size=155, max_size=155).map(lambda data: legalize_stored(np.frombuffer(data, np.uint8))[0])
PATCHES = st.sampled_from(list(EXAMPLE)) | SEEDS.map(lambda seed: draw_uniform(KeyedRng(seed), 1)[0]) | ANY
HEARD = PATCHES.filter(lambda patch: find_audible(patch).any())
# What has no order, written out from the panel: a step along these is no small change.
CHOICES = {"algorithm", "oscillator_sync", "lfo_key_sync", "lfo_wave"} | {
    f"op{number}_{field}" for number in range(1, 7) for field in ("oscillator_mode", "left_curve", "right_curve")
}


def changed_fields(before, after):
    return np.flatnonzero(before != after)


@settings(deadline=None)
@given(SEEDS, HEARD)
def test_mutations_are_small(seed, patch):
    before = patch.copy()
    mutant = mutate(KeyedRng(seed), patch, find_audible(patch))
    assert (patch == before).all()
    require_legal(mutant)
    fields = changed_fields(patch, mutant)
    assert 1 <= len(fields) <= 8
    assert fields.max() < PARAMETERS  # the name stays
    assert find_audible(patch)[fields].all()
    assert not CHOICES & {FIELDS[field] for field in fields}
    for field in fields:
        assert abs(int(patch[field]) - int(mutant[field])) <= max(1, MAXIMA[field] / 10)
    assert find_differences(patch, mutant).size
    assert (mutate(KeyedRng(seed), patch, find_audible(patch)) == mutant).all()


def test_mutations_reach_everything_that_can_be_heard():
    """Over many draws: every audible amount, in both directions, to its bound, and one to eight at a time."""
    patch = EXAMPLE[0]
    mutants = np.array([mutate(KeyedRng(i), patch, find_audible(patch)) for i in range(4000)])[:, :PARAMETERS].astype(int)
    moves = mutants - patch[:PARAMETERS]
    ordinal = np.array([field not in CHOICES for field in FIELDS])
    assert ((moves != 0).any(axis=0) == (find_audible(patch) & ordinal)).all()
    assert set((moves != 0).sum(axis=1)) == set(range(1, 9))
    level = FIELDS.index("op4_output_level")  # 81
    assert set(moves[:, level]) == set(range(-9, 10))
    attack = FIELDS.index("op4_eg_rate_1")  # 99: only downwards
    assert set(moves[:, attack]) == set(range(-9, 1))
    assert set(moves[:, FIELDS.index("feedback")]) == {-1, 0, 1}
    assert set(moves[:, FIELDS.index("op6_frequency_coarse")]) == set(range(-3, 4))  # 5 of 31


@settings(deadline=None)
@given(SEEDS, HEARD)
def test_counterfactuals_change_one_audible_parameter(seed, patch):
    before = patch.copy()
    changed, field = change_one(KeyedRng(seed), patch, find_audible(patch))
    assert (patch == before).all()
    require_legal(changed)
    assert changed_fields(patch, changed).tolist() == [field]
    assert type(field) is int
    assert find_audible(patch)[field]
    assert find_differences(patch, changed).tolist() == [field]
    again, same = change_one(KeyedRng(seed), patch, find_audible(patch))
    assert (again == changed).all()
    assert same == field


def test_counterfactuals_are_spread_evenly():
    patch = INIT.copy()
    draws = [change_one(KeyedRng(i), patch, find_audible(patch)) for i in range(1500)]
    fields = np.bincount([field for _, field in draws], minlength=PARAMETERS)
    assert (fields > 0).tolist() == find_audible(patch).tolist()
    expected = len(draws) / find_audible(patch).sum()
    assert np.abs(fields[fields > 0] - expected).max() < 6 * expected**0.5
    modes = [changed[field] for changed, field in draws if FIELDS[field] == "op1_detune"]
    assert set(modes) == set(range(15)) - {7}


def test_most_counterfactuals_change_a_sample():
    parents = EXAMPLE[np.arange(320) % 32]
    children = np.array(
        [change_one(KeyedRng("heard", i), parent, find_audible(parent))[0] for i, parent in enumerate(parents)]
    )
    changed = np.zeros(len(parents), bool)
    for note, velocity, held in ((36, 40, 0.3), (60, 100, 0.3), (84, 127, 0.3), (60, 100, 1.2)):
        one, other = (render(voices(p, note, velocity, held, 44100), held + 0.3) for p in (parents, children))
        changed |= (one != other).any(axis=1)
    assert changed.mean() > 0.9


@settings(deadline=None)
@given(SEEDS, PATCHES, PATCHES)
def test_crossovers_mix(seed, a, b):
    before = a.copy(), b.copy()
    child = cross(KeyedRng(seed), a, b)
    assert (a == before[0]).all()
    assert (b == before[1]).all()
    require_legal(child)
    assert ((child == a) | (child == b))[:PARAMETERS].all()
    assert patch_name(child) == (patch_name(a).strip()[:5] + patch_name(b).strip()[:5]).rstrip()
    assert (cross(KeyedRng(seed), a, b) == child).all()


def test_crossovers_differ_from_both_parents():
    for i in range(100):
        a, b = EXAMPLE[i % 32], EXAMPLE[(i * 7 + 1) % 32]
        child = cross(KeyedRng(i), a, b)
        assert find_differences(child, a).size
        assert find_differences(child, b).size


def test_crossovers_of_near_twins_differ_from_both():
    """Two differences leave two mixes that are no parent: one of them is found."""
    for i in range(96):
        a = EXAMPLE[i % 32]
        b = a.copy()
        b[[16, 121]] = (a[[16, 121]] + 10) % 100  # output levels of ops 6 and 1
        child = cross(KeyedRng(i), a, b)
        assert sorted(find_differences(child, a).tolist() + find_differences(child, b).tolist()) == [16, 121]


def test_the_only_mix_is_found():
    """Of a silent operator the detune does nothing: the child must have the one parent's level and the other's detune."""
    silent, sounding = INIT.copy(), INIT.copy()
    level, detune = FIELDS.index("op2_output_level"), FIELDS.index("op2_detune")
    sounding[[level, detune]] = 80, 10
    for i in range(30):
        assert cross(KeyedRng(i), silent, sounding)[[level, detune]].tolist() == [80, 7]


def test_crossovers_without_a_mix_are_a_parent():
    a = EXAMPLE[3]
    assert (cross(KeyedRng(1), a, a)[:PARAMETERS] == a[:PARAMETERS]).all()
    vibrato = INIT.copy()
    vibrato[[139, 143]] = 50, 3  # pitch-mod depth and sensitivity
    still = vibrato.copy()
    still[[139, 143]] = 0
    child = cross(KeyedRng(1), vibrato, still)
    assert not (find_differences(child, vibrato).size and find_differences(child, still).size)


def test_names():
    a, b = INIT.copy(), INIT.copy()
    a[PARAMETERS:] = list(b"  PAD     ")
    b[PARAMETERS:] = list(b"HARPSICHRD")
    assert cross(KeyedRng(1), a, b)[PARAMETERS:].tobytes() == b"PADHARPS  "
    b[PARAMETERS:] = list(b"\x01BELLS\x7f   ")  # no letters: they must not get into a file name or a terminal
    assert cross(KeyedRng(1), a, b)[PARAMETERS:].tobytes() == b"PAD?BELL  "
    assert (
        mutate(KeyedRng(1), a, find_audible(a))[PARAMETERS:].tobytes()
        == change_one(KeyedRng(1), a, find_audible(a))[0][PARAMETERS:].tobytes()
        == b"  PAD     "
    )
    assert patch_name(draw_uniform(KeyedRng(1), 1)[0]) == "RANDOM"


def test_uniform_is_uniform():
    patches = draw_uniform(KeyedRng("many"), 20000)
    assert patches.shape == (20000, 155)
    assert patches.dtype == np.uint8
    require_legal(patches)
    for i in range(PARAMETERS):
        count = np.bincount(patches[:, i], minlength=MAXIMA[i] + 1)
        expected = len(patches) / len(count)
        assert np.abs(count - expected).max() < 6 * expected**0.5, FIELDS[i]
    assert (draw_uniform(KeyedRng("many"), 20000) == patches).all()
    assert (draw_uniform(KeyedRng("many"), 5) == patches[:5]).all()  # a longer table begins like a shorter one
    assert draw_uniform(KeyedRng(1), 0).shape == (0, 155)


@pytest.mark.parametrize("derive", [mutate, change_one])
def test_a_patch_that_nobody_hears_is_refused(derive):
    with pytest.raises(ValueError, match="nothing of this patch can be heard"):
        derive(KeyedRng(1), np.zeros(155, np.uint8), find_audible(np.zeros(155, np.uint8)))
