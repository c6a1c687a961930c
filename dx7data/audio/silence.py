"""Auditions: which patches can be heard at all."""

import numpy as np

from dx7data.audio.resample import engine_rate
from dx7data.engine.render import render
from dx7data.engine.voice import voices

AUDIBLE = 4  # native peak of a patch that is not silent: -60 dB of a carrier at output level 99, 4,093
NOTES = (36, 60, 84)
_VELOCITY = 100
_FIRST_NOTE, _FIRST_SECONDS = 60, 0.2  # what most patches are heard by: only the others are played at length
_BYTES = 128 << 20  # of native integers at a time


def heard(patches: np.ndarray, sample_rate: int, seconds: float) -> np.ndarray:
    """Which patches uint8 (N, 155) sound, bool (N,): on one of NOTES, held for the clip, the native peak is AUDIBLE."""
    rate = engine_rate(sample_rate)
    sounds = _peaks(patches, _FIRST_NOTE, min(seconds, _FIRST_SECONDS), seconds, rate) >= AUDIBLE
    for note in NOTES:
        left = np.flatnonzero(~sounds)
        sounds[left] = _peaks(patches[left], note, seconds, seconds, rate) >= AUDIBLE
    return sounds


def _peaks(patches: np.ndarray, note: int, listened: float, held: float, rate: int) -> np.ndarray:
    """The native peak of each patch, in as many seconds as are listened to."""
    few = max(1, int(_BYTES / (4 * rate * listened)))
    peaks = [np.zeros(0, np.int32)]
    for first in range(0, len(patches), few):
        native = render(voices(patches[first : first + few], note, _VELOCITY, held, rate), listened)
        peaks.append(np.abs(native).max(axis=1))
    return np.concatenate(peaks)
