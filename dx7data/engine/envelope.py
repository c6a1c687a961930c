"""Operator envelope generator: one level per block, level >> 14 in 1/1024 octave (engine-spec.md, Operator envelope).

The state is (stage, level, countdown). Stages 0-2 run while the key is down, 3 after release, 4 is the end. All integers.
"""

import numpy as np
from numba import njit

from dx7data.engine.arrays import Integer, Truth
from dx7data.engine.tables import BLOCK

RELEASE = 3  # the stage that note-off enters
_LOWEST_RISE = 1716 << 16  # Quirk: a rising level jumps here first, so attacks skip the inaudible part.
_CEILING = 17 << 24


@njit(inline="always")
def enter(stage: Integer, level: Integer, target: np.ndarray, plateau: np.ndarray) -> Integer:
    """Samples for which the level stands still on entering `stage`: plateaus where there is no way to go, else 0."""
    # Quirk: an attack towards stored level 0 is a plateau as well; voice.py sets plateau[0] for those alone.
    if stage < 4 and (stage == 0 or target[stage] == level):
        return plateau[stage]
    return 0


@njit(inline="always")
def is_at_rest(stage: Integer, key_down: Truth) -> Truth:
    """Whether the level stays for good, or until the key is released."""
    return stage > RELEASE or (stage == RELEASE and key_down)


@njit(inline="always")
def step(
    stage: Integer,
    level: Integer,
    countdown: Integer,
    key_down: Truth,
    target: np.ndarray,
    increment: np.ndarray,
    plateau: np.ndarray,
) -> tuple[Integer, Integer, Integer]:
    """The state one block later. `target`, `increment`, `plateau`: one value for each of the four stages."""
    if countdown > 0:
        countdown -= BLOCK
        if countdown <= 0:
            stage += 1
            countdown = enter(stage, level, target, plateau)
    if countdown > 0 or is_at_rest(stage, key_down):
        return stage, level, countdown

    goal = target[stage]
    if goal > level:
        level = max(level, _LOWEST_RISE)
        level += ((_CEILING - level) >> 24) * increment[stage]  # quick at first, slower towards the top
        arrived = level >= goal
    else:
        level -= increment[stage]
        arrived = level <= goal
    if arrived:
        level = goal
        stage += 1
        countdown = enter(stage, level, target, plateau)
    return stage, level, countdown
