"""Phrases from MIDI files and tables: windows against the whole performance, filters against brute force, bad input."""

import hashlib
import io
import json
import os
import random
import struct
import zipfile
from collections import Counter
from contextlib import suppress
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mido import Message, MetaMessage, MidiFile, MidiTrack

from dx7data import cli
from dx7data.errors import InputError
from dx7data.phrases import corpus, midi
from dx7data.phrases.filters import Filters
from dx7data.phrases.phrase import REST, Event, Note
from dx7data.phrases.report import MusicReport
from dx7data.phrases.selection import select

DIVISION = 500  # at 120 beats a minute a tick is a millisecond, and a bar of 4/4 is 2 s
ALL = Filters()


def song(notes, others=(), end=0, channel=0) -> bytes:
    """A file of one track: notes as Note in ticks, other messages as pairs of tick and message."""
    messages = [(note.start + note.held, 0, Message("note_off", note=note.note, channel=channel)) for note in notes]
    messages += [(tick, 1, message) for tick, message in others]
    messages += [
        (note.start, 2, Message("note_on", note=note.note, velocity=note.velocity, channel=channel)) for note in notes
    ]
    messages.append((end, 3, MetaMessage("end_of_track")))
    track, before = MidiTrack(), 0
    for tick, _, message in sorted(messages, key=lambda each: each[:2]):
        track.append(message.copy(time=tick - before))
        before = tick
    sink = io.BytesIO()
    MidiFile(type=0, ticks_per_beat=DIVISION, tracks=[track]).save(file=sink)
    return sink.getvalue()


def control(number, value):
    return Message("control_change", control=number, value=value)


def scale(count, start=0, step=100, held=100, key=60) -> list[Note]:
    return [Note(start + i * step, held, key + i, 100) for i in range(count)]


def read_midi(paths, seconds, beats, filters):
    report = MusicReport()
    return select(corpus.read_midi(paths, int(1000 * seconds), beats, report), seconds, filters, report)


def taken(path, seconds=2.0, beats=None, filters=ALL):
    phrases, report = read_midi(path, seconds, beats, filters)
    return sorted(phrases, key=lambda phrase: phrase.about["start"]), report


@pytest.fixture
def put(tmp_path):
    def write(name: str, data: bytes):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


# --- windows


@st.composite
def songs(draw):
    """Notes of which none equals another, so that no phrase is a duplicate; tempos, time signatures, controllers."""
    gaps = draw(st.lists(st.integers(0, 1500), min_size=1, max_size=40))
    lengths = draw(st.lists(st.integers(1, 3000), min_size=len(gaps), max_size=len(gaps)))
    notes = [Note(sum(gaps[: i + 1]), held, 20 + i, 1 + i) for i, held in enumerate(lengths)]
    other = st.one_of(
        st.builds(lambda tempo: MetaMessage("set_tempo", tempo=tempo), st.integers(1, 2_000_000)),
        st.builds(
            lambda numerator, power: MetaMessage("time_signature", numerator=numerator, denominator=2**power),
            st.integers(1, 9),
            st.integers(0, 4),
        ),
        st.builds(control, st.sampled_from([1, 7, 11]), st.sampled_from([0, 50, 127])),
        st.builds(lambda pitch: Message("pitchwheel", pitch=pitch), st.sampled_from([-8192, 0, 5000])),
    )
    others = draw(st.lists(st.tuples(st.integers(0, 30_000), other), max_size=15))
    return song(notes, sorted(others, key=lambda pair: pair[0]))


def values_at(events, time) -> list[int]:
    values = list(REST.values())
    for event in events:
        if event.time <= time:
            values[event.controller] = event.value
    return values


