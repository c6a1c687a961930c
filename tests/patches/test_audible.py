"""Audible parameters against the engine: what is called inaudible changes no sample, nearly all the rest changes some."""

import numpy as np
import pytest

from dx7data.engine.render import render
from dx7data.engine.voice import voices
from dx7data.patches import bank
from dx7data.patches.audible import find_audible, find_differences
from dx7data.patches.patch import FIELDS, INIT, MAXIMA, PARAMETERS
from dx7data.patches.scales import SILENCE

EXAMPLE = bank.load(["example"]).patches
INDEX = {name: i for i, name in enumerate(FIELDS)}
# Note, velocity, seconds held; another 0.2 s are rendered. 0.004 s: released on the way.
PLAYED = ((0, 127, 0.1), (36, 30, 0.3), (60, 100, 0.004), (60, 127, 0.5), (84, 90, 0.2), (127, 127, 0.1))


def sound(patches, played):
    note, velocity, held = played
    return render(voices(patches, note, velocity, held, 44100), held + 0.2)


def uniform(rng, count):
    return np.hstack([rng.integers(0, MAXIMA.astype(int) + 1, (count, PARAMETERS)), np.full((count, 10), 65)]).astype(
        np.uint8
    )


def adversarial(rng, count):
    """On the edges of the rules: near silence, equal levels, depths of nothing, long loops, sensitivity without depth."""
    patches = uniform(rng, count)
    operators = patches[:, :126].reshape(count, 6, 21)  # a view

    def some(share, *shape):
        return rng.random((count, *shape)) < share

    for field, share, choices in (
        *((level, 0.3, (0, 1, 98, 99)) for level in range(4, 8)),
        *((rate, 0.3, (98, 99)) for rate in range(4)),
        (8, 0.3, (0, 99)),
        *((depth, 0.7, (0, 0, 1, 2, 3, 99)) for depth in (9, 10)),
        *((sensitivity, 0.5, (0,)) for sensitivity in (13, 14, 15)),
        (16, 0.8, (0, 1, 2, 5, 97, 98, 99)),
    ):
        operators[..., field] = np.where(some(share, 6), rng.choice(choices, (count, 6)), operators[..., field])
    operators[..., 4:8] = np.where(some(0.5, 6, 1), operators[..., 4:5], operators[..., 4:8])  # equal levels
    operators[..., 4:6] = np.where(some(0.2, 6, 1), operators[..., 5:6], operators[..., 4:6])
    operators[..., 17] = np.where(some(0.5, 1), 1, operators[..., 17])  # all fixed
    operators[:, :5, 16] = np.where(some(0.2, 1), 0, operators[:, :5, 16])  # op 1 alone
    patches[:, 130:134] = np.where(some(0.5, 1), patches[:, 130:131], patches[:, 130:134])
    patches[:, 134] = np.where(some(0.4), rng.choice((3, 5, 31), count), patches[:, 134])
    for field in (135, 139, 140, 143):
        patches[:, field] = np.where(some(0.5), 0, patches[:, field])
    return patches


def other_values(rng, patches, fields):
    """For each of the fields another legal value than the patch has."""
    rows = np.arange(len(patches))
    value = rng.integers(0, MAXIMA[fields].astype(int))
    return (value + (value >= patches[rows, fields])).astype(np.uint8)


SOURCES = pytest.mark.parametrize(
    "make", [uniform, adversarial, lambda rng, count: EXAMPLE], ids=["uniform", "edges", "example"]
)


