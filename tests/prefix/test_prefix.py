"""Prefixes: audio from which the patch comes back, after what a model's input goes through; never another patch."""

import contextlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data import prefix
from dx7data.audio.resample import ENGINE_RATE, decimate, engine_rate
from dx7data.engine.render import mix
from dx7data.engine.voice import voices
from dx7data.patches import bank, patch
from dx7data.prefix import fsk, levels, symbols

RATES = (8000, 16000, 48000)
EXAMPLE = bank.load("example").patches


def uniform(rng, count):
    """Uniform legal patches with any name."""
    parameters = rng.integers(0, patch.MAXIMA.astype(int) + 1, (count, patch.PARAMETERS))
    return np.concatenate([parameters, rng.integers(0, 128, (count, 10))], axis=1).astype(np.uint8)


@lru_cache
def mu_law_table():
    """Every int16 value after 8-bit mu-law and back, by torchaudio's published formulas, in float32 as it computes them."""
    mu = torch.tensor(255.0)
    x = torch.arange(-32768, 32768) / 32768
    classes = ((torch.sign(x) * torch.log1p(mu * x.abs()) / torch.log1p(mu) + 1) / 2 * mu + 0.5).to(torch.int64)
    y = classes / mu * 2 - 1
    back = torch.sign(y) * (torch.exp(y.abs() * torch.log1p(mu)) - 1) / mu
    return torch.clamp(torch.round(back * 32768), -32768, 32767).to(torch.int16).numpy()


def through_mu_law(audio):
    return mu_law_table()[audio.astype(np.int64) + 32768]


def noisy(rng, audio):
    """White noise 20 dB below the signal, then a gain of -12 to +12 dB, cut to 16 bits, and mu-law."""
    audio = audio.astype(np.float64)
    noise = rng.normal(size=audio.size) * np.sqrt((audio**2).mean()) / 10
    gain = 10 ** (rng.uniform(-12, 12) / 20)
    return through_mu_law(np.clip(np.rint((audio + noise) * gain), -32768, 32767))


def batches(patches, size=100):
    return (patches[first : first + size] for first in range(0, len(patches), size))


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("codec", ["bytes", "fsk"])
def test_ten_thousand_random_patches_come_back(codec, rate):
    for some in batches(uniform(np.random.default_rng(1), 10_000)):
        for stored, audio in zip(some, through_mu_law(prefix.encode(some, codec, rate)), strict=True):
            assert (prefix.decode(audio, codec, rate) == stored).all()


@oracle.needs_factory
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("codec", ["bytes", "fsk"])
def test_the_factory_banks_come_back(codec, rate):
    for some in batches(bank.load(oracle.FACTORY).patches):
        for stored, audio in zip(some, through_mu_law(prefix.encode(some, codec, rate)), strict=True):
            assert (prefix.decode(audio, codec, rate) == stored).all()


@pytest.mark.slow
@pytest.mark.parametrize("rate", sorted(ENGINE_RATE))
def test_fsk_bears_noise_and_gain(rate):
    """At least 99.9 % come back, the others are refused: never another patch."""
    rng, refused = np.random.default_rng(rate), 0
    patches = uniform(rng, 1000)
    for some in batches(patches):
        for stored, audio in zip(some, prefix.encode(some, "fsk", rate), strict=True):
            try:
                assert (prefix.decode(noisy(rng, audio), "fsk", rate) == stored).all()
            except prefix.PrefixError:
                refused += 1
    assert refused <= len(patches) // 1000


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["bytes", "fsk"]), st.integers(0, 2**32 - 1), st.data())
def test_damage_is_refused_or_harmless(codec, seed, data):
    """Whatever is overwritten, wherever: the same patch or an error, never another patch."""
    rng = np.random.default_rng(seed)
    stored = uniform(rng, 1)[0]
    audio = prefix.encode(stored, codec, 8000)
    first = data.draw(st.integers(0, audio.size - 1))
    length = data.draw(st.integers(1, audio.size - first))
    audio[first : first + length] = rng.integers(-32768, 32768, length)
    with contextlib.suppress(prefix.PrefixError):
        assert (prefix.decode(audio, codec, 8000) == stored).all()


