"""Phrases: what is played, as notes and controller events, wherever they come from.

Times are whole milliseconds from the beginning of the phrase, so that a phrase is the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from dx7data.errors import InputError
from dx7data.files import to_canonical_json
from dx7data.phrases.compression import STREAM, check_uncompressed

if TYPE_CHECKING:  # it takes a tenth of a second to import, and drawn phrases do without
    import pyarrow as pa

# Their values at rest. Bend is in Q24 octaves, as all pitches of the engine; the others are MIDI's 0-127.
REST = {"bend": 0, "wheel": 0, "volume": 127, "expression": 127}
CONTROLLERS = tuple(REST)
_KEY_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")

_WORD = 100  # letters of a split or of a kind of phrases, at most

_LONGEST = 24 * 60 * 60 * 1000  # ms: longer is no music, and might not fit into 32 bits
_NOTE_LIMITS = {"start": (0, _LONGEST), "held": (1, _LONGEST), "note": (0, 127), "velocity": (1, 127)}
# A bend of 127 semitones and as many cents is 10.7 octaves.
_EVENT_LIMITS = {"time": (0, _LONGEST), "controller": (0, len(CONTROLLERS) - 1), "value": (-(11 << 24), 11 << 24)}
# Notes of one phrase, which is more than anybody plays and what one sample can be rendered of in seconds and within 1 GB.
_MAX_NOTES_A_SECOND, _MAX_NOTES = 500, 100_000
Known = Annotated[str, Meta(max_length=4096)] | int | float | bool | None  # what may be known of a phrase


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


@dataclass(frozen=True, eq=False)
class Phrases(Sequence):
    """P phrases as columns of an Arrow table, which may be a file that is mapped into memory: millions load at once."""

    table: pa.Table  # one chunk a column, see _schema

    @staticmethod
    def of(phrases: Sequence[Phrase]) -> Phrases:
        """Single phrases as one table, not yet in splits."""
        import pyarrow as pa

        def lists(rows: list[tuple], fields: dict, items: Sequence[Sequence]) -> pa.LargeListArray:
            columns = np.array(rows, np.int32).reshape(-1, len(fields)).T
            values = [pa.array(column).cast(kind) for column, kind in zip(columns, fields.values(), strict=True)]
            bounds = pa.array(np.cumsum([0, *map(len, items)]), pa.int64())
            return pa.LargeListArray.from_arrays(bounds, pa.StructArray.from_arrays(values, list(fields)))

        notes, events = [phrase.notes for phrase in phrases], [phrase.events for phrase in phrases]
        columns = {
            "id": [phrase.id for phrase in phrases],
            "split": [None] * len(phrases),
            "kind": [phrase.kind for phrase in phrases],
            "cut": [phrase.cut for phrase in phrases],
            "about": [json.dumps(phrase.about, sort_keys=True) for phrase in phrases],
            "notes": lists([note for each in notes for note in each], _note_fields(), notes),
            "events": lists([event for each in events for event in each], _event_fields(), events),
        }
        return Phrases(pa.table(columns, schema=_schema()))

    @staticmethod
    def map(path: Path) -> Phrases:
        """What `to_arrow` gave, in the file's own memory. Raises OSError or ValueError when that is not so."""
        import pyarrow as pa

        with pa.memory_map(str(path)) as source:
            check_uncompressed(source)
            source.seek(STREAM)
            with pa.ipc.open_stream(source) as stream:
                if stream.schema != _schema():
                    raise ValueError("it holds no phrases")
                batches = list(stream)
        if len(batches) != 1:
            raise ValueError("it holds no phrases")
        return Phrases(pa.Table.from_batches(batches)).check()

    @staticmethod
    def from_table(table: pa.Table) -> Phrases:
        """The phrases of a table with these columns, of whatever types. Raises ValueError when it holds none."""
        import pyarrow as pa

        table = table.select([field.name for field in _schema()])
        columns = [column.combine_chunks().cast(field.type) for column, field in zip(table.columns, _schema(), strict=True)]
        return Phrases(pa.Table.from_arrays(columns, schema=_schema())).check()

    def check(self) -> Phrases:
        """These phrases. Raises ValueError where one is none that could be played, or points to what is not there."""
        self.table.validate(full=True)
        if any(column.null_count for column in self.table.columns):
            raise ValueError("it lacks values")
        for name in ("split", "kind"):  # a word of a dictionary may be there in every row
            words = self.table[name].combine_chunks().dictionary.to_pylist()
            if any(len(word) > _WORD for word in words):
                raise ValueError(f"in column {name} is a word of more than {_WORD} letters")
        for name, limits in (("notes", _NOTE_LIMITS), ("events", _EVENT_LIMITS)):
            bounds, fields = self._columns[name]
            for (what, (minimum, maximum)), values in zip(limits.items(), fields, strict=True):
                if values.size and not minimum <= values.min() <= values.max() <= maximum:
                    raise ValueError(f"in column {name}, {what} is not from {minimum:,} to {maximum:,}")
            if name == "notes" and (np.diff(bounds) < 1).any():
                raise ValueError("a phrase in it has no notes")
        _, (_, controllers, values) = self._columns["events"]
        if ((controllers > 0) & ((values < 0) | (values > 127))).any():
            raise ValueError("in column events, a controller is not from 0 to 127")
        return self

    def to_arrow(self) -> bytes:
        """`phrases.arrow`: an Arrow IPC file without compression, so that it can be mapped."""
        import pyarrow as pa

        (batch,) = self.table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], _schema())]
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, _schema()) as out:
            out.write_batch(batch)
        return buffer.getvalue().to_pybytes()

    def with_splits(self, splits: Sequence[str]) -> Phrases:
        """The same phrases, each in one of SPLITS."""
        import pyarrow as pa

        place = self.table.schema.get_field_index("split")
        field = self.table.schema.field(place)
        return Phrases(self.table.set_column(place, field, pa.array(splits, pa.string()).cast(field.type)))

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, i: int) -> Phrase:  # type: ignore[override]  # no slices: nobody asks for them
        columns = self._columns
        notes, events = (
            tuple(map(kind._make, zip(*(field[bounds[i] : bounds[i + 1]].tolist() for field in fields), strict=True)))
            for kind, bounds, fields in ((Note, *columns["notes"]), (Event, *columns["events"]))
        )
        kind, cut, about = (columns[name][i].as_py() for name in ("kind", "cut", "about"))
        return Phrase(notes, events, kind, cut, _decode_about(about, i))

    @cached_property
    def _columns(self) -> dict:
        """Notes and events as bounds, int64 (P + 1,), and an array for each field; the other columns as they are."""
        found = {name: self.table[name].combine_chunks() for name in ("kind", "cut", "about")}
        for name in ("notes", "events"):
            column = self.table[name].combine_chunks()
            fields = [np.asarray(column.values.field(i)) for i in range(column.values.type.num_fields)]
            found[name] = np.asarray(column.offsets), fields
        return found

    @cached_property
    def largest(self) -> int:
        """The notes of the phrase that has most."""
        return int(np.diff(self._columns["notes"][0]).max(initial=0))

    @property
    def ids(self) -> list[str]:
        return self.table["id"].to_pylist()

    @property
    def splits(self) -> list[str]:
        return self.table["split"].to_pylist()

    def within(self, split: str) -> np.ndarray:
        """Indices of the phrases of a split."""
        import pyarrow.compute as pc

        return np.flatnonzero(pc.equal(self.table["split"], split).to_numpy())

    def hash_into(self, state: hashlib._Hash) -> None:
        """Update a hash with all that is here, whatever version of Arrow holds it."""
        for name in ("notes", "events"):
            bounds, fields = self._columns[name]
            for array in (bounds, *fields):
                state.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
        state.update(np.packbits(np.asarray(self.table["cut"])).data)
        for name in ("id", "split", "kind", "about"):
            for part in _split_texts(self.table[name]):
                state.update(part)


