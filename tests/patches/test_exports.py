"""Exports come back as they were; what is none, or was edited badly, is refused by name."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dx7data.patches import bank, exports, patch, sysex

SUFFIXES = [".json", ".parquet"]


def stored(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parameters = rng.integers(0, patch.MAXIMA.astype(int) + 1, (count, patch.PARAMETERS))
    return np.hstack([parameters, rng.integers(0, 128, (count, 10))]).astype(np.uint8)  # any name that a DX7 stores


def exported(tmp_path, patches: np.ndarray, suffix: str):
    (tmp_path / "in").write_bytes(b"".join(map(sysex.write_voice, patches)))
    bank.export(bank.load(tmp_path / "in", keep_duplicates=True), tmp_path / f"out{suffix}")
    return tmp_path / f"out{suffix}"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exports_come_back_byte_for_byte(tmp_path, suffix):
    patches = stored(1, 50)
    patches[:4, 145:] = np.frombuffer(b"PLAIN     trailing\0\0\x7f?q\\\"' <&> \x1b[0m.... ", np.uint8).reshape(4, 10)
    loaded = bank.load(exported(tmp_path, patches, suffix))
    np.testing.assert_array_equal(loaded.patches, patches)
    assert not loaded.report.refused
    assert not loaded.report.warnings


def test_names_tell_all_where_they_can(tmp_path):
    patches = stored(2, 2)
    patches[:, 145:] = np.frombuffer(b"E.PIANO 1 E.PIANO\0 1", np.uint8).reshape(2, 10)
    path = exported(tmp_path, patches, ".json")
    entries = json.loads(path.read_text())
    assert [entry["name"] for entry in entries] == ["E.PIANO 1", "E.PIANO? 1"]
    assert ["name_bytes" in entry for entry in entries] == [False, True]
    entries[1]["name"] = "OTHER"
    path.write_text(json.dumps(entries))
    assert bank.load(path).names == ["E.PIANO 1", "OTHER"]


def test_edited_values_count(tmp_path):
    path = exported(tmp_path, stored(3, 2), ".json")
    entries = json.loads(path.read_text())
    entries[1]["algorithm"] = entries[1]["algorithm"] ^ 1
    path.write_text(json.dumps(entries))
    loaded = bank.load(path)
    assert loaded.patches[1, 134] == entries[1]["algorithm"]
    assert "patch 2 has an id that is not that of its values" in loaded.report.text()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda entry: entry.pop("feedback"), "feedback is null, it must be a whole number from 0 to 7"),
        (lambda entry: entry.update(algorithm=32), "algorithm is 32, it must be a whole number from 0 to 31"),
        (lambda entry: entry.update(transpose=2.5), "transpose is 2.5"),
        (lambda entry: entry.update(lfo_speed=True), "lfo_speed is true"),
        (lambda entry: entry["operators"][2].update(output_level=-1), "op4_output_level is -1"),
        (lambda entry: entry["operators"].pop(), "its `operators` are not one each of 1 to 6"),
        (lambda entry: entry["operators"][0].update(operator=[6]), "its `operators` are not one each of 1 to 6"),
        (lambda entry: entry.update(name="ELEVEN CHARS"), "up to 10 ASCII characters"),
        (lambda entry: entry.update(name=None), "its name is null"),
    ],
)
def test_entries_that_are_no_patches_are_left_out_by_number(tmp_path, change, reason):
    path = exported(tmp_path, stored(4, 3), ".json")
    entries = json.loads(path.read_text())
    change(entries[1])
    path.write_text(json.dumps(entries))
    loaded = bank.load(path)
    assert loaded.ids == [entries[0]["id"], entries[2]["id"]]
    (line,) = loaded.report.refused
    assert "patch 2 is left out: " in str(line)
    assert reason in str(line)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[",
        "[]",
        "[1 2]",
        "[1,",
        "[1,]",
        "[1] [2]",
        "[1]]",
        "[" * 100_000,
        "nonsense",
        "\ufeff[]",
        "[" + "1," * 50_000,
        '[{"a":',
    ],
)
def test_other_json_is_refused(text):
    reading = exports.read("x.json", text.encode())
    assert not reading.voices
    assert 1 <= len(reading.refused) <= 1_002
    assert "is no list of patches" in reading.refused[-1][1]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_never_raises(tmp_path, suffix):
    good, rng = exported(tmp_path, stored(5, 3), suffix).read_bytes(), np.random.default_rng(6)
    for case in range(200):
        data = bytearray(good)
        data[rng.integers(len(data))] = rng.integers(256)
        data = data[: rng.integers(len(data))] if case % 4 == 0 else data
        reading = exports.read(f"x{suffix}", bytes(data))
        assert reading.voices or reading.refused
        for record in reading.voices:
            patch.require_legal(np.frombuffer(record.patch, np.uint8))


def parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, store_schema=False)  # a dictionary becomes what it stands for
    return buffer.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"a": [1]}, "no column `packed`"),
        ({"packed": [b"short"]}, "`packed` is not 128 bytes in every row"),
        ({"packed": [bytes(128), None]}, "`packed` is not 128 bytes in every row"),
        ({"packed": pa.DictionaryArray.from_arrays(np.zeros(900_000, int), [bytes(500_000)])}, "is not 128 bytes"),
        ({"packed": [1]}, "`packed` is of type int64, not 128 bytes"),
        ({"packed": pa.nulls(1_000_001)}, "1,000,001 rows, more than the 1,000,000"),
        ({"packed": pa.array([], pa.binary(128))}, "without rows"),
    ],
)
def test_other_tables_are_refused(columns, reason):
    reading = exports.read("x.parquet", parquet(pa.table(columns)))
    assert not reading.voices
    assert reason in reading.refused[0][1]
