"""Phrases from Parquet tables of notes: types, times, clips and filters, bad input."""

import hashlib
import random
from contextlib import suppress
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dx7data.errors import InputError
from dx7data.phrases.filters import Filters
from dx7data.phrases.phrase import Note
from dx7data.phrases.report import MusicReport
from dx7data.phrases.selection import Wanted, select
from dx7data.phrases.table import COLUMNS, read_table

ALL = Filters()


def rows(*notes, **columns) -> dict:
    """Columns of a table: notes as (phrase_id, start_time, duration, note, velocity); some of the columns replaced."""
    return dict(zip(COLUMNS, map(list, zip(*notes, strict=True)), strict=True)) | columns


GOOD = rows((7, 0.5, 0.25, 60, 100), (7, 0.0, 0.5, 64, 90), (3, 0.0, 1.0, 50, 1), (7, 0.0, 0.5, 48, 127))


@pytest.fixture
def table(tmp_path):
    def write(columns):
        pq.write_table(pa.table(columns), tmp_path / "notes.parquet")
        return tmp_path / "notes.parquet"

    return write


def from_table(path, seconds=4.0, bpm=None, filters=ALL):
    report = MusicReport()
    phrases = select(read_table(path, bpm, report), Wanted(seconds, filters), report)
    return {phrase.about["phrase"]: phrase for phrase in phrases}, report


EXPECTED = {
    7: (Note(0, 500, 48, 127), Note(0, 500, 64, 90), Note(500, 250, 60, 100)),
    3: (Note(0, 1000, 50, 1),),
}


def test_a_table(table):
    path = table(GOOD | {"composer": ["A"] * 4})
    phrases, report = from_table(path)
    assert {key: phrase.notes for key, phrase in phrases.items()} == EXPECTED
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert phrases[7].about == {"file": "notes.parquet", "sha256": sha256, "phrase": 7}
    assert {(phrase.kind, phrase.events, phrase.cut) for phrase in phrases.values()} == {("table", (), False)}
    assert (report.files, report.found, report.duplicates) == (1, 2, 0)
    assert from_table(str(path))[0] == phrases


@pytest.mark.parametrize(
    "columns",
    [
        {"note": [60.0, 64.0, 50.0, 48.0], "velocity": pa.array([100, 90, 1, 127], pa.uint8())},
        {
            "start_time": pa.array([0.5, 0, 0, 0], pa.float32()),
            "duration": list(map(Decimal, ("0.25", "0.50", "1.00", "0.50"))),
        },
        {"phrase_id": pa.array([7, 7, 3, 7], pa.uint64()).dictionary_encode()},
    ],
)
def test_types_that_hold_the_same(table, columns):
    assert {key: phrase.notes for key, phrase in from_table(table(GOOD | columns))[0].items()} == EXPECTED


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_names_as_phrase_ids(table, kind):
    found, _ = from_table(table(GOOD | {"phrase_id": pa.array(["b\n", "b\n", "", "b\n"]).cast(kind)}))
    assert {key: phrase.notes for key, phrase in found.items()} == {"b\n": EXPECTED[7], "": EXPECTED[3]}


@given(st.permutations(range(4)))
def test_rows_come_in_any_order(tmp_path_factory, order):
    path = tmp_path_factory.getbasetemp() / "shuffled.parquet"
    pq.write_table(pa.table(GOOD).take(order), path, row_group_size=2)
    assert {key: phrase.notes for key, phrase in from_table(path)[0].items()} == EXPECTED


def test_beats(table):
    found, _ = from_table(table(GOOD), bpm=90)
    assert found[7].notes == (Note(0, 333, 48, 127), Note(0, 333, 64, 90), Note(333, 167, 60, 100))


@given(st.lists(st.floats(0.001, 3), min_size=1, max_size=30))
def test_notes_that_touch_neither_overlap_nor_part(tmp_path_factory, durations):
    path = tmp_path_factory.getbasetemp() / "line.parquet"
    starts = [sum(durations[:i]) for i in range(len(durations))]
    notes = [(1, start, duration, 60, 1) for start, duration in zip(starts, durations, strict=True)]
    pq.write_table(pa.table(rows(*notes)), path)
    played = from_table(path, seconds=100)[0][1].notes
    assert [note.start + note.held for note in played[:-1]] == [note.start for note in played[1:]]
    for note, start in zip(played, starts, strict=False):
        assert abs(note.start - 1000 * start) < 0.501 or len(played) < len(starts)


def test_the_clip_cuts_phrases_of_a_table(table):
    notes = [
        (1, 0, 1, 60, 1),
        (1, 1.9, 0.2, 62, 1),
        (1, 2, 1, 64, 1),
        (2, 1.5, 0.5, 60, 1),
        (3, 2, 1, 60, 1),
        (4, 0, 0.5, 60, 1),
    ]
    found, report = from_table(table(rows(*notes)), seconds=2.0, filters=Filters(filled=0.25))
    assert {key: phrase.cut for key, phrase in found.items()} == {1: True, 2: False, 4: False}
    assert found[1].notes == (Note(0, 1000, 60, 1), Note(1900, 200, 62, 1))
    assert (report.found, report.cut, report.left_out) == (4, 1, {"within the clip": 1})
    with pytest.raises(InputError, match="no phrase is left of 4: filled left out 3, within the clip left out 1"):
        from_table(table(rows(*notes)), seconds=2.0, filters=Filters(filled=1.1))
    assert from_table(table(rows(*notes)), seconds=2.0, filters=Filters(filled=1.0))[0].keys() == {4}  # of its own length


