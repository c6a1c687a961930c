"""Clips on the page: their audio made small, and their mel spectrogram as PNG."""

import math
import struct
import zlib

import numpy as np

from dx7data.audio.mel import MIN_HOP, compute_mel
from dx7data.audio.resample import decimate

RATE = 16000  # Hz, at most: more would only make the page larger
_AUDIO = 118_000  # int16 values of a sample's clips on the page: with these, 24 samples take less than 10 MB

# Columns of a picture at most: one stands for 10 ms of a clip of 2.5 s. Shorter clips have 128, 64, ...: powers of two, so
# that page.css can show each of their pixels as the same whole number of pixels of the screen.
COLUMNS = 256
PREFIX_COLUMNS = 128
RANGE_DB = 80  # below the loudest band; quieter is black

# The picture's colours from silence to the loudest band: level of 255, red, green, blue.
_COLOURS = ((0, 19, 15, 13), (70, 22, 50, 52), (150, 20, 124, 118), (215, 126, 196, 158), (255, 253, 243, 208))


def fit_seconds(clips: dict[str, np.ndarray], rate: int) -> float:
    """How many seconds of source and target there is room for on the page, beside the prefixes; as they are if these fit."""
    factor = -(-rate // RATE)
    prefixes = sum(audio.size for name, audio in clips.items() if name.startswith("prefix")) // factor
    room = (_AUDIO - prefixes) / 2 / (rate // factor)
    return min(clips["source"].size / rate, max(1.0, math.floor(10 * room) / 10))


def shrink(audio: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
    """A clip as it is embedded: int16, at 16 kHz or less: as it is, or a half or a third of its rate."""
    factor = -(-rate // RATE)
    if factor > 1:  # decimate's filters go by the rate that a factor makes of 48 kHz
        audio = np.clip(decimate(audio.astype(np.int32), 48000 // factor), -32768, 32767).astype(np.int16)
    return audio, rate // factor


def draw_spectrogram(audio: np.ndarray, rate: int, columns: int = COLUMNS) -> bytes:
    """A PNG of the mel spectrogram, from its loudest band down; low frequencies at the bottom; columns: at most."""
    while columns > 1 and columns * MIN_HOP > audio.size:
        columns //= 2
    levels = compute_mel(audio, rate, columns)
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