@SOURCES
def test_inaudible_parameters_change_nothing_alone(make):
    rng = np.random.default_rng(1)
    patches = make(rng, 50)
    row, field = np.nonzero(~find_audible(patches))
    changed = patches[row]
    changed[np.arange(row.size), field] = other_values(rng, changed, field)
    for played in PLAYED:
        before = sound(patches, played)
        for part in np.array_split(np.arange(row.size), row.size // 500 + 1):
            wrong = part[(sound(changed[part], played) != before[row[part]]).any(axis=1)]
            assert not wrong.size, [(FIELDS[field[i]], patches[row[i], field[i]], changed[i, field[i]]) for i in wrong[:5]]


@SOURCES
def test_patches_without_differences_sound_the_same(make):
    """All inaudible parameters change at once; those that become audible by that go back."""
    rng = np.random.default_rng(2)
    patches = make(rng, 250)
    changed = patches.copy()
    changed[:, :PARAMETERS] = np.where(
        find_audible(patches), patches[:, :PARAMETERS], uniform(rng, len(patches))[:, :PARAMETERS]
    )
    for one, other in zip(patches, changed, strict=True):
        while (back := find_differences(one, other)).size:
            other[back] = one[back]
    assert (changed != patches).any(axis=1).mean() > 0.5  # there is something to hear
    for played in PLAYED:
        np.testing.assert_array_equal(sound(changed, played), sound(patches, played))


def test_nearly_all_audible_parameters_change_a_sample():
    """Those that stay unheard here are heard elsewhere, or are the price of simple rules; they must be few."""
    row, field = np.nonzero(find_audible(EXAMPLE))
    count = row.size
    for new in (lambda value, top: np.where(value > top // 2, 0, top), lambda value, top: np.clip(value + 1, 0, top - 1)):
        for played in (*PLAYED, (60, 90, 1.5)):
            changed = EXAMPLE[row]
            changed[np.arange(row.size), field] = new(EXAMPLE[row, field], MAXIMA[field])
            unheard = (sound(changed, played) == sound(EXAMPLE, played)[row]).all(axis=1)
            row, field = row[unheard], field[unheard]
    assert row.size < 0.01 * count, sorted({FIELDS[i] for i in field})


def test_silence_is_that_of_the_voices():
    """Of carriers alone, the detune is audible if voice.py lets the EG pass the engine's test for silence at any key.

    Where +EXP scaling lifts a level, the rules take it for +LIN: there they may call a little too much audible.
    """
    rng = np.random.default_rng(4)
    patches = adversarial(rng, 1000)
    patches[:, [INDEX["algorithm"], INDEX["feedback"], INDEX["transpose"]]] = 31, 0, 24
    loudest = np.max([voices(patches, note, 127, 0.1, 44100).eg_target.max(axis=2) for note in range(128)], axis=0)
    sounds = 16384 - (loudest >> 14) <= SILENCE
    detune = find_audible(patches)[:, [INDEX[f"op{number}_detune"] for number in range(6, 0, -1)]]
    assert 0.1 < sounds.mean() < 0.9
    assert not (sounds & ~detune).any()
    lifted = (patches[:, :126].reshape(-1, 6, 21)[..., 11:13] == 2).any(axis=2)
    np.testing.assert_array_equal(detune[~lifted], sounds[~lifted])


@pytest.mark.parametrize(
    ("changes", "heard", "unheard"),
    [
        # op 1 alone: what would make another one sound is heard of it, nothing else.
        ({}, "op1_detune op3_output_level pitch_eg_level_1 transpose", "op3_detune algorithm feedback oscillator_sync"),
        ({"op2_output_level": 50}, "op2_detune algorithm", "op6_detune feedback"),
        ({"op6_output_level": 50}, "algorithm", "op6_detune feedback op5_output_level"),  # op 6 > 5 > 4 > 3: nobody listens
        ({"op6_output_level": 50, "algorithm": 31}, "op6_detune feedback", "op5_detune"),
        # Algorithms 4 and 6: the loop runs while op 6 sounds; without feedback there is none.
        ({"op6_output_level": 50, "algorithm": 3, "feedback": 1}, "op6_detune op5_detune op4_detune feedback", "op3_detune"),
        ({"op6_output_level": 50, "algorithm": 3}, "feedback", "op6_detune op5_detune op4_detune"),
        ({"op4_output_level": 50, "algorithm": 3, "feedback": 1}, "op4_detune op6_output_level", "op5_detune feedback"),
        ({}, "lfo_pitch_mod_depth", "pitch_mod_sensitivity lfo_amp_mod_depth lfo_speed lfo_wave"),
        ({"pitch_mod_sensitivity": 0}, "op1_amp_mod_sensitivity", "lfo_pitch_mod_depth"),
        ({"lfo_pitch_mod_depth": 1}, "pitch_mod_sensitivity lfo_speed lfo_delay lfo_wave lfo_key_sync", "lfo_amp_mod_depth"),
        ({"op1_amp_mod_sensitivity": 1}, "lfo_amp_mod_depth", "lfo_speed"),
        ({"op1_amp_mod_sensitivity": 1, "lfo_amp_mod_depth": 1}, "lfo_speed", "pitch_mod_sensitivity"),
        ({"op2_amp_mod_sensitivity": 1, "lfo_amp_mod_depth": 1}, "", "lfo_speed lfo_amp_mod_depth"),  # op 2 is silent
        ({"op1_oscillator_mode": 1}, "", "transpose lfo_pitch_mod_depth pitch_eg_level_1"),
        ({"op1_oscillator_mode": 1, "op1_left_depth": 1, "op1_left_curve": 0}, "transpose op1_break_point", ""),
        ({"op1_oscillator_mode": 1, "op1_rate_scaling": 1, "op1_eg_rate_4": 50}, "transpose op1_rate_scaling", ""),
        ({}, "op1_left_depth", "op1_left_curve op1_break_point op1_eg_rate_2 op1_eg_rate_3 op1_rate_scaling"),
        ({"op1_left_curve": 3, "op1_left_depth": 50}, "op1_left_curve", "op1_left_depth op1_break_point"),  # level 99 is all
        ({"op1_eg_level_2": 98}, "", "op1_eg_rate_2 op1_eg_rate_3"),
        ({"op1_eg_level_3": 90}, "op1_eg_rate_2 op1_eg_rate_3", ""),
        ({"op1_eg_level_1": 90}, "op1_eg_rate_2", "op1_eg_rate_3"),
        ({"op1_eg_rate_3": 50}, "", "op1_rate_scaling"),
        ({"op1_eg_rate_4": 50}, "op1_rate_scaling", ""),
        ({}, "", "pitch_eg_rate_1 pitch_eg_rate_2 pitch_eg_rate_3 pitch_eg_rate_4"),
        ({"pitch_eg_level_4": 40}, "pitch_eg_rate_1 pitch_eg_rate_4", "pitch_eg_rate_2 pitch_eg_rate_3"),
        ({"pitch_eg_level_2": 40}, "pitch_eg_rate_2 pitch_eg_rate_3 pitch_eg_rate_4", "pitch_eg_rate_1"),
    ],
)
def test_examples(changes, heard, unheard):
    patch = INIT.copy()
    for name, value in changes.items():
        patch[INDEX[name]] = value
    mask = find_audible(patch)
    assert {name: bool(mask[INDEX[name]]) for name in f"{heard} {unheard}".split()} == {
        **dict.fromkeys(heard.split(), True),
        **dict.fromkeys(unheard.split(), False),
    }


def test_differences_are_heard_in_either():
    """Depth and sensitivity are each inaudible without the other: together they are not."""
    still, vibrato = INIT.copy(), INIT.copy()
    depth, sensitivity, speed = (INDEX[name] for name in ("lfo_pitch_mod_depth", "pitch_mod_sensitivity", "lfo_speed"))
    still[[depth, sensitivity]], vibrato[[depth, sensitivity]] = (0, 0), (50, 3)
    vibrato[speed] = 70
    for one, other in ((still, vibrato), (vibrato, still)):
        assert find_differences(one, other).tolist() == [speed, depth, sensitivity]
    one, other = still.copy(), still.copy()
    other[[depth, speed]] = 50, 70
    assert find_differences(one, other).size == 0
    other[PARAMETERS:] = 65  # names
    assert find_differences(one, other).size == 0


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,), (2, 0)])
def test_shapes(lead):
    patches = EXAMPLE[np.arange(np.prod(lead, dtype=int))].reshape(*lead, 155)
    before = patches.copy()
    mask = find_audible(patches)
    assert mask.shape == (*lead, PARAMETERS)
    assert mask.dtype == bool
    np.testing.assert_array_equal(patches, before)
    np.testing.assert_array_equal(mask.reshape(-1, PARAMETERS), find_audible(EXAMPLE)[: mask.size // PARAMETERS])