@pytest.mark.parametrize("codec", ["bytes", "fsk"])
@pytest.mark.parametrize("junk", ["silence", "noise", "tone"])
def test_what_is_no_prefix_is_refused(codec, junk):
    length = prefix.samples(codec, 8000)
    rng = np.random.default_rng(0)
    audio = {
        "silence": np.zeros(length),
        "noise": rng.normal(size=length) * 5000,
        "tone": 8000 * np.sin(np.arange(length) / 3),
    }[junk]
    with pytest.raises(prefix.PrefixError):
        prefix.decode(audio.astype(np.int16), codec, 8000)


def test_errors_say_what_is_wrong():
    audio = prefix.encode(EXAMPLE[0], "bytes", 8000)
    audio[7] = (int(levels._LEVELS[20]) + int(levels._LEVELS[21])) // 2  # between two levels
    with pytest.raises(prefix.PrefixError, match="sample 7 of the bytes prefix"):
        prefix.decode(audio, "bytes", 8000)
    other = prefix.encode(EXAMPLE[1], "bytes", 8000)
    audio = prefix.encode(EXAMPLE[0], "bytes", 8000)
    audio[:20] = other[:20]  # legal levels, of another patch
    with pytest.raises(prefix.PrefixError, match="checksum"):
        prefix.decode(audio, "bytes", 8000)
    with pytest.raises(prefix.PrefixError, match="example"):
        prefix.decode(prefix.encode(EXAMPLE[0], "reference", 8000), "reference", 8000)
    with pytest.raises(prefix.PrefixError, match="4288 samples"):
        prefix.decode(audio, "fsk", 8000)
    with pytest.raises(ValueError, match="bytes, fsk, reference"):
        prefix.encode(EXAMPLE, "morse", 8000)


@pytest.mark.parametrize("rate", sorted(ENGINE_RATE))
def test_lengths(rate):
    for codec in prefix.CODECS:
        length = prefix.samples(codec, rate)
        assert length % 64 == 0
        assert prefix.encode(EXAMPLE, codec, rate).shape == (32, length)
    assert prefix.samples("fsk", rate) / rate <= (1.0 if engine_rate(rate) == 48000 else 1.1)


@pytest.mark.parametrize("rate", sorted(ENGINE_RATE))
def test_fsk_is_what_the_engine_plays(rate):
    """The same notes through `mix`, all 399 of them in one row; and it is no louder than 8,200."""
    stored, native_rate = EXAMPLE[3], engine_rate(rate)
    modem = bank.read_table(Path(prefix.__file__).with_name("modem.toml"))[0]
    written = symbols.write(stored[None])[0]
    notes = np.array([fsk._TONES[tone] for symbol in written for tone in fsk._CHORDS[symbol]])
    start = np.repeat(np.arange(written.size) * 3, 3)
    played = voices(modem, notes, 100, 192 / native_rate, native_rate, start)
    row = np.zeros(notes.size, np.int64)
    native = decimate(mix(played, row, row, 1, 0.6), rate)[0]
    audio = prefix.encode(stored, "fsk", rate)
    assert (native[: audio.size] == audio).all()
    loudest = [
        np.abs(prefix.encode(some, "fsk", rate).astype(int)).max()
        for some in batches(uniform(np.random.default_rng(2), 400))
    ]
    assert max(loudest) <= 8200


def test_fsk_peak_whatever_the_symbols():
    """The loudest that any symbols after one another can be, at the engine rate."""
    for rate in (44100, 48000):
        chords = fsk._chords(rate).reshape(128, -1, 192)
        assert max(chords.max(axis=0).sum(axis=0).max(), -chords.min(axis=0).sum(axis=0).min()) <= 8200
        assert not chords[:, -1, -64:].any(), "a chord rings on after its ring was cut"


def test_reference_is_a_note_of_the_patch():
    for stored in EXAMPLE[:4]:
        expected = oracle.render(stored, 60, 100, 0.4, 0.512, 48000)
        audio = prefix.encode(stored, "reference", 48000)
        assert (audio == np.clip(expected, -32768, 32767)[: audio.size]).all()


def test_a_single_patch_is_a_batch_of_one():
    for codec in prefix.CODECS:
        assert (prefix.encode(EXAMPLE[5], codec, 16000) == prefix.encode(EXAMPLE, codec, 16000)[5]).all()
