"""MIDI files against mido's own playback, exact fractions, expectations written by hand, and damage."""

import io
import math
import struct
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mido import Message, MetaMessage, MidiFile, MidiTrack
from performances import Performance, Reading, read

from dx7data.phrases import midi
from dx7data.phrases.loops.tempo import find_window
from dx7data.phrases.phrase import CONTROLLERS, Event, Note

DIVISION = 500  # at 120 beats a minute a tick is a millisecond


def on(key, velocity=100, channel=0):
    return Message("note_on", note=key, velocity=velocity, channel=channel)


def off(key, channel=0):
    return Message("note_off", note=key, channel=channel)


def control(number, value, channel=0):
    return Message("control_change", control=number, value=value, channel=channel)


def wheel(value, channel=0):
    return Message("pitchwheel", pitch=value, channel=channel)


def tempo(value):
    return MetaMessage("set_tempo", tempo=value)


def signature(numerator, denominator):
    return MetaMessage("time_signature", numerator=numerator, denominator=denominator)


def midi_file(*tracks, kind=1, division=DIVISION) -> bytes:
    """A file of tracks, each pairs of tick and message."""
    file = MidiFile(type=kind, ticks_per_beat=division)
    for track in tracks:
        ticks = [tick for tick, _ in track]
        deltas = [after - before for before, after in zip([0, *ticks], ticks, strict=False)]
        file.tracks.append(MidiTrack(message.copy(time=delta) for delta, (_, message) in zip(deltas, track, strict=True)))
    sink = io.BytesIO()
    file.save(file=sink)
    return sink.getvalue()


def only(data: bytes) -> Performance:
    (performance,) = read(data).performances
    return performance


def spans(data: bytes) -> list[tuple]:
    """Key, start and end of the notes of a file with one performance."""
    return [(note.note, note.start, note.start + note.held) for note in only(data).notes]


def changes(data: bytes, name: str) -> list[tuple[int, int]]:
    return [(event.time, event.value) for event in only(data).events if event.controller == CONTROLLERS.index(name)]


END = (1000, MetaMessage("end_of_track"))
PLAYED = ((0, on(60)), (900, off(60)))  # so that there is a performance


def with_note(*messages) -> bytes:
    return midi_file([*sorted([*PLAYED, *messages], key=lambda pair: pair[0]), END])


# --- times


def test_notes_come_in_order_of_start_and_key():
    data = midi_file([(10, on(64, 1)), (10, on(60, 2)), (20, on(70)), (30, off(70)), (40, off(64)), (50, off(60)), END])
    assert only(data).notes == [Note(10, 40, 60, 2), Note(10, 30, 64, 1), Note(20, 10, 70, 100)]


TEMPO_MAPS = st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 0xFFFFFF)), max_size=8)


@settings(deadline=None)
@given(TEMPO_MAPS, st.lists(st.integers(1, 3000), min_size=1, max_size=30), st.integers(1, 32767), st.integers(0, 1))
def test_times_are_those_of_midos_playback(tempos, gaps, division, kind):
    ticks = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    notes = [pair for i, tick in enumerate(ticks) for pair in ((tick, on(i)), (tick + 1, off(i)))]
    conductor = [(tick, tempo(value)) for tick, value in sorted(tempos, key=lambda pair: pair[0])]
    tracks = [conductor, notes] if kind else [sorted(conductor + notes, key=lambda pair: pair[0])]
    data = midi_file(*tracks, kind=kind, division=division)

    seconds, expected = 0.0, {}
    for message in MidiFile(file=io.BytesIO(data)):
        seconds += message.time
        if message.type in ("note_on", "note_off"):
            expected.setdefault(message.note, []).append(1000 * seconds)
    if seconds > 86_000:  # close to what is refused
        return
    reading = read(data)
    found = {note.note: (note.start, note.start + note.held) for each in reading.performances for note in each.notes}
    assert len(found) + reading.zero_length == len(gaps)
    for key, (start, end) in found.items():
        assert abs(start - expected[key][0]) < 0.5 + 1e-3
        assert abs(end - expected[key][1]) < 0.5 + 1e-3
    for key in expected.keys() - found.keys():
        assert expected[key][1] - expected[key][0] < 1 + 1e-3


