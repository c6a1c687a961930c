"""Messages to notes and controller events: which keys are down, what the pedal holds, what the bend's range is."""

from typing import Any

import numpy as np
from numba import njit

from dx7data import cache
from dx7data.cache import inner
from dx7data.phrases.loops.order import (
    AT_REST,
    CONTROLLERS,
    LENGTH,
    NEXT,
    OF_CHANGE,
    OF_NOTE,
    START,
    TIME,
    VALUE,
    VELOCITY,
    VOICE,
    WHAT,
    Events,
    Notes,
    order_events,
    order_notes,
)
from dx7data.phrases.loops.tempo import Tempos
from dx7data.phrases.loops.track import BEND, CONTROL, FIRST, KIND, NOTE_ON, SECOND, WHERE, Messages

_i64: Any = np.int64  # wide enough for sums and shifts; mypy takes it for a number
_BEND, _WHEEL, _VOLUME, _EXPRESSION = range(CONTROLLERS)
_NONE = -1


# The state while the messages go by: columns of arrays of int32, for to pass many arrays on takes longer than to use them.
# Of voices. Notes are chained, each names the next one; so are the voices of a place with keys down, and those that the
# pedal alone holds. A voice that has no such notes any more stays in its chain until all of that place are ended.
_DOWN, _HELD = 0, 1  # the first note of a chain: the oldest one that is down, the last one that the pedal alone holds
_NEXT_VOICE = 2  # plus _DOWN or _HELD, as below: the next voice of the chain
_IS_IN = 4  # whether a voice is in the chain
_NEWEST = 6  # the note that went down last
_OF_VOICE = 7
# Of notes and of changes of controllers: see order.py.
# Of places. _DOWN, _HELD: the first voice of the chain.
_PEDAL = 2
_BENT = 3  # -8192 to 8191
_SEMITONES, _CENTS = 4, 5  # the range of the bend, up and down
_COARSE, _FINE = 6, 7  # the registered parameter that is selected: values of controllers 101 and 100, or none
_LAST = 8  # index of the last change of each controller
_OF_PLACE = _LAST + CONTROLLERS


@cache.keep
@njit(nogil=True)
def perform(
    messages: Messages,
    order: np.ndarray,
    place_count: int,
    lane_count: int,
    voice_count: int,
    tempos: Tempos,
    end: int,
    semitones: int,
) -> tuple[Notes, Events, int, int]:
    """What is played in a sequence that ends at `end` ms: notes and events, notes of no length, notes that nothing ended.

    order: indices of its messages, in order of their ticks; semitones: range of the bend where nothing else is said.
    """
    ticks, rest, of_voice, of_lane = messages.tick, messages.rest, messages.voices, messages.lanes
    scale, tempo_ticks, elapsed, quarters = tempos.scale, tempos.tick, tempos.elapsed, tempos.quarter
    struck = 0
    for i in order:
        struck += rest[i, KIND] == NOTE_ON and rest[i, SECOND] > 0
    notes = np.full((struck, OF_NOTE), _NONE, np.int32)
    voices = np.full((voice_count, _OF_VOICE), _NONE, np.int32)
    voices[:, _IS_IN + _DOWN] = voices[:, _IS_IN + _HELD] = 0
    places = np.full((place_count, _OF_PLACE), _NONE, np.int32)
    places[:, _PEDAL] = places[:, _BENT] = places[:, _CENTS] = 0
    places[:, _SEMITONES] = semitones
    changes = np.empty((3 * order.size + 1, OF_CHANGE), np.int32)  # a reset has three
    changes[0, 0] = tempo = n = 0
    for i in order:
        tick, kind, where = ticks[i], rest[i, KIND], _i64(rest[i, WHERE])
        while tempo + 1 < tempo_ticks.size and tempo_ticks[tempo + 1] <= tick:
            tempo += 1
        ticks_x_us = elapsed[tempo] + (tick - tempo_ticks[tempo]) * quarters[tempo]
        time = (2 * ticks_x_us + scale) // (2 * scale)  # to the nearest millisecond
        first, second = _i64(rest[i, FIRST]), _i64(rest[i, SECOND])
        if kind == BEND:
            places[where, _BENT] = (second << 7 | first) - 8192
            _set_bend(places, changes, time, where)
        elif kind == CONTROL:
            _control(voices, places, notes, changes, time, where, first, second)
        elif kind == NOTE_ON and second:
            _end_chain(voices, notes, time, where, _HELD)  # what the pedal alone holds is struck again
            notes[n, START], notes[n, VOICE], notes[n, VELOCITY] = time, where, second
            _press(voices, places, notes, n, where, of_lane[of_voice[where, 0], 1])
            n += 1
        else:
            _release(voices, places, notes, time, where, of_lane[of_voice[where, 0], 1])
    never_ending = 0
    for place in range(place_count):
        _end_all(voices, places, notes, end, place, _HELD)
        never_ending += _end_all(voices, places, notes, end, place, _DOWN)
    by_lane = order_notes(of_voice, notes, lane_count)
    return by_lane, order_events(changes, place_count), struck - by_lane.start.size, never_ending


# --- Keys ---


@njit(inline="always")
def _press(voices: np.ndarray, places: np.ndarray, notes: np.ndarray, n: int, voice: int, place: int) -> None:
    """A key goes down."""
    if voices[voice, _DOWN] == _NONE:
        voices[voice, _DOWN] = n
    else:
        notes[voices[voice, _NEWEST], NEXT] = n
    voices[voice, _NEWEST] = n
    _chain(voices, places, voice, place, _DOWN)


