"""A reader of MIDI files in plain Python, message by message: what the compiled one must find, note for note.

It came first, and was compared with mido's playback, exact fractions and expectations written by hand. It shares no code
with what it checks, but for the types of a phrase and of its filters.
"""

import hashlib
import math
import struct
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from operator import attrgetter, itemgetter
from typing import NamedTuple

from dx7data.phrases.filters import NO_FILTERS, Filters
from dx7data.phrases.phrase import CONTROLLERS, REST, Event, Note, Phrase

NOTE_OFF, NOTE_ON, CONTROL, BEND = 0x80, 0x90, 0xB0, 0xE0  # status bytes, without their channel

_MAX_MESSAGES = 500_000  # of a file: with more, cutting it into phrases takes over 10 s; long pieces for piano have 100,000
_WARNINGS = 20  # of one file; what is damaged all over would fill the report
_PLAYED = {NOTE_OFF, NOTE_ON, CONTROL, BEND}
_ONE_BYTE = {0xC0, 0xD0}  # program and channel pressure have one data byte, other messages of a channel two
_SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}  # and their data bytes
_SYSEX = {0xF0, 0xF7}
_META, _PORT, _END, _TEMPO, _TIME_SIGNATURE, _KEY_SIGNATURE = 0xFF, 0x21, 0x2F, 0x51, 0x58, 0x59
_END_EVENT = bytes([_META, _END, 0])
_SHORTEST_NOTE = 128  # the note of a time signature's denominator

_TOO_MANY = f"has more than the {_MAX_MESSAGES:,} notes and changes of controllers that are read of a MIDI file: split it"

Warn = Callable[[int, str], None]


class Message(NamedTuple):
    """A message of a channel that is played: note-on, note-off, controller or pitch bend."""

    tick: int  # from the beginning of the track
    track: int  # from 0
    port: int  # from 0
    kind: int  # status byte without its channel
    channel: int  # from 0
    first: int  # data bytes, 0-127
    second: int


@dataclass
class Track:
    """What a track holds, each in order of time."""

    messages: list[Message] = field(default_factory=list)
    tempos: list[tuple[int, int]] = field(default_factory=list)  # tick, microseconds of a quarter note
    signatures: list[tuple[int, tuple[int, int]]] = field(default_factory=list)  # tick, (numerator, denominator)
    end: int = 0  # tick


@dataclass
class File:
    """A file of one piece (type 0 or 1), or of tracks that are pieces of their own (type 2)."""

    kind: int
    division: int  # ticks in a quarter note
    tracks: list[Track] = field(default_factory=list)
    warnings: list[tuple[int | None, str]] = field(default_factory=list)  # byte offset, sentence


def read_file(data: bytes) -> File:
    """Raises ValueError, in words that follow the name of the file, when it can't be read."""
    place, end = _unwrap(data)
    data = data[:end]
    if not data.startswith(b"MThd", place):
        raise ValueError("is no MIDI file: it does not begin with MThd")
    if len(data) < place + 14:
        raise ValueError("is no whole MIDI file: it ends too early")
    length, kind, count, division = struct.unpack_from(">LHHH", data, place + 4)
    if length < 6:
        raise ValueError(f"is no MIDI file that can be read: its header has {length} byte{'s' * (length != 1)} instead of 6")
    if kind not in (0, 1, 2):
        raise ValueError(f"is a MIDI file of type {kind}; save it as type 0, 1 or 2")
    if division & 0x8000:
        raise ValueError("counts time in SMPTE frames; save it with ticks in a quarter note instead")
    if division == 0:
        raise ValueError("has 0 ticks in a quarter note, so it can't be timed")
    file = File(kind, division)
    _read_chunks(data, place + 8 + length, file)
    if count and not file.tracks:
        raise ValueError("is no whole MIDI file: it ends before its first track")
    if count != len(file.tracks):
        _warn(file, place + 10, f"the number of tracks is {count:,} in the header, and {len(file.tracks):,} in the file")
    if (more := len(file.warnings) - _WARNINGS) > 0:
        file.warnings[_WARNINGS:] = [(None, f"and {more:,} more warning{'s' * (more > 1)}")]
    return file


