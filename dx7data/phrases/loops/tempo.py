"""From ticks to milliseconds, and the windows of N beats. All in integers, as exact as fractions.

Ticks × microseconds of at most a day, and 128 times as many, fit into 63 bits.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from dx7data import cache

PARTS = 128  # of a tick: a beat is 4/denominator quarter notes, of at most 128, so that a window begins at a whole one


class Tempos(NamedTuple):
    """Where each tempo and each time signature begins; see midi.Bars."""

    scale: int  # ticks x microseconds in one millisecond
    tick: np.ndarray  # int64, of a tempo
    elapsed: np.ndarray  # int64, ticks x microseconds until then
    quarter: np.ndarray  # int64, microseconds of a quarter note from then on
    signature: np.ndarray  # int64, tick of a time signature
    change: np.ndarray  # int64, ms of it
    beat: np.ndarray  # int64, parts of a tick that a beat has from then on


@cache.inner
def _round_part_to_ms(tempos: Tempos, part: int) -> int:
    """The time of a part of a tick, to the nearest millisecond."""
    i = np.searchsorted(tempos.tick, part // PARTS, side="right") - 1
    elapsed = PARTS * tempos.elapsed[i] + (part - PARTS * tempos.tick[i]) * tempos.quarter[i]
    return (2 * elapsed + PARTS * tempos.scale) // (2 * PARTS * tempos.scale)


@cache.keep
@njit(nogil=True)
def find_window(tempos: Tempos, time: int, beats: int) -> tuple[int, int]:
    """Beginning and end in ms of the window of so many beats that a time in ms is in, see midi.Bars.window."""
    current = np.searchsorted(tempos.change, time, side="right") - 1
    begin, length = tempos.signature[current], beats * tempos.beat[current]
    # The first tick, whole or not, that rounds to a later millisecond; and how many parts it is after the signature.
    elapsed = (2 * time + 1) * tempos.scale // 2
    i = np.searchsorted(tempos.elapsed, elapsed, side="left") - 1
    ticks, rest = divmod(elapsed - tempos.elapsed[i], tempos.quarter[i])
    after = PARTS * (tempos.tick[i] - begin + ticks) + _divide_up(PARTS * rest, tempos.quarter[i])
    number = _divide_up(after, length) - 1
    first = _round_part_to_ms(tempos, PARTS * begin + number * length)
    last = _round_part_to_ms(tempos, PARTS * begin + (number + 1) * length)
    if current + 1 < tempos.change.size:
        last = min(last, tempos.change[current + 1])
    return first, last


@njit(inline="always")
def _divide_up(number: int, by: int) -> int:
    return -(-number // by)
