"""From native integers to 16-bit samples: volume and a gain by policy, then saturation. Integers alone, after decimation.

A gain is a whole number of 1/65536, a volume one of 1/16384; a sample becomes (native * volume * gain + 2^29) >> 30, cut to
16 bits. With volumes up to 1 and gains up to 1,000 (60 dB) that is exact for natives below 2^22: 1,000 full carriers.
"""

import numpy as np
from numba import njit

from dx7data import cache
from dx7data.engine.arrays import Integer

ONE = 1 << 16  # gain
FULL = 1 << 14  # volume
_PEAK = 29204  # what "peak" brings the loudest sample to: 1 dB below full scale


def apply(
    native: np.ndarray, policy: str, volume: np.ndarray | None = None, factor: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Clips int32 (R, L) as int16 (R, L); and of each its gain, its peak after it, and how many samples were cut.

    policy: "native" (as is), "peak" (to -1 dB of full scale) or a number of decibels; volume: int32 (R, K + 1), of 1/16384,
    at the boundaries of the K engine blocks that a clip lasts, linear between them; factor: engine samples to a sample.
    """
    volume = full_volume(native.shape[0]) if volume is None else volume
    gains = _find_peak_gains(native, volume, factor) if policy == "peak" else np.full(native.shape[0], parse_policy(policy))
    clips = np.empty(native.shape, np.int16)
    return clips, gains, *_saturate(native, gains, volume, factor, clips)


def full_volume(rows: int) -> np.ndarray:
    """The volume of rows that have none."""
    return np.full((rows, 2), FULL, np.int32)


def parse_policy(policy: str) -> int:
    """The gain of every clip, of 1/65536; 1 for "peak", under which each clip gets its own."""
    return ONE if policy in ("native", "peak") else int(10 ** (float(policy) / 20) * ONE + 0.5)


# --- A sample: what the CPU and the GPU share. ---


@njit(inline="always")
def apply_volume(native: Integer, volume: np.ndarray, r: int, position: int) -> np.int64:
    """A sample times the volume of row r at an engine sample, int64."""
    block = min(position >> 6, volume.shape[1] - 2)
    here, step = np.int64(volume[r, block]), np.int64(volume[r, block + 1]) - volume[r, block]
    return native * (here + ((step * (position & 63)) >> 6))


@njit(inline="always")
def find_peak_gain(loudest: Integer) -> Integer:
    """The gain that policy "peak" gives a clip whose loudest sample, at its volume, this is."""
    peak = (loudest + (FULL >> 1)) >> 14
    return _PEAK * ONE // peak if peak > 0 else ONE


@njit(inline="always")
def amplify(loud: np.int64, gain: np.int64) -> np.int64:
    """A sample at its volume, with its gain, rounded, before it is cut to 16 bits."""
    return (loud * gain + (1 << 29)) >> 30


# --- The loops on the CPU ---


def _find_peak_gains(native: np.ndarray, volume: np.ndarray, factor: int) -> np.ndarray:
    gains = np.empty(native.shape[0], np.int64)
    for r in range(native.shape[0]):
        minimum, maximum = np.int64(0), np.int64(0)
        for i in range(native.shape[1]):
            x = apply_volume(native[r, i], volume, r, i * factor)
            minimum, maximum = min(minimum, x), max(maximum, x)
        gains[r] = find_peak_gain(max(maximum, -minimum))
    return gains


def _saturate(
    native: np.ndarray, gains: np.ndarray, volume: np.ndarray, factor: int, clips: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    peaks = np.zeros(native.shape[0], np.int64)
    cut = np.zeros(native.shape[0], np.int64)
    for r in range(native.shape[0]):
        gain = gains[r]
        for i in range(native.shape[1]):
            x = amplify(apply_volume(native[r, i], volume, r, i * factor), gain)
            y = min(max(x, np.int64(-32768)), np.int64(32767))
            cut[r] += x != y
            peaks[r] = max(peaks[r], abs(y))
            clips[r, i] = y
    return peaks, cut


_find_peak_gains = cache.keep(njit(nogil=True)(_find_peak_gains))
_saturate = cache.keep(njit(nogil=True)(_saturate))
