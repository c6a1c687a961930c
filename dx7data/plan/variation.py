"""Variations: a sample with one thing about it drawn anew, as other samples of its split have it.

A thing is named by what changes: `velocity`, `key`, `start` and `length` of notes, a controller, `patch` or `layer 1`, ...
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dx7data.phrases.phrase import CONTROLLERS, Note, Phrase
from dx7data.plan.spec import Choice, Spec
from dx7data.rng import KeyedRng

OF_NOTES = {"velocity": "velocity", "key": "note", "start": "start", "length": "held"}  # and the field of Note

_HEARD = 100  # ms before the end of the clip: a note that begins later is hardly heard
_MAX_POLYPHONY = 8  # on average over a clip, more than most music has: dozens would take minutes to vary and to render
_RELEASE = 250  # ms for which a voice goes on when its key is up
_DRAWS = 8  # until the changed note fits between the others; else it stays as it was


class Pool:
    """Samples of one split, from which things are drawn anew."""

    def __init__(self, spec: Spec, choices: list[Choice], targets: np.ndarray):
        """choices: the more the better; targets: indices of the patches that the split takes as layers."""
        self._end = round(spec.seconds * 1000)  # ms
        self._layers = spec.layers[1]
        self._targets = targets.tolist()
        self._phrases = [choice.phrase for choice in choices]
        curves = {name: [_select_events(phrase, name) for phrase in self._phrases] for name in CONTROLLERS}
        self._curves = {name: [curve for curve in each if curve] for name, each in curves.items() if any(each)}

    def list_things(self, choice: Choice) -> list[str]:
        """What can change about a sample."""
        layers = [f"layer {i + 1}" for i in range(len(choice.layers))] if self._layers > 1 else ["patch"]
        return [*OF_NOTES, *self._curves, *(layers if len(self._targets) > len(choice.layers) else [])]

    def pick_note(self, choice: Choice, rng: KeyedRng) -> Sequence[int]:
        """The index of one note, of those that can be heard, if any can."""
        notes = choice.phrase.notes
        return [rng.pick([i for i, note in enumerate(notes) if note.start < self._end - _HEARD] or range(len(notes)))]

    def vary(self, choice: Choice, thing: str, which: Sequence[int], rng: KeyedRng) -> Choice:
        """The sample with another `thing`; if that is one of notes, the notes `which` get it from another sample's."""
        if thing in OF_NOTES:
            return replace(choice, phrase=self._change_notes(choice.phrase, OF_NOTES[thing], which, rng))
        if thing in self._curves:
            others = [event for event in choice.phrase.events if CONTROLLERS[event.controller] != thing]
            events = sorted([*others, *rng.pick(self._curves[thing])], key=lambda event: (event.time, event.controller))
            return replace(choice, phrase=replace(choice.phrase, events=tuple(events)))
        place = 0 if thing == "patch" else int(thing.removeprefix("layer ")) - 1
        before, after = choice.layers[:place], choice.layers[place + 1 :]
        one = rng.pick([target for target in self._targets if target not in before + after])
        return replace(choice, layers=(*before, one, *after))

    def _change_notes(self, phrase: Phrase, field: str, which: Sequence[int], rng: KeyedRng) -> Phrase:
        """The phrase with a field of some notes as the notes of another one, in their order, have it."""
        notes, others = list(phrase.notes), rng.pick(self._phrases).notes
        first, table = rng.below(len(others)), np.array(phrase.notes)
        for k, i in enumerate(which):
            for draw in range(_DRAWS):
                new = notes[i]._replace(**{field: getattr(others[(first + k + draw) % len(others)], field)})
                if field == "velocity" or (new.start < self._end and not _overlaps(table, i, new)):
                    notes[i], table[i] = new, new
                    break
        return replace(phrase, notes=tuple(sorted(notes, key=lambda note: (note.start, note.note))))


def shorten(phrase: Phrase, seconds: float) -> Phrase:
    """What begins in the first seconds of a phrase, and one note in any case.

    Of a phrase in which more than 8 notes sound on average, only the first ones are taken: as many as make up 8.
    """
    end = round(seconds * 1000)
    notes = [note for note in phrase.notes if note.start < end] or [phrase.notes[0]]
    sounding = np.cumsum([min(note.held + _RELEASE, max(end - note.start, 0)) for note in notes])
    notes = notes[: max(1, int(np.searchsorted(sounding, _MAX_POLYPHONY * end, side="right")))]
    return replace(phrase, notes=tuple(notes), events=tuple(event for event in phrase.events if event.time < end))


def _overlaps(notes: np.ndarray, i: int, new: Note) -> bool:
    """Whether one key would be held twice at a time, were `new` in the place of note i. notes: (N, 4)."""
    start, held, key, _ = notes.T
    clash = (key == new.note) & (start < new.start + new.held) & (new.start < start + held)
    clash[i] = False
    return bool(clash.any())


def _select_events(phrase: Phrase, controller: str) -> tuple:
    return tuple(event for event in phrase.events if CONTROLLERS[event.controller] == controller)
