"""Auditions: which patches can be heard at all."""

import numpy as np

from dx7data.decimate import engine_rate
from dx7data.engine.render import render
from dx7data.voice import voices

AUDIBLE = 4  # native peak of a patch that is not silent: -60 dB of a carrier at output level 99, 4,093
NOTES = (36, 60, 84)
_VELOCITY = 100
_BYTES = 128 << 20  # of native integers at a time


def heard(patches: np.ndarray, sample_rate: int, seconds: float) -> np.ndarray:
    """Which patches uint8 (N, 155) sound, bool (N,): on one of NOTES, held for the clip, the native peak is AUDIBLE."""
    rate = engine_rate(sample_rate)
    few = max(1, int(_BYTES / (4 * len(NOTES) * rate * seconds)))
    peaks = [np.zeros(0, np.int32)]
    for first in range(0, len(patches), few):
        some = np.repeat(patches[first : first + few], len(NOTES), axis=0)
        notes = np.tile(NOTES, len(some) // len(NOTES))
        native = render(voices(some, notes, _VELOCITY, seconds, rate), seconds)
        peaks.append(np.abs(native).max(axis=1).reshape(-1, len(NOTES)).max(axis=1))
    return np.concatenate(peaks) >= AUDIBLE
