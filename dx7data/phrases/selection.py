"""From what a source has read to the phrases of a data set: cut to the clip, filtered, each once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dx7data.errors import InputError
from dx7data.phrases.filters import Filters
from dx7data.phrases.phrase import Event, Note, Phrase, Phrases, max_notes
from dx7data.phrases.report import MusicReport

_BEYOND = "within the clip"  # where phrases are counted of which no note begins before the clip ends


class Passage(NamedTuple):
    """What a source has read, of any length; a phrase is what of it lies within the clip. Times in ms."""

    notes: Sequence[Note]  # in order of (start, note)
    kind: str
    about: dict  # for the sample's json: file, track, ...
    length: int  # as far as filters look, if the clip is longer
    events: Sequence[Event] = ()  # in order of (time, controller)
    cut: bool = False  # notes were cut at its end already


def select(
    passages: Iterable[Passage], seconds: float, filters: Filters, report: MusicReport | None = None
) -> tuple[Phrases, MusicReport]:
    """The phrases, for clips of so many seconds, that pass the filters, each once; all that happens is counted.

    In order of id, which does not depend on the order of the passages. report: one to go on with, which is filled even if
    there is no phrase. Raises InputError when there is none, and for notes that MIDI does not have.
    """
    clip, report, phrases = int(seconds * 1000), MusicReport() if report is None else report, {}
    most = max_notes(seconds)
    for passage in passages:
        report.found += 1
        phrase = _cut(passage, clip)
        if len(phrase.notes) > most:
            refused: str | None = f"at most {most:,} notes"
            where = f"the phrase at {passage.about['start']:.3f} s" if "start" in passage.about else "a phrase"
            report.warn(
                passage.about.get("file", passage.kind),
                f"{where} is left out: it has {len(phrase.notes):,} notes, and {most:,} are the most for {seconds:g} s",
            )
        else:
            refused = filters.first_to_refuse(phrase, min(passage.length, clip)) if phrase.notes else _BEYOND
        if refused:
            report.left_out[refused] += 1
        elif phrase.id in phrases:
            report.duplicates += 1
        else:
            report.cut += phrase.cut
            phrases[phrase.id] = phrase
    if phrases:
        return Phrases.of([phrases[key] for key in sorted(phrases)]), report
    if report.found:
        raise InputError(f"no phrase is left of {report.found:,}: {report.filters()}")
    raise InputError(f"there is no music: {report.refused[0] if report.refused else 'name a file or a folder'}")


def _cut(passage: Passage, clip: int) -> Phrase:
    for note in passage.notes:
        if note.start < 0 or note.held < 1 or not 0 <= note.note <= 127 or not 1 <= note.velocity <= 127:
            raise InputError(
                f"a phrase of {passage.about} has {note}: times must be ms from 0 on, notes 0-127, velocities 1-127"
            )
    return Phrase(
        notes=tuple(note for note in passage.notes if note.start < clip),
        events=tuple(event for event in passage.events if event.time < clip),
        kind=passage.kind,
        cut=passage.cut or any(note.start + note.held > clip for note in passage.notes),
        about=passage.about,
    )
