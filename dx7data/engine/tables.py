"""Look-up tables of the engine: module constants, so that compiled loops see constants and vectorise.

Source of every number: the engine specification (engine-spec.md, engine-tables.json); the lists come from the
Apache-2.0 licensed msfa sources and from the DX7's own parameter scales (see NOTICE).
"""

import math
from functools import lru_cache

import numpy as np

BLOCK = 64  # samples between two control values
ONE_Q24 = 1 << 24  # one octave, one full modulation, one period of a phase

# fmt: off
# --- Parameter scales: stored value (0-99 and the like) -> engine unit. Only voice.py reads these. ---

# Output level 0-99 -> 0-127 in steps of 1/32 octave of gain: 0 = 0, 19 = 46, 20 = 48, 99 = 127.
LEVEL = np.array([
    0, 5, 9, 13, 17, 20, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 42, 43, 45, 46,
    *range(48, 128),
], dtype=np.int64)

# Samples at 44.1 kHz that an EG stage without a way to go lasts, rates 0-76: 0 = 40 s, 76 = 10 ms.
# Quirk: from rate 77 on it is 20 * (99 - rate).
PLATEAU_SLOW = np.array([
    1764000, 1764000, 1411200, 1411200, 1190700, 1014300, 992250, 882000, 705600, 705600,
    584325, 507150, 502740, 441000, 418950, 352800, 308700, 286650, 253575, 220500, 220500,
    176400, 145530, 145530, 125685, 110250, 110250, 88200, 88200, 74970, 61740, 61740,
    55125, 48510, 44100, 37485, 31311, 30870, 27562, 27562, 22050, 18522, 17640, 15435,
    14112, 13230, 11025, 9261, 9261, 7717, 6615, 6615, 5512, 5512, 4410, 3969, 3969, 3439,
    2866, 2690, 2249, 1984, 1896, 1808, 1411, 1367, 1234, 1146, 926, 837, 837, 705, 573,
    573, 529, 441, 441,
], dtype=np.int64)

# Key velocity >> 1 -> sensitivity curve: 0 = 0, 64 (velocity 100 is 50) = 241, 63 = 254.
VELOCITY = np.array([
    0, 70, 86, 97, 106, 114, 121, 126, 132, 138, 142, 148, 152, 156, 160, 163, 166, 170,
    173, 174, 178, 181, 184, 186, 189, 190, 194, 196, 198, 200, 202, 205, 206, 209, 211,
    214, 216, 218, 220, 222, 224, 225, 227, 229, 230, 232, 233, 235, 237, 238, 240, 241,
    242, 243, 244, 246, 246, 248, 249, 250, 251, 252, 253, 254,
], dtype=np.int64)

# Keyboard scaling, exponential curves: groups of three keys from the break point -> depth factor.
EXPONENTIAL_SCALING = np.array([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14, 16, 19, 23, 27, 33, 39, 47, 56, 66, 80, 94, 110,
    126, 142, 158, 174, 190, 206, 222, 238, 250,
], dtype=np.int64)

# Frequency coarse 0-31 -> octaves, Q24: 0 = -1 (half), 1 = 0, 2 = 1, 31 = 4.95.
COARSE = np.array([
    -16777216, 0, 16777216, 26591258, 33554432, 38955489, 43368474, 47099600, 50331648,
    53182516, 55732705, 58039632, 60145690, 62083076, 63876816, 65546747, 67108864,
    68576247, 69959732, 71268397, 72509921, 73690858, 74816848, 75892776, 76922906,
    77910978, 78860292, 79773775, 80654032, 81503396, 82323963, 83117622,
], dtype=np.int64)

# Pitch-modulation sensitivity 0-7.
PITCH_MOD_SENSITIVITY = np.array([
    0, 10, 20, 33, 55, 92, 153, 255,
], dtype=np.int64)
# Amplitude-modulation sensitivity 0-3, Q24: 3 = 1.0.
AMP_MOD_SENSITIVITY = np.array([
    0, 4342338, 7171437, 16777216,
], dtype=np.int64)

