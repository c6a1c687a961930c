"""Clips on the page: their spectrum by the formula, their PNG by the format's rules."""

import struct
import zlib

import numpy as np
import pytest

from dx7data.audio import mel, player
from dx7data.page import spectrogram


@pytest.mark.parametrize("rate", [8000, 11025, 16000])
@pytest.mark.parametrize("part", [0.03, 0.11, 0.3, 0.43])
def test_a_tone_is_in_its_band(rate, part):
    hertz = part * rate
    audio = np.rint(32767 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)).astype(np.int16)
    levels = mel.compute_mel(audio, rate, spectrogram.COLUMNS)
    middle = levels[:, levels.shape[1] // 2]
    centres = mel.compute_frequencies(rate, mel.BANDS)[1:-1]
    pitches = 2595 * np.log10(1 + np.array([hertz, *centres]) / 700)
    assert middle.argmax() == np.abs(pitches[1:] - pitches[0]).argmin()
    assert -4 < middle.max() < 3, "decibels of full scale"
    assert np.sort(middle)[-8] < -40


def test_mel_is_the_formula():
    """One frame, written out: Fourier sum, triangle, logarithm."""
    rate, size = 8000, 512
    audio = np.random.default_rng(2).integers(-9000, 9000, 10000).astype(np.int16)
    levels = mel.compute_mel(audio, rate, spectrogram.COLUMNS)
    column, centre = 60, 60 * 10000 // spectrogram.COLUMNS
    n = np.arange(size)
    frame = audio[centre - size // 2 :][:size] / 32768 * (0.5 - 0.5 * np.cos(2 * np.pi * n / size))
    power = [abs((frame * np.exp(-2j * np.pi * k * n / size)).sum()) ** 2 / (size / 4) ** 2 for k in range(size // 2 + 1)]
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = [700 * (10 ** (top * i / (mel.BANDS + 1) / 2595) - 1) for i in range(mel.BANDS + 2)]
    for band in (0, 17, 63):
        a, b, c = edges[band : band + 3]
        total = 0.0
        for k, value in enumerate(power):
            hertz = k * rate / size
            total += value * max(0, min((hertz - a) / (b - a), (c - hertz) / (c - b)))
        assert levels[band, column] == pytest.approx(10 * np.log10(total + 1e-12), abs=1e-6)


def test_every_band_hears_something():
    for rate, size in ((8000, 512), (11025, 512), (12000, 1024), (14700, 1024), (16000, 1024)):
        assert (mel.make_filters(size, rate, mel.BANDS).sum(axis=1) > 0).all()


@pytest.mark.parametrize("audio", [np.zeros(4000, np.int16), np.full(1, 5, np.int16), np.full(192, -32768, np.int16)])
def test_pictures_of_odd_clips(audio):
    pixels, _ = decoded(spectrogram.draw_spectrogram(audio, 8000))
    assert pixels.shape == (mel.BANDS, {4000: 64, 1: 1, 192: 4}[audio.size]), "a power of two, and no step below 32 samples"
    assert pixels.any() == bool(audio.any())
    assert "nan" not in player.draw_waveform(audio)


def decoded(data):
    """Pixels and palette of a PNG, by the format's own rules."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(name + content) == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]
        chunks[name] = content
        at += 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_png():
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    found, palette = decoded(spectrogram.encode_png(pixels))
    assert (found == pixels).all()
    assert palette.shape == (256, 3)
    assert (np.diff(palette.astype(int).sum(axis=1)) >= 0).all(), "louder is lighter"


@pytest.mark.parametrize(
    ("rate", "expected"), [(8000, 8000), (16000, 16000), (22050, 11025), (24000, 12000), (44100, 14700)]
)
def test_audio_for_the_page(rate, expected):
    tone = np.rint(20000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16)
    audio, found = spectrogram.shrink(tone, rate)
    assert found == expected
    assert audio.dtype == np.int16
    assert audio.size == expected
    wanted = 20000 * np.sin(2 * np.pi * 440 * np.arange(expected) / expected)
    assert np.abs(audio - wanted)[100:-100].max() < 300


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("prefix", [0, 0.5, 2.1, 9])
@pytest.mark.parametrize("seconds", [0.5, 2.5, 10, 60])
def test_24_samples_are_less_than_10_megabytes(rate, prefix, seconds):
    """As base64, with 80 kB for all else; but a second of a clip there must be."""
    clips = {name: np.zeros(int(each * rate), np.int16) for name, each in (("source", seconds), ("prefix.a", prefix))}
    shown = spectrogram.fit_seconds(clips, rate)
    assert min(1, seconds) <= shown <= seconds
    on_page = spectrogram.shrink(np.zeros(round(shown * rate), np.int16), rate)[0].size * 2
    on_page += spectrogram.shrink(clips["prefix.a"], rate)[0].size
    assert shown in (1, seconds) or 24 * (80e3 + on_page * 2 * 4 / 3) < 10e6
    assert shown == seconds or shown == 1 or on_page > 100_000, "as much as there is room for"
