"""The operator: from a phase and a gain to a sample, by the look-ups of the DX7's own chips (engine-spec.md, Oscillator).

numba widens every integer sum to 64 bits. The casts narrow it again, which keeps the vector lanes at 32 bits; they also
make phases wrap as they do in the instrument.
"""

import numpy as np
from numba import njit

from dx7data.engine.arrays import Integer, Truth
from dx7data.patches.scales import SILENCE

_i32 = np.int32


@njit(inline="always")
def gain(level: Integer) -> Integer:
    """Attenuation in 1/1024 octave of an envelope level."""
    return 16384 - (level >> 14)


@njit(inline="always")
def slope(gain_before: Integer, gain_after: Integer) -> Integer:
    """Change of attenuation per sample of a block."""
    return (gain_after - gain_before + 32) >> 6


@njit(inline="always")
def sounds(gain_before: Integer, gain_after: Integer) -> Truth:
    """Whether an operator is computed in a block that leads from one attenuation to the other."""
    return gain_before <= SILENCE or gain_after <= SILENCE


@njit(inline="always")
def oscillate(index: np.int32, attenuation: np.int32, sine: np.ndarray, exponential: np.ndarray) -> np.int32:
    """One sample, -8187 to 8186. `index`: the phase in 1/4096 period; `sine`, `exponential`: look-ups as in tables.py."""
    total = _i32(sine[_i32(index & _i32(4095))] + _i32(attenuation << _i32(1)))
    return np.right_shift(exponential[_i32(total & _i32(2047))], _i32(total >> _i32(11)))  # numba would widen >>
