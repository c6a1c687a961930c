"""The phrases of a plan as columns of an Arrow table, which is a file that is mapped into memory: millions load at once.

What is mapped counts as this process's memory once it was looked at, so that is let go after every piece.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import msgspec
import numpy as np
from msgspec import Meta

from dx7data.arrow import get_chunk, view_numbers
from dx7data.errors import InputError
from dx7data.phrases.checks import check_items, check_table
from dx7data.phrases.compression import STREAM, check_uncompressed
from dx7data.phrases.mapping import Hashed, InPieces, map_file, split_pieces
from dx7data.phrases.phrase import Event, Note, Phrase

if TYPE_CHECKING:  # it takes a tenth of a second to import, and drawn phrases do without
    import pyarrow as pa

Known = Annotated[str, Meta(max_length=4096)] | int | float | bool | None  # what may be known of a phrase


@dataclass(frozen=True, eq=False)
class Phrases(Sequence):
    """P phrases in order of id."""

    table: pa.Table  # one chunk a column, see _schema
    maps: tuple[mmap.mmap, ...] = ()  # the memory of the table, as far as it is that of files

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
    def of_columns(maps: dict[str, mmap.mmap | bytes], kinds: np.ndarray, names: list[str]) -> Phrases:
        """Columns of the same phrases, not yet in splits.

        maps: the ids as text, bounds of `notes`, `events` and `about` (P + 1, int64), what is known, and the fields of notes
        and events, of the types of the table; kinds: uint8 (P,), an index into `names` << 1 | cut.
        """
        import pyarrow as pa

        count = len(kinds)

        def flat(kind: pa.DataType, name: str) -> pa.Array:
            data = pa.py_buffer(maps[name])
            return pa.Array.from_buffers(kind, data.size * 8 // kind.bit_width, [None, data])

        def lists(name: str, fields: dict) -> pa.Array:
            children = [flat(kind, field) for field, kind in fields.items()]
            values = pa.StructArray.from_arrays(children, list(fields))
            kind = _schema().field(name).type
            return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(maps[f"{name}_bounds"])], children=[values])

        ends = pa.py_buffer(np.arange(0, 16 * count + 1, 16, dtype=np.int32))
        abouts = [None, pa.py_buffer(maps["about_bounds"]), pa.py_buffer(maps["about"])]
        used, first = np.unique(kinds >> 1, return_index=True)
        order = used[np.argsort(first)]  # as they appear
        place = np.zeros(len(names), np.int8)
        place[order] = np.arange(len(order))
        columns = {
            "id": pa.Array.from_buffers(pa.string(), count, [None, ends, pa.py_buffer(maps["id"])]),
            "split": pa.nulls(count, _schema().field("split").type),
            "kind": pa.DictionaryArray.from_arrays(pa.array(place[kinds >> 1]), pa.array([names[i] for i in order])),
            "cut": pa.array((kinds & 1).astype(bool)),
            "about": pa.Array.from_buffers(pa.large_string(), count, abouts),
            "notes": lists("notes", _note_fields()),
            "events": lists("events", _event_fields()),
        }
        mapped = tuple(each for each in maps.values() if isinstance(each, mmap.mmap))
        return Phrases(pa.table(columns, schema=_schema()), mapped)

    @staticmethod
    def map(path: Path) -> Phrases:
        """What `write` wrote, in the file's own memory. Raises OSError or ValueError when that is not so."""
        import pyarrow as pa

        with open(path, "rb") as file:
            mapped = map_file(file)
        source = pa.BufferReader(pa.py_buffer(mapped))
        check_uncompressed(source)
        source.seek(STREAM)
        with pa.ipc.open_stream(source) as stream:
            if stream.schema != _schema():
                raise ValueError("it holds no phrases")
            batches = list(stream)
        if len(batches) != 1:
            raise ValueError("it holds no phrases")
        return Phrases(pa.Table.from_batches(batches), (mapped,) if isinstance(mapped, mmap.mmap) else ()).check()

    @staticmethod
    def from_table(table: pa.Table) -> Phrases:
        """The phrases of a table with these columns, of whatever types. Raises ValueError when it holds none."""
        import pyarrow as pa

        table = table.select([field.name for field in _schema()])
        columns = [column.combine_chunks().cast(field.type) for column, field in zip(table.columns, _schema(), strict=True)]
        return Phrases(pa.Table.from_arrays(columns, schema=_schema())).check()

    def check(self) -> Phrases:
        """These phrases. Raises ValueError where one is none that could be played, or points to what is not there."""
        check_table(self.table, self._let_go)
        check_items(self._columns, self._let_go)
        return self

    def write(self, file: BinaryIO | Any) -> None:
        """Write `phrases.arrow`: an Arrow IPC file without compression, so that it can be mapped. file: it has `write`."""
        import pyarrow as pa

        (batch,) = self.table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], _schema())]
        with pa.ipc.new_file(pa.PythonFile(InPieces(file, self._let_go), "w"), _schema()) as out:
            out.write_batch(batch)

    def hash_file(self) -> str:
        """The SHA-256 of what `write` writes."""
        state = hashlib.sha256()
        self.write(Hashed(state))
        return state.hexdigest()

    def with_splits(self, splits: Sequence[str] | pa.Array) -> Phrases:
        """The same phrases, each in one of SPLITS."""
        import pyarrow as pa

        place = self.table.schema.get_field_index("split")
        field = self.table.schema.field(place)
        return replace(self, table=self.table.set_column(place, field, pa.array(splits, pa.string()).cast(field.type)))

    def __reduce__(self) -> tuple:
        """For other processes, maybe on other machines: with all that is in the files."""
        return Phrases, (self.table,)

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
        found: dict = {name: get_chunk(self.table[name]) for name in ("kind", "cut", "about")}
        for name in ("notes", "events"):
            column = get_chunk(self.table[name])
            fields = [view_numbers(column.values.field(i)) for i in range(column.values.type.num_fields)]
            found[name] = view_numbers(column.offsets), fields
        return found

    @cached_property
    def largest(self) -> int:
        """The notes of the phrase that has most."""
        bounds = self._columns["notes"][0]
        return max((int(np.diff(bounds[part.start : part.stop + 1]).max()) for part in split_pieces(len(self))), default=0)

    @property
    def ids(self) -> list[str]:
        return self.table["id"].to_pylist()

    @property
    def splits(self) -> list[str]:
        return self.table["split"].to_pylist()

    def within(self, split: str) -> np.ndarray:
        """Indices of the phrases of a split."""
        column = get_chunk(self.table["split"])
        codes = [i for i, word in enumerate(column.dictionary.to_pylist()) if word == split]
        return np.flatnonzero(np.isin(view_numbers(column.indices), codes))

    def hash_into(self, state: hashlib._Hash) -> None:
        """Update a hash with all that is here, whatever version of Arrow holds it."""
        import pyarrow as pa

        for name in ("notes", "events"):
            bounds, fields = self._columns[name]
            for array in (bounds, *fields):
                for part in split_pieces(len(array)):
                    state.update(np.ascontiguousarray(array[part], array.dtype.newbyteorder("<")).data)
                    self._let_go()
        state.update(np.packbits(view_numbers(self.table["cut"].cast(pa.uint8()))).data)
        for name in ("id", "split", "kind", "about"):
            for text in _split_texts(self.table[name]):
                InPieces(Hashed(state), self._let_go).write(text)

    def _let_go(self) -> None:
        """What was looked at stays in the system's memory, as far as there is room, and no more in this process's."""
        for each in self.maps:
            each.madvise(mmap.MADV_DONTNEED)


def _decode_about(text: str, i: int) -> dict:
    """What is known of a phrase: texts and numbers by name. Raises InputError."""
    try:
        return msgspec.json.decode(text, type=dict[str, Known])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"column about of the phrases, row {i}: {error}") from None


def _split_texts(column: pa.ChunkedArray) -> tuple[memoryview, bytes | memoryview]:
    """Where the texts of a column begin and end, int64 (P + 1,), and all of them in one; none for a missing one."""
    import pyarrow as pa

    array = get_chunk(column.cast(pa.large_string()))
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
