"""Notes and changes of controllers as they were played, put in order: notes by lane, changes by place."""

from typing import Any, NamedTuple

import numpy as np

from dx7data.cache import inner

_i64: Any = np.int64  # wide enough for sums and shifts; mypy takes it for a number
CONTROLLERS = 4  # phrase.CONTROLLERS
AT_REST = np.array([0, 0, 127, 127])  # phrase.REST
# Columns of the notes of a performance, int32, in order of their beginning.
START, LENGTH, VOICE, VELOCITY, NEXT = range(5)  # NEXT: see performance.py
OF_NOTE = 5
# Columns of its changes of controllers, int32, in order of time; the first row has nothing but their number.
TIME, WHAT, VALUE = range(3)  # WHAT: place x CONTROLLERS + controller
OF_CHANGE = 3


class Notes(NamedTuple):
    """Notes of one sequence by lane, there in order of (start, note, held, velocity). int32, `bounds` int64 (lanes + 1,)."""

    start: np.ndarray  # ms
    held: np.ndarray
    note: np.ndarray
    velocity: np.ndarray
    bounds: np.ndarray


class Events(NamedTuple):
    """Controller changes by place; of a place in order of (time, controller). int32, `bounds` int64 (places + 1,)."""

    time: np.ndarray  # ms
    controller: np.ndarray
    value: np.ndarray
    bounds: np.ndarray


@inner
def order_notes(of_voice: np.ndarray, notes: np.ndarray, lanes: int) -> Notes:
    """Those that last, by lane. They are in order of their beginning; it is left to order those that begin together."""
    bounds = np.zeros(lanes + 1, np.int64)
    for n in range(len(notes)):
        if notes[n, LENGTH]:
            bounds[of_voice[notes[n, VOICE], 0] + 1] += 1
    for lane in range(lanes):
        bounds[lane + 1] += bounds[lane]
    count, following = bounds[lanes], bounds[:-1].copy()
    start, rest = np.empty(count, np.int32), np.empty(count, np.int64)
    for n in range(len(notes)):
        if notes[n, LENGTH]:
            voice = notes[n, VOICE]
            lane, key = of_voice[voice, 0], _i64(of_voice[voice, 1])
            at = following[lane]
            following[lane] = at + 1
            start[at] = notes[n, START]
            rest[at] = key << 40 | _i64(notes[n, LENGTH]) << 8 | notes[n, VELOCITY]
    for lane in range(lanes):
        begin = bounds[lane]
        for n in range(begin + 1, bounds[lane + 1] + 1):
            if n == bounds[lane + 1] or start[n] != start[begin]:
                _sort_few(rest, begin, n)
                begin = n
    held, note, velocity = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int32)
    for n in range(count):
        note[n], held[n], velocity[n] = rest[n] >> 40, rest[n] >> 8 & 0xFFFFFFFF, rest[n] & 0xFF
    return Notes(start, held, note, velocity, bounds)


@inner
def _sort_few(numbers: np.ndarray, begin: int, end: int) -> None:
    """Put a part of an array in order, which has hardly ever more than a chord."""
    if end - begin > 16:
        numbers[begin:end].sort()
        return
    for n in range(begin + 1, end):
        number, at = numbers[n], n
        while at > begin and numbers[at - 1] > number:
            numbers[at] = numbers[at - 1]
            at -= 1
        numbers[at] = number


@inner
def order_events(changes: np.ndarray, places: int) -> Events:
    """The changes to another value, by place. They come in order of time; those of one ms are put in that of controllers."""
    bounds, count = np.zeros(places + 1, np.int64), changes[0, 0]
    for n in range(1, count + 1):
        bounds[changes[n, WHAT] // CONTROLLERS + 1] += 1
    for place in range(places):
        bounds[place + 1] += bounds[place]
    following, ordered = bounds[:-1].copy(), np.empty(count, np.int32)
    for n in range(1, count + 1):
        place = changes[n, WHAT] // CONTROLLERS
        at = following[place]
        following[place] = at + 1
        while at > bounds[place]:  # at most CONTROLLERS have the same time
            before = ordered[at - 1]
            if changes[before, TIME] != changes[n, TIME] or changes[before, WHAT] < changes[n, WHAT]:
                break
            ordered[at] = before
            at -= 1
        ordered[at] = n
    time, controller, value = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int32)
    kept, current, changed = 0, AT_REST.copy(), np.zeros(places + 1, np.int64)
    for place in range(places):
        current[:] = AT_REST
        for k in range(bounds[place], bounds[place + 1]):
            n = ordered[k]
            which = changes[n, WHAT] - place * CONTROLLERS
            if changes[n, VALUE] != current[which]:
                current[which] = changes[n, VALUE]
                time[kept], controller[kept], value[kept] = changes[n, TIME], which, changes[n, VALUE]
                kept += 1
        changed[place + 1] = kept
    return Events(time[:kept], controller[:kept], value[:kept], changed)
