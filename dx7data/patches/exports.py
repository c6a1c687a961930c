"""Patches as .json, .parquet, .syx and .txt files, and back from the first two: the same bytes, in the same order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dx7data.arrow import decode_parquet, encode_parquet
from dx7data.errors import make_printable
from dx7data.patches import patch, sysex
from dx7data.patches.algorithms import OPERATORS
from dx7data.patches.reading import Reading, Record, add_voices

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS = 1_000_000  # of a table: packed well, a small file could hold any number
_MOST_BYTES = 1 << 30  # of a table when it is unpacked
_MOST_REFUSED = 1_000  # entries of a file
_BLANK = re.compile(r"\s*")
_MAXIMA = dict(zip(patch.FIELDS, patch.MAXIMA.tolist(), strict=True))


def to_json(patches: np.ndarray, origins: list[dict]) -> bytes:
    """A list with an object for each patch. `name_bytes`, in hex, is there where the name alone does not tell them."""
    entries = []  # as text at once, which is much smaller than objects
    for row, origin in zip(patches, origins, strict=True):
        entry, exact = patch.to_dict(row), row[patch.PARAMETERS :].tobytes()
        if _name(entry["name"]) != exact:
            entry["name_bytes"] = exact.hex()
        entries.append(json.dumps(entry | {"origin": origin}, indent=1).encode())
    return b"[\n" + b",\n".join(entries) + b"\n]\n"


def to_parquet(patches: np.ndarray, origins: list[dict]) -> bytes:
    """A table with a row for each patch: stored values by name, and `packed`, the 128 bytes that are all of it."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "id": [patch.patch_id(row) for row in patches],
        "name": [patch.patch_name(row) for row in patches],
    }
    columns |= {key: [origin[key] for origin in origins] for key in ("file", "sha256", "index", "copies")}
    columns["packed"] = pa.array([row.tobytes() for row in patch.pack(patches)], pa.binary(patch.PACKED_BYTES))
    columns |= {name: np.ascontiguousarray(patches[:, i]) for i, name in enumerate(patch.FIELDS)}
    return encode_parquet(pa.table(columns))


def to_syx(patches: np.ndarray, full_bank: bool) -> bytes:
    """Bulk dumps of 32, and single-voice dumps of those left over, or a last bulk dump filled up with INIT VOICEs."""
    whole = len(patches) if full_bank else len(patches) // sysex.BANK * sysex.BANK
    banks = [sysex.write_bank(patches[start : min(start + sysex.BANK, whole)]) for start in range(0, whole, sysex.BANK)]
    return b"".join([*banks, *map(sysex.write_voice, patches[whole:])])


def to_text(patches: np.ndarray) -> bytes:
    """A line for each patch."""
    return "".join(f"{patch.summarize(row)}\n" for row in patches).encode()


def read(name: str, data: bytes) -> Reading:
    """The patches of a file, chosen by its suffix: a list as `to_json` writes it, a table with `packed`, or SysEx."""
    if name.lower().endswith(".json"):
        return _read_json(data)
    return _read_parquet(data) if name.lower().endswith(".parquet") else sysex.read(data)


def _read_json(data: bytes) -> Reading:
    reading = Reading()
    try:
        for number, entry in enumerate(_entries(data.decode("utf-8-sig")), 1):
            _take(reading, number, entry)
            if len(reading.refused) > _MOST_REFUSED:
                raise ValueError(f"more than {_MOST_REFUSED:,} entries are refused, the rest is not read")
        if not reading.voices and not reading.refused:
            raise ValueError("it is empty")
    except (ValueError, RecursionError, MemoryError) as error:
        reading.refused.append(
            (None, f"is no list of patches as `dx7data patches export` writes it: {make_printable(error)}")
        )
    return reading


def _entries(text: str) -> Iterator[Any]:
    """The entries of a JSON list, one at a time: all together they would take several times the memory of the text."""
    decoder, position = json.JSONDecoder(), _skip_blanks(text, 0)
    if text[position : position + 1] != "[":
        raise ValueError("it does not begin with [")
    position = _skip_blanks(text, position + 1)
    while text[position : position + 1] != "]":
        entry, position = decoder.raw_decode(text, position)
        yield entry
        position = _skip_blanks(text, position)
        if text[position : position + 1] == ",":
            position = _skip_blanks(text, position + 1)
            if text[position : position + 1] == "]":
                raise ValueError(f"after the comma before character {position:,} an entry is missing")
        elif text[position : position + 1] != "]":
            raise ValueError(f"after character {position:,} a comma or ] is missing")
    if _skip_blanks(text, position + 1) != len(text):
        raise ValueError(f"something follows the list, which ends with character {position:,}")