@settings(max_examples=150, deadline=None)
@given(songs(), st.none() | st.integers(1, 9), st.sampled_from([0.5, 3.0]))
def test_windows_part_the_notes_and_keep_times_and_controllers(tmp_path_factory, data, beats, seconds):
    path = tmp_path_factory.getbasetemp() / "song.mid"
    path.write_bytes(data)
    performances = midi.read(data).performances
    if not performances:
        return
    (performance,) = performances
    clip = 10**6 if beats else seconds  # windows of beats are not to be cut here
    phrases, report = taken(path, clip, beats)
    assert (report.duplicates, report.found) == (0, len(phrases))
    assert report.cut == sum(phrase.cut for phrase in phrases)

    starts = [round(phrase.about["start"] * 1000) for phrase in phrases]
    found = [
        (start + n.start, n.note, n.velocity) for start, phrase in zip(starts, phrases, strict=True) for n in phrase.notes
    ]
    assert found == [(note.start, note.note, note.velocity) for note in performance.notes]
    ends = {note.note: note.start + note.held for note in performance.notes}
    for start, phrase, following in zip(starts, phrases, [*starts[1:], 10**12], strict=True):
        end = performance.bars.window(start, beats)[1] if beats else start + round(seconds * 1000)
        assert start <= start + phrase.notes[-1].start < end <= following
        assert all(start + n.start + n.held == min(ends[n.note], end) for n in phrase.notes)
        assert beats or phrase.notes[0].start == 0
        assert phrase.cut == (not beats and any(ends[n.note] > end for n in phrase.notes))
        assert list(phrase.events) == sorted(phrase.events)
        for time in {start, end - 1, *(event.time for event in performance.events if start <= event.time < end)}:
            assert values_at(phrase.events, time - start) == values_at(performance.events, time)
        assert len(phrase.events) <= 4 + sum(start < event.time < end for event in performance.events)
        assert all(0 <= event.time < end - start for event in phrase.events)


def test_windows_of_beats(put):
    notes = [
        Note(0, 100, 60, 1),
        Note(1999, 500, 61, 2),
        Note(2000, 50, 62, 3),
        Note(6500, 700, 63, 4),
        Note(7000, 9, 64, 5),
    ]
    data = song(notes, [(6500, MetaMessage("time_signature", numerator=3, denominator=8))], end=9000)
    path = put("a.mid", data)
    phrases, report = taken(path, seconds=9.0, beats=4)
    assert [list(phrase.notes) for phrase in phrases] == [
        [Note(0, 100, 60, 1), Note(1999, 1, 61, 2)],
        [Note(0, 50, 62, 3)],  # the window from 4,000 to 6,000 is empty, the one from 6,000 on ends with the signature
        [Note(0, 700, 63, 4), Note(500, 9, 64, 5)],
    ]
    about = {"file": "a.mid", "sha256": hashlib.sha256(data).hexdigest(), "track": 0, "channel": 1}
    assert [phrase.about for phrase in phrases] == [about | {"start": start} for start in (0.0, 2.0, 6.5)]
    assert {phrase.kind for phrase in phrases} == {"midi"}
    assert (report.files, report.found, report.cut) == (1, 3, 0)


def test_windows_of_the_clip_begin_with_a_note(put):
    notes = [Note(300, 5000, 60, 1), Note(2299, 9, 61, 1), Note(2300, 7, 59, 1), Note(9000, 10, 62, 1)]
    phrases, report = taken(put("a.mid", song(notes)), seconds=2.0)
    assert [list(phrase.notes) for phrase in phrases] == [
        [Note(0, 2000, 60, 1), Note(1999, 1, 61, 1)],
        [Note(0, 7, 59, 1)],
        [Note(0, 10, 62, 1)],
    ]
    assert [phrase.about["start"] for phrase in phrases] == [0.3, 2.3, 9.0]
    assert ([phrase.cut for phrase in phrases], report.cut) == ([True, False, False], 1)


def test_controllers_at_the_beginning_of_a_window(put):
    others = [
        (10, control(1, 5)),
        (500, control(7, 90)),
        (2000, control(1, 0)),
        (2500, control(11, 3)),
        (4000, control(7, 127)),
    ]
    path = put("a.mid", song([Note(100, 9, 60, 1), Note(3000, 9, 60, 1), Note(4100, 9, 60, 1)], others))
    phrases, _ = taken(path, seconds=9.0, beats=4)
    assert [phrase.events for phrase in phrases] == [
        (Event(10, 1, 5), Event(500, 2, 90)),
        (Event(0, 2, 90), Event(500, 3, 3)),  # the wheel is at rest again where the window begins
        (Event(0, 3, 3),),
    ]


