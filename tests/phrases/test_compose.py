"""Drawn phrases: what is promised of each, and that they are the music that they say they are."""

import hashlib
import json
from collections import Counter
from functools import cache
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dx7data.phrases.columns import Phrases
from dx7data.phrases.compose import draw
from dx7data.rng import KeyedRng

KINDS = {"walk", "scale", "arpeggio", "chords", "repeated", "melody"}
PITCH_CLASSES = {  # semitones above the root
    "major": {0, 2, 4, 5, 7, 9, 11},
    "harmonic minor": {0, 2, 3, 5, 7, 8, 11},
    "dorian": {0, 2, 3, 5, 7, 9, 10},
    "minor pentatonic": {0, 3, 5, 7, 10},
    "minor seventh": {0, 3, 7, 10},
}


@cache
def drawn(count: int, seconds: float):
    return [draw(KeyedRng("test", i), seconds) for i in range(count)]


def phrases(count: int, seconds: float, **wanted):
    """Those of the first phrases that are of this kind, or of which `about` says this."""
    found = [phrase for phrase in drawn(count, seconds) if wanted.items() <= ({"kind": phrase.kind} | phrase.about).items()]
    assert found
    return found


def strokes(phrase):
    """The notes that start together."""
    return [list(group) for _, group in groupby(phrase.notes, lambda note: note.start)]


