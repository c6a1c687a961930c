"""Drawn phrases of a data set: each passes the filters, by brute force; splits share none; what leaves none is refused."""

import json
from collections import Counter
from dataclasses import asdict, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data.errors import InputError
from dx7data.phrases import compose
from dx7data.phrases.compose import KINDS, draw
from dx7data.phrases.filters import NO_FILTERS, Filters
from dx7data.phrases.phrase import Note, Phrase
from dx7data.plan import drawn, schema
from dx7data.plan.limits import check_spec
from dx7data.plan.spec import SPLITS, Spec
from dx7data.rng import KeyedRng


def spec(seconds=2.5, kinds=(), split=(0.8, 0.1, 0.1), **filters) -> Spec:
    common = {"sample_rate": 8000, "seed": 7, "source": "random", "gain": "native", "keep_silent": False}
    common |= {"shard_bytes": 10**6}
    return Spec(seconds=seconds, kinds=kinds, split=split, filters=Filters(**filters), **common)


def drawn_phrases(of: Spec, count: int, split="train") -> list[Phrase]:
    return [drawn.draw_phrase(KeyedRng("test", i), of, split) for i in range(count)]


def sounding(phrase: Phrase, length: int) -> list[int]:
    """How many notes sound in each millisecond of the clip."""
    grid = [0] * length
    for note in phrase.notes:
        for time in range(note.start, min(note.start + note.held, length)):
            grid[time] += 1
    return grid


# What each filter promises of a phrase, written down once more.
PROMISES = {
    "notes": lambda phrase, length, least, most: least <= len(phrase.notes) <= (most or 10**9),
    "polyphony": lambda phrase, length, least, most: least <= max(sounding(phrase, length)) <= (most or 10**9),
    "pitch_range": lambda phrase, length, least, most: all(least <= note.note <= most for note in phrase.notes),
    "velocity": lambda phrase, length, least, most: all(least <= note.velocity <= most for note in phrase.notes),
    "different_notes": lambda phrase, length, least: len(Counter(note.note for note in phrase.notes)) >= least,
    "filled": lambda phrase, length, least: sum(map(bool, sounding(phrase, length))) >= least * length,
}


@pytest.mark.parametrize(
    ("seconds", "filters"),
    [
        (2.5, {"polyphony": (1, 1)}),
        (8, {"polyphony": (1, 1)}),
        (2.5, {"polyphony": (1, 2)}),
        (2.5, {"polyphony": (3, 4)}),
        (2.5, {"notes": (4, 7)}),
        (2.5, {"pitch_range": (48, 72)}),
        (2.5, {"velocity": (30, 127)}),
        (2.5, {"velocity": (100, 100)}),
        (2.5, {"velocity": (1, 9)}),
        (2.5, {"velocity": (126, 127)}),
        (2.5, {"different_notes": 7}),
        (2.5, {"filled": 0.9}),
        (0.25, {"polyphony": (1, 1), "velocity": (64, 64), "filled": 0.5}),
        (4, {"polyphony": (1, 1), "notes": (4, 18), "velocity": (30, 127), "pitch_range": (36, 96), "filled": 0.6}),
    ],
)
def test_every_phrase_passes_the_filters(seconds, filters):
    for split, count in (("train", 300), ("test", 50)):
        for phrase in drawn_phrases(spec(seconds, **filters), count, split):
            for name, value in filters.items():
                limits = value if isinstance(value, tuple) else (value,)
                assert PROMISES[name](phrase, round(seconds * 1000), *limits), (name, phrase)


def test_phrases_without_filters_break_each_of_these_promises():
    """Or the test above would show nothing."""
    broken = {"notes": (4, 7), "polyphony": (1, 1), "pitch_range": (48, 72), "velocity": (30, 127)}
    broken |= {"different_notes": (7,), "filled": (0.9,)}
    phrases = drawn_phrases(spec(), 300)
    for name, limits in broken.items():
        assert 10 < sum(PROMISES[name](phrase, 2500, *limits) for phrase in phrases) < 290, name


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"chords"}))
@pytest.mark.parametrize("seconds", [0.5, 8, 60])
def test_one_note_at_a_time_is_composed_and_not_waited_for(kind, seconds):
    """Whatever the touch: of legato phrases, most notes last until the next one begins."""
    phrases = [draw(KeyedRng("mono", i), seconds, (kind,), Filters(polyphony=(1, 1))) for i in range(60)]
    assert all(max(sounding(phrase, round(seconds * 1000))) == 1 for phrase in phrases)
    assert all(note.held >= 30 for phrase in phrases for note in phrase.notes)
    if seconds == 8 and kind != "repeated":
        free = [draw(KeyedRng("mono", i), seconds, (kind,)) for i in range(60)]
        assert max(max(sounding(phrase, 8000)) for phrase in free) > 1
        legato = [each for each in phrases if each.about["touch"] == "legato"]
        pairs = [pair for phrase in legato for pair in zip(phrase.notes, phrase.notes[1:], strict=False)]
        touching = sum(earlier.start + earlier.held == later.start for earlier, later in pairs)
        assert touching > 0.3 * len(pairs)


