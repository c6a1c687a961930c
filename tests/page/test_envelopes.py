"""Drawings of envelopes, by the engine's audio."""

import numpy as np
import pytest

from dx7data.engine.render import render as play
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import voices
from dx7data.page import envelopes
from dx7data.patches import patch
from dx7data.patches.algorithms import OPERATORS


def test_envelopes_are_what_is_heard():
    """One operator alone: its loudness in the engine's audio, four blocks at a time, which hold a period of the note."""
    for rates, levels in (
        ((70, 40, 30, 55), (99, 80, 60, 0)),
        ((45, 99, 25, 99), (90, 95, 0, 50)),
        ((99, 60, 0, 60), (0, 99, 85, 70)),
    ):
        stored = patch.SINE_FLAT.copy()
        first = patch.FIELDS.index("op1_eg_rate_1")
        stored[first : first + 8] = (*rates, *levels)
        played = voices(stored, 60, 100, 1.0, 48000)
        audio = np.abs(play(played, 1.5)[0].astype(float))[: 1024 * BLOCK]
        heard = 20 * np.log10(np.maximum(audio.reshape(-1, 4 * BLOCK).max(axis=1), 1) / 8186)
        drawn = -envelopes.compute_operator_decibels(played, OPERATORS - 1, 1024)
        drawn = np.maximum(drawn[:-1], drawn[1:]).reshape(-1, 4).max(axis=1)
        # Lower, the whole numbers of the audio are too coarse; steeper, a period's crest may miss the top.
        clear = (drawn > -45) & (np.abs(np.gradient(drawn)) < 3)
        assert clear.sum() > 60
        assert np.abs(heard - drawn)[clear].max() < 1


def test_pitch_envelope_only_if_it_moves():
    still = patch.SINE_FLAT.copy()
    assert "pitch" not in envelopes.draw_envelopes(still)
    moved = still.copy()
    moved[patch.FIELDS.index("pitch_eg_level_1")] = 99
    assert "pitch" in envelopes.draw_envelopes(moved)
    octaves = envelopes.compute_pitch_octaves(voices(moved, 60, 100, 1.0, 48000), 300)
    assert octaves[0] == 0
    assert octaves.max() == pytest.approx(127 / 32)


def test_simplified_curves_stay_close():
    values = np.cumsum(np.random.default_rng(1).normal(size=2000))
    kept = envelopes.simplify(values, 2.0)
    assert np.abs(np.interp(np.arange(2000), kept, values[kept]) - values).max() <= 2.0
    assert len(kept) < 500


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"frequency_coarse": 0, "frequency_fine": 0}, "×0.50"),
        ({"frequency_coarse": 14, "frequency_fine": 0}, "×14.00"),
        ({"frequency_coarse": 2, "frequency_fine": 50, "detune": 4}, "×3.00 −3"),
        ({"frequency_coarse": 7, "frequency_fine": 0, "oscillator_mode": 1}, "1000 Hz"),
    ],
)
def test_frequencies(fields, shown):
    assert envelopes.format_frequency({"detune": 7, "oscillator_mode": 0} | fields) == shown