def _unwrap(data: bytes) -> tuple[int, int]:
    """Where the MIDI file begins and ends: inside a RIFF file, whose numbers are little-endian, or as it is."""
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return 0, len(data)
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sL", data, place)
        if name == b"data":
            return place + 8, min(place + 8 + size, len(data))
        place += 8 + size + size % 2  # chunks begin at even places
    raise ValueError("is a RIFF file without MIDI data in it")


def _read_chunks(data: bytes, place: int, file: File) -> None:
    def warn(offset: int, reason: str) -> None:
        _warn(file, offset, reason)

    while place < len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8])
        begin = place + 8
        if name == b"MTrk" and begin <= len(data):
            track, end = _read_track(data, begin, size, len(file.tracks), warn)
            file.tracks.append(track)
            if sum(len(each.messages) for each in file.tracks) > _MAX_MESSAGES:
                raise ValueError(_TOO_MANY)
            place = begin + size
            if end < min(place, len(data)):  # the length is wrong, or something stands behind the end
                warn(end, f"track {len(file.tracks)} ends here, before its {size:,} bytes do")
                following = data.find(b"MTrk", end, place + 3)
                place = following if following >= 0 else place
        elif name == b"MThd":
            warn(place, "another MIDI file begins here, and is not read")
            return
        elif name.isascii() and name.decode().isprintable() and begin + size <= len(data):
            warn(place, f"a chunk {name.decode()!r}, which is no part of a MIDI file, is skipped")
            place = begin + size
        else:
            following = data.find(b"MTrk", place + 1)
            end = following if following >= 0 else len(data)
            warn(place, f"skipped {end - place:,} byte{'s' * (end - place > 1)} outside of chunks")
            place = end


def _warn(file: File, offset: int, reason: str) -> None:
    file.warnings.append((offset, reason))


class _Ended(Exception):
    """The bytes of a track end within an event."""


class _Bytes:
    """The bytes of a track, from one to the next."""

    def __init__(self, data: bytes, place: int, end: int):
        self.place, self.end = place, end
        self._data = data

    def byte(self) -> int:
        if self.place >= self.end:
            raise _Ended
        self.place += 1
        return self._data[self.place - 1]

    def take(self, count: int) -> bytes:
        if self.place + count > self.end:
            raise _Ended
        self.place += count
        return self._data[self.place - count : self.place]

    def number(self) -> int:
        """A number of seven bits a byte; the last byte is below 128."""
        number, begin = 0, self.place
        while (byte := self.byte()) >= 0x80:
            number = (number | byte & 0x7F) << 7
            if self.place - begin == 4:
                raise ValueError(f"is no MIDI file that can be read: at byte {begin:,} is a number of more than 4 bytes")
        return number | byte