def test_a_clip_that_is_shorter_than_the_window(put):
    notes = [Note(0, 400, 60, 1), Note(900, 200, 61, 1), Note(1000, 9, 62, 1), Note(3000, 9, 60, 1), Note(4000, 1000, 60, 1)]
    path = put("a.mid", song(notes, [(999, control(1, 5)), (1000, control(1, 6))]))
    phrases, report = taken(path, seconds=1.0, beats=4)
    assert [(list(phrase.notes), phrase.cut) for phrase in phrases] == [
        ([Note(0, 400, 60, 1), Note(900, 200, 61, 1)], True),
        ([Note(0, 1000, 60, 1)], False),
    ]
    assert phrases[0].events == (Event(999, 1, 5),)
    assert (report.found, report.cut, report.left_out) == (3, 1, {"within the clip": 1})
    full = Filters(filled=0.5)  # of the clip, not of the window
    assert len(taken(path, 1.0, 4, full)[0]) == 2


# --- filters


def test_the_filters_of_the_predecessor(put):
    """A line of one voice, a bar long: each bar but the first fails one filter."""
    bars = [
        scale(8, step=250, held=200),  # filled 0.8, 8 different
        scale(3, step=600, held=600),  # too few notes
        scale(19, step=100, held=100),  # too many
        [*scale(8, step=250, held=200), Note(300, 300, 80, 9)],  # two at once
        scale(8, step=250, held=200, key=14),  # goes below 21
        scale(8, step=250, held=200, key=102),  # goes above 108
        [Note(i * 250, 200, 60 + i % 6, 9) for i in range(8)],  # 6 different
        scale(8, step=250, held=187),  # filled 0.748
        [],
        scale(18, step=111, held=90),  # the most notes that pass
        scale(7, step=280, held=215),  # 1,505 of 2,000 ms
    ]
    notes = [note._replace(start=note.start + 2000 * i) for i, bar in enumerate(bars) for note in bar]
    wanted = Filters(polyphony=(1, 1), filled=0.75, notes=(4, 18), different_notes=7, pitch_range=(21, 108))
    phrases, report = taken(put("a.mid", song(notes)), seconds=4.0, beats=4, filters=wanted)
    assert [phrase.about["start"] for phrase in phrases] == [0.0, 18.0, 20.0]
    assert report.left_out == Counter({"notes": 2, "polyphony": 1, "pitch range": 2, "different notes": 1, "filled": 1})
    assert report.found == 10


def test_when_no_phrase_is_left_the_filters_are_named(put):
    chords = [Note(2000 * i, 500, key, 9) for i in range(5) for key in (60, 64 + i)]
    path = put("a.mid", song([*chords, Note(10_000, 100, 60, 9), Note(12_000, 100, 61, 9)]))
    with pytest.raises(InputError, match=r"^no phrase is left of 7: polyphony took 5, filled took 2$"):
        read_midi(path, 2.0, 4, Filters(polyphony=(1, 1), filled=0.5))


