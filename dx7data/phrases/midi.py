"""Standard MIDI files to performances: what each channel plays, with its controllers, in whole milliseconds."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from dx7data.phrases import smf
from dx7data.phrases.loops.order import Events, Notes
from dx7data.phrases.loops.performance import perform
from dx7data.phrases.loops.tempo import PARTS, Tempos
from dx7data.phrases.loops.track import sort_ticks

BYTES_LIMIT = 4 << 20  # of a file; long pieces have less than 1 MiB
BEND_SEMITONES = 2  # of the pitch wheel, up and down, where RPN 0 says nothing else

_QUARTER = 500_000  # microseconds of a quarter note where nothing is said: 120 beats a minute
_LONGEST = 24 * 60 * 60 * 1000  # ms: a file that goes on for more than a day is damaged


class Bars:
    """The tempo and the time signatures of a sequence: from ticks to milliseconds.

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
        self._changes = [(0, (4, 4))]
        for tick, signature in signatures:
            if signature != self._changes[-1][1]:  # many files repeat it, which must not shorten a window
                self._changes.append((tick, signature))

    def milliseconds(self, tick: int) -> int:
        """The time of a tick, to the nearest millisecond."""
        i = bisect_right(self._ticks, tick) - 1
        elapsed = self._elapsed[i] + (tick - self._ticks[i]) * self._tempos[i]
        return (2 * elapsed + self._scale) // (2 * self._scale)

    def to_arrays(self) -> Tempos:
        """For compiled code; of a sequence that lasts for a day at most, whose numbers fit.

        Windows of N beats are counted from the beginning of the file and anew at each change of the time signature;
        4/denominator quarter notes are a beat.
        """
        columns = (
            self._ticks,
            self._elapsed,
            self._tempos,
            [tick for tick, _ in self._changes],
            [self.milliseconds(tick) for tick, _ in self._changes],
            [4 * PARTS * self._division // denominator for _, (_, denominator) in self._changes],
        )
        return Tempos(self._scale, *(np.array(column, np.int64) for column in columns))


@dataclass(frozen=True)
class Performance:
    """What one channel of a port plays in one track, at least one note."""

    track: int  # from 0
    port: int  # from 0
    channel: int  # from 1
    lane: int  # of the notes of its sequence
    place: int  # of the events


@dataclass(frozen=True)
class Sequence:
    """What is played together. Times are ms from the beginning of the file, in type 2 of the track."""

    notes: Notes
    events: Events
    tempos: Tempos
    performances: list[Performance]  # in order of (track, port, channel)


@dataclass
class Reading:
    """The sequences of a file in which something is played, and what was mended."""

    sequences: list[Sequence] = field(default_factory=list)
    zero_length: int = 0  # notes of no length in ms, left out
    never_ending: int = 0  # notes that nothing ended, so they last until the end
    warnings: list[tuple[int | None, str]] = field(default_factory=list)  # byte offset, sentence


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
    for sequence in file.sequences:
        _perform(sequence, file.division, reading)
    return reading


def _perform(sequence: smf.Sequence, division: int, reading: Reading) -> None:
    """Add to a reading what is played in a sequence."""
    bars = Bars(division, sequence.tempos, sequence.signatures)
    end = bars.milliseconds(sequence.end)
    if end > _LONGEST:
        raise ValueError("lasts for more than a day: its times are damaged, or its tempo is")
    if not sequence.voices:
        return
    messages, tempos = sequence.messages, bars.to_arrays()
    order = sort_ticks(messages.tick, sequence.first, sequence.last)
    sizes = (sequence.places, sequence.lanes, sequence.voices)
    notes, events, zero_length, never_ending = perform(messages, order, *sizes, tempos, end, BEND_SEMITONES)
    reading.zero_length += zero_length
    reading.never_ending += never_ending
    performances = []
    for lane in np.flatnonzero(np.diff(notes.bounds)).tolist():
        track, place = messages.lanes[lane].tolist()
        port, channel = divmod(int(messages.places[place]), 16)
        performances.append(Performance(track, port, channel + 1, lane, place))
    if performances:
        performances.sort(key=lambda each: (each.track, each.port, each.channel))
        reading.sequences.append(Sequence(notes, events, tempos, performances))
