"""Standard MIDI files: their chunks, and what is wrong with them. What others pass over is passed over with a warning.

A reader of our own, whose loop over the bytes is compiled (loops/track.py). mido loses the time before a meta event that it
does not know, so that all that follows comes too early, and refuses whole what it refuses; symusic loses notes that nothing
ends, and takes no RIFF.
"""

import struct
import threading
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np

from dx7data.output import format_count
from dx7data.phrases.loops import track as loop

MAX_MESSAGES = 500_000  # of a file: long pieces for piano have 100,000 notes and changes of controllers
_MAX_TRACKS = 65_535  # what the header can count
_WARNINGS = 20  # of one file; what is damaged all over would fill the report
_END, _TEMPO, _TIME_SIGNATURE, _KEY_SIGNATURE, _PORT = 0x2F, 0x51, 0x58, 0x59, 0x21  # meta events
_END_EVENT = bytes([0xFF, _END, 0])
_SHORTEST_NOTE = 128  # the note of a time signature's denominator

_TOO_MANY = f"has more than the {MAX_MESSAGES:,} notes and changes of controllers that are read of a MIDI file: split it"


@dataclass
class Sequence:
    """What is played together: all tracks of a file, or in type 2 each alone."""

    messages: loop.Messages
    first: int = 0  # its messages, indices from `first` to `last` - 1; track by track, each in order of ticks
    last: int = 0
    places: int = 0  # how many there are
    lanes: int = 0
    voices: int = 0
    tempos: list[tuple[int, int]] = field(default_factory=list)  # tick, microseconds of a quarter note
    signatures: list[tuple[int, tuple[int, int]]] = field(default_factory=list)  # tick, (numerator, denominator)
    end: int = 0  # tick


@dataclass
class File:
    """A file of one piece (type 0 or 1), or of tracks that are pieces of their own (type 2).

    Its messages stand until this thread reads another file.
    """

    kind: int
    division: int  # ticks in a quarter note
    tracks: int = 0
    sequences: list[Sequence] = field(default_factory=list)
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
        raise ValueError(f"is no MIDI file that can be read: its header has {format_count(length, 'byte')} instead of 6")
    if kind not in (0, 1, 2):
        raise ValueError(f"is a MIDI file of type {kind}; save it as type 0, 1 or 2")
    if division & 0x8000:
        raise ValueError("counts time in SMPTE frames; save it with ticks in a quarter note instead")
    if division == 0:
        raise ValueError("has 0 ticks in a quarter note, so it can't be timed")
    file = File(kind, division)
    _read_chunks(data, place + 8 + length, file)
    for sequence in file.sequences:
        sequence.tempos.sort(key=itemgetter(0))
        sequence.signatures.sort(key=itemgetter(0))
    if count and not file.tracks:
        raise ValueError("is no whole MIDI file: it ends before its first track")
    if count != file.tracks:
        reason = f"the number of tracks is {count:,} in the header, and {file.tracks:,} in the file"
        file.warnings.append((place + 10, reason))
    if (more := len(file.warnings) - _WARNINGS) > 0:
        file.warnings[_WARNINGS:] = [(None, f"and {format_count(more, 'more warning')}")]
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
    reader = _TrackReader(data, file)
    while place < len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8])
        begin = place + 8
        if name == b"MTrk" and begin <= len(data):
            end = reader.read(begin, size)
            place = begin + size
            if end < min(place, len(data)):  # the length is wrong, or something stands behind the end
                reader.warn(end, f"track {file.tracks} ends here, before its {size:,} bytes do")
                following = data.find(b"MTrk", end, place + 3)
                place = following if following >= 0 else place
        elif name == b"MThd":
            reader.warn(place, "another MIDI file begins here, and is not read")
            return
        elif name.isascii() and name.decode().isprintable() and begin + size <= len(data):
            reader.warn(place, f"a chunk {name.decode()!r}, which is no part of a MIDI file, is skipped")
            place = begin + size
        else:
            following = data.find(b"MTrk", place + 1)
            end = following if following >= 0 else len(data)
            reader.warn(place, f"skipped {format_count(end - place, 'byte')} outside of chunks")
            place = end


class _Memory(threading.local):
    """Of each thread, for all files that it reads, one after the other: new memory for each would take longer than reading.

    To number a file's voices takes 4 MB, of which it touches little.
    """

    def __init__(self) -> None:
        self.numbering = loop.make_numbering()
        self.stamp = 0
        self._messages, self._size = loop.make_messages(0), 0

    def get_messages(self, size: int) -> loop.Messages:
        """Memory for those of a file of so many bytes, until the next file is read."""
        if size > self._size:
            self._messages, self._size = loop.make_messages(2 * size), 2 * size
        return self._messages

    def next_stamp(self) -> int:
        """One that the numbering has not seen."""
        self.stamp += 1
        return self.stamp


_memory = _Memory()


