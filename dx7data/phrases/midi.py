"""Standard MIDI files to performances: what each channel plays, with its controllers, in whole milliseconds."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from operator import attrgetter, itemgetter

from dx7data.phrases import smf
from dx7data.phrases.phrase import CONTROLLERS, REST, Event, Note

BYTES_LIMIT = (
    4 << 20
)  # of a file; at worst 4 s and 0.3 GB to read and cut, see smf.MAX_MESSAGES. Long pieces have less than 1 MiB

BEND_SEMITONES = 2  # of the pitch wheel, up and down, where RPN 0 says nothing else

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
        self._bend_range = {"semitones": BEND_SEMITONES, "cents": 0}
        self._parameter: dict[int, int] = {}  # the registered one that is selected: values of CC 101 and 100

    def take(self, time: int, message: smf.Message) -> None:
        """Go on by one message."""
        if message.kind == smf.BEND:
            self._bend = (message.second << 7 | message.first) - 8192
            self._set_bend(time)
        elif message.kind == smf.CONTROL:
            self._control(time, message.first, message.second)
        elif message.kind == smf.NOTE_ON and message.second:
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
    if len(data) > BYTES_LIMIT:
        raise ValueError(f"has more than the {BYTES_LIMIT:,} bytes that are read of a MIDI file: split it")
    file = smf.read(data)
    reading = Reading(warnings=file.warnings)
    for tracks in [[track] for track in file.tracks] if file.kind == 2 else [file.tracks]:
        _perform(tracks, file.division, reading)
    reading.performances.sort(key=attrgetter("track", "port", "channel"))
    return reading


def _perform(tracks: list[smf.Track], division: int, reading: Reading) -> None:
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
