"""Performances to phrases: cut into windows, filtered, written as rows with their ids."""

from typing import NamedTuple

import numpy as np
from numba import njit

from dx7data import cache
from dx7data.cache import inner
from dx7data.phrases.loops.digest import BLOCK, copy, hash_texts, pad, put_number, put_rows
from dx7data.phrases.loops.order import AT_REST, CONTROLLERS, Events, Notes
from dx7data.phrases.loops.rows import EVENT_WORDS, NOTE_WORDS, ROW_HEADER, Rows, put_row
from dx7data.phrases.loops.tempo import Tempos, find_window

# Why a phrase is left out, in the order in which that is looked at.
REFUSALS = ("within the clip", "notes", "polyphony", "pitch range", "velocity", "different notes", "filled")
CROWD = len(REFUSALS)  # the number of those that have more notes than a phrase may have
FOUND = CROWD + 1  # in `counts`: of all
_KEPT = -1
_LONGEST_NOTE, _LONGEST_EVENT, _LONGEST_NUMBER = 32, 28, 24  # bytes as JSON
WORDS_LIMIT = 1 << 26  # of all phrases of one file: 256 MiB; a million notes are 12 MB


class Limits(NamedTuple):
    """Of filters.Filters, least and most; -1: no limit. And the notes that a phrase may have at most."""

    max_notes: int
    notes: tuple[int, int]
    polyphony: tuple[int, int]
    pitch_range: tuple[int, int]
    velocity: tuple[int, int]
    different_notes: int
    filled: float


class Parts(NamedTuple):
    """The performances of a sequence: lanes and places, and what is known of them, as JSON, around the start in seconds."""

    lane: np.ndarray  # int64
    place: np.ndarray
    before: np.ndarray  # uint8, all texts one after the other
    before_bounds: np.ndarray  # int64 (N + 1,)
    after: np.ndarray
    after_bounds: np.ndarray


