"""What a keyboard asks the engine for: a stretch of one note, and a take, which is several notes together.

Times are in samples and blocks of the engine at RATE. A note's samples before its release do not depend on the release, so a
note can be played while nobody knows yet when its key goes up, and then be continued, without a seam, from that block on.
"""

import threading
from typing import NamedTuple, cast

import numba
import numpy as np

from dx7data.audio import gain
from dx7data.audio.resample import ENGINE_RATE, decimate
from dx7data.engine.render import mix, render
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import voices
from dx7data.patches.patch import SINE

RATE = 48000  # Hz
MAX_SECONDS = 60  # of a note, and of a take
_ALWAYS = MAX_SECONDS + 1.0  # seconds: longer than any note, so its key never goes up

_engine = threading.Lock()  # not all of numba's threading layers bear calls from two threads at once


class Note(NamedTuple):
    """A key of a take: MIDI numbers, and the blocks at which it goes down and up."""

    key: int
    velocity: int
    start: int
    release: int


def render_stretch(patch: np.ndarray, key: int, velocity: int, release: int | None, first: int, stop: int) -> np.ndarray:
    """Samples `first` to `stop` of one note, int16, as `dx7data wav --gain native` writes them.

    patch: legal, uint8 (155,); release: the block of the note at which its key goes up, None: not yet.
    """
    held = _ALWAYS if release is None else release * BLOCK / RATE
    with _engine:
        numba.set_num_threads(1)  # of this thread of Python: one voice is too little to share
        native = render(voices(patch, key, velocity, held, RATE), stop / RATE)[:, first:]
        clips, *_ = gain.apply(native, "native")
    return cast(np.ndarray, clips[0])


def render_take(patch: np.ndarray, notes: list[Note], sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Source and target of a take, int16 each: its notes by the sine of data sets and by the patch, with no gain."""
    rate = ENGINE_RATE[sample_rate]
    per_block = RATE / rate  # the keys were played on the clock of RATE
    keys, velocities, starts, releases = np.array(notes).T
    starts, releases = np.rint(starts / per_block).astype(np.int64), np.rint(releases / per_block).astype(np.int64)
    held = np.maximum(releases - starts, 1) * BLOCK / rate
    together = np.zeros(len(notes), np.int64)
    clips = []
    for each in (SINE, patch):
        with _engine:
            played = voices(each, keys, velocities, held, rate, starts)
            native = mix(played, together, together, 1, _take_seconds(notes))
            clips.append(gain.apply(decimate(native, sample_rate), "native")[0][0])
    return clips[0], clips[1]


def _take_seconds(notes: list[Note]) -> float:
    """Until a second after the last key is up."""
    return min(max(note.release for note in notes) * BLOCK / RATE + 1, MAX_SECONDS)