@settings(deadline=None)
@given(st.integers(0, 2**64), st.integers(1, 5), st.integers(1, 127), st.integers(1, 127), st.floats(0.01, 12))
def test_the_composer_keeps_to_polyphony_and_velocity(seed, most, one, other, seconds):
    least_velocity, most_velocity = sorted((one, other))
    phrase = draw(KeyedRng(seed), seconds, (), Filters(polyphony=(1, most), velocity=(least_velocity, most_velocity)))
    assert all(least_velocity <= note.velocity <= most_velocity for note in phrase.notes)
    assert all(note.held >= 30 for note in phrase.notes)
    assert max(sounding(phrase, max(round(seconds * 1000), 10))) <= max(most, 2 if phrase.kind == "chords" else 1)


def test_filters_that_allow_all_change_nothing():
    for i in range(100):
        assert draw(KeyedRng(i), 4.0, KINDS, NO_FILTERS) == draw(KeyedRng(i), 4.0)


@pytest.mark.parametrize("kinds", [("melody",), ("arpeggio", "scale"), ("chords", "repeated", "walk"), KINDS])
def test_only_the_kinds_asked_for(kinds):
    found = Counter(phrase.kind for phrase in drawn_phrases(spec(kinds=tuple(sorted(kinds))), 300))
    assert set(found) == set(kinds)
    assert min(found.values()) > 200 / len(kinds)


