"""Look-up tables of the engine: module constants, so that compiled loops see constants and vectorise.

Source of every number: the engine specification (engine-spec.md, engine-tables.json); the lists come from the
Apache-2.0 licensed msfa sources and from the DX7's own parameter scales (see NOTICE).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

BLOCK = 64  # samples between two control values
ONE_Q24 = 1 << 24  # one octave, one full modulation, one period of a phase

# --- Tables of the compiled engine. int32, so that one vector register holds as many lanes as possible. ---

# LFO sine, Q24, one period: entry 0 = 0, 256 = 2^24. A Q30 vector turned in steps of 2 pi / 1024, which is not the rounded
# sine everywhere: the accumulated rounding of the steps is part of the sound.
LFO_SINE = np.zeros(1024, dtype=np.int32)
_COS, _SIN = (math.floor(f(2 * math.pi / 1024) * 2**30 + 0.5) for f in (math.cos, math.sin))
_u, _v = 1 << 30, 0
for _i in range(512):
    LFO_SINE[_i] = (_v + 32) >> 6
    LFO_SINE[_i + 512] = -LFO_SINE[_i]
    _u, _v = (_u * _COS - _v * _SIN + (1 << 29)) >> 30, (_u * _SIN + _v * _COS + (1 << 29)) >> 30

_quarter = np.arange(1024)
_log_sine = np.floor(-1024 * np.log2(np.float32(np.sin((_quarter + 0.5) / 1024 * math.pi / 2))) + 0.5).astype(np.int32)
_phase = np.arange(4096)

# Sine of the DX7's operators: 12-bit phase -> twice the attenuation in 1/1024 octave (0 at the crest, 10,597 beside the
# zero), plus 1 in the negative half. The chip stores a quarter and mirrors it; one whole period saves the mirroring.
SINE = np.where(_phase & 1024, _log_sine[1023 - (_phase & 1023)], _log_sine[_phase & 1023]) << 1 | _phase >> 11
SINE = SINE.astype(np.int32)

# Such a sum, modulo an octave -> the sample, 13 bits and sign: 0 = 8186 (full level), 1 = its complement, 2046 = 4096.
_magnitude = 4096 + np.floor(np.float32((2 ** ((1023 - _quarter) / 1024) - 1) * 4096) + 0.5).astype(np.int32)
EXPONENTIAL = np.stack([_magnitude, ~_magnitude], axis=1).ravel()


def count_samples(seconds: ArrayLike, rate: int) -> np.ndarray:
    """Samples in `seconds`, int64: from single precision, rounded half up (engine-spec.md, Time)."""
    return (np.asarray(seconds, np.float32).astype(np.float64) * rate + 0.5).astype(np.int64)


@lru_cache(maxsize=8)
def make_increment_table(rate: int) -> np.ndarray:
    """Phase increments (2^24 a period) per sample, for log frequencies 20 to 21 octaves above 1 Hz: int32 `(1025,)`."""
    table = np.empty(1025, dtype=np.int32)
    increment = 2.0**44 / rate
    for i in range(1025):
        table[i] = math.floor(increment + 0.5)
        increment *= 2.0 ** (1 / 1024)  # repeated, not powered: the rounding adds up the same way in the original
    return table
