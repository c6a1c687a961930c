"""Standard MIDI files to performances: what each channel plays, with its controllers, in whole milliseconds."""

import io
import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from operator import attrgetter, itemgetter

import mido

from dx7data.phrases.phrase import CONTROLLERS, REST, Event, Note

BYTES_LIMIT = 4 << 20  # of a file; at worst some 20 s and 1 GB to parse. Long pieces for piano have less than 1 MiB

BEND_SEMITONES = 2  # of the pitch wheel, up and down, where RPN 0 says nothing else

_DRUMS = 9  # MIDI channel 10
_PLAYED = {"note_on", "note_off", "control_change", "pitchwheel"}
_QUARTER = 500_000  # microseconds of a quarter note where nothing is said: 120 beats a minute
_LONGEST = 24 * 60 * 60 * 1000  # ms: a file that goes on for more than a day is damaged
# A number of a MIDI file ends at its first byte below 128. mido reads on for as long as that takes, ever more slowly.
_ENDLESS = re.compile(rb"[\x80-\xff]{4096}")


class Bars:
    """The tempo and the time signatures of a sequence: from ticks to milliseconds, and its windows of N beats.

    Times are exact: a sum of ticks × tempo, divided once and rounded, so that no error adds up.
    """

    def __init__(self, division: int, messages: Iterable[tuple[int, mido.Message]]):
        """`division`: ticks in a quarter note; messages in order of time, each with its tick. Raises ValueError."""
        self._division = division
        self._scale = 1000 * division  # ticks × microseconds in one millisecond
        # Where each tempo begins, in ticks and in ticks × microseconds, and the microseconds of its quarter note.
        self._ticks, self._elapsed, self._tempos = [0], [0], [_QUARTER]
        signatures = [(0, (4, 4))]
        for tick, message in messages:
            if message.type == "set_tempo":
                self._add_tempo(tick, message.tempo)
            elif message.type == "time_signature":
                signature = message.numerator, message.denominator
                if signature != signatures[-1][1]:  # many files repeat it, which must not shorten a window
                    signatures.append((tick, signature))
        self._signatures = [(tick, denominator) for tick, (_, denominator) in signatures]
        self._changes = [self.milliseconds(tick) for tick, _ in signatures]

    def _add_tempo(self, tick: int, tempo: int) -> None:
        if not tempo:
            raise ValueError("has a tempo of 0 microseconds in a quarter note, so it can't be timed: correct it")
        self._elapsed.append(self._elapsed[-1] + (tick - self._ticks[-1]) * self._tempos[-1])
        self._ticks.append(tick)
        self._tempos.append(tempo)

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
    """What one channel plays in one track. Times are ms from the beginning of the file, in type 2 of the track."""

    track: int  # from 0
    channel: int  # from 1
    notes: list[Note]  # at least one, in order of (start, note)
    events: list[Event]  # in order of (time, controller), each another value than before
    bars: Bars


@dataclass
class Reading:
    """The performances of a file in order of (track, channel), and what was mended."""

    performances: list[Performance] = field(default_factory=list)
    zero_length: int = 0  # notes of no length in ms, left out
    never_ending: int = 0  # notes that nothing ended, so they last until the end