def heard(phrase, seconds):
    """What sounds in a clip, and how loud."""
    end = round(1000 * seconds)
    notes = [note for note in phrase.notes if note.start < end]
    return tuple((note.start, min(note.start + note.held, end), note.note, note.velocity // 2) for note in notes)


@pytest.mark.parametrize("seconds", [0.06, 0.5])
def test_splits_share_no_phrase(seconds):
    """Of notes so few and so like each other that chance alone gives the same ones again and again."""
    of = spec(seconds, ("melody",), velocity=(100, 100), polyphony=(1, 1))
    found = {split: {heard(phrase, seconds) for phrase in drawn_phrases(of, 1500, split)} for split in SPLITS}
    assert len(found["train"]) < 1500
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not found[one] & found[other]


def test_what_is_not_heard_does_not_part_phrases():
    one = Phrase((Note(0, 400, 60, 100), Note(450, 90, 62, 101)))
    other = Phrase((Note(0, 400, 60, 101), Note(450, 999, 62, 100), Note(500, 50, 64, 1)))
    assert drawn.find_split(one, spec(0.5)) == drawn.find_split(other, spec(0.5))
    shorter = [Phrase((Note(0, held, 60, 100),)) for held in range(30, 60)]
    assert {drawn.find_split(each, spec(0.5)) for each in shorter} == set(SPLITS)


def test_without_other_splits_nothing_is_turned_down():
    of = replace(spec(), split=(1.0, 0.0, 0.0))
    assert drawn_phrases(of, 50) == [draw(KeyedRng("test", i), of.seconds) for i in range(50)]


def test_the_same_dice_give_the_same_phrase():
    of = spec(kinds=("melody",), polyphony=(1, 1), notes=(4, 6))
    assert drawn_phrases(of, 100) == drawn_phrases(of, 100)


# --- how many pass


def test_the_estimate_counts_what_filters_take():
    of = spec(kinds=("melody",), notes=(4, 9), filled=0.6)
    found = drawn.estimate(of)
    assert found.drawn == 900
    share = 1 - found.left_out.total() / found.drawn
    free = drawn_phrases(spec(kinds=("melody",)), 900)
    passes = [PROMISES["notes"](each, 2500, 4, 9) and PROMISES["filled"](each, 2500, 0.6) for each in free]
    assert abs(share - sum(passes) / 900) < 0.08
    assert found.text().startswith(f"drawn phrases: {100 * share:.0f} % pass the filters, ")
    assert set(found.left_out) == {"notes", "filled"}


def test_the_estimate_in_words():
    assert drawn.Acceptance(900).text() == "drawn phrases: 100 % pass the filters"
    few = drawn.Acceptance(900, Counter({"filled": 97, "notes": 800}))
    assert few.text() == "drawn phrases: 0.3 % pass the filters, 89 % fail notes, 11 % fail filled"


@pytest.mark.parametrize(
    ("options", "filters", "words"),
    [
        ({"kinds": ("chords",)}, {"polyphony": (1, 1)}, ["polyphony left out 300 (it found 2);", "--kinds"]),
        ({}, {"notes": (400, None)}, ["notes left out 300 (it found 1 to", "--seconds"]),
        ({}, {"pitch_range": (0, 27)}, ["pitch range left out 300", "another --pitch-range"]),
        ({"seconds": 0.1}, {"different_notes": 9}, ["different notes left out 300", "another --different-notes"]),
        ({}, {"pitch_range": (0, 27), "filled": 0.8, "notes": (2, 9)}, ["notes left out", "pitch range left out"]),
    ],
)
def test_filters_that_leave_no_phrase_are_refused(options, filters, words):
    with pytest.raises(InputError, match=r"^no drawn phrase is left of 300: ") as error:
        drawn.estimate(spec(**options, **filters))
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_a_split_without_samples_is_not_estimated():
    assert drawn.estimate(spec(split=(1.0, 0.0, 0.0), velocity=(1, 60))).drawn == 300


@pytest.mark.parametrize("seconds", [2.5, 600])
def test_a_phrase_that_never_comes_ends_in_a_sentence(monkeypatch, seconds):
    """Whatever the length of the clips it takes about as long: the longer they are, the fewer are drawn."""
    monkeypatch.setattr(drawn, "_MAX_DRAWS", 8000)
    draw_one, count = compose.draw, Counter()
    monkeypatch.setattr(compose, "draw", lambda *args: count.update(["draws"]) or draw_one(*args))
    sentence = (
        r"of [\d,]+ drawn phrases none passes the filters \(different notes 128 or more\): .* another --different-notes$"
    )
    with pytest.raises(InputError, match=sentence):
        drawn.draw_phrase(KeyedRng(1), spec(seconds, different_notes=128), "train")
    assert count["draws"] == {2.5: 6095, 600: 105}[seconds]


def test_the_estimate_of_long_clips_takes_seconds():
    assert drawn.estimate(spec(600, filled=0.1)).drawn == 3 * 30


# --- the spec


@pytest.mark.parametrize(
    ("kinds", "filters"), [*product([(), ("melody", "walk")], [{}, {"polyphony": (1, 1), "filled": 0.5}])]
)
def test_a_spec_comes_back_from_json(kinds, filters):
    of = spec(kinds=kinds, **filters)
    document = json.loads(json.dumps(asdict(of)))
    assert decode(document) == of
    if not kinds and not filters:  # an earlier version's
        assert decode({name: value for name, value in document.items() if name not in ("kinds", "filters")}) == of


def decode(document):
    return schema.decode(json.dumps(document), Spec, "a file")


@pytest.mark.parametrize("filters", [5, None, [1], {"notes": 3}, {"notes": [0, None]}, {"filled": 1.5}])
def test_a_spec_that_is_none(filters):
    with pytest.raises(InputError, match="a file, field filters"):
        decode(json.loads(json.dumps(asdict(spec()))) | {"filters": filters})


def test_a_codec_that_is_not_installed():
    with pytest.raises(InputError, match=r"spec\.prefixes: there is no codec bits here, only bytes, fsk, reference"):
        check_spec(replace(spec(), prefixes=("bits",)), "a file")
    with pytest.raises(InputError, match=r"spec\.prefixes: no data set can have this"):
        check_spec(replace(spec(), prefixes=("fsk", "fsk")), "a file")


def test_milliseconds():
    assert [replace(spec(), seconds=seconds).milliseconds for seconds in (0.01, 1.001, 2.5, 600)] == [
        10,
        1001,
        2500,
        600_000,
    ]
