"""Phrases: what is played, as notes and controller events, wherever they come from.

Times are whole milliseconds from the beginning of the phrase, so that a phrase is the same on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from dx7data.files import to_canonical_json

# Their values at rest. Bend is in Q24 octaves, as all pitches of the engine; the others are MIDI's 0-127.
REST = {"bend": 0, "wheel": 0, "volume": 127, "expression": 127}
CONTROLLERS = tuple(REST)
_KEY_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
# Notes of one phrase, which is more than anybody plays and what one sample can be rendered of in seconds and within 1 GB.
_MAX_NOTES_A_SECOND, _MAX_NOTES = 500, 100_000


class Note(NamedTuple):
    """One note: when the key goes down, how long it stays down, which key, how fast."""

    start: int
    held: int
    note: int  # MIDI: 60 is middle C
    velocity: int  # 1-127


class Event(NamedTuple):
    """A controller takes a value and keeps it until its next event."""

    time: int
    controller: int  # index into CONTROLLERS
    value: int


def max_notes(seconds: float) -> int:
    """How many notes a phrase for clips of this length may have."""
    return min(_MAX_NOTES, int(_MAX_NOTES_A_SECOND * max(1.0, seconds)))


def name_key(key: int) -> str:
    """The note's name and its MIDI number; no octave, for Yamaha counts them otherwise than most."""
    return f"{_KEY_NAMES[key % 12]} {key}"


@dataclass(frozen=True)
class Phrase:
    """Notes in order of (start, note), controller events in order of (time, controller), and what is known of them."""

    notes: tuple[Note, ...]
    events: tuple[Event, ...] = ()
    kind: str = ""  # "midi", "table", or the way it was drawn
    cut: bool = False  # it went on, but the clip had ended
    about: dict = field(default_factory=dict)  # for the sample's json: file, track, ...

    @cached_property
    def id(self) -> str:
        """16 hex digits of a SHA-256: what sounds the same has the same id."""
        return hashlib.sha256(to_canonical_json([self.notes, self.events])).hexdigest()[:16]