def exact_ms(tick, tempos, division) -> Fraction:
    """Walks every tempo: [(tick, microseconds)] in order."""
    total, since, current = Fraction(0), Fraction(0), 500_000
    for at, value in tempos:
        if at > tick:
            break
        total += (at - since) * current
        since, current = Fraction(at), value
    return (total + (tick - since) * current) / (1000 * division)


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


@given(TEMPO_MAPS, st.integers(0, 10**6), st.integers(1, 32767))
def test_times_are_exact(tempos, tick, division):
    tempos = sorted(tempos, key=lambda pair: pair[0])
    bars = midi.Bars(division, tempos)
    assert bars.milliseconds(tick) == half_up(exact_ms(tick, tempos, division))


def test_no_error_adds_up():
    """A tempo of 333,333 µs at 7 ticks, in a million steps: floats would be off, and so would rounded steps."""
    bars = midi.Bars(7, [(tick, 333_333 + tick % 2) for tick in range(0, 1_000_000, 10)])
    assert bars.milliseconds(1_000_000) == half_up(Fraction(333_333 * 1_000_000, 7000))


def test_tempo_and_controllers_come_from_all_tracks_and_pedals_too():
    data = midi_file(
        [(100, tempo(1_000_000)), (300, control(64, 127)), (400, control(1, 9)), (600, control(64, 0))],
        [(0, on(60)), (200, on(61)), (350, off(61)), (400, off(60)), (500, control(1, 0)), (1000, on(60, channel=3))],
        [(1100, off(60, channel=3)), (1200, control(1, 7, channel=3))],
    )
    first, second = read(data).performances
    assert (first.track, first.channel, second.track, second.channel) == (1, 1, 1, 4)
    assert first.notes == [Note(0, 1100, 60, 100), Note(300, 800, 61, 100)]
    assert first.events == [Event(700, 1, 9), Event(900, 1, 0)]
    assert second.notes == [Note(1900, 400, 60, 100)]  # the note-off in another track is none of its own
    assert second.events == [Event(2300, 1, 7)]
    assert read(data).never_ending == 1


def test_tracks_of_type_2_are_on_their_own():
    first = [(0, tempo(1_000_000)), (0, control(1, 5)), (100, on(60)), (200, signature(3, 8)), (250, on(62)), (300, off(60))]
    second = [(100, on(64)), (150, off(64)), (250, on(65)), (4000, off(65))]
    reading = read(midi_file(first, second, kind=2))
    slow, fast = reading.performances
    assert slow.notes == [Note(200, 400, 60, 100), Note(500, 100, 62, 100)]  # until the end of its own track
    assert (slow.events, fast.events) == ([Event(0, 1, 5)], [])
    assert fast.notes == [Note(100, 50, 64, 100), Note(250, 3750, 65, 100)]
    assert (slow.track, fast.track, reading.never_ending) == (0, 1, 1)
    assert slow.window(500, 2) == (400, 1400)  # 2 eighths at 60 beats a minute, from the change
    assert fast.window(500, 2) == (0, 1000)


def test_drums_are_left_out():
    assert only(midi_file([(0, on(36, channel=9)), (5, on(60)), (9, off(36, channel=9)), (9, off(60)), END])).channel == 1
    assert not read(midi_file([(0, on(36, channel=9))])).never_ending


# --- notes


def test_velocity_0_ends_a_note():
    assert spans(midi_file([(0, on(60)), (70, on(60, 0)), END])) == [(60, 0, 70)]


def test_a_note_off_ends_the_oldest_note_of_its_key():
    assert spans(midi_file([(0, on(60)), (50, on(60)), (80, off(60)), (90, off(60)), END])) == [(60, 0, 80), (60, 50, 90)]


def test_a_note_that_begins_before_the_last_one_ends_on_the_same_tick():
    """Sixteen repeated notes, as many sequencers write them; a pedal makes no difference."""
    strokes = [pair for i in range(1, 16) for pair in ((i * 250, on(69)), (i * 250, off(69)))]
    data = midi_file([(0, on(69)), *strokes, (4000, off(69)), (4000, END[1])])
    assert spans(data) == [(69, i * 250, i * 250 + 250) for i in range(16)]
    reading = read(data)
    assert (reading.zero_length, reading.never_ending) == (0, 0)
    held = midi_file([(0, control(64, 127)), (0, on(69)), *strokes, (4000, off(69)), (4000, END[1])])
    assert spans(held) == spans(data)


