"""Phrases from MIDI files and tables: windows against the whole performance, filters against brute force, bad input."""

import hashlib
import io
import json
import os
import random
import struct
import zipfile
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mido import Message, MetaMessage, MidiFile, MidiTrack
from performances import read

from dx7data import cli
from dx7data.errors import InputError
from dx7data.phrases import corpus, midi
from dx7data.phrases.filters import Filters
from dx7data.phrases.phrase import REST, Event, Note
from dx7data.phrases.report import MusicReport
from dx7data.phrases.selection import Wanted

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
    return corpus.collect(paths, beats, None, Wanted(seconds, filters), report), report


def taken(path, seconds=2.0, beats=None, filters=ALL):
    phrases, report = read_midi(path, seconds, beats, filters)
    return sorted(phrases, key=lambda phrase: phrase.about["start"]), report


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
    performances = read(data).performances
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
        end = performance.window(start, beats)[1] if beats else start + round(seconds * 1000)
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


@pytest.mark.parametrize("hundredths", [201, 402, 803, 3230])
def test_a_clip_is_as_long_as_a_drawn_phrase(hundredths):
    """Hundredths times ten, though 8.03 * 1000 is below 8030 in floats."""
    assert Wanted(hundredths / 100).clip == 10 * hundredths


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
    with pytest.raises(InputError, match=r"^no phrase is left of 7: polyphony left out 5, filled left out 2$"):
        read_midi(path, 2.0, 4, Filters(polyphony=(1, 1), filled=0.5))


def test_a_phrase_of_more_notes_than_can_be_rendered_is_left_out(put):
    """Note-ons that nothing ends: rendering all of them would take minutes and gigabytes."""
    notes = [(i // 2, Message("note_on", note=36 + i % 60, velocity=64)) for i in range(1200)]
    path = put("a.mid", song([Note(5000, 100, 60, 9)], notes))
    phrases, report = read_midi(path, 2.0, 4, ALL)
    assert len(phrases) == 1
    assert report.left_out == Counter({"at most 1,000 notes": 1})
    assert "the phrase at 0.000 s is left out: it has 1,200 notes, and 1,000 are the most for 2 s" in report.text()
    with pytest.raises(InputError, match=r"^no phrase is left of 1: at most 500 notes left out 1$"):
        read_midi(put("b.mid", song([], notes)), 1.0, 4, ALL)


def test_controllers_that_many_tracks_share_do_not_fill_the_memory(put):
    """Every track plays a note, and what each plays would get all controllers of the channel."""
    wheel = b"".join(b"\0\xb0\x01" + bytes([i % 128]) + b"\1\xb0\x07" + bytes([i % 128]) for i in range(20_000))
    bodies = [wheel, *[b"\0\x90\x3c\x40\x64\x3c\0"] * 1500]
    tracks = b"".join(b"MTrk" + struct.pack(">L", len(body) + 4) + body + b"\0\xff\x2f\0" for body in bodies)
    path = put("a.mid", b"MThd" + struct.pack(">LHHH", 6, 1, len(bodies), DIVISION) + tracks)
    with pytest.raises(InputError, match="phrases of more than 256 MB"):
        read_midi(path, 60.0, None, ALL)


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
    assert "1 file of music, 10 refused" in text
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
        "1 file of music, 12 refused, 0 warnings",
        "1 phrase, 1 kept (1 cut short at the end of a clip), 0 duplicates",
        "1 note of no length, 1 without an end",
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
    assert text[0] == "2 files of music, 1 refused, 1 warning"
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
