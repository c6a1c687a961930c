"""Rows of phrases: filled, taken in another order, and written as columns."""

from typing import NamedTuple

import numpy as np
from numba import njit

from dx7data import cache
from dx7data.cache import inner
from dx7data.phrases.loops.digest import copy

ROW_HEADER = 4  # words: notes, events, bytes of what is known, and whether it was cut
NOTE_WORDS, EVENT_WORDS = 3, 3  # start, held, note << 8 | velocity; time, controller, value
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8).copy()
ID_BYTES = 16  # of an id as text


class Rows(NamedTuple):
    """P phrases. A row has words: ROW_HEADER, the notes, the events, and what is known of it as JSON."""

    ids: np.ndarray  # uint64 (P,)
    bounds: np.ndarray  # int64 (P + 1,), of words
    words: np.ndarray  # int32


@inner
def put_row(
    row: np.ndarray,
    played: np.ndarray,
    notes: int,
    changed: np.ndarray,
    events: int,
    text: np.ndarray,
    known: int,
    cut: bool,
) -> None:
    """Fill a row with the notes of `played`, the events of `changed` and `known` bytes of `text`."""
    row[0], row[1], row[2], row[3] = notes, events, known, cut
    at = ROW_HEADER
    for n in range(notes):
        row[at], row[at + 1], row[at + 2] = played[n, 0], played[n, 1], played[n, 2] << 8 | played[n, 3]
        at += NOTE_WORDS
    for n in range(events):
        row[at], row[at + 1], row[at + 2] = changed[n, 0], changed[n, 1], changed[n, 2]
        at += EVENT_WORDS
    row[-1] = 0  # of the last word not all bytes may be used
    copy(row.view(np.uint8), 4 * at, text, 0, known)


@cache.keep
@njit(nogil=True)
def take_rows(bounds: np.ndarray, words: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows with these indices, in this order: bounds, int64 (N + 1,), and words."""
    taken = np.zeros(order.size + 1, np.int64)
    for k in range(order.size):
        taken[k + 1] = taken[k] + bounds[order[k] + 1] - bounds[order[k]]
    found = np.empty(taken[-1], np.int32)
    for k in range(order.size):
        copy(found, taken[k], words, bounds[order[k]], taken[k + 1] - taken[k])
    return taken, found


@cache.keep
@njit(nogil=True)
def split_columns(ids: np.ndarray, bounds: np.ndarray, words: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, ...]:
    """P rows, those with the indices `order`, as columns.

    Counts of notes, events and bytes of what is known, int64 (P, 3); kind << 1 | cut; ids as text; what is known; of notes
    start, held, note, velocity; of events time, controller, value.
    """
    counts, kinds = np.empty((order.size, 3), np.int64), np.empty(order.size, np.uint8)
    notes = events = known = 0
    for p in range(order.size):
        at = bounds[order[p]]
        counts[p, 0], counts[p, 1], counts[p, 2], kinds[p] = words[at], words[at + 1], words[at + 2], words[at + 3]
        notes, events, known = notes + counts[p, 0], events + counts[p, 1], known + counts[p, 2]
    text, about = np.empty(order.size * ID_BYTES, np.uint8), np.empty(known, np.uint8)
    start, held = np.empty(notes, np.int32), np.empty(notes, np.int32)
    note, velocity = np.empty(notes, np.uint8), np.empty(notes, np.uint8)
    time, controller, value = np.empty(events, np.int32), np.empty(events, np.uint8), np.empty(events, np.int32)
    data = words.view(np.uint8)
    n = e = a = 0
    for p in range(order.size):
        for i in range(ID_BYTES):
            text[p * ID_BYTES + i] = _HEX[ids[order[p]] >> np.uint64(4 * (ID_BYTES - 1 - i)) & np.uint64(15)]
        at = bounds[order[p]] + ROW_HEADER
        for _ in range(counts[p, 0]):
            start[n], held[n], note[n], velocity[n] = words[at], words[at + 1], words[at + 2] >> 8, words[at + 2] & 0xFF
            n, at = n + 1, at + NOTE_WORDS
        for _ in range(counts[p, 1]):
            time[e], controller[e], value[e] = words[at], words[at + 1], words[at + 2]
            e, at = e + 1, at + EVENT_WORDS
        copy(about, a, data, 4 * at, counts[p, 2])
        a += counts[p, 2]
    return counts, kinds, text, about, start, held, note, velocity, time, controller, value