# Pitch-EG rate 0-99 -> steps: 0 = 1, 99 = 255.
PITCH_EG_RATE = np.array([
    1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14,
    15, 16, 16, 17, 18, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30, 31, 33, 34, 36, 37,
    38, 39, 41, 42, 44, 46, 47, 49, 51, 53, 54, 56, 58, 60, 62, 64, 66, 68, 70, 72, 74, 76,
    79, 82, 85, 88, 91, 94, 98, 102, 106, 110, 115, 120, 125, 130, 135, 141, 147, 153, 159,
    165, 171, 178, 185, 193, 202, 211, 232, 243, 254, 255,
], dtype=np.int64)

# Pitch-EG level 0-99 -> 1/32 octaves: 0 = -128 (four octaves down), 50 = 0, 99 = 127.
PITCH_EG_LEVEL = np.array([
    -128, -116, -104, -95, -85, -76, -68, -61, -56, -52, -49, -46, -43, -41, -39, -37, -35,
    -33, -32, -31, -30, -29, -28, -27, -26, -25, -24, -23, -22, -21, -20, -19, -18, -17,
    -16, -15, -14, -13, -12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5,
    6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 32, 33, 34, 35, 38, 40, 43, 46, 49, 53, 58, 65, 73, 82, 92, 103, 115, 127,
], dtype=np.int64)

# LFO speed 0-99 -> Hz: 0 = 0.06, 35 = 5.6, 99 = 49.
LFO_HERTZ = np.array([
    0.062541, 0.125031, 0.312393, 0.43712, 0.62461, 0.750694, 0.93633, 1.125302, 1.249609,
    1.436782, 1.560915, 1.752081, 1.875117, 2.062494, 2.247191, 2.374451, 2.560492,
    2.686728, 2.873976, 2.99895, 3.188013, 3.36984, 3.500175, 3.682224, 3.812065, 4.0008,
    4.186202, 4.310716, 4.50126, 4.623209, 4.814636, 4.93048, 5.121901, 5.315191, 5.434783,
    5.617346, 5.750431, 5.946717, 6.062811, 6.248438, 6.431695, 6.564264, 6.74946, 6.868132,
    7.052186, 7.25058, 7.375719, 7.556294, 7.687577, 7.877738, 7.993605, 8.181967, 8.372405,
    8.504848, 8.685079, 8.810573, 8.986341, 9.122423, 9.300595, 9.500285, 9.607994,
    9.798158, 9.950249, 10.117361, 11.251125, 11.384335, 12.562814, 13.676149, 13.904338,
    15.092062, 16.366612, 16.638935, 17.869907, 19.193858, 19.425019, 20.833333, 21.034918,
    22.50225, 24.003841, 24.260068, 25.746653, 27.173913, 27.578599, 29.052876, 30.693677,
    31.191516, 32.658393, 34.31709, 34.674064, 36.416606, 38.197097, 38.550501, 40.387722,
    40.749796, 42.625746, 44.326241, 44.883303, 46.772685, 48.590865, 49.261084,
], dtype=np.float64)
# fmt: on

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


def sample_count(seconds, rate: int) -> np.ndarray:
    """Samples in `seconds`, int64: from single precision, rounded half up (engine-spec.md, Time)."""
    return (np.asarray(seconds, np.float32).astype(np.float64) * rate + 0.5).astype(np.int64)


@lru_cache(maxsize=8)
def increment_table(rate: int) -> np.ndarray:
    """Phase increments (2^24 a period) per sample, for log frequencies 20 to 21 octaves above 1 Hz: int32 `(1025,)`."""
    table = np.empty(1025, dtype=np.int32)
    increment = 2.0**44 / rate
    for i in range(1025):
        table[i] = math.floor(increment + 0.5)
        increment *= 2.0 ** (1 / 1024)  # repeated, not powered: the rounding adds up the same way in the original
    return table