def _skip_blanks(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _take(reading: Reading, number: int, entry: Any) -> None:
    try:
        row = _row(entry)
    except ValueError as error:
        reading.refused.append((None, f"patch {number:,} is left out: {error}"))
        return
    reading.voices.append(Record(row.tobytes(), 0, number, ()))
    if entry.get("id", patch.patch_id(row)) != patch.patch_id(row):
        sentence = f"patch {number:,} has an id that is not that of its values: they were edited, and they count"
        reading.warnings.append((None, sentence))


def _row(entry: Any) -> np.ndarray:
    if not isinstance(entry, dict):
        raise ValueError("it is no object")
    operators = entry.get("operators")
    operators = [each for each in operators if isinstance(each, dict)] if isinstance(operators, list) else []
    known = {i: each for i in range(1, OPERATORS + 1) for each in operators if each.get("operator") == i}
    if len(known) != OPERATORS or len(operators) != OPERATORS:
        raise ValueError(f"its `operators` are not one each of 1 to {OPERATORS}")
    values = [known[i].get(name) for i in range(OPERATORS, 0, -1) for name in patch.OPERATOR_FIELDS]
    values += [entry.get(name) for name in patch.COMMON_FIELDS]
    for (name, top), value in zip(_MAXIMA.items(), values, strict=True):
        if type(value) is not int or not 0 <= value <= top:
            raise ValueError(f"{name} is {json.dumps(value)[:30]}, it must be a whole number from 0 to {top}")
    return np.array([*values, *_exact_name(entry)], np.uint8)


def _exact_name(entry: dict) -> bytes:
    """The ten bytes of a name, unless another one was written in their place."""
    name, stored = entry.get("name"), entry.get("name_bytes")
    if isinstance(stored, str) and re.fullmatch(f"([0-7][0-9a-f]){{{patch.NAME_BYTES}}}", stored):
        exact = bytes.fromhex(stored)
        if patch.patch_name(np.frombuffer(bytes(patch.PARAMETERS) + exact, np.uint8)) == name:
            return exact
    if not isinstance(name, str) or not name.isascii() or len(name) > patch.NAME_BYTES:
        raise ValueError(
            f"its name is {json.dumps(name)[:30]}, it must be text of up to {patch.NAME_BYTES} ASCII characters"
        )
    return _name(name)


def _name(name: str) -> bytes:
    return name.encode("ascii").ljust(patch.NAME_BYTES)


def _read_parquet(data: bytes) -> Reading:
    import pyarrow as pa
    import pyarrow.parquet as pq

    reading = Reading()
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            rows = file.metadata.num_rows
            if rows > _MOST_ROWS:
                raise ValueError(f"it has {rows:,} rows, more than the {_MOST_ROWS:,} that are read")
            unpacked = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
            if unpacked > _MOST_BYTES:
                raise ValueError(f"it would grow to {unpacked:,} bytes, more than the {_MOST_BYTES:,} that are read")
            if (count := file.schema_arrow.names.count("packed")) != 1:
                raise ValueError(f"it has {count or 'no'} column{'s' * (count > 1)} `packed`")
            kind = file.schema_arrow.field("packed").type
        if not (pa.types.is_binary(kind) or kind == pa.binary(patch.PACKED_BYTES)):
            raise ValueError(f"`packed` is of type {kind}, not {patch.PACKED_BYTES} bytes")
        cells = _cells(decode_parquet(data, ["packed"], ["packed"])["packed"])
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        reading.refused.append(
            (None, f"is no table of patches as `dx7data patches export` writes it: {make_printable(error)}")
        )
        return reading
    packed = np.frombuffer(b"".join(cells), np.uint8).reshape(-1, patch.PACKED_BYTES)
    add_voices(reading, packed, np.zeros(len(packed), int), np.ones(len(packed), bool))
    if not cells:
        reading.refused.append((None, "is a table without rows"))
    return reading


def _cells(column: pa.ChunkedArray) -> list[bytes]:
    """The values of a column, all of the right length. Those of a dictionary are looked at there: a few bytes of a file can
    repeat a long value any number of times."""
    for chunk in column.chunks:
        values = getattr(chunk, "dictionary", chunk)
        if chunk.null_count or any(len(value) != patch.PACKED_BYTES for value in values.to_pylist()):
            raise ValueError(f"`packed` is not {patch.PACKED_BYTES} bytes in every row")
    return column.to_pylist()