def test_notes_of_no_length_and_duplicates_in_a_table(table):
    notes = [("b", 0, 0.0004, 60, 1), ("b", 0, 1, 61, 1), ("a", 0, 1, 61, 1), ("c", 1, 0, 61, 1), ("d", 1, 1, 61, 1)]
    found, report = from_table(table(rows(*notes)))
    assert {key: phrase.notes for key, phrase in found.items()} == {
        "b": (Note(0, 1000, 61, 1),),  # the first of two
        "d": (Note(1000, 1000, 61, 1),),
    }
    assert (report.found, report.duplicates, report.zero_length) == (3, 1, 2)
    with pytest.raises(InputError, match="only notes of 0 ms"):
        from_table(table(rows(("b", 0, 0, 60, 1))))


def without(name) -> dict:
    return {key: column for key, column in GOOD.items() if key != name}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (without("velocity"), "has 0 columns velocity; give it one each of phrase_id, start_time"),
        ({"a": [1]}, "has 0 columns phrase_id"),
        (GOOD | {"phrase_id": [1.5, 2.0, 3.0, 4.0]}, "column phrase_id is of type double; convert it to integer or string"),
        (GOOD | {"start_time": ["a"] * 4}, "column start_time is of type string"),
        (GOOD | {"start_time": pa.array([0] * 4, pa.timestamp("s"))}, "column start_time is of type timestamp"),
        (GOOD | {"note": [True] * 4}, "column note is of type bool"),
        (GOOD | {"note": [{"x": 1}] * 4}, "column note is of type struct"),
        (GOOD | {"note": [60, None, 61, None]}, "column note is null in 2 rows"),
        (GOOD | {"phrase_id": ["a", "b", None, "a"]}, "column phrase_id is null in 1 rows"),
        (GOOD | {"phrase_id": pa.array(["a", None, "a", "a"]).dictionary_encode()}, "column phrase_id is null in 1 rows"),
        (GOOD | {"duration": [1, 1, float("nan"), 1]}, "column duration holds nan in row 3"),
        (GOOD | {"duration": [1, 1, 1, float("inf")]}, "column duration holds inf in row 4"),
        (GOOD | {"start_time": [0, -0.25, 1, 1]}, "column start_time holds -0.25 in row 2"),
        (
            GOOD | {"start_time": [0, 86401, 1, 1]},
            r"column start_time holds 86401.0 in row 2; it must hold numbers from 0 to 86,400",
        ),
        (GOOD | {"note": [60, 61, 62, 128]}, "column note holds 128.0 in row 4; it must hold whole numbers from 0 to 127"),
        (GOOD | {"note": [60, 61, 62.5, 63]}, "column note holds 62.5 in row 3"),
        (GOOD | {"note": [60, 61, 62, 2**63 - 1]}, "column note holds 9.2"),
        (GOOD | {"velocity": [0, 1, 1, 1]}, "column velocity holds 0.0 in row 1; it must hold whole numbers from 1 to 127"),
        ({name: pa.array([], pa.int64()) for name in GOOD}, "has no rows"),
    ],
)
def test_tables_that_do_not_fit_are_refused_in_a_sentence(table, columns, message):
    with pytest.raises(InputError, match=message) as error:
        from_table(table(columns))
    assert "notes.parquet" in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (dict.fromkeys(GOOD, np.full(3_000_000, 60)), r"has 3,000,000 rows in [\d,]+ bytes: that can't be music"),
        (GOOD | {"phrase_id": pa.array(["9" * 10**6] * 4)}, "column phrase_id holds texts of more than 200 letters"),
        (GOOD | {"note": [[60] * 10**6] * 4}, "column note is of type list"),
    ],
)
def test_tables_that_would_grow(table, columns, message):
    """Equal values take next to nothing in a file."""
    with pytest.raises(InputError, match=message):
        from_table(table(columns))


def test_a_table_that_is_packed_well(tmp_path):
    columns = GOOD | {"start_time": np.zeros(4), "other": ["9" * 10**8] * 4}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(InputError, match=r"would grow from [\d,]+ to 400,"):
        from_table(tmp_path / "x.parquet")


def test_a_column_twice(tmp_path):
    pq.write_table(pa.table([[1], [2]], names=["phrase_id"] * 2), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="has 2 columns phrase_id"):
        from_table(tmp_path / "x.parquet")


def test_files_that_are_no_tables_are_refused(put, table, tmp_path):
    good = table(GOOD).read_bytes()
    no_text = table(GOOD | {"phrase_id": pa.array([b"\xff"] * 4).view(pa.string())}).read_bytes()
    for data in (b"", b"PAR1", b"hello" * 99, good[:-20], good[:4] + bytes(len(good) - 4), no_text):
        with pytest.raises(InputError, match=r"bad\.parquet can't be read as Parquet") as error:
            from_table(put("bad.parquet", data))
        assert str(error.value).isprintable()
    for path in (tmp_path, tmp_path / "missing", tmp_path / "nul\0"):
        with pytest.raises(InputError, match="is no file"):
            from_table(path)


def test_damaged_tables_never_raise_anything_else(put, table):
    good, rng = table(GOOD | {"phrase_id": ["ä", "ä", "b", "ä"]}).read_bytes(), random.Random(1)
    read = 0
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(InputError):
            read += len(from_table(put("damaged.parquet", bytes(data)))) > 0
    assert 0 < read < 400
