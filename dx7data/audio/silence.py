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


def find_sounding(patches: np.ndarray, sample_rate: int, seconds: float) -> np.ndarray:
    """Which patches uint8 (N, 155) sound, bool (N,): on one of NOTES, held for the clip, the native peak is AUDIBLE."""
    rate = engine_rate(sample_rate)
    sounds = _find_peaks(patches, _FIRST_NOTE, min(seconds, _FIRST_SECONDS), seconds, rate) >= AUDIBLE
    for note in NOTES:
        left = np.flatnonzero(~sounds)
        sounds[left] = _find_peaks(patches[left], note, seconds, seconds, rate) >= AUDIBLE
    return sounds


def measure_peaks(patches: np.ndarray, sample_rate: int, seconds: float) -> np.ndarray:
    """Native peaks of patches uint8 (N, 155) on each of NOTES, held for so long: int32 (N, notes)."""
    rate = engine_rate(sample_rate)
    return np.stack([_find_peaks(patches, note, seconds, seconds, rate) for note in NOTES], axis=1)


def _find_peaks(patches: np.ndarray, note: int, seconds: float, held: float, rate: int) -> np.ndarray:
    """The native peak of each patch, in its first seconds."""
    count = max(1, int(_BYTES / (4 * rate * seconds)))
    peaks = [np.zeros(0, np.int32)]
    for first in range(0, len(patches), count):
        native = render(voices(patches[first : first + count], note, _VELOCITY, held, rate), seconds)
        peaks.append(np.abs(native).max(axis=1))
    return np.concatenate(peaks)