def _read_track(data: bytes, begin: int, size: int, number: int, warn: Warn) -> tuple[Track, int]:
    """A track of so many bytes, and where it ends."""
    source = _Bytes(data, begin, min(begin + size, len(data)))
    missing = begin + size - source.end
    track, port, running = Track(), 0, None
    while source.place < source.end:
        at = source.place
        try:
            track.end += source.number()
            status = source.byte()
            if status == _META:
                kind, body = source.byte(), source.take(source.number())
                if kind == _END:
                    return track, source.place
                if kind == _PORT and body:
                    port = body[0]
                elif fault := _keep_meta(track, kind, body):
                    warn(at, f"{fault}, in track {number + 1} at tick {track.end:,}")
            elif status in _SYSEX:
                source.take(source.number())
            elif status >= 0xF0:
                if status not in _SYSTEM:
                    raise ValueError(f"is no MIDI file that can be read: {status:X} at byte {at:,} begins no event")
                source.take(_SYSTEM[status])
            else:
                first = source.byte() if status >= 0x80 else status
                running = status if status >= 0x80 else running  # other events leave it as it is
                if running is None:
                    raise ValueError(f"is no MIDI file that can be read: the event at byte {at:,} does not say what it is")
                kind, channel = running & 0xF0, running & 0x0F
                second = 0 if kind in _ONE_BYTE else source.byte()
                if kind in _PLAYED:
                    message = Message(track.end, number, port, kind, channel, min(first, 127), min(second, 127))
                    track.messages.append(message)
                    if len(track.messages) > _MAX_MESSAGES:
                        raise ValueError(_TOO_MANY)
        except _Ended:
            if not missing:
                reason = f"the event at byte {at:,} goes on when its track has ended"
                raise ValueError(f"is no MIDI file that can be read: {reason}") from None
            if not _is_end(data[at : source.end], missing):
                raise ValueError("is no whole MIDI file: it ends too early") from None
            warn(at, f"the end of track {number + 1}, at tick {track.end:,}, lacks its last bytes: {missing}")
            return track, source.end
    if missing > 1 + len(_END_EVENT):
        raise ValueError("is no whole MIDI file: it ends too early")
    if missing:
        warn(source.end, f"the end of track {number + 1} is missing, after tick {track.end:,}")
    return track, source.end


def _is_end(event: bytes, missing: int) -> bool:
    """Whether an event that lacks so many bytes can only be the end of a track: then no note is lost."""
    if missing > len(_END_EVENT):
        return False
    whole = event + _END_EVENT[-missing:]
    time = whole[:-3]
    return whole.endswith(_END_EVENT) and 1 <= len(time) <= 4 and time[-1] < 0x80 and all(byte > 0x7F for byte in time[:-1])


def _keep_meta(track: Track, kind: int, body: bytes) -> str | None:
    """Add tempos and time signatures to a track; of those that can't be used, and of other events, what is wrong."""
    size = f"of {len(body)} byte{'s' * (len(body) != 1)}"
    if kind == _TEMPO:
        tempo = int.from_bytes(body[:3])
        if len(body) < 3 or not tempo:
            return f"a tempo {'of 0 microseconds' if len(body) >= 3 else size} is left out"
        track.tempos.append((track.end, tempo))
    elif kind == _TIME_SIGNATURE:
        if len(body) < 2 or not body[0] or 1 << body[1] > _SHORTEST_NOTE:
            return f"a time signature {size if len(body) < 2 else f'of {body[0]} to 2^{body[1]}'} is left out"
        track.signatures.append((track.end, (body[0], 1 << body[1])))
        if len(body) < 4:
            return f"a time signature {size} instead of 4"
    elif kind == _KEY_SIGNATURE:
        if len(body) < 2 or body[1] > 1:
            return f"a key signature {size if len(body) < 2 else f'of mode {body[1]}'} is left out"
        if 7 < body[0] < 256 - 7:
            count = f"{256 - body[0]} flats" if body[0] > 127 else f"{body[0]} sharps"
            return f"a key signature of {count} is left out"
    elif kind == _PORT:
        return "a port without a number is left out"
    return None


_BYTES_LIMIT = 4 << 20
_BEND_SEMITONES = 2  # of the pitch wheel, up and down, where RPN 0 says nothing else
_DRUMS = 9  # MIDI channel 10
_QUARTER = 500_000  # microseconds of a quarter note where nothing is said: 120 beats a minute
_LONGEST = 24 * 60 * 60 * 1000  # ms: a file that goes on for more than a day is damaged


