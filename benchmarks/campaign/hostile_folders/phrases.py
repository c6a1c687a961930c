"""phrases.arrow with other columns, notes and bytes."""

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.campaign.hostile_folders.folder import sign
from benchmarks.campaign.hostile_folders.registry import CASES, case
from benchmarks.campaign.hostile_folders.values import CLIMBING, LEVELS, MARKUP, TERMINAL


def _phrases(folder: Path, change: Callable[[pa.Table], pa.Table], compression: str | None = None) -> None:
    path = folder / "phrases.arrow"
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        table = change(file.read_all())
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as out:
            for batch in table.combine_chunks().to_batches():
                out.write_batch(batch)
    path.unlink()
    path.write_bytes(buffer.getvalue().to_pybytes())
    sign(folder)


def _set_about(text: str, table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("about")
    return table.set_column(place, table.schema.field(place), pa.array([text] * table.num_rows, pa.large_string()))


for _word, _text in {
    "no JSON": "{",
    "deeply nested": "[" * LEVELS + "]" * LEVELS,
    "markup": json.dumps({"file": MARKUP, "start": 1.0, "scale": MARKUP, "root": 60}),
    "for the terminal": json.dumps({"file": TERMINAL}),
    "of other types": json.dumps({"file": [1], "root": "x", "bpm": {}, "start": None}),
    "a list": "[1]",
    "huge": json.dumps({"file": "9" * 10**6}),
}.items():
    CASES[f"phrases.arrow: about is {_word}"] = partial(_phrases, change=partial(_set_about, _text))


def _set_notes(field: str, value: int, table: pa.Table) -> pa.Table:
    """One field of all notes; the lists stay as they are."""
    place = table.schema.get_field_index("notes")
    notes = table["notes"].combine_chunks()
    fields = {name: notes.values.field(i) for i, name in enumerate(("start", "held", "note", "velocity"))}
    fields[field] = pa.array(np.full(len(notes.values), value), fields[field].type)
    values = pa.StructArray.from_arrays(list(fields.values()), list(fields))
    return table.set_column(place, table.schema.field(place), pa.LargeListArray.from_arrays(notes.offsets, values))


for _field, _value in [("start", -1), ("start", 2**31 - 1), ("held", 0), ("held", -5), ("held", 2**31 - 1), ("note", 255),
                       ("velocity", 0), ("velocity", 255)]:  # fmt: skip
    CASES[f"phrases.arrow: {_field} is {_value}"] = partial(_phrases, change=partial(_set_notes, _field, _value))


def _repeat_notes(table: pa.Table) -> pa.Table:
    """A thousand times as many notes in each phrase."""
    place = table.schema.get_field_index("notes")
    notes = table["notes"].combine_chunks()
    bounds = np.asarray(notes.offsets)
    rows = np.concatenate([np.tile(np.arange(a, b), 1000) for a, b in pairwise(bounds)])
    more = pa.LargeListArray.from_arrays(pa.array(1000 * bounds, pa.int64()), notes.values.take(pa.array(rows)))
    return table.set_column(place, table.schema.field(place), more)


def _set_word(column: str, word: str, table: pa.Table) -> pa.Table:
    """The same word in all rows, as the one of the dictionary."""
    place = table.schema.get_field_index(column)
    made = pa.array([word] * table.num_rows).dictionary_encode().cast(table.schema.field(place).type)
    return table.set_column(place, table.schema.field(place), made)


_ABOUT, _KIND = partial(_set_about, json.dumps({"file": "9" * 10**7})), partial(_set_word, "kind", "9" * 10**7)
CASES["phrases.arrow: compressed"] = partial(_phrases, change=_ABOUT, compression="zstd")
CASES["phrases.arrow: compressed dictionaries"] = partial(_phrases, change=_KIND, compression="lz4")
CASES["phrases.arrow: a kind of ten million letters"] = partial(_phrases, change=_KIND)
CASES["phrases.arrow: thousands of notes in a phrase"] = partial(_phrases, change=_repeat_notes)


def _set_bounds(bounds: Callable[[np.ndarray], np.ndarray], folder: Path) -> None:
    """Where the notes of each phrase begin and end, in the bytes of the file: pyarrow does not write such a table."""
    path = folder / "phrases.arrow"
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        old = np.array(file.read_all()["notes"].combine_chunks().offsets)
    data = path.read_bytes().replace(old.tobytes(), bounds(old).tobytes(), 1)
    path.unlink()
    path.write_bytes(data)
    sign(folder)


for _word, _bounds in {
    "beyond the end": lambda old: np.append(old[:-1], 10**12),
    "negative": lambda old: old - 10**6,
    "backwards": lambda old: old[::-1].copy(),
    "all the same": lambda old: np.zeros_like(old),
}.items():
    CASES[f"phrases.arrow: bounds {_word}"] = partial(_set_bounds, _bounds)


@case("phrases.arrow: a word that is not in the dictionary")
def _(folder: Path) -> None:
    def change(table):
        place = table.schema.get_field_index("split")
        old = table["split"].combine_chunks()
        indices = pa.array(np.full(len(old), 100, np.int8)).buffers()
        wrong = pa.Array.from_buffers(pa.int8(), len(old), indices)
        made = pa.DictionaryArray.from_arrays(wrong, old.dictionary, safe=False)
        return table.set_column(place, table.schema.field(place), made)

    _phrases(folder, change)


@case("phrases.arrow: a split of no plan")
def _(folder: Path) -> None:
    def change(table):
        place = table.schema.get_field_index("split")
        made = pa.array([CLIMBING] * table.num_rows).dictionary_encode().cast(table.schema.field(place).type)
        return table.set_column(place, table.schema.field(place), made)

    _phrases(folder, change)


@case("phrases.arrow: a column more")
def _(folder: Path) -> None:
    _phrases(folder, lambda table: table.append_column(MARKUP, pa.array([1] * table.num_rows)))


@case("phrases.arrow: not Arrow")
def _(folder: Path) -> None:
    (folder / "phrases.arrow").unlink()
    (folder / "phrases.arrow").write_bytes(b"ARROW1\0\0" + bytes(1000) + b"ARROW1")
    sign(folder)


@case("phrases.arrow: cut short")
def _(folder: Path) -> None:
    data = (folder / "phrases.arrow").read_bytes()
    (folder / "phrases.arrow").unlink()
    (folder / "phrases.arrow").write_bytes(data[: len(data) // 2])
    sign(folder)
