"""Clips on the page: their audio made small, their waveform as SVG, their mel spectrogram as PNG."""

import struct
import zlib

import numpy as np
from markupsafe import Markup

from dx7data.audio.resample import decimate
from dx7data.markup import html

RATE = 16000  # Hz, at most: more would only make the page larger
SECONDS = 10  # of a clip at most; likewise

BANDS = 64
COLUMNS = 192  # of a picture at most: one stands for 13 ms of a clip of 2.5 s
RANGE_DB = 80  # below the loudest band; quieter is black

_WAVE_COLUMNS = 300
_WINDOW_SECONDS = 0.064  # distinguishes neighbouring keys from middle C up
_LEAST_HOP = 32  # samples, so that a prefix of a few milliseconds is no single column
# The picture's colours from silence to the loudest band: level of 255, red, green, blue.
_COLOURS = ((0, 19, 15, 13), (70, 22, 50, 52), (150, 20, 124, 118), (215, 126, 196, 158), (255, 253, 243, 208))


def shrink(audio: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """A clip as it is embedded: its first seconds, int16, at 16 kHz or less: as it is, or a half or a third of its rate."""
    audio = audio[: SECONDS * rate]
    factor = -(-rate // RATE)
    if factor > 1:  # decimate's filters go by the rate that a factor makes of 48 kHz
        audio = np.clip(decimate(audio.astype(np.int32), 48000 // factor), -32768, 32767).astype(np.int16)
    return audio, rate // factor


def draw_waveform(audio: np.ndarray) -> Markup:
    """Between the lowest and highest value of each column, scaled to the clip's own peak; SVG."""
    columns = np.array_split(audio.astype(np.int64), min(_WAVE_COLUMNS, audio.size))
    peak = max(1, int(np.abs(audio.astype(np.int64)).max()))
    upper = "L".join(f"{i} {round(-100 * int(column.max()) / peak)}" for i, column in enumerate(columns))
    lower = "L".join(f"{i} {round(-100 * int(columns[i].min()) / peak)}" for i in reversed(range(len(columns))))
    return html(
        '<svg class="wave" viewBox="0 -104 {} 208" preserveAspectRatio="none" aria-hidden="true"><path d="M{}L{}Z"/></svg>',
        max(1, len(columns) - 1),
        upper,
        lower,
    )


def compute_mel(audio: np.ndarray, rate: int) -> np.ndarray:
    """Decibels relative to a full-scale sine, float64 (BANDS, columns), lowest band first; int16 audio (L,)."""
    size = 1 << round(np.log2(_WINDOW_SECONDS * rate))
    hop = max(_LEAST_HOP, -(-audio.size // COLUMNS))
    window = np.hanning(size + 1)[:-1]
    padded = np.pad(audio / 32768, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: max(1, audio.size) : hop]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / (window.sum() / 2) ** 2
    return 10 * np.log10(make_filters(size, rate) @ power.T + 1e-12)


def make_filters(size: int, rate: int) -> np.ndarray:
    """Triangles from each band's lower neighbour to its upper one, 1 at its own frequency; (BANDS, size // 2 + 1)."""
    edges = band_frequencies(rate)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(size // 2 + 1) * rate / size
    return np.maximum(0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))


def band_frequencies(rate: int) -> np.ndarray:
    """The lower edge of the first band, the centre of each, and the upper edge of the last, in Hz; (BANDS + 2,)."""
    steps = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), BANDS + 2)
    return 700 * (10 ** (steps / 2595) - 1)


def draw_spectrogram(audio: np.ndarray, rate: int) -> bytes:
    """A PNG of the mel spectrogram, from its loudest band down; low frequencies at the bottom."""
    levels = compute_mel(audio, rate)
    loudness = np.clip((levels - levels.max()) / RANGE_DB + 1, 0, 1) * audio.any()
    return encode_png(np.rint(255 * loudness[::-1]).astype(np.uint8))


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 (height, width), in the colours from silence to loudness."""
    height, width = pixels.shape
    levels, *channels = zip(*_COLOURS, strict=True)
    palette = np.stack([np.interp(np.arange(256), levels, channel) for channel in channels], axis=1)
    lines = np.pad(pixels, ((0, 0), (1, 0)))  # each line begins with its filter: 0, none
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),  # 8 bits, indices of the palette
            (b"PLTE", np.rint(palette).astype(np.uint8).tobytes()),
            (b"IDAT", zlib.compress(lines.tobytes(), 9)),
            (b"IEND", b""),
        )
    )