class Bars:
    """The tempo and the time signatures of a sequence: from ticks to milliseconds, and its windows of N beats.

    Times are exact: a sum of ticks × tempo, divided once and rounded, so that no error adds up.
    """

    def __init__(self, division: int, tempos: Iterable[tuple[int, int]] = (), signatures: Iterable[tuple] = ()) -> None:
        """`division`: ticks in a quarter note; in order: (tick, microseconds), (tick, (numerator, denominator))."""
        self._division = division
        self._scale = 1000 * division  # ticks × microseconds in one millisecond
        # Where each tempo begins, in ticks and in ticks × microseconds, and the microseconds of its quarter note.
        self._ticks, self._elapsed, self._tempos = [0], [0], [_QUARTER]
        for tick, tempo in tempos:
            self._elapsed.append(self._elapsed[-1] + (tick - self._ticks[-1]) * self._tempos[-1])
            self._ticks.append(tick)
            self._tempos.append(tempo)
        changes = [(0, (4, 4))]
        for tick, signature in signatures:
            if signature != changes[-1][1]:  # many files repeat it, which must not shorten a window
                changes.append((tick, signature))
        self._signatures = [(tick, denominator) for tick, (_, denominator) in changes]
        self._changes = [self.milliseconds(tick) for tick, _ in changes]

    def milliseconds(self, tick: int | Fraction) -> int:
        """The time of a tick, to the nearest millisecond."""
        i = bisect_right(self._ticks, tick) - 1
        elapsed = self._elapsed[i] + (tick - self._ticks[i]) * self._tempos[i]
        return (2 * elapsed + self._scale) // (2 * self._scale)

    def window(self, time: int, beats: int) -> tuple[int, int]:
        """Beginning and end in ms of the window of so many beats that a time is in; the end is the next one's beginning.

        Windows are counted from the beginning of the file and anew at each change of the time signature; 4/denominator
        quarter notes are a beat.
        """
        current = bisect_right(self._changes, time) - 1
        begin, denominator = self._signatures[current]
        ticks = Fraction(4 * self._division * beats, denominator)
        number = math.ceil((self._after(time) - begin) / ticks) - 1
        bounds = [self.milliseconds(begin + (number + i) * ticks) for i in range(2)]
        return bounds[0], min(bounds[1:] + self._changes[current + 1 : current + 2])

    def _after(self, time: int) -> Fraction:
        """The first tick, whole or not, that rounds to a later millisecond."""
        elapsed = (2 * time + 1) * self._scale // 2
        i = bisect_left(self._elapsed, elapsed) - 1
        return self._ticks[i] + Fraction(elapsed - self._elapsed[i], self._tempos[i])


@dataclass(frozen=True)
class Performance:
    """What one channel of a port plays in one track. Times are ms from the beginning of the file, in type 2 of the track."""

    track: int  # from 0
    port: int  # from 0
    channel: int  # from 1
    notes: list[Note]  # at least one, in order of (start, note)
    events: list[Event]  # in order of (time, controller), each another value than before
    bars: Bars


@dataclass
class Reading:
    """The performances of a file in order of (track, port, channel), and what was mended."""

    performances: list[Performance] = field(default_factory=list)
    zero_length: int = 0  # notes of no length in ms, left out
    never_ending: int = 0  # notes that nothing ended, so they last until the end
    warnings: list[tuple[int | None, str]] = field(default_factory=list)  # byte offset, sentence