@cache.keep
@njit(nogil=True)
def cut_phrases(
    notes: Notes, events: Events, parts: Parts, tempos: Tempos, clip: int, beats: int, limits: Limits, counts: np.ndarray
) -> tuple[Rows, np.ndarray, bool]:
    """The phrases of windows of `beats` beats, or of `clip` ms if that is 0, that pass the filters.

    And of those of too many notes where they begin, in ms, and their notes, int64 (N, 2); False: the rows are too long.
    counts: int64 (FOUND + 1, 2), to which is added how many were refused, by reason, and how many found; the second column
    gets the number of the first one that was refused.
    """
    kept = used = crowds = 0
    size = notes.start.size + 1
    bounds = np.zeros(size + 1, np.int64)
    words = np.empty(16 * size + 256, np.int32)
    played, changed = np.empty((64, 4), np.int64), np.empty((64, 3), np.int64)
    about = np.empty(1024, np.uint8)
    texts, text_ends, text_end = np.empty(256 * size, np.uint8), np.empty(size, np.int64), 0  # what is hashed
    crowded = np.empty((size // limits.max_notes + 1, 2), np.int64)
    values, starts, times = AT_REST.copy(), notes.start, events.time
    for part in range(parts.lane.size):
        first, last = notes.bounds[parts.lane[part]], notes.bounds[parts.lane[part] + 1]
        upcoming, last_event = events.bounds[parts.place[part]], events.bounds[parts.place[part] + 1]
        values[:] = AT_REST
        while first < last:
            begin = np.int64(starts[first])
            if beats:
                begin, end = find_window(tempos, begin, beats)
            else:
                end = begin + clip
            while upcoming < last_event and times[upcoming] <= begin:
                values[events.controller[upcoming]] = events.value[upcoming]
                upcoming += 1
            after = first
            while after < last and starts[after] < end:
                after += 1
            if after - first > len(played):
                played = np.empty((2 * (after - first), 4), np.int64)
            count, goes_on = _cut_notes(notes, first, after, begin, end, clip, beats == 0, played)
            first = after
            refusal = CROWD
            if count > limits.max_notes:
                crowded[crowds, 0], crowded[crowds, 1] = begin, count
                crowds += 1
            else:
                refusal = _find_refusal(played, count, min(end - begin, clip), limits)
            counts[FOUND, 0] += 1
            if refusal != _KEPT:
                if not counts[refusal, 0]:
                    counts[refusal, 1] = counts[FOUND, 0]
                counts[refusal, 0] += 1
                continue
            until = upcoming
            while until < last_event and times[until] < end and times[until] - begin < clip:
                until += 1
            if until - upcoming + CONTROLLERS > len(changed):
                changed = np.empty((2 * (until - upcoming) + CONTROLLERS, 3), np.int64)
            changes = _cut_events(events, upcoming, until, begin, values, changed)

            texts = _make_room(texts, text_end, text_end + _LONGEST_NOTE * count + _LONGEST_EVENT * changes + 2 * BLOCK)
            text_end = pad(texts, text_end, _put_phrase(played, count, changed, changes, texts[text_end:]))
            text_ends[kept] = text_end // 4
            about = _make_room(about, 0, _bound_known(parts, part))
            known = _put_known(parts, part, begin, about)
            needed = ROW_HEADER + NOTE_WORDS * count + EVENT_WORDS * changes + (known + 3) // 4
            if used + needed > max(words.size, WORDS_LIMIT):
                return Rows(np.empty(0, np.uint64), bounds[:1], words[:0]), crowded[:crowds], False
            words = _make_room(words, used, used + needed)
            put_row(words[used : used + needed], played, count, changed, changes, about, known, goes_on)
            used += needed
            kept += 1
            bounds[kept] = used
    ids = hash_texts(texts[:text_end].view(np.uint32), text_ends[:kept])
    return Rows(ids, bounds[: kept + 1], words[:used]), crowded[:crowds], True


@inner
def _cut_notes(
    notes: Notes, first: int, after: int, begin: int, end: int, clip: int, to_clip: bool, played: np.ndarray
) -> tuple[int, bool]:
    """The notes of a window that begin within the clip, cut at its end; and whether one goes on when the clip has ended."""
    count, goes_on = 0, False
    starts, lengths, keys, velocities = notes.start, notes.held, notes.note, notes.velocity
    for n in range(first, after):
        start, held = starts[n] - begin, np.int64(lengths[n])
        inside = min(held, end - starts[n])
        goes_on |= start + (held if to_clip else inside) > clip
        if start < clip:
            played[count, 0], played[count, 1], played[count, 2], played[count, 3] = start, inside, keys[n], velocities[n]
            count += 1
    return count, goes_on


@inner
def _cut_events(events: Events, first: int, after: int, begin: int, values: np.ndarray, changed: np.ndarray) -> int:
    """The values that are not at rest at first, and the changes that follow."""
    count = 0
    for controller in range(CONTROLLERS):
        if values[controller] != AT_REST[controller]:
            changed[count, 0], changed[count, 1], changed[count, 2] = 0, controller, values[controller]
            count += 1
    times, controllers, new = events.time, events.controller, events.value
    for n in range(first, after):
        changed[count, 0], changed[count, 1], changed[count, 2] = times[n] - begin, controllers[n], new[n]
        count += 1
    return count


# --- Filters, see filters.measure ---


@inner
def _find_refusal(played: np.ndarray, count: int, length: int, limits: Limits) -> int:
    """The first filter that the phrase does not pass, an index into REFUSALS."""
    if not count:
        return 0
    if not _is_within(count, count, limits.notes):
        return 1
    is_any = limits.polyphony[0] <= 1 and limits.polyphony[1] < 0 and limits.filled <= 0
    maximum, sounding = (1, 0) if is_any else _measure_sounding(played, count, length)
    if not _is_within(maximum, maximum, limits.polyphony):
        return 2
    lowest = highest = played[0, 2]
    softest = loudest = played[0, 3]
    for n in range(1, count):
        lowest, highest = min(lowest, played[n, 2]), max(highest, played[n, 2])
        softest, loudest = min(softest, played[n, 3]), max(loudest, played[n, 3])
    if not _is_within(lowest, highest, limits.pitch_range):
        return 3
    if not _is_within(softest, loudest, limits.velocity):
        return 4
    if limits.different_notes > 1 and _count_keys(played, count) < limits.different_notes:
        return 5
    return _KEPT if limits.filled <= 0 or sounding / length >= limits.filled else 6


@inner
def _count_keys(played: np.ndarray, count: int) -> int:
    """How many different ones there are."""
    keys, different = np.zeros(128, np.bool_), 0
    for n in range(count):
        different += not keys[played[n, 2]]
        keys[played[n, 2]] = True
    return different


@njit(inline="always")
def _is_within(lowest: int, highest: int, limit: tuple[int, int]) -> bool:
    return lowest >= limit[0] and (limit[1] < 0 or highest <= limit[1])


@inner
def _measure_sounding(played: np.ndarray, count: int, length: int) -> tuple[int, int]:
    """The most notes that sound at one moment, and for how many ms at least one does; the notes are in order of start."""
    ends = np.empty(count, np.int64)
    for n in range(count):
        end = min(played[n, 0] + played[n, 1], length)
        k = n
        if count <= 32:
            while k and ends[k - 1] > end:
                ends[k] = ends[k - 1]
                k -= 1
        ends[k] = end
    if count > 32:
        ends.sort()
    maximum = sounding = ended = since = 0
    for n in range(count):
        start = played[n, 0]
        while ended < n and ends[ended] <= start:  # ends come before beginnings: notes that touch don't overlap
            ended += 1
            if ended == n:
                sounding += ends[n - 1] - since
        if ended == n:
            since = start
        maximum = max(maximum, n + 1 - ended)
    return maximum, sounding + ends[count - 1] - since


# --- What is written of a phrase ---


@inner
def _make_room(array: np.ndarray, used: int, needed: int) -> np.ndarray:
    """The array, or a larger one that begins with its first `used` numbers, if `needed` of them don't fit."""
    if needed <= array.size:
        return array
    larger = np.empty(2 * needed, array.dtype)
    copy(larger, 0, array, 0, used)
    return larger


@inner
def _put_phrase(played: np.ndarray, count: int, changed: np.ndarray, changes: int, text: np.ndarray) -> int:
    """Write notes and events as JSON; returns where it ends."""
    text[0] = 91  # "["
    at = put_rows(text, 1, played, count)
    text[at] = 44  # ","
    at = put_rows(text, at + 1, changed, changes)
    text[at] = 93  # "]"
    return at + 1


@inner
def _bound_known(parts: Parts, part: int) -> int:
    """Bytes that `_put_known` may write."""
    before = parts.before_bounds[part + 1] - parts.before_bounds[part]
    return before + _LONGEST_NUMBER + parts.after_bounds[part + 1] - parts.after_bounds[part]


@inner
def _put_known(parts: Parts, part: int, begin: int, text: np.ndarray) -> int:
    """Write what is known of a phrase, with its start in seconds as Python writes it: 2.0, 0.25; returns where it ends."""
    first, last = parts.before_bounds[part], parts.before_bounds[part + 1]
    copy(text, 0, parts.before, first, last - first)
    at = last - first
    at = put_number(text, at, begin // 1000)
    rest = begin % 1000
    text[at], text[at + 1], text[at + 2], text[at + 3] = 46, 48 + rest // 100, 48 + rest // 10 % 10, 48 + rest % 10
    at += 4
    while text[at - 1] == 48 and text[at - 2] != 46:  # zeros behind the point, but for one
        at -= 1
    first, last = parts.after_bounds[part], parts.after_bounds[part + 1]
    copy(text, at, parts.after, first, last - first)
    return at + last - first
