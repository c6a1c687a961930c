"""Pitch: the pitch envelope generator and the way from log frequency to phase increment (engine-spec.md, Pitch).

Log frequencies are octaves above 1 Hz in Q24; a phase increment is per sample, with 2^24 to a period.
"""

import numpy as np
from numba import njit

from dx7data.engine.arrays import Integer, Truth
from dx7data.engine.envelope import is_at_rest


@njit(inline="always")
def step(
    stage: Integer, level: Integer, key_down: Truth, target: np.ndarray, increment: np.ndarray
) -> tuple[Integer, Integer]:
    """The pitch EG's (stage, level) one block later; level in Q24 octaves, moved linearly by `increment[stage]`."""
    if is_at_rest(stage, key_down):
        return stage, level
    goal = target[stage]
    if goal > level:
        level += increment[stage]
        arrived = level >= goal
    else:
        level -= increment[stage]
        arrived = level <= goal
    if arrived:
        level = goal
        stage += 1
    return stage, level


@njit(inline="always")
def phase_increment(log_frequency: Integer, table: np.ndarray) -> Integer:
    """Phase increment of a log frequency; `table` is tables.make_increment_table(rate)."""
    index = (log_frequency >> 14) & 1023
    low = table[index]
    value = low + (((table[index + 1] - low) * (log_frequency & 16383)) >> 14)
    # Quirk: the shift wraps, so from 21 octaves up, which legal voices reach, the increment becomes 0.
    return value >> ((20 - (log_frequency >> 24)) & 31)
