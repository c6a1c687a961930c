"""From what a source has read to the phrases of a data set: cut to the clip, filtered, each once."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from dx7data.errors import InputError
from dx7data.output import format_count
from dx7data.phrases.columns import Phrases
from dx7data.phrases.filters import NO_FILTERS, Filters
from dx7data.phrases.loops.cut import REFUSALS
from dx7data.phrases.loops.rows import Rows
from dx7data.phrases.phrase import Event, Note, Phrase, max_notes
from dx7data.phrases.report import MusicReport
from dx7data.phrases.reservoir import Reservoir
from dx7data.phrases.store import Store, sort_rows

_BEYOND = REFUSALS[0]  # where phrases are counted of which no note begins before the clip ends
_TOGETHER = 1000  # phrases that become rows together


@dataclass(frozen=True)
class Wanted:
    """Which phrases a data set takes from its music."""

    seconds: float
    filters: Filters = NO_FILTERS
    max_phrases: int | None = None  # chosen at random, see reservoir.py
    seed: int = 0

    @property
    def clip(self) -> int:
        """The length of a clip in ms."""
        return round(self.seconds * 1000)

    @property
    def max_notes(self) -> int:
        """Of a phrase, for more can't be rendered."""
        return max_notes(self.seconds)

    @property
    def crowd(self) -> str:
        """Under which phrases of more notes are counted."""
        return f"at most {format_count(self.max_notes, 'note')}"

    def warn_of_crowd(self, report: MusicReport, file: str, start: float | None, notes: int) -> None:
        """Report such a phrase; start: in seconds, if it has one."""
        where = "a phrase" if start is None else f"the phrase at {start:.3f} s"
        most = f"{self.max_notes:,} are the most for {self.seconds:g} s"
        report.warn(file, f"{where} is left out: it has {format_count(notes, 'note')}, and {most}")

    def open_store(self, kinds: list[str]) -> Store:
        """For rows with these kinds."""
        return Store(kinds, Reservoir(self.max_phrases, self.seed) if self.max_phrases else None)


class Passage(NamedTuple):
    """What a source has read, of any length; a phrase is what of it lies within the clip. Times in ms."""

    notes: Sequence[Note]  # in order of (start, note)
    kind: str
    about: dict  # for the sample's json: file, track, ...
    length: int  # as far as filters look, if the clip is longer
    events: Sequence[Event] = ()  # in order of (time, controller)
    cut: bool = False  # notes were cut at its end already


def select(passages: Iterable[Passage], wanted: Wanted, report: MusicReport) -> Phrases:
    """The phrases that are wanted, each once, in order of id, which does not depend on the order of the passages.

    All that happens is counted in the report, even if there is no phrase. Raises InputError when there is none, and for
    notes that MIDI does not have.
    """
    kinds: list[str] = []
    kept = _filter(passages, wanted, report)
    with wanted.open_store(kinds) as store:
        while some := list(islice(kept, _TOGETHER)):
            store.add(sort_rows(_make_rows(some, kinds)))
        return finish(store, report)


def finish(store: Store, report: MusicReport) -> Phrases:
    """The phrases of a store, which the report counts. Raises InputError when there are none."""
    phrases = store.finish()
    report.duplicates += store.duplicates
    report.cut += store.cut
    if store.passed_over:
        report.left_out["max phrases"] += store.passed_over
    if phrases:
        return phrases
    if report.found:
        raise InputError(f"no phrase is left of {report.found:,}: {report.filters()}")
    raise InputError(f"there is no music: {report.refused[0] if report.refused else 'name a file or a folder'}")


def _filter(passages: Iterable[Passage], wanted: Wanted, report: MusicReport) -> Iterator[Phrase]:
    for passage in passages:
        report.found += 1
        phrase = _cut(passage, wanted.clip)
        if len(phrase.notes) > wanted.max_notes:
            report.left_out[wanted.crowd] += 1
            file, start = passage.about.get("file", passage.kind), passage.about.get("start")
            wanted.warn_of_crowd(report, file, start, len(phrase.notes))
        elif refused := _find_refusal(phrase, min(passage.length, wanted.clip), wanted.filters):
            report.left_out[refused] += 1
        else:
            yield phrase


def _find_refusal(phrase: Phrase, length: int, filters: Filters) -> str | None:
    return filters.first_to_refuse(phrase, length) if phrase.notes else _BEYOND


def _cut(passage: Passage, clip: int) -> Phrase:
    for note in passage.notes:
        if note.start < 0 or note.held < 1 or not 0 <= note.note <= 127 or not 1 <= note.velocity <= 127:
            where = passage.about.get("file", passage.kind)
            raise InputError(
                f"{where} has a note with start {note.start} ms, length {note.held} ms, key {note.note} and velocity "
                f"{note.velocity}: a start is 0 ms or more, a length 1 ms or more, a key 0 to 127, a velocity 1 to 127"
            )
    return Phrase(
        notes=tuple(note for note in passage.notes if note.start < clip),
        events=tuple(event for event in passage.events if event.time < clip),
        kind=passage.kind,
        cut=passage.cut or any(note.start + note.held > clip for note in passage.notes),
        about=passage.about,
    )


def _make_rows(phrases: Sequence[Phrase], kinds: list[str]) -> Rows:
    """See loops/rows.py."""
    rows = []
    for phrase in phrases:
        if phrase.kind not in kinds:
            kinds.append(phrase.kind)
        about = json.dumps(phrase.about, sort_keys=True).encode()
        header = (len(phrase.notes), len(phrase.events), len(about), kinds.index(phrase.kind) << 1 | phrase.cut)
        notes = [(note.start, note.held, note.note << 8 | note.velocity) for note in phrase.notes]
        numbers = np.array([*header, *(number for each in (*notes, *phrase.events) for number in each)], np.int32)
        rows.append(np.append(numbers, np.frombuffer(about + bytes(-len(about) % 4), np.int32)))
    ids = np.array([int(phrase.id, 16) for phrase in phrases], np.uint64)
    return Rows(ids, np.cumsum([0, *map(len, rows)]), np.concatenate(rows))