def test_notes_of_no_length_are_dropped_and_counted():
    reading = read(midi_file([(0, on(60)), (0, off(60)), (5, on(61)), (9, off(61)), (20, on(62)), (20, on(62)), END]))
    assert [note.note for note in reading.performances[0].notes] == [61, 62, 62]
    assert (reading.zero_length, reading.never_ending) == (1, 2)


def test_lengths_round_to_nothing():
    data = midi_file([(0, on(60)), (2, off(60)), (7, on(61)), (15, off(61)), END], division=5000)  # a tick is 0.1 ms
    assert spans(data) == [(61, 1, 2)]


def test_notes_without_an_end_last_until_the_end_of_the_file():
    reading = read(midi_file([(0, on(60)), (5, on(61)), (9, off(61))], [(700, MetaMessage("end_of_track"))]))
    assert reading.performances[0].notes == [Note(0, 700, 60, 100), Note(5, 4, 61, 100)]
    assert reading.never_ending == 1


def test_the_pedal_holds_released_notes():
    data = midi_file(
        [
            *((0, on(60)), (10, control(64, 64)), (20, off(60)), (30, on(61)), (40, off(61)), (50, on(62))),
            *((60, control(64, 63)), (70, off(62)), (80, on(63)), (90, off(63)), END),
        ]
    )
    assert spans(data) == [(60, 0, 60), (61, 30, 60), (62, 50, 70), (63, 80, 90)]


def test_a_key_under_the_pedal_is_struck_again():
    data = midi_file(
        [(0, control(64, 127)), (5, on(60)), (9, off(60)), (20, on(60)), (30, control(64, 0)), (40, off(60)), END]
    )
    assert spans(data) == [(60, 5, 20), (60, 20, 40)]


def test_a_pedal_that_stays_down_holds_until_the_end():
    reading = read(midi_file([(0, control(64, 127)), (5, on(60)), (9, off(60)), END]))
    assert reading.performances[0].notes == [Note(5, 995, 60, 100)]
    assert reading.never_ending == 0  # the key was released
    stray = midi_file([(0, control(64, 127)), (5, off(61)), (9, on(60)), END])
    assert read(stray).never_ending == 1


def ends_after(number: int) -> list[tuple[int, int]]:
    """Key and end: a controller at 30 in another track, the pedal down from 0 to 700, a note in another channel."""
    data = midi_file(
        [
            *((0, control(64, 127)), (5, on(60)), (9, off(60)), (10, on(61)), (10, on(62, channel=1))),
            *((40, off(62, channel=1)), (700, control(64, 0)), END),
        ],
        [(20, on(70)), (30, control(number, 0)), END],
    )
    notes = [note for performance in read(data).performances for note in performance.notes]
    return [(note.note, note.start + note.held) for note in notes]


def test_all_sound_off_ends_what_the_pedal_holds():
    assert ends_after(120) == [(60, 30), (61, 30), (62, 40), (70, 30)]


def test_all_notes_off_is_what_lifting_all_keys_is():
    """So the pedal goes on to hold what sounds."""
    assert ends_after(123) == [(60, 700), (61, 700), (62, 40), (70, 700)]
    assert spans(midi_file([(0, on(60)), (10, on(60)), (30, control(123, 0)), (40, off(60)), END])) == [
        (60, 0, 30),
        (60, 10, 30),
    ]


def port(number):
    return MetaMessage("midi_port", port=number)


def test_the_same_channel_of_two_ports_is_two_channels():
    first = [
        (0, port(0)),
        *((i * 100 + at, message) for i in range(4) for at, message in ((0, on(60 + i)), (90, off(60 + i)))),
    ]
    second = [
        (0, port(1)),
        (0, control(64, 127)),
        (0, control(7, 50)),
        (0, on(40)),
        (90, off(40)),
        (900, control(64, 0)),
        END,
    ]
    lower, upper = read(midi_file(first, second)).performances
    assert lower.notes == [Note(i * 100, 90, 60 + i, 100) for i in range(4)]
    assert upper.notes == [Note(0, 900, 40, 100)]
    assert (lower.port, upper.port, lower.channel, upper.channel) == (0, 1, 1, 1)
    assert (lower.events, upper.events) == ([], [Event(0, 2, 50)])


