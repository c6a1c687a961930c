"""Filters: what phrases must be like, whether they are drawn or come from music."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Annotated

from msgspec import Meta

from dx7data.phrases.phrase import Note, Phrase

# Types with limits, which plan/schema.py checks. A number may be written without a point: 1 and 1.0 are not the same hash.
Key = Annotated[int, Meta(ge=0, le=127)]
Fraction = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[int, Meta(ge=1, le=10**9)]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What phrases must be like. Pairs are the least and the most, both included; None: no limit."""

    notes: tuple[Positive, Positive | None] = (1, None)
    polyphony: tuple[Positive, Positive | None] = (1, None)  # the most notes that sound at one moment; (1, 1) is monophonic
    pitch_range: tuple[Key, Key] = (0, 127)  # of all notes: 60 is middle C
    velocity: tuple[Key, Key] = (1, 127)  # of all notes
    different_notes: Positive = 1  # at least so many keys
    filled: Fraction = 0.0  # at least this part of the time in which a note sounds

    def first_to_refuse(self, phrase: Phrase, length_ms: int) -> str | None:
        """The name of the first filter that a phrase of this length does not pass."""
        limits = self.limits()
        return next(
            (name for name, found in measure(phrase, length_ms).items() if not _is_within(found, limits[name])), None
        )

    def limits(self) -> dict[str, tuple[float, float | None]]:
        """By name of filter: the least and the most that its measure may be; None: no limit."""
        return {
            "notes": self.notes,
            "polyphony": self.polyphony,
            "pitch range": self.pitch_range,
            "velocity": self.velocity,
            "different notes": (self.different_notes, None),
            "filled": (self.filled, None),
        }

    def text(self) -> str:
        """The filters that can refuse a phrase, for people: "polyphony 1, notes 4 to 18"; empty when there are none."""
        every = NO_FILTERS.limits()
        return ", ".join(
            f"{name} {_format_limits(*limits)}" for name, limits in self.limits().items() if limits != every[name]
        )


NO_FILTERS = Filters()
NAMES = tuple(field.name for field in fields(Filters))  # also of the options on the command line


def measure(phrase: Phrase, length_ms: int) -> dict[str, tuple[float, float]]:
    """By name of filter: the least and the most that a phrase of this length has of what it looks at."""
    keys = {note.note for note in phrase.notes}
    velocities = [note.velocity for note in phrase.notes]
    maximum, sounding = _measure_sounding(phrase.notes, length_ms)
    filled = sounding / length_ms
    return {
        "notes": (len(phrase.notes), len(phrase.notes)),
        "polyphony": (maximum, maximum),
        "pitch range": (min(keys), max(keys)),
        "velocity": (min(velocities), max(velocities)),
        "different notes": (len(keys), len(keys)),
        "filled": (filled, filled),
    }


def _is_within(found: tuple[float, float], limits: tuple[float, float | None]) -> bool:
    (lowest, highest), (minimum, maximum) = found, limits
    return lowest >= minimum and (maximum is None or highest <= maximum)


def _format_limits(minimum: float, maximum: float | None) -> str:
    if maximum is None:
        return f"{minimum:g} or more"
    return f"{minimum:g}" if minimum == maximum else f"{minimum:g} to {maximum:g}"


def _measure_sounding(notes: Iterable[Note], length_ms: int) -> tuple[int, int]:
    """The most notes that sound at one moment, and for how many ms at least one does."""
    edges = [edge for note in notes for edge in ((note.start, 1), (min(note.start + note.held, length_ms), -1))]
    count = maximum = sounding = before = 0
    for time, step in sorted(edges):  # ends come before beginnings: notes that touch don't overlap
        if count:
            sounding += time - before
        before = time
        count += step
        if count > maximum:
            maximum = count
    return maximum, sounding
