"""Simpler voices, heard: most repeat with each period of the note, and only the operators that were kept sound."""

import numpy as np
import pytest

import dx7data
from dx7data.patches import patch
from dx7data.patches.mutate import draw_uniform
from dx7data.patches.simplify import SIMPLER
from dx7data.rng import KeyedRng

RATE, NOTE = 44000, 69  # 440 Hz: a period is 100 samples, so what is folded at half the rate repeats too
LOUD = 64  # native peak, 36 dB below that of a carrier at output level 99: above its rounding
EG_LEVELS = {op: [patch.FIELDS.index(f"op{op}_eg_level_{i}") for i in range(1, 5)] for op in range(1, 7)}


@pytest.fixture(scope="module")
def patches():
    """The example bank, and voices with everything that is not harmonic."""
    return np.concatenate([dx7data.load_patches("example"), draw_uniform(KeyedRng("simplify"), 60)])


def render(patches, **options):
    return dx7data.render(dx7data.voices(patches, NOTE, 100, rate=RATE, **options), seconds=options["held"])


def measure_change(audio):
    """Of each voice that sounds, how much of the energy in 0.1 s differs 0.2 s, 88 periods of the note, later."""
    audio = audio[np.abs(audio).max(axis=1) >= LOUD].astype(np.float64)
    assert len(audio) > 40
    first, later = audio[:, RATE // 10 : RATE // 5], audio[:, 3 * RATE // 10 : 4 * RATE // 10]
    return ((later - first) ** 2).sum(axis=1) / (first**2).sum(axis=1)


def set_steady(patches):
    """All EGs at once at their loudest, and no feedback."""
    patches = patches.copy()
    patches[:, patch.FIELDS.index("feedback")] = 0
    for number, levels in EG_LEVELS.items():
        patches[:, [patch.FIELDS.index(f"op{number}_eg_rate_{i}") for i in range(1, 5)]] = 99
        patches[:, levels] = 99
    return patches


@pytest.mark.parametrize("name", sorted(SIMPLER.keys() - {"ratios", "steady"}))
def test_all_is_harmonic(patches, name):
    """Without feedback, which at its strongest is noise."""
    changes = [measure_change(render(set_steady(each), held=0.4)) for each in (patches, SIMPLER[name](patches))]
    assert np.median(changes[0]) > 0.5
    assert changes[1].max() < 0.05  # frequencies are rounded


@pytest.mark.parametrize("name", ["harmonic", "steady"])
def test_these_voices_keep_the_rest(patches, name):
    simple = SIMPLER[name](patches)
    kept = [patch.FIELDS.index(name) for name in ("algorithm", "feedback", "op3_output_level", "op6_eg_rate_1")]
    assert (simple[:, kept] == patches[:, kept]).all()


@pytest.mark.parametrize("name", ["ratios", "steady"])
def test_ratios_are_kept_and_are_steady(patches, name):
    """Each operator alone, as a carrier, is a sine at its ratio, which may be no whole number."""
    ratios = set_steady(SIMPLER[name](patches))
    ratios[:, patch.ALGORITHM] = 31
    for number in (1, 6):
        coarse, fine = (patches[:, patch.FIELDS.index(f"op{number}_frequency_{part}")] for part in ("coarse", "fine"))
        alone = render(silence(ratios, *{1, 2, 3, 4, 5, 6} - {number}), held=0.4)
        loud = np.abs(alone).max(axis=1) >= LOUD
        assert loud.sum() > 40
        window = np.hanning(RATE // 5)
        spectra = np.abs(np.fft.rfft(alone[loud, RATE // 10 : 3 * RATE // 10] * window))
        wanted = 440 * np.where(coarse == 0, 0.5, coarse)[loud] * (1 + fine[loud] / 100)
        inside = wanted < RATE / 2 - 10
        assert np.abs(spectra.argmax(axis=1) * 5 - wanted)[inside].max() < 5  # one bin, 5 Hz


def silence(patches, *numbers):
    """Without these operators."""
    patches = patches.copy()
    for number in numbers:
        patches[:, EG_LEVELS[number]] = 0
    return patches


def test_only_what_is_kept_sounds(patches):
    """The six carriers, each rendered alone, make up the whole; a pair without its modulator is its carrier."""
    pair, carriers = SIMPLER["pair"](patches), SIMPLER["carriers"](patches)
    assert (render(pair, held=0.2) == render(silence(pair, 3, 4, 5, 6), held=0.2)).all()
    assert (render(silence(pair, 2), held=0.2) == render(SIMPLER["carrier"](patches), held=0.2)).all()
    alone = [render(silence(carriers, *{1, 2, 3, 4, 5, 6} - {kept}), held=0.2) for kept in range(1, 7)]
    assert (np.sum(alone, axis=0) == render(carriers, held=0.2)).all()


def test_the_loudest_are_kept(patches):
    voice = patches[:1].copy()
    voice[0, patch.ALGORITHM] = 4  # 6>5 4>3 2>1
    for number, level in ((1, 80), (3, 95), (5, 70), (2, 60), (4, 99), (6, 50)):
        voice[0, patch.FIELDS.index(f"op{number}_output_level")] = level
    pair = SIMPLER["pair"](set_steady(voice))
    assert [pair[0, patch.FIELDS.index(f"op{number}_output_level")] for number in (1, 2)] == [95, 99]


@pytest.mark.parametrize("name", SIMPLER)
def test_legal_again_and_nothing_is_changed_in_place(patches, name):
    before = patches.copy()
    simple = SIMPLER[name](patches)
    assert (patches == before).all()
    assert (patch.require_legal(simple) == simple).all()
    assert (SIMPLER[name](simple) == simple).all()