def test_a_port_is_that_of_what_follows_in_its_track():
    data = midi_file(
        [(0, on(60)), (10, port(3)), (20, on(60)), (20, on(36, channel=9)), (30, off(60)), (40, port(0)), (50, off(60))]
    )
    first, second = read(data).performances
    assert (first.port, first.notes, second.port, second.notes) == (0, [Note(0, 50, 60, 100)], 3, [Note(20, 10, 60, 100)])


def test_reset_all_controllers():
    data = midi_file(
        [
            *((0, control(64, 127)), (0, control(1, 20)), (0, control(7, 90)), (0, control(11, 80)), (0, wheel(4096))),
            *((5, on(60)), (9, off(60)), (20, control(121, 0)), (30, on(61)), (40, off(61)), END),
        ]
    )
    assert spans(data) == [(60, 5, 20), (61, 30, 40)]
    assert only(data).events == [
        *(Event(0, 0, (1 << 24) // 12), Event(0, 1, 20), Event(0, 2, 90), Event(0, 3, 80)),
        *(Event(20, 0, 0), Event(20, 1, 0), Event(20, 3, 127)),
    ]


def test_a_bend_that_is_reset_stays_so_in_another_range():
    select = [(30, control(101, 0)), (30, control(100, 0)), (40, control(6, 12))]
    assert changes(with_note((10, wheel(-8192)), (20, control(121, 0)), *select), "bend") == [(10, -2796203), (20, 0)]


STREAM = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.one_of(
            st.builds(on, st.integers(60, 63), st.integers(0, 2), st.integers(0, 1)),
            st.builds(off, st.integers(60, 63), st.integers(0, 1)),
            st.builds(control, st.sampled_from([64, 120, 121, 123]), st.sampled_from([0, 127]), st.integers(0, 1)),
        ),
    ),
    max_size=60,
)


@given(STREAM)
def test_every_key_that_goes_down_is_one_note_and_the_oldest_ends_first(stream):
    pairs, tick = [], 0
    for gap, message in stream:
        tick += gap
        pairs.append((tick, message))
    reading = read(midi_file(pairs, kind=0))
    notes = [(each.channel, note) for each in reading.performances for note in each.notes]
    struck = sum(message.type == "note_on" and message.velocity > 0 for _, message in pairs)
    assert len(notes) + reading.zero_length == struck
    for channel in (1, 2):
        for key in range(60, 64):
            own = [note for at, note in notes if at == channel and note.note == key]
            assert all(a.start + a.held <= b.start + b.held for a, b in pairwise(own))
    assert all(note.held > 0 and note.start + note.held <= tick for _, note in notes)


# --- controllers


def q24(cents: Fraction) -> int:
    return math.floor(cents / 1200 * 2**24)


def test_bend_is_two_semitones_unless_told_otherwise():
    found = changes(with_note((10, wheel(8191)), (20, wheel(-8192)), (30, wheel(-1)), (40, wheel(0))), "bend")
    cents = [Fraction(200 * value, 8192) for value in (8191, -8192, -1, 0)]
    assert found == list(zip((10, 20, 30, 40), map(q24, cents), strict=True))
    assert found[1][1] == -2796203  # two semitones are 2^24 / 6 down, rounded down


def test_the_range_of_the_bend():
    select = [(10, control(101, 0)), (10, control(100, 0))]
    data = with_note(*select, (10, control(6, 12)), (10, control(38, 50)), (20, wheel(4096)), (30, control(6, 24)))
    assert changes(data, "bend") == [(20, q24(Fraction(625))), (30, q24(Fraction(1225)))]  # at once, while bent


@pytest.mark.parametrize(
    "selection",
    [
        [],  # nothing is selected
        [(101, 0)],
        [(100, 0)],
        [(101, 0), (100, 1)],  # fine tuning
        [(101, 0), (100, 0), (101, 127), (100, 127)],  # null
        [(101, 0), (100, 0), (99, 0), (98, 0)],  # a non-registered parameter
        [(101, 0), (100, 0), (98, 5)],
        [(101, 0), (100, 0), (99, 5)],
    ],
)
def test_other_parameters_are_not_the_range(selection):
    data = with_note(*((10, control(*pair)) for pair in [*selection, (6, 12), (38, 1)]), (20, wheel(-8192)))
    assert changes(data, "bend") == [(20, -2796203)]


