"""Phrases: what is played, as note events; drawn from (seed, split, j) until there is music to take them from.

Draws use raw Philox output, which NumPy keeps the same in every version, and integer arithmetic alone: a phrase is the
same on every machine.
"""

import hashlib
from typing import NamedTuple

import numpy as np

_SCALE = (0, 2, 4, 7, 9)  # major pentatonic: any two of its notes go together
_LOWEST_ROOT, _HIGHEST_ROOT = 36, 72  # C2 to C5
_STEPS_MS = (125, 167, 200, 250, 333)  # eighths at 240, 180, 150, 120 and 90 beats a minute
_LAST_START_MS = 100  # before the end of the clip: a note that begins later is hardly heard


class Note(NamedTuple):
    """One note event; times in milliseconds from the beginning of the clip."""

    start: int
    held: int
    note: int  # MIDI: 60 is middle C
    velocity: int  # 1-127


class Dice:
    """An endless stream of integers, named by what it is for: (seed, "train", 12, "phrase")."""

    def __init__(self, *name):
        digest = hashlib.sha256(repr(name).encode()).digest()
        self._bits = np.random.Philox(key=np.frombuffer(digest[:16], "<u8"))

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1; the bias, limit / 2^32, does not matter."""
        return (int(self._bits.random_raw()) >> 32) * limit >> 32

    def pick(self, choices):
        """One of `choices`."""
        return choices[self.below(len(choices))]


def draw(dice: Dice, seconds: float) -> list[Note]:
    """A phrase of the clip's length: a pentatonic walk on a grid of steps, with rests, ties and now and then a chord."""
    end = int(seconds * 1000)
    step = dice.pick(_STEPS_MS)
    root = _LOWEST_ROOT + dice.below(_HIGHEST_ROOT - _LOWEST_ROOT + 1)
    loudness = 48 + dice.below(64)
    degree = dice.below(len(_SCALE))
    notes: list[Note] = []
    start = 0
    while not notes or start < end - _LAST_START_MS:
        steps = dice.pick((1, 1, 1, 2, 2, 4))
        if not notes or dice.below(6):  # one in six is a rest
            degree = min(max(degree + dice.below(7) - 3, 0), 2 * len(_SCALE) - 1)
            held = steps * step * (50 + dice.below(46)) // 100  # staccato to nearly legato
            velocity = min(max(loudness + dice.below(33) - 16, 1), 127)
            for voice in range(1 + (dice.below(8) == 0) * (1 + dice.below(2))):  # one in eight is a chord of two or three
                octave, tone = divmod(degree + 2 * voice, len(_SCALE))
                notes.append(Note(start, held, root + 12 * octave + _SCALE[tone], velocity))
        start += steps * step
    return notes
