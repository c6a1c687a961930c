"""Standard MIDI files, byte by byte: chunks, events, ticks. What other readers pass over is passed over with a warning.

A reader of our own: a time that stands before a meta event unknown to mido is lost there, so that all that follows comes too
early; and what mido refuses, it refuses whole.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

NOTE_OFF, NOTE_ON, CONTROL, BEND = 0x80, 0x90, 0xB0, 0xE0  # status bytes, without their channel

MAX_MESSAGES = 500_000  # of a file: with more, cutting it into phrases takes over 10 s; long pieces for piano have 100,000
_WARNINGS = 20  # of one file; what is damaged all over would fill the report
_PLAYED = {NOTE_OFF, NOTE_ON, CONTROL, BEND}
_ONE_BYTE = {0xC0, 0xD0}  # program and channel pressure have one data byte, other messages of a channel two
_SYSTEM = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}  # and their data bytes
_SYSEX = {0xF0, 0xF7}
_META, _PORT, _END, _TEMPO, _TIME_SIGNATURE, _KEY_SIGNATURE = 0xFF, 0x21, 0x2F, 0x51, 0x58, 0x59
_END_EVENT = bytes([_META, _END, 0])
_SHORTEST_NOTE = 128  # the note of a time signature's denominator

_TOO_MANY = f"has more than the {MAX_MESSAGES:,} notes and changes of controllers that are read of a MIDI file: split it"

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


def read(data: bytes) -> File:
    """Raises ValueError, in words that follow the name of the file, when it can't be read."""
    place, end = _unwrap(data)
    data = data[:end]
    if not data.startswith(b"MThd", place):
        raise ValueError("is no MIDI file: it does not begin with MThd")
    if len(data) < place + 14:
        raise ValueError("is no whole MIDI file: it ends too early")
    length, kind, count, division = struct.unpack_from(">LHHH", data, place + 4)
    if length < 6:
        raise ValueError(f"is no MIDI file that can be read: its header has {length} bytes instead of 6")
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
        file.warnings[_WARNINGS:] = [(None, f"and {more:,} more warnings")]
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
            if sum(len(each.messages) for each in file.tracks) > MAX_MESSAGES:
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
            warn(place, f"{end - place:,} bytes that are no chunk are skipped")
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
                    if len(track.messages) > MAX_MESSAGES:
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
