"""From native integers to 16-bit samples: volume and a gain by policy, then saturation. Integers alone, after decimation.

A gain is a whole number of 1/65536, a volume one of 1/16384; a sample becomes (native * volume * gain + 2^29) >> 30, cut to
16 bits. With volumes up to 1 and gains up to 1,000 (60 dB) that is exact for natives below 2^22: 1,000 full carriers.
"""

import numpy as np
from numba import njit

from dx7data.engine import cache

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
    if volume is None:
        volume = np.full((native.shape[0], 2), FULL, np.int32)
    gains = _to_peak(native, volume, factor) if policy == "peak" else np.full(native.shape[0], _factor(policy))
    clips = np.empty(native.shape, np.int16)
    return clips, gains, *_saturate(native, gains, volume, factor, clips)


def _factor(policy: str) -> int:
    return ONE if policy == "native" else int(10 ** (float(policy) / 20) * ONE + 0.5)


@cache.inner
def _volume(volume, r, position):
    """The volume of row r at an engine sample."""
    block = min(position >> 6, volume.shape[1] - 2)
    here, step = np.int64(volume[r, block]), np.int64(volume[r, block + 1]) - volume[r, block]
    return here + ((step * (position & 63)) >> 6)


def _to_peak(native, volume, factor):
    gains = np.full(native.shape[0], ONE)
    for r in range(native.shape[0]):
        least, most = np.int64(0), np.int64(0)
        for i in range(native.shape[1]):
            x = native[r, i] * _volume(volume, r, i * factor)
            least, most = min(least, x), max(most, x)
        peak = (max(most, -least) + (FULL >> 1)) >> 14
        if peak > 0:
            gains[r] = _PEAK * ONE // peak
    return gains


def _saturate(native, gains, volume, factor, clips):
    peaks = np.zeros(native.shape[0], np.int64)
    cut = np.zeros(native.shape[0], np.int64)
    for r in range(native.shape[0]):
        gain = gains[r]
        for i in range(native.shape[1]):
            x = (native[r, i] * _volume(volume, r, i * factor) * gain + (1 << 29)) >> 30
            y = min(max(x, -32768), 32767)
            cut[r] += x != y
            peaks[r] = max(peaks[r], abs(y))
            clips[r, i] = y
    return peaks, cut


with cache.keyed():
    _to_peak = njit(cache=True, nogil=True)(_to_peak)
    _saturate = njit(cache=True, nogil=True)(_saturate)