def require_promises(phrase, seconds: float) -> None:
    end = round(seconds * 1000)
    assert phrase.kind in KINDS
    assert phrase.notes[0].start <= min(250, end // 8)
    assert list(phrase.notes) == sorted(phrase.notes, key=lambda note: (note.start, note.note))
    assert all(type(value) is int for note in phrase.notes for value in note)
    for note in phrase.notes:
        assert note.start <= max(end - 100, phrase.notes[0].start)
        assert note.held >= 30
        assert 28 <= note.note <= 103
        assert 1 <= note.velocity <= 127
    down = {}  # key: when it comes up
    for note in phrase.notes:  # chords too: a key that is struck twice at once still sounds
        assert note.start > down.get(note.note, -1)
        down[note.note] = note.start + note.held
    assert not phrase.events
    assert not phrase.cut
    assert json.loads(json.dumps(phrase.about)) == phrase.about
    assert all(type(value) in (str, int) for value in phrase.about.values())
    assert 60 <= phrase.about["bpm"] <= 160


@given(st.integers(0, 2**64), st.integers(10, 12_000).map(lambda ms: ms / 1000) | st.floats(0.01, 30))
def test_promises(seed, seconds):
    phrase = draw(KeyedRng(seed), seconds)
    require_promises(phrase, seconds)
    assert draw(KeyedRng(seed), seconds) == phrase


@pytest.mark.parametrize("seconds", [0.01, 0.03, 0.1, 0.101, 600.0])
def test_shortest_and_longest_clips(seconds):
    for seed in range(12):
        phrase = draw(KeyedRng(seed), seconds)
        require_promises(phrase, seconds)
        assert phrase.notes[0].start < seconds * 1000
        if seconds == 600:
            assert phrase.notes[-1].start > 580_000
            assert len(phrase.notes) > 300


def test_every_kind_occurs_about_as_often():
    count = Counter(draw(KeyedRng("kinds", i), 2.0).kind for i in range(1200))
    assert set(count) == KINDS
    assert min(count.values()) > 140


def test_phrases_differ():
    assert len({draw(KeyedRng("different", i), 4.0).id for i in range(500)}) == 500


def test_milliseconds_decide():
    """Lengths that differ by less than one draw the same phrase, though 1.001 * 1000 is 1000.9999999999999."""
    for seed in range(300):
        end = draw(KeyedRng(seed), 1.1).notes[-1].start + 100  # the last millisecond lets this note in
        assert draw(KeyedRng(seed), end / 1000) == draw(KeyedRng(seed), (end + 0.01) / 1000)


def test_last_notes_have_time_to_sound():
    """Clips that end 99 ms after what would be the start of a note."""
    for seed in range(100):
        last = draw(KeyedRng(seed), 4.0).notes[-1].start
        require_promises(draw(KeyedRng(seed), (last + 99) / 1000), (last + 99) / 1000)


def test_phrases_are_stable():  # they are in data sets on people's disks
    ids = "".join(draw(KeyedRng("stable", i), 8.0).id for i in range(200))
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == "46b2e60ba61f435d"


def test_phrases_fit_the_table():
    assert list(Phrases.of(drawn(1000, 4.0))) == drawn(1000, 4.0)


@pytest.mark.parametrize("name", sorted(PITCH_CLASSES))
def test_notes_are_those_of_the_scale_or_chord(name):
    """Runs move to another root after a while: there, only up to the end of the first run."""
    what = "chord" if "seventh" in name else "scale"
    for phrase in phrases(1000, 4.0, **{what: name}):
        notes = phrase.notes
        if phrase.kind in ("scale", "arpeggio"):
            notes = notes[: len(PITCH_CLASSES[name])]
        assert {(note.note - phrase.about["root"]) % 12 for note in notes} <= PITCH_CLASSES[name]


@pytest.mark.parametrize(("direction", "sign"), [("up", 1), ("down", -1)])
@pytest.mark.parametrize("kind", ["scale", "arpeggio"])
def test_runs_run(kind, direction, sign):
    for phrase in phrases(1000, 4.0, kind=kind, direction=direction, figure="straight"):
        keys = [sign * note.note for note in phrase.notes]
        back = [later - earlier for earlier, later in pairwise(keys) if later <= earlier]
        assert all(step <= -12 + 7 for step in back)  # to the other end, then perhaps a fifth away
        assert len(back) <= len(keys) // 4 + 1


def test_up_and_down_turns_without_repeating():
    for phrase in phrases(1000, 4.0, direction="up and down", figure="straight"):
        keys = [note.note for note in phrase.notes]
        assert all(earlier != later for earlier, later in pairwise(keys))


def test_chords_have_two_to_four_notes():
    sizes = Counter(len(stroke) for phrase in phrases(1000, 4.0, kind="chords") for stroke in strokes(phrase))
    assert set(sizes) == {2, 3, 4}


def test_repeated_notes_repeat_and_change_now_and_then():
    pairs = [pair for phrase in phrases(1000, 4.0, kind="repeated") for pair in pairwise(strokes(phrase))]
    same = sum(earlier[0].note == later[0].note for earlier, later in pairs) / len(pairs)
    assert 0.7 < same < 0.95


@pytest.mark.parametrize(
    ("touch", "least", "most"), [("staccato", 0.25, 0.5), ("detached", 0.5, 0.8), ("legato", 0.94, 1.06)]
)
def test_touch(touch, least, most):
    """The share of its time for which a key is held; before a rest it seems smaller, so the largest of a phrase counts."""
    for phrase in phrases(1000, 4.0, touch=touch, kind="scale"):
        if len(phrase.notes) > 8:
            shares = [earlier.held / (later.start - earlier.start) for earlier, later in pairwise(phrase.notes)]
            assert least <= max(shares) <= most


def test_contours():
    """In a clip of a second, at most four beats, a contour has one span."""
    for phrase in phrases(600, 1.0, contour="even"):
        velocities = [note.velocity for note in phrase.notes]
        assert max(velocities) - min(velocities) <= 8
    for contour, sign in (("crescendo", 1), ("diminuendo", -1)):
        for phrase in phrases(600, 1.0, contour=contour):
            first, last = phrase.notes[0], phrase.notes[-1]
            if last.start - first.start > 600:
                assert sign * (last.velocity - first.velocity) > 0
    for phrase in phrases(600, 1.0, contour="swell"):
        early, middle = phrase.notes[0], [note for note in phrase.notes if 450 <= note.start - phrase.notes[0].start <= 550]
        assert all(note.velocity > early.velocity for note in middle)


def test_notes_lie_on_the_grid():
    for phrase in phrases(1000, 4.0):
        first = phrase.notes[0].start
        ticks = [(note.start - first) * phrase.about["bpm"] / 5000 for note in phrase.notes]  # twelfths of a beat
        assert all(-0.01 <= round(tick) - tick < phrase.about["bpm"] / 5000 for tick in ticks)
        assert all(round(tick) % 3 == 0 or round(tick) % 4 == 0 for tick in ticks)


def test_rests_and_overlaps_occur():
    silences = overlaps = 0
    for phrase in phrases(1000, 4.0):
        for earlier, later in pairwise(strokes(phrase)):
            gap = later[0].start - max(note.start + note.held for note in earlier)
            silences += gap > 400
            overlaps += gap < 0
    assert silences > 100
    assert overlaps > 100
