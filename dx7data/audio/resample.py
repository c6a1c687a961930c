"""From the engine rate to the sample rate: a linear-phase low-pass filter of integers, then one sample kept out of `factor`.

Takes int32 audio at 48 or 44.1 kHz, gives int32 audio at the sample rate, the same bits on every machine. Letters: R rows,
T samples at the engine rate, L samples at the sample rate.
"""

import math

import numpy as np
from numba import njit

from dx7data import cache

#: Sample rate -> engine rate, Hz. The engine at a low rate would silence or alias many voices, so it never runs at one.
ENGINE_RATE = {8000: 48000, 12000: 48000, 16000: 48000, 24000: 48000, 48000: 48000, 11025: 44100, 22050: 44100, 44100: 44100}

#: Factor -> first half of the filter, the centre tap last; the other half mirrors it. The whole sums to 2^17: DC gain 1.
#: Within 0.1 dB up to 0.4 of the sample rate, at least 80 dB down from 0.6 of it: what aliases lands above 0.4.
#: Designed with scipy.optimize.linprog: the deepest stop band for 0.095 dB of ripple and a DC gain of exactly 1 (remez
#: scaled to that gain loses 2 to 4 dB). Rounded; then pairs of taps moved by one step, sum kept, while that deepened the
#: stop band: rounding alone misses 80 dB for factors 4 and 6. For factor 4, 67 taps cannot meet it.
# fmt: off
HALF_TAPS = {
    2: (
        -52, -42, 316, 730, 192, -1062, -751, 1497, 1622, -2165, -3389, 2613, 6237, -3159, -12633, 3369, 41225,
        61976,
    ),
    3: (
        -21, -48, -28, 103, 330, 487, 344, -157, -707, -766, -55, 998, 1393, 417, -1442, -2529, -1349, 1741, 4174,
        3013, -2106, -7495, -7270, 2245, 18845, 34760, 41318,
    ),
    4: (
        -14, -19, -5, 49, 149, 267, 340, 297, 98, -214, -508, -608, -389, 121, 708, 1036, 823, 31, -1030, -1793,
        -1704, -564, 1244, 2819, 3127, 1576, -1508, -4786, -6322, -4401, 1608, 10743, 20615, 28216, 31068,
    ),
    6: (
        -9, -14, -19, -19, -10, 14, 52, 103, 160, 209, 237, 227, 169, 65, -75, -224, -348, -411, -383, -254, -36,
        232, 488, 663, 693, 544, 218, -231, -707, -1090, -1260, -1132, -685, 23, 854, 1612, 2081, 2081, 1518, 422,
        -1034, -2548, -3739, -4213, -3646, -1866, 1102, 5009, 9413, 13742, 17391, 19826, 20682,
    ),
}
# fmt: on
SHIFT = 17  # log2 of the sum of the taps

REACH = 18  # taps per phase, padded with zeros: 35, 53, 69, 105 taps over 2, 3, 4, 6 phases all fit
_TILE = 256  # outputs computed together: 6 x 273 int32, 273 + 256 float64: 11 KB of first-level cache


def engine_rate(sample_rate: int) -> int:
    """The engine rate for a sample rate, both in Hz; ValueError, naming the legal rates, for any other."""
    if sample_rate not in ENGINE_RATE:
        legal = ", ".join(str(rate) for rate in sorted(ENGINE_RATE))
        raise ValueError(f"the sample rate must be one of {legal} Hz, not {sample_rate}")
    return ENGINE_RATE[sample_rate]


def decimate(native: np.ndarray, sample_rate: int) -> np.ndarray:
    """int32 (..., T) at the engine rate -> a new int32 array (..., L) at the sample rate, L = ceil(T / factor).

    Output n is centred on input n * factor (no delay); outside its T samples the input is zero. Rounded half up.
    A peak can grow by at most 1.74: inputs within 2^30 are safe. ValueError if the rate is illegal, TypeError if not int32.
    """
    factor = engine_rate(sample_rate) // sample_rate
    native = np.asarray(native)
    if native.dtype != np.int32 or native.ndim == 0:
        raise TypeError(f"native must be int32 of shape (..., T), not {native.dtype} of shape {native.shape}")
    if factor == 1:
        return native.copy()
    *batch, T = native.shape
    L = -(-T // factor)
    out = np.empty((math.prod(batch), L), np.int32)
    _filter_rows(np.ascontiguousarray(native).reshape(out.shape[0], T), PHASES[factor], len(HALF_TAPS[factor]) - 1, out)
    return out.reshape(*batch, L)


def _phases(factor: int) -> np.ndarray:
    """The whole filter as float64 (factor, REACH): tap k * factor + p at [p, k]."""
    half = HALF_TAPS[factor]
    taps = np.zeros(REACH * factor)
    taps[: 2 * len(half) - 1] = half + half[-2::-1]
    return np.ascontiguousarray(taps.reshape(REACH, factor).T)


PHASES = {factor: _phases(factor) for factor in HALF_TAPS}


# Float64, yet exact: every partial sum is an integer below 1.74 * 2^17 * 2^31 < 2^49, and float64 holds integers up to 2^53,
# so no addition rounds, whatever the order, and a fused multiply-add ("contract") changes nothing. int64 sums give the same
# bits and take 10 to 30 % longer.
def _filter_rows(native: np.ndarray, phases: np.ndarray, centre: int, out: np.ndarray) -> None:
    """native int32 (R, T), phases from `_phases`, `centre` taps before the centre one; fills out int32 (R, L)."""
    factor = phases.shape[0]
    T, L = native.shape[1], out.shape[1]
    span = (_TILE + REACH - 1) * factor  # inputs that one tile of outputs sees
    edge = np.empty(span, np.int32)
    lane = np.empty(_TILE + REACH - 1)  # one phase of them: every `factor`th
    total = np.empty(_TILE)
    for r in range(native.shape[0]):
        for start in range(0, L, _TILE):
            first = start * factor - centre
            if first >= 0 and first + span <= T:
                window = native[r, first : first + span]
            else:  # the row begins or ends inside the tile: zeros beyond
                for i in range(span):
                    edge[i] = native[r, first + i] if 0 <= first + i < T else 0
                window = edge
            for i in range(_TILE):
                total[i] = 0.0
            for p in range(factor):
                for i in range(_TILE + REACH - 1):
                    lane[i] = window[i * factor + p]
                for k in range(0, REACH, 6):
                    _add_six(lane[k : k + _TILE + 5], phases[p, k : k + 6], total)
            for i in range(min(_TILE, L - start)):
                out[r, start + i] = (np.int64(total[i]) + (1 << (SHIFT - 1))) >> SHIFT


@njit(nogil=True, fastmath={"contract"})
def _add_six(lane: np.ndarray, taps: np.ndarray, total: np.ndarray) -> None:
    """Adds taps[k] * lane[i + k] to total[i] for six taps at once: a sixth of the loads and stores of total."""
    a, b, c, d, e, f = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5]
    for i in range(_TILE):
        early = a * lane[i] + b * lane[i + 1] + c * lane[i + 2]
        total[i] += early + d * lane[i + 3] + e * lane[i + 4] + f * lane[i + 5]


_filter_rows = cache.keep(njit(nogil=True, fastmath={"contract"})(_filter_rows))
