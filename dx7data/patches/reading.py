"""What is found in the bytes of a file: voices as they are kept, and the signs that distinguish noise from voices."""

from dataclasses import dataclass, field

import numpy as np

from dx7data.patches.patch import (
    FIELDS,
    MAXIMA,
    NAME_BYTES,
    PACKED_BYTES,
    legalize_packed,
    legalize_stored,
    pack,
)

# Values out of range that make a voice noise. Of 23,840 voices of public banks none has more than one; where all bytes are
# one place off, 99.9 % have at least three: a byte of two fields beside one of 0 to 99 sees to that in every operator.
NOISE = 3
_LARGEST = np.concatenate([MAXIMA, np.full(NAME_BYTES, 127, np.uint8)])
_LARGEST_PACKED = pack(_LARGEST)


@dataclass(frozen=True)
class Record:
    """One voice as found: 155 legal bytes, where its bytes start, its number 1-32 in its dump, the fields repaired."""

    patch: bytes
    offset: int
    index: int
    repaired: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What was found: voices in order, warnings as (offset, sentence), what was refused as (offset, reason)."""

    voices: list[Record] = field(default_factory=list)
    warnings: list[tuple[int | None, str]] = field(default_factory=list)
    refused: list[tuple[int | None, str]] = field(default_factory=list)


def count_illegal(voices: np.ndarray) -> np.ndarray:
    """How many bytes of each voice, uint8 (N, 128) or (N, 155), no DX7 sends."""
    return np.count_nonzero(voices > (_LARGEST_PACKED if voices.shape[1] == PACKED_BYTES else _LARGEST), axis=1)


def add_voices(reading: Reading, voices: np.ndarray, places: np.ndarray, kept: np.ndarray) -> None:
    """Take the voices, uint8 (N, 128) or (N, 155), that are to be kept, bool (N,); places (N,) are where they start."""
    legal, changed = (legalize_packed if voices.shape[1] == PACKED_BYTES else legalize_stored)(voices)
    repaired: list[tuple[str, ...]] = [()] * len(legal)
    for row in np.flatnonzero(changed.any(axis=1)).tolist():
        repaired[row] = tuple(FIELDS[i] for i in np.flatnonzero(changed[row]))
    for row in np.flatnonzero(kept).tolist():
        reading.voices.append(Record(legal[row].tobytes(), int(places[row]), row + 1, repaired[row]))
