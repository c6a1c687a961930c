"""MIDI files that are not as they should be: what other readers pass over is passed over, and said."""

import struct

import pytest
from performances import read

from dx7data.phrases import smf


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack(">L", len(body)) + body


def header(kind=1, tracks=1, division=500) -> bytes:
    """At 500 ticks in a quarter note and 120 beats a minute a tick is a millisecond."""
    return chunk(b"MThd", struct.pack(">HHH", kind, tracks, division))


def raw_track(body: bytes) -> bytes:
    return chunk(b"MTrk", body)


def spans(data: bytes) -> list[tuple]:
    """Key, start and end of the notes of a file with one performance."""
    (performance,) = read(data).performances
    return [(note.note, note.start, note.start + note.held) for note in performance.notes]


WHOLE = b"\x00\x90\x3c\x64" + b"\x64\x80\x3c\x00" + b"\x00\xff\x2f\x00"  # a note of 100 ticks
THE_NOTE = [(60, 0, 100)]


def warnings(data: bytes) -> list[tuple]:
    """What was passed over in a file whose notes are all there."""
    assert spans(data) == THE_NOTE
    return read(data).warnings


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"\x51\x00", "a tempo of 0 bytes is left out"),
        (b"\x51\x02\x07\xa1", "a tempo of 2 bytes is left out"),
        (b"\x51\x03\x00\x00\x00", "a tempo of 0 microseconds is left out"),
        (b"\x58\x01\x03", "a time signature of 1 byte is left out"),
        (b"\x58\x04\x03\x40\x18\x08", "a time signature of 3 to 2^64 is left out"),
        (b"\x58\x04\x00\x02\x18\x08", "a time signature of 0 to 2^2 is left out"),
        (b"\x58\x02\x03\x02", "a time signature of 2 bytes instead of 4"),
        (b"\x59\x02\xf8\x00", "a key signature of 8 flats is left out"),
        (b"\x59\x02\x63\x00", "a key signature of 99 sharps is left out"),
        (b"\x59\x02\x00\x02", "a key signature of mode 2 is left out"),
        (b"\x59\x01\x00", "a key signature of 1 byte is left out"),
        (b"\x21\x00", "a port without a number is left out"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_meta_events_that_cannot_be_used(event, reason):
    found = warnings(header() + raw_track(WHOLE[:8] + b"\x05\xff" + event + WHOLE[8:]))
    assert found == [(30, f"{reason}, in track 1 at tick 105")]


@pytest.mark.parametrize("event", [b"\x59\x02\xf9\x01", b"\x54\x01\xff", b"\x00\x01\x00", b"\x20\x00", b"\x7f\x00"])
def test_meta_events_that_nothing_needs(event):
    assert warnings(header() + raw_track(b"\x00\xff" + event + WHOLE)) == []


def test_time_goes_on_before_meta_events_that_nobody_knows():
    assert spans(header() + raw_track(b"\x32\xff\x60\x01\x00" + WHOLE)) == [(60, 50, 150)]


def test_a_short_time_signature_counts():
    data = header() + raw_track(b"\x00\xff\x58\x02\x06\x03" + WHOLE)
    assert read(data).performances[0].window(0, 2) == (0, 500)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            header() + chunk(b"XYZ1", b"abcde") + raw_track(WHOLE),
            [(14, "a chunk 'XYZ1', which is no part of a MIDI file, is skipped")],
        ),
        (
            header() + raw_track(WHOLE) + chunk(b"XYZ1", b""),
            [(34, "a chunk 'XYZ1', which is no part of a MIDI file, is skipped")],
        ),
        (header() + raw_track(WHOLE) + b"\x1a\0\0", [(34, "skipped 3 bytes outside of chunks")]),
        (header() + b"\0" * 9 + raw_track(WHOLE), [(14, "skipped 9 bytes outside of chunks")]),
        (header() + raw_track(WHOLE) + header(), [(34, "another MIDI file begins here, and is not read")]),
        (header() + raw_track(WHOLE + b"\0\0"), [(34, "track 1 ends here, before its 14 bytes do")]),
        (header(tracks=9) + raw_track(WHOLE), [(10, "the number of tracks is 9 in the header, and 1 in the file")]),
        (header() + raw_track(b"") + raw_track(WHOLE), [(10, "the number of tracks is 1 in the header, and 2 in the file")]),
        (
            header(tracks=2) + b"MTrk\0\0\0\x40\0\xff\x2f\0" + raw_track(WHOLE),
            [(26, "track 1 ends here, before its 64 bytes do")],
        ),
    ],
)
def test_chunks_that_are_not_as_they_should_be(data, expected):
    assert warnings(data) == expected


@pytest.mark.parametrize("missing", [1, 2, 3])
@pytest.mark.parametrize("time", [b"\x00", b"\x87\x68"])
def test_an_end_that_lacks_bytes(missing, time):
    data = header() + raw_track(WHOLE[:8] + time + b"\xff\x2f\x00")
    tick = 1100 if len(time) > 1 else 100
    expected = [(30, f"the end of track 1, at tick {tick:,}, lacks its last bytes: {missing}")]
    assert warnings(data[:-missing]) == expected


def test_an_end_that_is_missing():
    data = header() + raw_track(WHOLE)
    assert warnings(data[:-4]) == [(30, "the end of track 1 is missing, after tick 100")]
    for cut in (5, 8):  # the note-off lacks a byte, or is gone
        with pytest.raises(ValueError, match=r"^is no whole MIDI file: it ends too early$"):
            smf.read(data[:-cut])


def test_a_file_in_a_riff_wrapper():
    inside = header() + raw_track(WHOLE)
    for before in (b"", b"DISP" + struct.pack("<L", 3) + b"abc\0"):  # chunks are padded to even lengths
        body = b"RMID" + before + b"data" + struct.pack("<L", len(inside)) + inside
        wrapped = b"RIFF" + struct.pack("<L", len(body)) + body
        assert warnings(wrapped) == warnings(wrapped + b"LIST\0\0\0\0") == []


def test_a_file_that_is_damaged_all_over_has_a_few_warnings():
    found = warnings(header() + raw_track(b"\x00\xff\x51\x00" * 1000 + WHOLE))
    assert len(found) == 21
    assert found[-1] == (None, "and 980 more warnings")


def test_too_many_messages_are_refused(monkeypatch):
    """Of one track and of all together; the sentence has the number."""
    note = b"\0\x90\x3c\x40\1\x3c\0"  # on and off, by running status
    monkeypatch.setattr(smf, "MAX_MESSAGES", 10)
    track = b"MTrk" + struct.pack(">L", 5 * len(note) + 4) + 5 * note + b"\0\xff\x2f\0"
    head = b"MThd" + struct.pack(">LHH", 6, 1, 1)
    assert smf.read(head + struct.pack(">H", 480) + track).sequences[0].last == 10
    with pytest.raises(ValueError, match="more than the 500,000 notes"):
        smf.read(b"MThd" + struct.pack(">LHHH", 6, 1, 2, 480) + 2 * track)
    longer = b"MTrk" + struct.pack(">L", 6 * len(note) + 4) + 6 * note + b"\0\xff\x2f\0"
    with pytest.raises(ValueError, match="more than the 500,000 notes"):
        smf.read(head + struct.pack(">H", 480) + longer)


def test_more_tracks_than_a_header_can_count_are_refused():
    with pytest.raises(ValueError, match="more than the 65,535 tracks"):
        smf.read(header() + 65_536 * raw_track(b""))
