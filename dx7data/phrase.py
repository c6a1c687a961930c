"""Phrases: what is played, as notes and controller events, wherever they come from.

Times are whole milliseconds from the beginning of the phrase, so that a phrase is the same on every machine.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dx7data.files import from_parquet, parquet

# Their values at rest. Bend is in Q24 octaves, as all pitches of the engine; the others are MIDI's 0-127.
REST = {"bend": 0, "wheel": 0, "volume": 127, "expression": 127}
CONTROLLERS = tuple(REST)


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
        return hashlib.sha256(repr((*map(tuple, self.notes), *map(tuple, self.events))).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Phrases(Sequence):
    """P phrases as flat arrays: a hundred thousand of them are quick to store, to load and to hand to a worker."""

    ids: list[str]
    kinds: list[str]
    cut: list[bool]
    about: list[str]  # JSON
    notes: np.ndarray  # int32 (N, 4)
    note_bounds: np.ndarray  # int64 (P + 1,): phrase i has notes note_bounds[i] to note_bounds[i + 1] - 1
    events: np.ndarray  # int32 (E, 3)
    event_bounds: np.ndarray  # int64 (P + 1,)

    @staticmethod
    def of(phrases: Sequence[Phrase]) -> "Phrases":
        """Single phrases as one table."""
        return Phrases(
            ids=[phrase.id for phrase in phrases],
            kinds=[phrase.kind for phrase in phrases],
            cut=[phrase.cut for phrase in phrases],
            about=[json.dumps(phrase.about, sort_keys=True) for phrase in phrases],
            notes=np.array([note for phrase in phrases for note in phrase.notes], np.int32).reshape(-1, len(Note._fields)),
            note_bounds=np.cumsum([0, *(len(phrase.notes) for phrase in phrases)]),
            events=np.array([event for phrase in phrases for event in phrase.events], np.int32).reshape(
                -1, len(Event._fields)
            ),
            event_bounds=np.cumsum([0, *(len(phrase.events) for phrase in phrases)]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Phrase:
        return Phrase(
            tuple(map(Note._make, self.notes[self.note_bounds[i] : self.note_bounds[i + 1]].tolist())),
            tuple(map(Event._make, self.events[self.event_bounds[i] : self.event_bounds[i + 1]].tolist())),
            self.kinds[i],
            self.cut[i],
            json.loads(self.about[i]),
        )

    def hash_into(self, state) -> None:
        """Update a hash with all that is here."""
        for array in (self.notes, self.note_bounds, self.events, self.event_bounds):
            state.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        state.update(json.dumps([self.ids, self.kinds, self.cut, self.about]).encode())

    def to_parquet(self, splits: list[str]) -> bytes:
        """`phrases.parquet`, with the split of each phrase."""
        import pyarrow as pa

        def lists(rows: np.ndarray, bounds: np.ndarray, fields: tuple[str, ...]):
            values = pa.StructArray.from_arrays([pa.array(np.ascontiguousarray(column)) for column in rows.T], fields)
            return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), values)

        columns = {
            "id": self.ids,
            "split": splits,
            "kind": self.kinds,
            "cut": self.cut,
            "about": self.about,
            "notes": lists(self.notes, self.note_bounds, Note._fields),
            "events": lists(self.events, self.event_bounds, Event._fields),
        }
        return parquet(pa.table(columns))

    @staticmethod
    def from_parquet(data: bytes) -> tuple["Phrases", list[str]]:
        """What `to_parquet` gave, and the splits. Raises OSError, ValueError or KeyError when that is not so."""
        table = from_parquet(data)

        def arrays(name: str, fields: tuple[str, ...]):
            column = table[name].combine_chunks()
            rows = np.stack([np.asarray(column.values.field(each), np.int32) for each in fields], axis=1)
            return rows, np.asarray(column.offsets, np.int64)

        ids, kinds, cut, about, splits = (table[name].to_pylist() for name in ("id", "kind", "cut", "about", "split"))
        return Phrases(ids, kinds, cut, about, *arrays("notes", Note._fields), *arrays("events", Event._fields)), splits