def _decode_about(text: str, i: int) -> dict:
    """What is known of a phrase: texts and numbers by name. Raises InputError."""
    try:
        return msgspec.json.decode(text, type=dict[str, Known])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"column about of the phrases, row {i}: {error}") from None


def _split_texts(column: pa.ChunkedArray) -> tuple[memoryview, bytes | memoryview]:
    """Where the texts of a column begin and end, int64 (P + 1,), and all of them in one; none for a missing one."""
    import pyarrow as pa

    array = column.cast(pa.large_string()).combine_chunks()
    _, bounds, data = array.buffers()
    bounds = np.frombuffer(bounds, np.int64)[array.offset : array.offset + len(array) + 1]
    return (bounds - bounds[:1]).data, memoryview(data)[bounds[0] : bounds[-1]] if data else b""


def _note_fields() -> dict:
    import pyarrow as pa

    return {"start": pa.int32(), "held": pa.int32(), "note": pa.uint8(), "velocity": pa.uint8()}


def _event_fields() -> dict:
    import pyarrow as pa

    return {"time": pa.int32(), "controller": pa.uint8(), "value": pa.int32()}


@cache
def _schema() -> pa.Schema:
    """Of `phrases.arrow`. Bounds of lists have 64 bits: a corpus may have more notes and texts than 32 bits count."""
    import pyarrow as pa

    word = pa.dictionary(pa.int8(), pa.string())
    columns = {"id": pa.string(), "split": word, "kind": word, "cut": pa.bool_(), "about": pa.large_string()}
    for name, fields in (("notes", _note_fields()), ("events", _event_fields())):
        columns[name] = pa.large_list(pa.struct(fields))
    return pa.schema(columns)