def test_a_phrase_of_more_notes_than_can_be_rendered_is_left_out(put):
    """Note-ons that nothing ends: rendering all of them would take minutes and gigabytes."""
    notes = [(i // 2, Message("note_on", note=36 + i % 60, velocity=64)) for i in range(1200)]
    path = put("a.mid", song([Note(5000, 100, 60, 9)], notes))
    phrases, report = read_midi(path, 2.0, 4, ALL)
    assert len(phrases) == 1
    assert report.left_out == Counter({"at most 1,000 notes": 1})
    assert "the phrase at 0.000 s is left out: it has 1,200 notes, and 1,000 are the most for 2 s" in report.text()
    with pytest.raises(InputError, match=r"^no phrase is left of 1: at most 500 notes took 1$"):
        read_midi(put("b.mid", song([], notes)), 1.0, 4, ALL)


# --- files


def test_duplicates_are_dropped_and_the_order_of_files_does_not_matter(put):
    rng = random.Random(5)
    bars = [[Note(i * 250, 200, rng.randrange(40, 80), 9) for i in range(8)] for _ in range(12)]
    paths = []
    for name in "abc":
        chosen = rng.sample(bars, 8)
        notes = [note._replace(start=note.start + 2000 * i) for i, bar in enumerate(chosen) for note in bar]
        paths.append(put(f"{name}.mid", song(notes)))
    runs = [read_midi(order, 2.0, 4, ALL) for order in (paths, paths[::-1], [paths[1], *paths])]
    for phrases, report in runs:
        assert phrases.ids == sorted(phrases.ids) == runs[0][0].ids
        assert report.duplicates == report.found - len(phrases) > 0
    about = [phrase.about for phrase in runs[2][0]]
    assert Counter(each["file"] for each in about)["b.mid"] == 8  # the first one's are kept


def riff(data: bytes) -> bytes:
    body = b"RMIDdata" + struct.pack("<L", len(data)) + data
    return b"RIFF" + struct.pack("<L", len(body)) + body


def zipped(**files: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def test_folders_and_zips_are_searched(put, tmp_path):
    names = ["z/deep/b.MID", "a.midi", "c.mid", "d.txt", "e.kar", "f.rmi", "in.mid"]
    songs = {name: song(scale(3, key=20 + 10 * i)) for i, name in enumerate(names)}
    songs["f.rmi"] = riff(songs["f.rmi"])
    inside = {"x/in.mid": songs.pop("in.mid"), "in.txt": b"", "../out.mid": b"", "big.mid": bytes(midi.BYTES_LIMIT + 1)}
    for name, data in songs.items():
        put(name, data)
    archive = put("all.ZIP", zipped(**inside))
    phrases, report = taken(tmp_path)
    assert {phrase.about["file"] for phrase in phrases} == {"b.MID", "a.midi", "c.mid", "e.kar", "f.rmi", "all.ZIP/x/in.mid"}
    assert report.files == 6
    assert [line.file.rsplit("/", 1)[1] for line in report.warnings] == ["d.txt", "in.txt"]
    assert [(line.file, line.reason.split()[0]) for line in report.refused] == [
        (f"{archive}/../out.mid", "has"),
        (f"{archive}/big.mid", "unpacks"),
    ]
    assert len(taken([tmp_path / "d.txt", str(tmp_path / "e.kar")])[0]) == 2


def test_the_port_is_told(put):
    data = song(scale(3), [(0, MetaMessage("midi_port", port=2))])
    (phrase,), _ = taken(put("a.mid", data))
    assert phrase.about["port"] == 2


def test_of_equal_files_in_a_folder_the_first_by_name_is_kept(put, tmp_path):
    for name in random.Random(2).sample("abcdefghij", 10):
        put(f"{name}.mid", song(scale(3)))
    (phrase,), report = taken(tmp_path)
    assert (phrase.about["file"], report.duplicates) == ("a.mid", 9)


def test_broken_files_do_not_stop_the_others(put, tmp_path):
    good = put("good.mid", song(scale(3)))
    bad = [
        put("empty.mid", b""),
        put("cut.mid", good.read_bytes()[:40]),
        put("text.mid", b"hello"),
        put("silent.mid", song([])),
        put("drums.mid", song(scale(3), channel=9)),
        put("big.mid", b"MThd" + bytes(midi.BYTES_LIMIT)),
        tmp_path / "missing.mid",
        tmp_path / "pipe.mid",
        tmp_path / "nul\0.mid",
        tmp_path / "folder",
    ]
    os.mkfifo(tmp_path / "pipe.mid")
    (tmp_path / "folder").mkdir()
    reasons = [
        "is empty",
        "too early",
        "MThd",
        "no notes",
        "no notes",
        "split it",
        "No such file",
        "no regular",
        "null byte",
    ]
    phrases, report = taken([*bad, good])
    assert len(phrases) == 1
    assert (report.files, report.found) == (1, 1)
    for path, reason, line in zip(bad, [*reasons, "holds no .mid"], report.refused, strict=True):
        assert reason in line.reason
        assert line.file == str(path).replace("\0", "\\x00")
    text = report.text()
    assert "files 1, refused 10" in text
    assert "empty.mid: is empty" in text
    with pytest.raises(InputError, match=r"^there is no music: .*empty\.mid: is empty$"):
        read_midi(bad, 2.0, None, ALL)
    with pytest.raises(InputError, match="name a file"):
        read_midi([], 2.0, None, ALL)


def test_the_report_counts_what_was_mended(put, tmp_path):
    messages = [(5, Message("note_on", note=80)), (9, Message("note_on", note=81)), (9, Message("note_off", note=81))]
    put("a.mid", song(scale(3), messages, end=5000))
    for i in range(12):
        put(f"bad{i}.mid", b"\x1b")
    phrases, report = taken(tmp_path, filters=Filters(notes=(1, 9)))
    assert (report.zero_length, report.never_ending, report.cut) == (1, 1, 1)
    assert phrases[0].notes[1] == Note(5, 1995, 80, 64)
    lines = report.text().splitlines()
    assert lines[:3] == [
        "files 1, refused 12, warnings 0",
        "phrases 1, kept 1, of these cut 1, duplicates 0",
        "notes of no length 1, notes without an end 1",
    ]
    assert lines[-1] == "  and 2 more"
    assert len(lines) == 15
    assert all(line.isprintable() for line in lines)


def test_the_report_tells_of_every_file(put, tmp_path):
    """What was passed over stands in its lines, with the file and the byte; and all of it can be written as JSON."""
    good, end = put("a.mid", song(scale(3))), MetaMessage("end_of_track")
    flats = song(scale(3, key=70)).replace(
        bytes(end.bytes()), b"\xff\x59\x02\xf8\x00"
    )  # instead of the end, without its time
    damaged = put("b.mid", flats[:18] + struct.pack(">L", len(flats) - 22) + flats[22:])
    bad = put("c.mid", b"hello")
    _, report = taken(tmp_path)
    place = len(flats) - 6
    reason = "a key signature of 8 flats is left out, in track 1 at tick 300"
    text = report.text().splitlines()
    assert text[0] == "files 2, refused 1, warnings 1"
    assert text[3:] == ["refused", f"  {report.refused[0]}", "warnings", f"  {damaged}, byte {place:,}: {reason}"]
    document = json.loads(json.dumps(report.to_dict()))
    counts = {"notes": 3, "zero_length": 0, "never_ending": 0}
    assert document["read"] == [
        {"file": str(good), **counts, "warnings": 0},
        {"file": str(damaged), **counts, "warnings": 1},
    ]
    assert document["warnings"] == [{"file": str(damaged), "offset": place, "reason": reason}]
    assert [line["file"] for line in document["refused"]] == [str(bad)]


@pytest.mark.parametrize("usable", [True, False])
def test_the_report_is_written_with_that_of_the_patches(put, tmp_path, capsys, usable):
    files = [put("a.mid", song(scale(3)))] * usable + [put("b.mid", b"hello")]
    arguments = ["--patches", "example", "--samples", "4", "--seconds", "0.25", "--dry-run", "--split", "1,0,0"]
    out, report = str(tmp_path / "out"), tmp_path / "report.json"
    code = cli.main(["render", *arguments, "--out", out, "--midi", *map(str, files), "--report", str(report)])
    assert code == (0 if usable else 2)
    document = json.loads(report.read_text())
    assert document["found"] == (32 if usable else 0)
    assert document["music"]["files"] == usable
    assert [line["file"] for line in document["music"]["refused"]] == [str(files[-1])]
    assert f"{files[-1]}: is no MIDI file" in capsys.readouterr().err


# --- tables


def rows(*notes, **columns) -> dict:
    """Columns of a table: notes as (phrase_id, start_time, duration, note, velocity); some of the columns replaced."""
    return dict(zip(corpus.COLUMNS, map(list, zip(*notes, strict=True)), strict=True)) | columns


GOOD = rows((7, 0.5, 0.25, 60, 100), (7, 0.0, 0.5, 64, 90), (3, 0.0, 1.0, 50, 1), (7, 0.0, 0.5, 48, 127))


@pytest.fixture
def table(tmp_path):
    def write(columns):
        pq.write_table(pa.table(columns), tmp_path / "notes.parquet")
        return tmp_path / "notes.parquet"

    return write


def from_table(path, seconds=4.0, bpm=None, filters=ALL):
    report = MusicReport()
    phrases, report = select(corpus.read_table(path, bpm, report), seconds, filters, report)
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
    with pytest.raises(InputError, match="no phrase is left of 4: filled took 3, within the clip took 1"):
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