class _Channel:
    """The state of a channel while its messages go by. A sounding note is known by its track and key."""

    def __init__(self):
        self.notes: dict[int, list[Note]] = defaultdict(list)  # by track
        self._sounding: dict[tuple[int, int], tuple[int, int]] = {}  # start and velocity
        self._released: set[tuple[int, int]] = set()  # those of the sounding ones that the pedal alone holds
        self._pedal = False
        self._values: dict[tuple[int, int], int] = {}  # by (time, controller): the last one in a millisecond counts
        self._bend = 0  # -8192 to 8191
        self._bend_range = {"semitones": BEND_SEMITONES, "cents": 0}
        self._parameter: dict[int, int] = {}  # the registered one that is selected: values of CC 101 and 100

    def take(self, time: int, track: int, message: mido.Message) -> None:
        """Go on by one message."""
        if message.type == "pitchwheel":
            self._bend = message.pitch
            self._set_bend(time)
        elif message.type == "control_change":
            self._control(time, message.control, message.value)
        elif message.type == "note_on" and message.velocity:
            self._end(time, [(track, message.note)])
            self._sounding[track, message.note] = time, message.velocity
        elif not self._pedal:
            self._end(time, [(track, message.note)])
        elif (track, message.note) in self._sounding:
            self._released.add((track, message.note))

    def _end(self, time: int, voices: Iterable[tuple[int, int]]) -> None:
        for voice in list(voices):
            self._released.discard(voice)
            if voice in self._sounding:
                (track, key), (start, velocity) = voice, self._sounding.pop(voice)
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
            case 120 | 123:  # all sound off, all notes off
                self._end(time, self._sounding)
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
            self._end(time, self._released)

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

    def finish(self, time: int) -> int:
        """End what still sounds; returns how many keys were never released."""
        never_ending = len(self._sounding) - len(self._released)
        self._end(time, self._sounding)
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
    file = _parse(data)
    tracks = [_timed(number, track) for number, track in enumerate(file.tracks)]
    sequences = tracks if file.type == 2 else [sorted(chain.from_iterable(tracks), key=itemgetter(0))]
    reading = Reading()
    for sequence in sequences:
        if sequence:
            _perform(sequence, file.ticks_per_beat, reading)
    reading.performances.sort(key=attrgetter("track", "channel"))
    return reading


def _parse(data: bytes) -> mido.MidiFile:
    if not data:
        raise ValueError("is empty")
    if not data.startswith(b"MThd"):
        raise ValueError("is no MIDI file: it does not begin with MThd")
    if len(data) > BYTES_LIMIT:
        raise ValueError(f"has more than the {BYTES_LIMIT:,} bytes that are read of a MIDI file: split it")
    if _ENDLESS.search(data):
        raise ValueError("is no MIDI file that can be read: it holds a number without an end")
    try:
        file = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except EOFError:
        raise ValueError("is no whole MIDI file: it ends too early") from None
    except Exception as error:  # damage makes mido raise its own errors and what its indexing and look-ups meet
        raise ValueError(f"is no MIDI file that can be read: {str(error) or type(error).__name__}") from None
    if file.type not in (0, 1, 2):
        raise ValueError(f"is a MIDI file of type {file.type}; save it as type 0, 1 or 2")
    if file.ticks_per_beat < 0:
        raise ValueError("counts time in SMPTE frames; save it with ticks in a quarter note instead")
    if file.ticks_per_beat == 0:
        raise ValueError("has 0 ticks in a quarter note, so it can't be timed")
    return file


def _timed(number: int, track: mido.MidiTrack) -> list[tuple[int, int, mido.Message]]:
    """Tick from the beginning, number of the track, message."""
    tick, timed = 0, []
    for message in track:
        tick += message.time
        timed.append((tick, number, message))
    return timed


def _perform(sequence: list[tuple[int, int, mido.Message]], division: int, reading: Reading) -> None:
    """Add to a reading what is played in the tracks of a sequence: all of the file's, or one in type 2."""
    bars = Bars(division, [(tick, message) for tick, _, message in sequence])
    end = bars.milliseconds(sequence[-1][0])
    if end > _LONGEST:
        raise ValueError("lasts for more than a day: its times are damaged, or its tempo is")
    channels = defaultdict(_Channel)
    for tick, track, message in sequence:
        if message.type in _PLAYED and message.channel != _DRUMS:
            channels[message.channel].take(bars.milliseconds(tick), track, message)
    for number, channel in channels.items():
        reading.never_ending += channel.finish(end)
        events = channel.events()
        for track, played in channel.notes.items():
            notes = sorted((note for note in played if note.held), key=attrgetter("start", "note"))
            reading.zero_length += len(played) - len(notes)
            if notes:
                reading.performances.append(Performance(track, number + 1, notes, events, bars))
