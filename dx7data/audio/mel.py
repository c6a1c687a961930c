"""Mel spectrograms, as they are shown: in decibels, with at most so many columns."""

import numpy as np

BANDS = 64
_WINDOW_SECONDS = 0.064  # distinguishes neighbouring keys from middle C up
MIN_HOP = 32  # samples, so that a prefix of a few milliseconds is no single column


def compute_mel(audio: np.ndarray, rate: int, columns: int, floor_db: float = -120) -> np.ndarray:
    """Decibels relative to a full-scale sine, float64 (BANDS, columns or less), lowest band first; int16 audio (L,).

    Windows are centred on `columns` samples evenly spread over the clip, or on every 32nd if these would be closer; before
    the clip and after it is silence.
    """
    size = 1 << round(np.log2(_WINDOW_SECONDS * rate))
    count = min(columns, max(1, -(-audio.size // MIN_HOP)))
    centres = (np.arange(count) * max(MIN_HOP, audio.size / columns)).astype(np.int64)
    window = np.hanning(size + 1)[:-1]
    padded = np.pad(audio / 32768, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[centres]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / (window.sum() / 2) ** 2
    return 10 * np.log10(make_filters(size, rate, BANDS) @ power.T + 10 ** (floor_db / 10))


def make_filters(size: int, rate: int, bands: int) -> np.ndarray:
    """Triangles from each band's lower neighbour to its upper one, 1 at its own frequency; (bands, size // 2 + 1)."""
    edges = compute_frequencies(rate, bands)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(size // 2 + 1) * rate / size
    return np.maximum(0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))


def compute_frequencies(rate: int, bands: int) -> np.ndarray:
    """The lower edge of the first band, the centre of each, and the upper edge of the last, in Hz; (bands + 2,).

    Evenly spread on the mel scale of HTK, from 0 Hz to half the rate.
    """
    steps = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    return 700 * (10 ** (steps / 2595) - 1)