def test_the_range_is_of_one_channel_and_can_be_selected_again():
    again = [(10, control(*pair)) for pair in [(98, 0), (100, 0), (101, 0), (6, 1)]]
    other = [(10, control(*pair, channel=1)) for pair in [(100, 0), (101, 0), (6, 9)]]
    assert changes(with_note(*again, *other, (20, wheel(-8192)), (30, wheel(-8192, channel=1))), "bend") == [(20, -1398102)]


def test_controllers_report_changes_alone_and_the_last_of_a_millisecond():
    data = with_note(
        *((10, control(7, 127)), (10, control(1, 0)), (20, control(1, 64)), (30, control(1, 64)), (40, control(11, 3))),
        *((50, control(7, 99)), (50, control(7, 100)), (60, control(1, 1)), (60, control(1, 64)), (70, control(2, 5))),
    )
    assert only(data).events == [Event(20, 1, 64), Event(40, 3, 3), Event(50, 2, 100)]


# --- windows


SLOW_TEMPOS = st.lists(st.tuples(st.integers(0, 4000), st.integers(100_000, 0xFFFFFF)), max_size=8)
SIGNATURES = st.lists(
    st.tuples(st.integers(0, 4000), st.tuples(st.integers(1, 12), st.sampled_from([1, 2, 4, 8, 16]))), max_size=5
)


def first_ticks(signatures, division, beats, until) -> list[Fraction]:
    """Of all windows that begin before a tick, counted one by one."""
    parts = [(0, (4, 4))]
    for tick, value in signatures:
        if value != parts[-1][1]:
            parts.append((tick, value))
    found = []
    for (begin, (_, denominator)), (end, _) in zip(parts, [*parts[1:], (until, None)], strict=True):
        position = Fraction(begin)
        while position < end:
            found.append(position)
            position += Fraction(4 * division * beats, denominator)
    return found


@settings(deadline=None)
@given(SLOW_TEMPOS, SIGNATURES, st.integers(24, 960), st.integers(1, 9), st.integers(0, 5000))
def test_windows_are_those_counted_one_by_one(tempos, signatures, division, beats, tick):
    tempos, signatures = (sorted(pairs, key=lambda pair: pair[0]) for pairs in (tempos, signatures))
    bars = midi.Bars(division, tempos, signatures)
    ticks = first_ticks(signatures, division, beats, until=5000 + 8 * division * beats)
    starts = [half_up(exact_ms(at, tempos, division)) for at in ticks]
    time = half_up(exact_ms(tick, tempos, division))
    expected = max(start for start in starts if start <= time), min(start for start in starts if start > time)
    assert find_window(bars.to_arrays(), time, beats) == expected


def test_windows_of_hand():
    bars = midi.Bars(
        500, [(1000, 1_000_000)], [(500, (4, 4)), (3000, (3, 4)), (3000, (3, 4)), (4000, (6, 8)), (9000, (6, 8))]
    )
    # 4 beats are 2,000 ticks from 0 on, anew from 3,000, and eighths of 250 ticks from 4,000; from 1,000 on a tick is 2 ms
    times = [0, 2999, 3000, 4999, 5000, 6999, 7000, 8999, 9000]
    windows = [(0, 3000), (3000, 5000), (5000, 7000), (7000, 9000), (9000, 11000)]
    assert [find_window(bars.to_arrays(), time, 4) for time in times] == [windows[i] for i in (0, 0, 1, 1, 2, 2, 3, 3, 4)]


def test_windows_that_begin_between_milliseconds():
    bars = midi.Bars(1, [(0, 1500)])
    assert [find_window(bars.to_arrays(), time, 1) for time in range(5)] == [(0, 2), (0, 2), (2, 3), (3, 5), (3, 5)]


# --- damage

