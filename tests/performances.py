"""What dx7data.phrases.midi finds in a file, as lists of notes and events."""

from dataclasses import dataclass, field

import numpy as np

from dx7data.phrases import midi
from dx7data.phrases.loops.tempo import find_window
from dx7data.phrases.phrase import Event, Note


@dataclass
class Performance:
    track: int
    port: int
    channel: int
    notes: list[Note]
    events: list[Event]
    tempos: midi.Tempos

    def window(self, time: int, beats: int) -> tuple[int, int]:
        return find_window(self.tempos, time, beats)


@dataclass
class Reading:
    performances: list[Performance] = field(default_factory=list)
    zero_length: int = 0
    never_ending: int = 0
    warnings: list = field(default_factory=list)


def read(data: bytes) -> Reading:
    reading = midi.read(data)
    found = []
    for sequence in reading.sequences:
        for each in sequence.performances:
            notes, events = _list(Note, sequence.notes, each.lane), _list(Event, sequence.events, each.place)
            found.append(Performance(each.track, each.port, each.channel, notes, events, sequence.tempos))
    return Reading(found, reading.zero_length, reading.never_ending, reading.warnings)


def _list(kind: type, table: tuple, part: int) -> list:
    *columns, bounds = table
    rows = np.stack(columns, axis=1)[bounds[part] : bounds[part + 1]]
    return list(map(kind._make, rows.tolist()))
