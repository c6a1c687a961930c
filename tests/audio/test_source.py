"""The default source, `patch.SINE`: what is played can be heard in it, by more than 8-bit mu-law changes a clip."""

import numpy as np
import pytest

from dx7data.audio import mulaw
from dx7data.audio.resample import decimate
from dx7data.engine.render import mix
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import Curves, voices
from dx7data.patches.patch import SINE

RATE, SECONDS = 48000, 0.25
KEYS = (28, 60, 100)


def play(sample_rate, key, velocity, held=1.0, start=0, wheel=None):
    """int16 (V, L): single notes, each a clip of its own."""
    notes = voices(SINE, key, velocity, held, RATE, start)
    rows = np.arange(len(notes.start))
    curves = None
    if wheel is not None:
        blocks = int(SECONDS * RATE / BLOCK) + 1
        curves = Curves(rows, np.zeros((len(rows), blocks), np.int32), np.tile(wheel[:, None], blocks).astype(np.int32))
    return decimate(mix(notes, rows, rows, len(rows), SECONDS, curves=curves), sample_rate).astype(np.int16)


def changes(clips):
    """Of each clip and the next, dB: how far apart they are, over what mu-law changes in the worse of the two."""
    difference = np.square(np.diff(clips.astype(np.int64), axis=0)).sum(1)
    noise = mulaw.measure_noise(clips)
    return 10 * np.log10((difference + 1e-9) / np.maximum(noise[1:], noise[:-1]))


@pytest.mark.parametrize("sample_rate", [8000, 16000, 48000])
@pytest.mark.parametrize("key", KEYS)
def test_every_step_of_velocity_survives_mu_law(sample_rate, key):
    odd = np.arange(1, 128, 2)  # what the DX7 does with 2 k and 2 k + 1 is the same
    steps = dict(zip(odd[:-1].tolist(), changes(play(sample_rate, key, odd)), strict=True))
    assert steps.pop(111) < -100  # 110 to 113 are one velocity in the DX7's own table
    assert min(steps.values()) > 4.5


def test_even_velocities_are_those_above():
    assert (play(48000, 60, np.arange(2, 128, 2)) == play(48000, 60, np.arange(3, 128, 2))).all()


def test_it_is_heard_at_every_velocity_and_four_notes_do_not_clip():
    peaks = np.abs(play(8000, 60, np.array([1, 127])).astype(int)).max(1)
    assert peaks[0] > 5  # mu-law has but its two classes around zero up to there
    assert 4 * peaks[1] < 32767


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("velocity", [3, 64, 127])
def test_beginning_and_end_are_heard_to_a_block(key, velocity):
    begun = play(8000, key, velocity, start=np.array([20, 21]))
    ended = play(8000, key, velocity, held=np.array([100, 101]) * BLOCK / RATE)
    for clips in (begun, ended):
        assert (mulaw.encode(clips[0]) != mulaw.encode(clips[1])).any()
    silence = mulaw.encode(np.array([0, -1], np.int16))
    assert np.isin(mulaw.encode(begun[1])[: 20 * BLOCK // 6], silence).all()  # before the attack
    released = (100 + 6) * BLOCK // 6  # 21 dB a block, and the decimator's reach
    assert np.isin(mulaw.encode(ended[0])[released:], silence).all()


@pytest.mark.parametrize("key", KEYS)
def test_the_wheel_is_heard(key):
    assert changes(play(8000, key, np.full(12, 80), wheel=np.arange(0, 100, 9))).min() > 0