class _Channel:
    """The state of a channel while its messages go by. A voice is (track, key): it may sound several times at once."""

    def __init__(self) -> None:
        self.notes: dict[int, list[Note]] = defaultdict(list)  # by track
        self._down: dict[tuple[int, int], deque[tuple[int, int]]] = {}  # start and velocity, the oldest first
        self._held: dict[tuple[int, int], list[tuple[int, int]]] = {}  # of released keys, which the pedal alone holds
        self._pedal = False
        self._values: dict[tuple[int, int], int] = {}  # by (time, controller): the last one in a millisecond counts
        self._bend = 0  # -8192 to 8191
        self._bend_range = {"semitones": _BEND_SEMITONES, "cents": 0}
        self._parameter: dict[int, int] = {}  # the registered one that is selected: values of CC 101 and 100

    def take(self, time: int, message: Message) -> None:
        """Go on by one message."""
        if message.kind == BEND:
            self._bend = (message.second << 7 | message.first) - 8192
            self._set_bend(time)
        elif message.kind == CONTROL:
            self._control(time, message.first, message.second)
        elif message.kind == NOTE_ON and message.second:
            voice = message.track, message.first
            self._end(time, self._held, [voice])  # what the pedal alone holds is struck again
            self._down.setdefault(voice, deque()).append((time, message.second))
        else:
            self._release(time, (message.track, message.first))

    def _release(self, time: int, voice: tuple[int, int]) -> None:
        """A key goes up. It ends the oldest note: many files begin the next one before, on the same tick."""
        if self._down.get(voice):
            self._held.setdefault(voice, []).append(self._down[voice].popleft())
            if not self._pedal or self._down[voice]:  # a pedal does not hold what was struck again in the meantime
                self._end(time, self._held, [voice])

    def _end(self, time: int, sounding: dict, voices: Iterable[tuple[int, int]]) -> None:
        for track, key in list(voices):
            for start, velocity in sounding.pop((track, key), ()):
                self.notes[track].append(Note(start, time - start, key, velocity))

    def _control(self, time: int, control: int, value: int) -> None:
        match control:
            case 1:
                self._set(time, "wheel", value)
            case 7:
                self._set(time, "volume", value)
            case 11:
                self._set(time, "expression", value)
            case 64:
                self._set_pedal(time, value >= 64)
            case 120:  # all sound off
                self._end_all(time)
            case 123:  # all notes off: all keys go up, and what the pedal holds goes on
                for voice, down in self._down.items():
                    for _ in list(down):
                        self._release(time, voice)
            case 121:
                self._reset(time)
            case 98 | 99:  # a non-registered parameter is selected
                self._parameter = {}
            case 100 | 101:
                self._parameter[control] = value
            case 6:
                self._set_range(time, "semitones", value)
            case 38:
                self._set_range(time, "cents", value)

    def _set(self, time: int, name: str, value: int) -> None:
        self._values[time, CONTROLLERS.index(name)] = value

    def _set_pedal(self, time: int, down: bool) -> None:
        self._pedal = down
        if not down:
            self._end(time, self._held, self._held)

    def _reset(self, time: int) -> None:
        self._bend = 0
        for name in ("bend", "wheel", "expression"):
            self._set(time, name, REST[name])
        self._set_pedal(time, False)

    def _set_range(self, time: int, unit: str, value: int) -> None:
        if self._parameter == {101: 0, 100: 0}:  # any other one, RPN null too, is not the range of the bend
            self._bend_range[unit] = value
            self._set_bend(time)

    def _set_bend(self, time: int) -> None:
        cents = 100 * self._bend_range["semitones"] + self._bend_range["cents"]
        self._set(time, "bend", (self._bend * cents << 24) // (8192 * 1200))

    def _end_all(self, time: int) -> None:
        self._end(time, self._held, self._held)
        self._end(time, self._down, self._down)

    def finish(self, time: int) -> int:
        """End what still sounds; returns how many keys were never released."""
        never_ending = sum(map(len, self._down.values()))
        self._end_all(time)
        return never_ending

    def events(self) -> list[Event]:
        """The controller changes."""
        values, changes = list(REST.values()), []
        for (time, controller), value in sorted(self._values.items()):
            if value != values[controller]:
                values[controller] = value
                changes.append(Event(time, controller, value))
        return changes


def read(data: bytes) -> Reading:
    """The performances in a Standard MIDI file of type 0, 1 or 2; drums (channel 10) are left out.

    Raises ValueError, in words that follow the name of the file, when it can't be read.
    """
    if not data:
        raise ValueError("is empty")
    if len(data) > _BYTES_LIMIT:
        raise ValueError(f"has more than the {_BYTES_LIMIT:,} bytes that are read of a MIDI file: split it")
    file = read_file(data)
    reading = Reading(warnings=file.warnings)
    for tracks in [[track] for track in file.tracks] if file.kind == 2 else [file.tracks]:
        _perform(tracks, file.division, reading)
    reading.performances.sort(key=attrgetter("track", "port", "channel"))
    return reading


def _perform(tracks: list[Track], division: int, reading: Reading) -> None:
    """Add to a reading what is played in the tracks of a sequence: all of the file's, or one in type 2."""

    def together(name: str) -> list:
        return sorted(chain.from_iterable(getattr(track, name) for track in tracks), key=itemgetter(0))

    bars = Bars(division, together("tempos"), together("signatures"))
    end = bars.milliseconds(max((track.end for track in tracks), default=0))
    if end > _LONGEST:
        raise ValueError("lasts for more than a day: its times are damaged, or its tempo is")
    channels: defaultdict[tuple[int, int], _Channel] = defaultdict(_Channel)
    for message in together("messages"):
        if message.channel != _DRUMS:
            channels[message.port, message.channel].take(bars.milliseconds(message.tick), message)
    for (port, number), channel in channels.items():
        reading.never_ending += channel.finish(end)
        events = channel.events()
        for track, played in channel.notes.items():
            notes = sorted((note for note in played if note.held), key=attrgetter("start", "note", "held", "velocity"))
            reading.zero_length += len(played) - len(notes)
            if notes:
                reading.performances.append(Performance(track, port, number + 1, notes, events, bars))


def _cut_windows(performance: Performance, beats: int | None, clip: int) -> Iterator[tuple[int, int, list, list, bool]]:
    """Beginning and end in ms of each window in which notes begin; these notes and the events from its beginning on.

    And whether its end is that of the clip, and a note goes on then.
    """
    notes, events = performance.notes, performance.events
    values, first, upcoming = list(REST.values()), 0, 0
    while first < len(notes):
        begin = notes[first].start
        begin, end = performance.bars.window(begin, beats) if beats else (begin, begin + clip)
        while upcoming < len(events) and events[upcoming].time <= begin:
            values[events[upcoming].controller] = events[upcoming].value
            upcoming += 1
        later = events[upcoming : bisect_left(events, end, upcoming, key=attrgetter("time"))]
        at_first = [Event(0, i, value) for i, value in enumerate(values) if value != REST[CONTROLLERS[i]]]
        after = bisect_left(notes, end, first, key=attrgetter("start"))
        inside = [Note(n.start - begin, min(n.held, end - n.start), n.note, n.velocity) for n in notes[first:after]]
        cut = not beats and any(note.start + note.held > end for note in notes[first:after])
        yield begin, end, inside, at_first + [event._replace(time=event.time - begin) for event in later], cut
        first = after


def cut(data: bytes, name: str, clip: int, beats: int | None, filters: Filters = NO_FILTERS) -> tuple[list[Phrase], Counter]:
    """The phrases of a file that pass the filters, in order, and how many each filter refused."""
    phrases, left_out = [], Counter()
    file = {"file": name, "sha256": hashlib.sha256(data).hexdigest()}
    for performance in read(data).performances:
        port = {"port": performance.port} if performance.port else {}
        about = file | {"track": performance.track} | port | {"channel": performance.channel}
        for begin, end, inside, events, goes_on in _cut_windows(performance, beats, clip):
            phrase = Phrase(
                notes=tuple(note for note in inside if note.start < clip),
                events=tuple(event for event in events if event.time < clip),
                kind="midi",
                cut=goes_on or any(note.start + note.held > clip for note in inside),
                about=about | {"start": begin / 1000},
            )
            refused = filters.first_to_refuse(phrase, min(end - begin, clip)) if phrase.notes else "within the clip"
            if refused:
                left_out[refused] += 1
            else:
                phrases.append(phrase)
    return phrases, left_out
