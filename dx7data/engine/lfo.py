"""Low-frequency oscillator: one value per block, shared by the notes of one patch (engine-spec.md, LFO and modulations).

Phase and delay counter are unsigned 32-bit numbers, kept in wider integers and masked. Values are Q24, 0 to 2^24.
"""

import math

from numba import njit

from dx7data.engine.arrays import Integer
from dx7data.engine.tables import LFO_SINE, ONE_Q24

SYNC_PHASE = (1 << 31) - 1  # where a key-synchronised LFO starts: half a period in, at the centre going up
_MASK = (1 << 32) - 1
_HALF = 1 << 31
TRIANGLE, SAW_DOWN, SAW_UP, SQUARE, SINE, SAMPLE_AND_HOLD = range(6)


@njit(inline="always")
def step(phase: Integer, random: Integer, increment: Integer) -> tuple[Integer, Integer]:
    """Phase and random number one block later; the random number changes when the phase wraps."""
    phase = (phase + increment) & _MASK
    if phase < increment:
        random = (random * 179 + 17) & 255
    return phase, random


@njit(inline="always")
def value(phase: Integer, random: Integer, wave: Integer) -> Integer:
    """The LFO's value, Q24: 0 at the trough, 2^24 at the crest."""
    if wave == TRIANGLE:
        x = phase >> 7
        if phase >= _HALF:
            x = ~x
        return x & (ONE_Q24 - 1)
    if wave == SAW_DOWN:
        return ((~phase & _MASK) ^ _HALF) >> 8
    if wave == SAW_UP:
        return (phase ^ _HALF) >> 8
    if wave == SQUARE:
        return (~phase >> 7) & ONE_Q24
    if wave == SINE:
        position = phase >> 8
        low = LFO_SINE[position >> 14]
        high = LFO_SINE[((position >> 14) + 1) & 1023]
        return (1 << 23) + ((low + (((high - low) * (position & 16383)) >> 14)) >> 1)
    return ((random ^ 0x80) + 1) << 16


@njit(inline="always")
def fade_in(counter: Integer, slow: Integer, fast: Integer) -> tuple[Integer, Integer]:
    """The delay's counter one block later, and the factor (Q24) by which it lets modulation through: 0, a ramp, then one."""
    increment = slow if counter < _HALF else fast
    if counter + increment > _MASK:
        return counter, ONE_Q24
    counter += increment
    if counter < _HALF:
        return counter, 0
    return counter, (counter >> 7) & (ONE_Q24 - 1)


@njit(inline="always")
def vibrato(value: Integer, factor: Integer, depth: Integer, wheel: Integer, sensitivity: Integer) -> Integer:
    """Pitch modulation in Q24 octaves: by the patch's depth (0-255, with fade-in) or the wheel (0-127), the stronger one."""
    swing = sensitivity * (value - (ONE_Q24 >> 1))
    own, wheeled = (depth * factor * swing) >> 39, (wheel * swing) >> 14
    return max(own, wheeled) if swing > 0 else min(own, wheeled)


@njit(inline="always")
def tremolo(value: Integer, factor: Integer, depth: Integer) -> Integer:
    """Amplitude modulation before an operator's own sensitivity, Q24; `depth` 0-255."""
    return (((depth * factor) >> 8) * (ONE_Q24 - value)) >> 24


@njit(inline="always")
def attenuate(level: Integer, tremolo: Integer, sensitivity: Integer) -> Integer:
    """An envelope level lowered by tremolo. The one float of the engine: a double, and never near a rounding edge."""
    # Quirk: without tremolo the factor is not 1: an operator with sensitivity loses 1.2 %.
    amount = (tremolo * sensitivity) >> 24
    factor = int(math.exp(amount / 262144 * 0.07 + 12.2))
    return level - ((level * (factor << 4)) >> 28)