class _TrackReader:
    """Reads the tracks of a file, one after the other."""

    def __init__(self, data: bytes, file: File) -> None:
        self._data, self._file = data, file
        self._bytes = np.frombuffer(data, np.uint8)
        self._counts = np.zeros(loop.COUNTS, np.int64)
        self._messages = _memory.get_messages(len(data))
        self._heard = 0
        self._sequence = 0  # stamp

    def warn(self, offset: int, reason: str) -> None:
        self._file.warnings.append((offset, reason))

    def read(self, begin: int, size: int) -> int:
        """Read a track of so many bytes; returns where it ends."""
        sequence, number, end = self._begin(), self._file.tracks, min(begin + size, len(self._data))
        arguments = (number - 1, self._sequence, _memory.next_stamp(), MAX_MESSAGES)
        result = loop.read_track(self._bytes, begin, end, *arguments, sequence.messages, _memory.numbering, self._counts)
        counts = self._counts
        at, tick = int(counts[loop.AT]), int(counts[loop.TICK])
        self._keep_metas(sequence, number)
        if result in _UNREADABLE:
            raise ValueError(_UNREADABLE[result].format(at=at, status=self._data[counts[loop.PLACE] - 1]))
        missing = begin + size - end
        if result == loop.WITHIN_EVENT:
            if not missing:
                reason = f"the event at byte {at:,} goes on when its track has ended"
                raise ValueError(f"is no MIDI file that can be read: {reason}")
            if not _is_end(self._data[at:end], missing):
                raise ValueError("is no whole MIDI file: it ends too early")
            self.warn(at, f"the end of track {number}, at tick {tick:,}, lacks its last bytes: {missing}")
        elif result == loop.NO_END and missing > 1 + len(_END_EVENT):
            raise ValueError("is no whole MIDI file: it ends too early")
        elif result == loop.NO_END and missing:
            self.warn(end, f"the end of track {number} is missing, after tick {tick:,}")
        self._heard += int(counts[loop.HEARD])
        if self._heard > MAX_MESSAGES:
            raise ValueError(_TOO_MANY)
        sequence.end = max(sequence.end, tick)
        sequence.last, sequence.places, sequence.lanes, sequence.voices = counts[: loop.META_COUNT].tolist()
        return int(counts[loop.PLACE]) if result == loop.COMPLETE else end

    def _begin(self) -> Sequence:
        """The sequence that the next track belongs to."""
        self._file.tracks += 1
        if self._file.tracks > _MAX_TRACKS:
            raise ValueError(f"has more than the {_MAX_TRACKS:,} tracks that a MIDI file can have: split it")
        sequences, counts, messages = self._file.sequences, self._counts, self._messages
        if not sequences or self._file.kind == 2:
            self._sequence = _memory.next_stamp()
            first = int(counts[loop.MESSAGE_COUNT])
            if sequences:  # its numbers begin anew, behind those of the one before
                before = sequences[-1]
                left = {
                    name: getattr(before.messages, name)[getattr(before, name) :] for name in ("voices", "lanes", "places")
                }
                messages = before.messages._replace(**left)
                counts[loop.PLACE_COUNT] = counts[loop.LANE_COUNT] = counts[loop.VOICE_COUNT] = 0
            sequences.append(Sequence(messages, first))
        return sequences[-1]

    def _keep_metas(self, sequence: Sequence, number: int) -> None:
        """Take the tempos and time signatures of a track; warn of meta events that can't be used."""
        count = self._counts[loop.META_COUNT]
        self._counts[loop.META_COUNT] = 0
        for kind, at, tick, body, size in sequence.messages.metas[:count].tolist():
            if fault := _keep_meta(sequence, tick, kind, self._data[body : body + size]):
                self.warn(at, f"{fault}, in track {number} at tick {tick:,}")


_UNREADABLE = {
    loop.LONG_NUMBER: "is no MIDI file that can be read: at byte {at:,} is a number of more than 4 bytes",
    loop.NO_STATUS: "is no MIDI file that can be read: {status:X} at byte {at:,} begins no event",
    loop.NOT_RUNNING: "is no MIDI file that can be read: the event at byte {at:,} does not say what it is",
    loop.TOO_MANY: _TOO_MANY,
}


def _is_end(event: bytes, missing: int) -> bool:
    """Whether an event that lacks so many bytes can only be the end of a track: then no note is lost."""
    if missing > len(_END_EVENT):
        return False
    whole = event + _END_EVENT[-missing:]
    time = whole[:-3]
    return whole.endswith(_END_EVENT) and 1 <= len(time) <= 4 and time[-1] < 0x80 and all(byte > 0x7F for byte in time[:-1])


def _keep_meta(sequence: Sequence, tick: int, kind: int, body: bytes) -> str | None:
    """Add tempos and time signatures to a sequence; of those that can't be used, and of other events, what is wrong."""
    size = f"of {format_count(len(body), 'byte')}"
    if kind == _TEMPO:
        tempo = int.from_bytes(body[:3])
        if len(body) < 3 or not tempo:
            return f"a tempo {'of 0 microseconds' if len(body) >= 3 else size} is left out"
        sequence.tempos.append((tick, tempo))
    elif kind == _TIME_SIGNATURE:
        if len(body) < 2 or not body[0] or 1 << body[1] > _SHORTEST_NOTE:
            return f"a time signature {size if len(body) < 2 else f'of {body[0]} to 2^{body[1]}'} is left out"
        sequence.signatures.append((tick, (body[0], 1 << body[1])))
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
