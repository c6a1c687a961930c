"""Drawn phrases: a small composer of what a keyboard player practises, from integers of the rng alone.

A kind is a function that says what is pressed: an endless stream of keys, chord by chord or note by note. When and how
is the same for all of them: a rhythm on a tempo grid with rests and ties, a touch from staccato to legato, a contour of
velocities.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from dx7data.phrases.filters import NO_FILTERS, Filters
from dx7data.phrases.phrase import Note, Phrase
from dx7data.rng import KeyedRng

_LOWEST, _HIGHEST = 28, 103  # E1 to G7: a sine up to 3.2 kHz, which a sample rate of 8 kHz still holds
_BEAT = 12  # ticks: sixteenths are 3, triplets 4, eighths 6
_MINUTE = 60_000 // _BEAT  # ms that a tick would last at 1 beat a minute
_SHORTEST = 30  # ms that a key is held: about the attack of a soft patch
_LIFT = 20  # ms that a key is up before it is struck again
_LAST_START = 100  # ms before the end of the clip: a note that begins later is hardly heard

_SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole-tone": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(12)),
}
_MODES = tuple(name for name, steps in _SCALES.items() if len(steps) == 7)  # those that have triads on every degree
_PENTATONIC = ("major pentatonic", "minor pentatonic")  # any two of their notes go together
_CHORDS = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "major seventh": (0, 4, 7, 11),
    "dominant seventh": (0, 4, 7, 10),
    "minor seventh": (0, 3, 7, 10),
    "half-diminished": (0, 3, 6, 10),
    "diminished seventh": (0, 3, 6, 9),
}
# Scales and arpeggios: offsets that are played from every rung, and the ways up (1) and down.
_FIGURES = {"straight": (0,), "broken": (0, 2), "in threes": (0, 1, 2), "in fours": (0, 1, 2, 3), "rolling": (0, 2, 1, 2)}
_DIRECTIONS = {"up": (1,), "down": (-1,), "up and down": (1, -1)}
_PROGRESSIONS = {  # degrees of a scale, 0 is the tonic
    "I-IV-V-I": (0, 3, 4, 0),
    "I-V-vi-IV": (0, 4, 5, 3),
    "I-vi-IV-V": (0, 5, 3, 4),
    "ii-V-I": (1, 4, 0, 0),
    "vi-IV-I-V": (5, 3, 0, 4),
    "circle": (0, 3, 6, 2, 5, 1, 4, 0),
    "blues": (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4),
}
# Offsets on the scale from a chord's root: thirds, sixths, triads and their inversions, open, shell, seventh, drop two.
_VOICINGS = ((0, 2), (2, 7), (0, 2, 4), (2, 4, 7), (4, 7, 9), (0, 4, 9), (0, 2, 6), (0, 2, 4, 6), (0, 4, 6, 9))

# Rhythms: the ticks of one beat or of several.
_RUNNING = ((3, 3, 3, 3), (4, 4, 4), (6, 6), (12,), (8, 4), (9, 3), (6, 3, 3))
_DRIVING = (*_RUNNING, (3, 3, 6), (9, 9, 6), (6, 12, 6), (24,))
_SINGING = ((12, 12, 6, 6, 12), (18, 6, 12, 12), (6, 6, 12, 6, 6, 12), (24, 12, 12), (9, 3, 12), (6, 12, 6, 24))
_BROAD = ((48,), (24, 24), (24, 12, 12), (36, 12), (12, 12, 12, 12), (18, 18, 12))

_TOUCHES = {"staccato": (25, 45), "detached": (50, 80), "legato": (95, 105), "mixed": (25, 105)}  # percent of a note's time
# From how far a span of time is gone (percent), and whether an accent falls here, to louder or softer, 100 to -100.
_CONTOURS = {
    "even": lambda gone, accent: 0,
    "crescendo": lambda gone, accent: 2 * gone - 100,
    "diminuendo": lambda gone, accent: 100 - 2 * gone,
    "swell": lambda gone, accent: 100 - 4 * abs(50 - gone),
    "echo": lambda gone, accent: 100 if gone < 50 else -100,
    "accents": lambda gone, accent: 100 if accent else -50,
}


def draw(rng: KeyedRng, seconds: float, kinds: tuple[str, ...] = (), filters: Filters = NO_FILTERS) -> Phrase:
    """A phrase for a clip of 0.01 to 600 seconds; `kind` and `about` say what it is. The same rng, the same phrase.

    kinds: of KINDS; empty: all of them. filters: a hint. So that few phrases are refused afterwards, no more keys go down
    or stay down at once than the polyphony allows (a legato ends when the next note begins), except that chords have at
    least two, and loudness is drawn within the velocities. The phrase may still fail any filter but that of velocity.
    """
    end = round(seconds * 1000)
    kind = rng.pick([name for name in KINDS if name in kinds] if kinds else KINDS)
    compose, patterns, minimum_keys = _KINDS[kind]
    maximum = filters.polyphony[1] and max(filters.polyphony[1], minimum_keys)
    about: dict[str, Any] = {
        "bpm": rng.between(60, 160),
        "touch": rng.pick(tuple(_TOUCHES)),
        "contour": rng.pick(tuple(_CONTOURS)),
    }
    velocity = _dynamics(rng, about["contour"], end * about["bpm"] // _MINUTE, filters.velocity)
    first = rng.pick((0, 0, rng.below(min(end // 8, 250) + 1)))
    strokes = compose(rng, about)
    notes: list[Note] = []
    for tick, ticks, rest in _rhythm(rng, patterns):
        start, until = (first + time * _MINUTE // about["bpm"] for time in (tick, tick + ticks))
        if notes and start > end - _LAST_START:
            break
        held = max((until - start) * rng.between(*_TOUCHES[about["touch"]]) // 100, _SHORTEST)
        if not notes or not rest:
            notes += [Note(start, held, key, velocity(tick)) for key in next(strokes)[:maximum]]
    notes = _lift(notes)
    return Phrase(tuple(_release(notes, maximum) if maximum else notes), kind=kind, about=about)


def _rhythm(rng: KeyedRng, patterns: tuple[tuple[int, ...], ...]) -> Iterator[tuple[int, int, bool]]:
    """For ever: when a stroke comes and how long it lasts, in ticks, and whether it is a rest."""
    ties, rests = rng.pick((0, 0, 12, 6)), rng.pick((0, 0, 16, 8, 5))
    tick = tied = 0
    while True:
        for ticks in rng.pick(patterns) * rng.pick((2, 4, 4, 8)):
            tied += ticks
            if ties and not rng.below(ties):
                continue
            yield tick, tied, bool(rests) and not rng.below(rests)
            tick, tied = tick + tied, 0


def _dynamics(rng: KeyedRng, contour: str, clip: int, limits: tuple[int, int]) -> Callable[[int], int]:
    """The velocity of a note, within limits, as a function of its tick, in a clip of so many ticks."""
    minimum, maximum = limits
    loudness = rng.between(min(max(30, minimum), maximum), max(min(115, maximum), minimum))
    depth = rng.between(12, 40)
    span = max(min(rng.pick((4, 8, 16, 32)) * _BEAT, clip), 1)
    bar = rng.pick((1, 2, 3, 4)) * _BEAT

    def velocity(tick: int) -> int:
        shape = _CONTOURS[contour](tick % span * 100 // span, tick % bar == 0)
        return min(max(loudness + depth * shape // 100 + rng.between(-4, 4), minimum), maximum)

    return velocity


def _lift(notes: list[Note]) -> list[Note]:
    """The notes, each let go before its key is struck again."""
    struck: dict[int, int] = {}
    lifted = []
    for note in reversed(notes):
        last = struck.get(note.note, note.start + note.held + _LIFT) - _LIFT
        lifted.append(Note(note.start, min(note.held, last - note.start), note.note, note.velocity))
        struck[note.note] = note.start
    return lifted[::-1]


def _release(notes: list[Note], maximum: int) -> list[Note]:
    """The notes, of which the oldest is let go where more than `maximum` would sound; no stroke has more than that."""
    released: list[Note] = []
    down: list[int] = []  # indices of what sounds, the oldest first
    for i, note in enumerate(notes):
        down = [j for j in down if released[j].start + released[j].held > note.start]
        if len(down) == maximum:
            oldest = down.pop(0)
            released[oldest] = released[oldest]._replace(held=note.start - released[oldest].start)
        released.append(note)
        down.append(i)
    return released


def _ladder(root: int, steps: tuple[int, ...], octaves: int) -> list[int]:
    """The keys of a scale or chord, from root to root."""
    return [root + 12 * octave + step for octave in range(octaves) for step in steps] + [root + 12 * octaves]


def _scale(rng: KeyedRng, about: dict, names: tuple[str, ...], lowest: int, octaves: int) -> list[int]:
    """The ladder of one of the scales with these names."""
    about["scale"], about["root"] = rng.pick(names), rng.between(lowest, _HIGHEST - 12 * octaves)
    return _ladder(about["root"], _SCALES[about["scale"]], octaves)


def _near(rung: int, ladder: list[int]) -> int:
    """The rung, or the end of the ladder beyond which it lies."""
    return min(max(rung, 0), len(ladder) - 1)


# The kinds. Each yields the keys of one stroke after the other, for ever, and first says in `about` what it chose.


def _walks(rng: KeyedRng, about: dict) -> Iterator[list[int]]:
    """Small random steps and skips on a pentatonic scale, now and then two or three keys at once."""
    ladder = _scale(rng, about, _PENTATONIC, _LOWEST, 2)
    rung = rng.below(len(ladder))
    while True:
        yield ladder[rung : rung + 1 + 2 * rng.pick((0, 0, 0, 0, 0, 0, 1, 2)) : 2]
        rung = _near(rung + rng.between(-3, 3), ladder)


def _runs(name: str, choices: dict, rng: KeyedRng, about: dict) -> Iterator[list[int]]:
    """Up, down or both, straight or broken, over one to three octaves; after some runs a fourth, fifth or tone away."""
    about[name] = rng.pick(tuple(choices))
    octaves = rng.between(1, 3)
    root = about["root"] = rng.between(_LOWEST, _HIGHEST - 12 * octaves)
    about["direction"], about["figure"] = rng.pick(tuple(_DIRECTIONS)), rng.pick(tuple(_FIGURES))
    figure, before = _FIGURES[about["figure"]], None
    while True:
        for way in _DIRECTIONS[about["direction"]]:
            rungs = _ladder(root, choices[about[name]], octaves)[::way]
            for i in range(len(rungs) - max(figure)):
                for key in (rungs[i + offset] for offset in figure):
                    if key != before:  # at the turn, the last key of one run is the first of the next
                        yield [key]
                    before = key
        if not rng.below(3):
            roots = [root + interval for interval in (-7, -5, -2, 2, 5, 7)]
            root = rng.pick([other for other in roots if _LOWEST <= other <= _HIGHEST - 12 * octaves])


def _chords(rng: KeyedRng, about: dict) -> Iterator[list[int]]:
    """Block chords of a common progression, each in a voicing of its own and struck once or more often."""
    ladder = _scale(rng, about, _MODES, 40, 3)  # chords in the bass are mud
    about["progression"] = rng.pick(tuple(_PROGRESSIONS))
    while True:
        for degree in _PROGRESSIONS[about["progression"]]:
            chord = [ladder[degree + offset] for offset in rng.pick(_VOICINGS)]
            for _ in range(rng.pick((1, 1, 2, 4))):
                yield chord


def _repeats(rng: KeyedRng, about: dict) -> Iterator[list[int]]:
    """One key, third or triad over and over, then another one nearby."""
    ladder = _scale(rng, about, _MODES, _LOWEST, 2)
    width = rng.pick((1, 1, 1, 3, 5))
    rung = rng.below(len(ladder))
    while True:
        for _ in range(rng.pick((2, 4, 6, 8, 16))):
            yield ladder[rung : rung + width : 2]
        rung = _near(rung + rng.between(-2, 2), ladder)


def _melodies(rng: KeyedRng, about: dict) -> Iterator[list[int]]:
    """A motif, from another degree, upside down; home to the root, a breath, and the same again or another motif."""
    ladder = _scale(rng, about, _MODES, _LOWEST, 2)
    octave = len(ladder) // 2
    while True:
        motif = [rng.between(-2, 2) for _ in range(rng.between(3, 6))]
        for _ in range(rng.between(1, 2)):
            for start, way in ((octave, 1), (octave + rng.between(-3, 3), 1), (octave, -1)):
                rung = start
                for move in motif:
                    yield [ladder[rung]]
                    rung = _near(rung + way * move, ladder)
            yield [ladder[octave]]
            yield []


_Compose = Callable[[KeyedRng, dict[str, Any]], Iterator[list[int]]]
# What is played, in which rhythms, and with how few keys at once it is still of that kind.
_KINDS: dict[str, tuple[_Compose, tuple[tuple[int, ...], ...], int]] = {
    "walk": (_walks, _SINGING, 1),
    "scale": (partial(_runs, "scale", _SCALES), _RUNNING, 1),
    "arpeggio": (partial(_runs, "chord", _CHORDS), _RUNNING, 1),
    "chords": (_chords, _BROAD, 2),
    "repeated": (_repeats, _DRIVING, 1),
    "melody": (_melodies, _SINGING, 1),
}
KINDS = tuple(_KINDS)
