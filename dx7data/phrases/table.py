"""Reads music from a Parquet table with a row for each note."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dx7data.errors import InputError, make_printable
from dx7data.phrases.phrase import Note
from dx7data.phrases.report import MusicReport
from dx7data.phrases.selection import Passage

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMNS = ("phrase_id", "start_time", "duration", "note", "velocity")

# Of a table: so many rows and bytes are read in any case, and beyond that so many times the bytes of the file.
_MIN_ROWS_READ, _MIN_BYTES_READ, _GROWTH = 2_000_000, 256 << 20, 32
_MAX_ID = 200  # letters of a phrase_id
_DAY = 24 * 60 * 60  # seconds: a note that ends later is no music, and its time might not fit into 32 bits


def read_table(path: str | os.PathLike, bpm: float | None, report: MusicReport) -> Iterator[Passage]:
    """The passages of a Parquet table with a row for each note.

    phrase_id: integers or strings; start_time, from the beginning of the phrase, and duration: numbers of seconds, or of
    beats where `bpm` is given; note and velocity: whole numbers. Other columns are ignored, rows come in any order. Raises
    InputError when the table does not fit.
    """
    path = Path(path)
    ids, which, notes = _read_notes(path, bpm or 60)  # at 60 beats a minute a beat is a second
    lasting = notes[:, 1] > 0
    report.add(path, int(np.count_nonzero(lasting)), int(np.count_nonzero(~lasting)))
    which, notes = which[lasting], notes[lasting]
    if not len(notes):
        raise InputError(
            f"{make_printable(path)} holds only notes of 0 ms; durations are seconds, or beats if their tempo is given"
        )
    # By phrase, start and note; by velocity and length too, so that the order of the rows never matters.
    order = np.lexsort((*notes.T[[1, 3, 2, 0]], which))
    which, notes = which[order], notes[order]
    with open(path, "rb") as file:
        about = {"file": make_printable(path.name), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    for first, after in pairwise([0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), len(which)]):
        played = [Note._make(note) for note in notes[first:after].tolist()]
        length = max(note.start + note.held for note in played)
        yield Passage(played, "table", about | {"phrase": ids[which[first]]}, length)


def _read_notes(path: Path, bpm: float) -> tuple[list, np.ndarray, np.ndarray]:
    """The phrase ids in order of first appearance; which of them (N,); int64 (N, 4): notes, with times in ms.

    Ends are rounded, not durations, so that notes which touch in the table neither overlap nor part.
    """
    table = _read_parquet(path)
    ids = _get_column(path, table, "phrase_id", "integer", "string", "large_string").combine_chunks().dictionary_encode()
    day = _DAY * bpm / 60
    start = _get_numbers(path, table, "start_time", 0, day)
    end = start + _get_numbers(path, table, "duration", 0, day)
    note = _get_numbers(path, table, "note", 0, 127, whole=True)
    velocity = _get_numbers(path, table, "velocity", 1, 127, whole=True)
    start, end = (np.floor(beats * 60_000 / bpm + 0.5) for beats in (start, end))
    notes = np.stack([start, end - start, note, velocity], axis=1).astype(np.int64)
    return ids.dictionary.to_pylist(), ids.indices.to_numpy(), notes


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{make_printable(path)} is no file; name a Parquet table")
    try:
        with pq.ParquetFile(path) as file:
            _check_size(path, file)
            texts = [name for name in ("phrase_id",) if name in file.schema_arrow.names]
        with pq.ParquetFile(path, read_dictionary=texts) as file:  # a long text that is there a million times is one
            table = file.read(columns=list(COLUMNS))
        table.validate(full=True)  # reading alone does not see text that is not UTF-8
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{make_printable(path)} can't be read as Parquet: {make_printable(error)}; write it anew"
        ) from None
    if not table.num_rows:
        raise InputError(f"{make_printable(path)} has no rows; give it one for each note")
    return table


def _check_size(path: Path, file: pq.ParquetFile) -> None:
    """Before a table is read: equal values take next to nothing in a file. Raises InputError where it would grow a lot."""
    from pyarrow import types

    size, rows, columns = path.stat().st_size, file.metadata.num_rows, file.schema_arrow
    if rows > max(_MIN_ROWS_READ, size):  # a note takes a byte or more
        raise InputError(f"{make_printable(path)} has {rows:,} rows in {size:,} bytes: that can't be music")
    parts = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    unpacked = sum(part.total_byte_size for part in parts)
    if unpacked > max(_MIN_BYTES_READ, _GROWTH * size):
        raise InputError(
            f"{make_printable(path)} would grow from {size:,} to {unpacked:,} bytes: write it with less compression"
        )
    for name in set(COLUMNS) & set(columns.names):
        if columns.names.count(name) == 1 and types.is_nested(columns.field(name).type):
            kind = make_printable(columns.field(name).type)
            raise InputError(f"{make_printable(path)}: column {name} is of type {kind}; convert it to one value a row")


def _get_column(path: Path, table: pa.Table, name: str, *kinds: str) -> pa.ChunkedArray:
    """A column of one of these kinds of types, without nulls; where it holds categories, their values."""
    from pyarrow import types

    if (count := table.column_names.count(name)) != 1:
        raise InputError(f"{make_printable(path)} has {count} columns {name}; give it one each of {', '.join(COLUMNS)}")
    column = table[name]
    if types.is_dictionary(column.type):
        words = chain.from_iterable(chunk.dictionary.to_pylist() for chunk in column.chunks)
        if any(isinstance(word, str) and len(word) > _MAX_ID for word in words):
            raise InputError(f"{make_printable(path)}: column {name} holds texts of more than {_MAX_ID} letters")
        column = column.cast(column.type.value_type)
    if not any(getattr(types, f"is_{kind}")(column.type) for kind in kinds):
        expected = " or ".join(kinds)
        raise InputError(
            f"{make_printable(path)}: column {name} is of type {make_printable(column.type)}; convert it to {expected}"
        )
    if column.null_count:
        raise InputError(
            f"{make_printable(path)}: column {name} is null in {column.null_count:,} rows; fill or remove these"
        )
    return column


def _get_numbers(path: Path, table: pa.Table, name: str, minimum: float, maximum: float, whole: bool = False) -> np.ndarray:
    """A column as float64, all of it from minimum to maximum."""
    values = _get_column(path, table, name, "integer", "floating", "decimal").cast("float64", safe=False).to_numpy()
    good = (values >= minimum) & (values <= maximum)  # NaN is neither
    if whole:
        good &= values == np.floor(values)
    if not good.all():
        row = int(np.argmin(good))
        expected = f"{'whole ' * whole}numbers from {minimum} to {maximum:,}"
        raise InputError(
            f"{make_printable(path)}: column {name} holds {values[row]} in row {row + 1:,}; it must hold {expected}"
        )
    return values
