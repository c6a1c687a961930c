"""From native integers to 16-bit samples: a gain by policy, then saturation. Integers alone, after decimation.

A gain is a whole number of 1/65536; a sample becomes (native * gain + 2^15) >> 16, cut to 16 bits.
"""

import numpy as np
from numba import njit

from dx7data.engine import cache

ONE = 1 << 16
_PEAK = 29204  # what "peak" brings the loudest sample to: 1 dB below full scale


def factor(policy: str, peak: int) -> int:
    """The gain of a clip with that native peak: "native" (as is), "peak" (-1 dB of full scale), or a number of decibels."""
    if policy == "native":
        return ONE
    if policy == "peak":
        return _PEAK * ONE // peak if peak else ONE
    return int(10 ** (float(policy) / 20) * ONE + 0.5)


def apply(native: np.ndarray, policy: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Clips int32 (R, L) as int16 (R, L); and of each its gain, its peak after it, and how many samples were cut."""
    gains = np.array([factor(policy, int(peak)) for peak in _peaks(native)], np.int64)
    clips = np.empty(native.shape, np.int16)
    return clips, gains, *_saturate(native, gains, clips)


def _peaks(native):
    peaks = np.zeros(native.shape[0], np.int64)
    for r in range(native.shape[0]):
        least, most = 0, 0
        for x in native[r]:
            least, most = min(least, x), max(most, x)
        peaks[r] = max(most, -np.int64(least))
    return peaks


def _saturate(native, gains, clips):
    peaks = np.zeros(native.shape[0], np.int64)
    cut = np.zeros(native.shape[0], np.int64)
    for r in range(native.shape[0]):
        gain = gains[r]
        for i in range(native.shape[1]):
            x = (native[r, i] * gain + (ONE >> 1)) >> 16
            y = min(max(x, -32768), 32767)
            cut[r] += x != y
            peaks[r] = max(peaks[r], abs(y))
            clips[r, i] = y
    return peaks, cut


with cache.keyed():
    _peaks = njit(cache=True, nogil=True)(_peaks)
    _saturate = njit(cache=True, nogil=True)(_saturate)