@njit(inline="always")
def _release(voices: np.ndarray, places: np.ndarray, notes: np.ndarray, time: int, voice: int, place: int) -> None:
    """A key goes up. It ends the oldest note: many files begin the next one before, on the same tick."""
    n = voices[voice, _DOWN]
    if n == _NONE:
        return
    voices[voice, _DOWN] = notes[n, NEXT]
    notes[n, NEXT], voices[voice, _HELD] = voices[voice, _HELD], n
    if not places[place, _PEDAL] or voices[voice, _DOWN] != _NONE:  # a pedal does not hold what was struck again since
        _end_chain(voices, notes, time, voice, _HELD)
    else:
        _chain(voices, places, voice, place, _HELD)


@njit(inline="always")
def _chain(voices: np.ndarray, places: np.ndarray, voice: int, place: int, chain: int) -> None:
    """Put a voice into a chain of its place, unless it is there."""
    if not voices[voice, _IS_IN + chain]:
        voices[voice, _IS_IN + chain], voices[voice, _NEXT_VOICE + chain] = 1, places[place, chain]
        places[place, chain] = voice


@njit(inline="always")
def _end_chain(voices: np.ndarray, notes: np.ndarray, time: int, voice: int, chain: int) -> int:
    """End the notes of a voice that are down, or held; returns how many there were."""
    count, n = 0, voices[voice, chain]
    while n != _NONE:
        notes[n, LENGTH] = time - notes[n, START]
        n = notes[n, NEXT]
        count += 1
    voices[voice, chain] = _NONE
    return count


@inner
def _end_all(voices: np.ndarray, places: np.ndarray, notes: np.ndarray, time: int, place: int, chain: int) -> int:
    """End the notes of a place whose keys are down, or that the pedal alone holds; returns how many there were."""
    count, voice = 0, places[place, chain]
    while voice != _NONE:
        count += _end_chain(voices, notes, time, voice, chain)
        voices[voice, _IS_IN + chain] = 0
        voice = voices[voice, _NEXT_VOICE + chain]
    places[place, chain] = _NONE
    return count


@inner
def _release_all(voices: np.ndarray, places: np.ndarray, notes: np.ndarray, time: int, place: int) -> None:
    voice = places[place, _DOWN]
    while voice != _NONE:
        while voices[voice, _DOWN] != _NONE:
            _release(voices, places, notes, time, voice, place)
        voices[voice, _IS_IN + _DOWN] = 0
        voice = voices[voice, _NEXT_VOICE + _DOWN]
    places[place, _DOWN] = _NONE


# --- Controllers ---


@inner
def _control(
    voices: np.ndarray,
    places: np.ndarray,
    notes: np.ndarray,
    changes: np.ndarray,
    time: int,
    place: int,
    control: int,
    value: int,
) -> None:
    if control == 1:
        _set(places, changes, time, place, _WHEEL, value)
    elif control == 7:
        _set(places, changes, time, place, _VOLUME, value)
    elif control == 11:
        _set(places, changes, time, place, _EXPRESSION, value)
    elif control == 64:
        places[place, _PEDAL] = value >= 64
        if value < 64:
            _end_all(voices, places, notes, time, place, _HELD)
    elif control == 120:  # all sound off
        _end_all(voices, places, notes, time, place, _HELD)
        _end_all(voices, places, notes, time, place, _DOWN)
    elif control == 123:  # all notes off: all keys go up, and what the pedal holds goes on
        _release_all(voices, places, notes, time, place)
    elif control == 121:  # reset all controllers
        places[place, _BENT] = places[place, _PEDAL] = 0
        for controller in (_BEND, _WHEEL, _EXPRESSION):
            _set(places, changes, time, place, controller, AT_REST[controller])
        _end_all(voices, places, notes, time, place, _HELD)
    elif control == 98 or control == 99:  # a non-registered parameter is selected
        places[place, _COARSE] = places[place, _FINE] = _NONE
    elif control == 100:
        places[place, _FINE] = value
    elif control == 101:
        places[place, _COARSE] = value
    elif (control == 6 or control == 38) and places[place, _COARSE] == 0 and places[place, _FINE] == 0:
        # Of any other parameter, null too, the value is not the range of the bend.
        places[place, _SEMITONES if control == 6 else _CENTS] = value
        _set_bend(places, changes, time, place)


@inner
def _set(places: np.ndarray, changes: np.ndarray, time: int, place: int, controller: int, value: int) -> None:
    """The last value in a millisecond counts."""
    last = places[place, _LAST + controller]
    if last != _NONE and changes[last, TIME] == time:
        changes[last, VALUE] = value
        return
    last = changes[0, 0] = changes[0, 0] + 1
    changes[last, TIME], changes[last, WHAT], changes[last, VALUE] = time, place * CONTROLLERS + controller, value
    places[place, _LAST + controller] = last


@inner
def _set_bend(places: np.ndarray, changes: np.ndarray, time: int, place: int) -> None:
    cents = _i64(100 * places[place, _SEMITONES] + places[place, _CENTS])
    _set(places, changes, time, place, _BEND, (places[place, _BENT] * cents << 24) // (8192 * 1200))
