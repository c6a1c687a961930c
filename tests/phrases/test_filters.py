"""Filters of phrases: against brute force, moment by moment, and what they say of themselves."""

import json
from dataclasses import asdict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dx7data.phrases.filters import NAMES, NO_FILTERS, Filters
from dx7data.phrases.phrase import Note, Phrase


def phrase_of(*notes) -> Phrase:
    return Phrase(tuple(Note(*note) for note in notes))


NOTES = st.lists(
    st.builds(Note, st.integers(0, 49), st.integers(1, 40), st.integers(0, 127), st.just(9)), min_size=1, max_size=8
)


@given(NOTES, st.integers(50, 90))
def test_polyphony_and_filled_are_counted_moment_by_moment(notes, length):
    moments = [sum(note.start <= time < note.start + note.held for note in notes) for time in range(length)]
    phrase, most, filled = Phrase(tuple(sorted(notes))), max(moments), sum(map(bool, moments)) / length
    assert Filters(polyphony=(most, most), filled=filled).first_to_refuse(phrase, length) is None
    assert Filters(polyphony=(1, most - 1)).first_to_refuse(phrase, length) == "polyphony"
    assert Filters(polyphony=(most + 1, None)).first_to_refuse(phrase, length) == "polyphony"
    assert Filters(filled=filled + 1e-9).first_to_refuse(phrase, length) == "filled"


def test_the_first_filter_that_refuses_is_named():
    phrase = phrase_of((0, 10, 60, 1), (5, 10, 62, 1), (30, 10, 60, 1))
    strict = {"notes": (4, 9), "polyphony": (1, 1), "pitch_range": (61, 99), "velocity": (2, 9)}
    strict |= {"different_notes": 3, "filled": 0.7}
    expected = ["notes", "polyphony", "pitch range", "velocity", "different notes", "filled", None]
    for i, name in enumerate(expected):
        assert Filters(**dict(list(strict.items())[i:])).first_to_refuse(phrase, 40) == name
    assert Filters(notes=(3, 3), pitch_range=(60, 62), different_notes=2, filled=0.625).first_to_refuse(phrase, 40) is None
    assert Filters(notes=(1, 2)).first_to_refuse(phrase, 40) == "notes"
    assert Filters(pitch_range=(0, 61)).first_to_refuse(phrase, 40) == "pitch range"


@given(st.lists(st.integers(1, 127), min_size=1, max_size=5), st.integers(1, 127), st.integers(1, 127))
def test_velocity_is_that_of_every_note(velocities, one, other):
    phrase = phrase_of(*((10 * i, 5, 60, velocity) for i, velocity in enumerate(velocities)))
    least, most = sorted((one, other))
    passes = all(least <= velocity <= most for velocity in velocities)
    refused = Filters(velocity=(least, most)).first_to_refuse(phrase, 100)
    assert refused == (None if passes else "velocity")


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        (NO_FILTERS, ""),
        (Filters(polyphony=(1, 1)), "polyphony 1"),
        (Filters(polyphony=(1, 2), notes=(4, None)), "notes 4 or more, polyphony 1 to 2"),
        (Filters(pitch_range=(0, 60), velocity=(30, 127)), "pitch range 0 to 60, velocity 30 to 127"),
        (Filters(different_notes=7, filled=0.75), "different notes 7 or more, filled 0.75 or more"),
    ],
)
def test_in_words_and_as_json(filters, text):
    assert filters.text() == text
    assert msgspec.json.decode(json.dumps(asdict(filters)), type=Filters) == filters


def test_every_filter_has_limits_and_an_option():
    assert [name.replace("_", " ") for name in NAMES] == list(NO_FILTERS.limits())