VALID = [
    with_note((10, wheel(77)), (20, control(64, 127)), (30, tempo(400_000)), (40, signature(3, 4))),
    midi_file(
        [(0, MetaMessage("track_name", name="A")), (0, MetaMessage("key_signature", key="Eb")), (9, MetaMessage("text"))],
        [(0, Message("sysex", data=(1, 2, 3))), (0, Message("program_change", program=5)), *PLAYED],
        kind=2,
    ),
]


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError, match=r"\w") as error:
        read(data)
    assert error.type is ValueError
    assert str(error.value).isprintable()
    return str(error.value)


def header(kind=1, tracks=1, division=DIVISION) -> bytes:
    return b"MThd" + struct.pack(">LHHH", 6, kind, tracks, division)


def raw_track(body: bytes) -> bytes:
    return b"MTrk" + struct.pack(">L", len(body)) + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"RIFF" + bytes(100), "does not begin with MThd"),
        (b"RIFF" + bytes(4) + b"RMIDdisp" + bytes(4), "without MIDI data"),
        (VALID[0][:-5], "ends too early"),
        (VALID[0][:10], "ends too early"),
        (VALID[0][:18], "ends before its first track"),
        (header() + b"XTrk" + bytes(4), "ends before its first track"),
        (header(3, 0), "type 3"),
        (header(division=0xE728) + raw_track(b""), "SMPTE frames"),
        (header(division=0) + raw_track(b""), "0 ticks"),
        (b"MThd" + bytes([0, 0, 0, 4]) + bytes(9), "header has 4 bytes"),
        (header() + raw_track(b"\x00\xf4"), "F4 at byte 22 begins no event"),
        (header() + raw_track(b"\x00\x3c\x40"), "the event at byte 22 does not say what it is"),
        (header() + raw_track(b"\x00\x90\x3c"), "the event at byte 22 goes on when its track has ended"),
        (header() + raw_track(b"\xff\xff\xff\x7f\x90\x40\x40"), "more than a day"),
        (header() + raw_track(b"\xff" * 4096 + b"\x01\x90\x40\x40"), "at byte 22 is a number of more than 4 bytes"),
        (header() + bytes(midi.BYTES_LIMIT), "split it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_refused_in_a_sentence(data, message):
    assert message in refusal(data)


def test_a_file_without_notes_has_no_performances():
    for data in (header(tracks=0), header() + raw_track(b""), midi_file([(0, control(1, 5))])):
        assert read(data) == Reading()


def test_data_bytes_above_127_are_clipped():
    body = b"\x00\x90\x3c\xc8" + b"\x81\x00\x80\x3c\x00"
    assert only(header() + raw_track(body)).notes == [Note(0, 128, 60, 127)]


def check(data: bytes) -> None:
    """Either a reading whose every time is possible, or a ValueError."""
    reading = Reading()
    with suppress(ValueError):
        reading = read(data)
    for performance in reading.performances:
        assert performance.notes == sorted(performance.notes, key=lambda note: (note.start, note.note))
        assert all(0 <= note.start < note.start + note.held <= 86_400_000 for note in performance.notes)
        assert all(0 <= note.note <= 127 and 1 <= note.velocity <= 127 for note in performance.notes)
        for note in performance.notes[:3]:
            begin, end = performance.window(note.start, 4)
            assert begin <= note.start < end


@given(st.binary(max_size=300), st.sampled_from([b"", header(0), header(1, 2), header() + b"MTrk\x00\x00\x00\x40"]))
def test_random_bytes(data, before):
    check(before + data)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=6),
    st.integers(0, 300) | st.none(),
)
def test_mutated_files(data, mutations, length):
    changed = bytearray(data)
    for place, value in mutations:
        changed[place % len(changed)] = value
    check(bytes(changed[:length]))


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=9)), max_size=30), st.sampled_from([0, 1, 2]))
def test_tracks_of_random_messages(parts, kind):
    """Messages that are whole, so that more than the parser is met."""
    sizes = {0xC0: 1, 0xD0: 1}
    body = b""
    for status, data in parts:
        size = sizes.get(status & 0xF0, 2)
        if status < 0x80 or status >= 0xF0:
            body += b"\x05\xff" + bytes([status & 0x7F, len(data)]) + data
        else:
            body += b"\x05" + bytes([status]) + bytes(byte & 0x7F for byte in data[:size].ljust(size, b"\0"))
    check(header(kind, 2) + raw_track(body) + raw_track(body))
