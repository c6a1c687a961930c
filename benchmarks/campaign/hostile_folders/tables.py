"""The tables of patches and of samples with other columns, values and rows."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.campaign.hostile_folders.folder import SHARD, sign
from benchmarks.campaign.hostile_folders.registry import CASES, case
from benchmarks.campaign.hostile_folders.values import CLIMBING, MARKUP, TERMINAL


def set_column(folder: Path, name: str, column: str, values) -> None:
    """Another column in a table; None takes it out."""
    table = pq.read_table(folder / name)
    place = table.schema.get_field_index(column)
    if values is None:
        table = table.remove_column(place)
    elif place < 0:
        table = table.append_column(column, values)
    else:
        table = table.set_column(place, column, values if isinstance(values, pa.Array) else pa.array(values))
    pq.write_table(table, folder / name)
    sign(folder)


def _column_cases(name: str, good_columns: dict[str, list]) -> None:
    """For each column some wrong values."""
    for n, (column, wrong) in enumerate(good_columns.items()):
        for word, value in wrong[n % 2 :: 2] if len(wrong) > 2 else wrong:
            CASES[f"{name}: {column} {word}"] = partial(_fill, name, column, value)


def _fill(name: str, column: str, value, folder: Path) -> None:
    count = pq.read_metadata(folder / name).num_rows
    set_column(folder, name, column, None if value is None else value(count))


_GONE = ("is missing", None)
_NULLS = ("has no values", lambda count: pa.nulls(count, pa.string()))
_NUMBERS = [
    _GONE,
    ("is negative", lambda count: pa.array([-1] * count, pa.int64())),
    ("is huge", lambda count: pa.array([2**62] * count, pa.int64())),
    ("is text", lambda count: pa.array([MARKUP] * count)),
    ("is nested", lambda count: pa.array([[1]] * count)),
    ("is null", lambda count: pa.nulls(count, pa.int64())),
]
_TEXTS = [
    _GONE,
    ("is markup", lambda count: pa.array([MARKUP] * count)),
    ("is for the terminal", lambda count: pa.array([TERMINAL] * count)),
    ("climbs", lambda count: pa.array([CLIMBING] * count)),
    ("is a number", lambda count: pa.array([2**62] * count)),
    ("is long", lambda count: pa.array(["9" * 10**6] * count)),
    ("is nested", lambda count: pa.array([["a"]] * count)),
    _NULLS,
]
_column_cases(
    f"{SHARD}.parquet",
    dict.fromkeys(("key", "patch_id", "patch_name", "source_id", "phrase_id", "phrase_kind"), _TEXTS)
    | dict.fromkeys(
        (
            "index",
            "algorithm",
            "layers",
            "notes",
            "lowest_note",
            "highest_note",
            "source_peak",
            "target_peak",
            "target_clipped",
        ),
        _NUMBERS,
    )
    | dict.fromkeys(
        ("json_offset", "json_bytes", "source_wav_offset", "target_syx_bytes", "prefix_bytes_wav_bytes"), _NUMBERS
    )
    | {MARKUP: [("is there", lambda count: pa.array([1] * count))]}
    | {f"{MARKUP}_offset": [("is there", lambda count: pa.array([1] * count))]}
    | {f"{CLIMBING}_offset": [("is there", lambda count: pa.array([1] * count))]},
)
_column_cases(
    "patches.parquet",
    dict.fromkeys(("id", "name", "family", "split", "kind", "file", "sha256"), _TEXTS)
    | {
        "target": [
            ("is false", lambda count: pa.array([False] * count)),
            ("is text", lambda count: pa.array(["yes"] * count)),
        ],
        "parents": [
            ("is text", lambda count: pa.array(["a"] * count)),
            ("is nested", lambda count: pa.array([[["a"]]] * count)),
        ],
        "index": [
            ("is huge", lambda count: pa.array([2**62] * count)),
            ("is text", lambda count: pa.array([MARKUP] * count)),
        ],
    },
)


@case("patches.parquet: fields out of range")
def _(folder: Path) -> None:
    set_column(folder, "patches.parquet", "packed", [b"\xff" * 128] * 32)


@case("patches.parquet: patches of 127 bytes")
def _(folder: Path) -> None:
    set_column(folder, "patches.parquet", "packed", [b"\0" * 127] * 32)


@case("patches.parquet: a patch of a gigabyte")
def _(folder: Path) -> None:
    _write_grown(folder / "patches.parquet", "name")
    sign(folder)


@case("patches.parquet: ten million rows in some kilobytes")
def _(folder: Path) -> None:
    table = pa.table({"target": pa.array(np.zeros(10**7, bool))})
    pq.write_table(table, folder / "patches.parquet", compression="zstd")
    sign(folder)


@case("table of a shard: a gigabyte of one text")
def _(folder: Path) -> None:
    _write_grown(folder / f"{SHARD}.parquet", "patch_name")
    sign(folder)


def _write_grown(path: Path, column: str, rows: int = 1000) -> None:
    """As many rows of a text of a million letters: a dictionary of one, which is plain text to whoever reads it."""
    table = pq.read_table(path)
    table = table.take(pa.array(np.arange(rows) % table.num_rows))
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["9" * 10**6]))
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, long), path, store_schema=False)


@case("table of a shard: the rows in another order")
def _(folder: Path) -> None:
    table = pq.read_table(folder / f"{SHARD}.parquet")
    pq.write_table(table.take(pa.array(np.arange(table.num_rows)[::-1].copy())), folder / f"{SHARD}.parquet")
    sign(folder)


@case("table of a shard: no rows")
def _(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / f"{SHARD}.parquet").slice(0, 0), folder / f"{SHARD}.parquet")
    sign(folder)


@case("a split without patches")
def _(folder: Path) -> None:
    set_column(folder, "patches.parquet", "split", ["train"] * 32)
