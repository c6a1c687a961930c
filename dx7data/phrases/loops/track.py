"""The bytes of a track to the messages that are played in it."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from dx7data import cache
from dx7data.cache import inner

_i64: Any = np.int64  # wide enough for sums and shifts; mypy takes it for a number
NOTE_OFF, NOTE_ON, CONTROL, BEND = 0x80, 0x90, 0xB0, 0xE0  # status bytes, without their channel

# How reading a track ends.
COMPLETE = 0  # with the event that says so
NO_END = 1  # after a whole event
WITHIN_EVENT = 2
LONG_NUMBER = 3  # a number of more than 4 bytes
NO_STATUS = 4  # a byte that begins no event
NOT_RUNNING = 5  # an event without a status byte, and none before
TOO_MANY = 6  # messages

_META, _PORT, _END, _TEMPO, _TIME_SIGNATURE, _KEY_SIGNATURE = 0xFF, 0x21, 0x2F, 0x51, 0x58, 0x59
_SYSTEM = 0xF0  # status bytes from here on have no channel
_DRUMS = 9  # MIDI channel 10
KEYS = 128
# Modulation wheel, volume, expression, pedal; those that select and set a parameter; all sound off, reset, all notes off.
_IS_USED = np.isin(np.arange(128), [1, 7, 11, 64, 6, 38, 98, 99, 100, 101, 120, 121, 123])
PLACES = 256 * 16  # ports x channels
_RADIX_BITS = 10
_RADIX = 1 << _RADIX_BITS


# Columns of `Messages.rest`.
KIND = 0  # NOTE_OFF to BEND
WHERE = 1  # of notes the voice, of others the place
FIRST, SECOND = 2, 3  # data bytes, 0-127


class Messages(NamedTuple):
    """Messages of one file in order of their bytes, in arrays with room for more. Few arrays: each takes time to pass on.

    A place is a channel of a port. A lane is what a place plays in one track; a voice is a key of a lane. All three are
    numbered as they come.
    """

    tick: np.ndarray  # int64 (N,)
    rest: np.ndarray  # int32 (N, 4)
    voices: np.ndarray  # int32 (V, 2): lane and key
    lanes: np.ndarray  # int32 (L, 2): track and place
    places: np.ndarray  # int32 (P,): 16 port + channel
    metas: np.ndarray  # int64 (M, 5): kind, offset of the event, tick, offset and size of its body


class Numbering(NamedTuple):
    """The places of a sequence and the lanes of a track by 16 port + channel, its voices by key too.

    Each is valid where its stamp, which stands before it, is that of the sequence or of the track.
    """

    places: np.ndarray  # int32 (PLACES, 4): stamp, place, stamp, lane
    voices: np.ndarray  # int32 (PLACES * KEYS, 2): stamp, voice


# How much of `Messages` is filled, and where reading has come to: indices of `counts`, int64.
MESSAGE_COUNT, PLACE_COUNT, LANE_COUNT, VOICE_COUNT, META_COUNT = range(5)
PLACE = 5  # byte behind the last one that was read
AT = 6  # byte at which the last event, or the number that is too long, begins
TICK = 7  # of the last event
HEARD = 8  # messages of this track, drums too
COUNTS = 9


def make_messages(size: int) -> Messages:
    """Enough for a file of so many bytes: a message has three at least, a meta event four."""
    count, metas = size // 3 + 2, size // 4 + 2
    shapes = [(count, 4), (count, 2), (count, 2), (count,)]
    rest, voices, lanes, places = (np.empty(shape, np.int32) for shape in shapes)
    return Messages(np.empty(count, np.int64), rest, voices, lanes, places, np.empty((metas, 5), np.int64))


def make_numbering() -> Numbering:
    """Memory that is asked for and not touched costs nothing: a track uses a small part of it."""
    return Numbering(np.zeros((PLACES, 4), np.int32), np.zeros((PLACES * KEYS, 2), np.int32))


@cache.keep
@njit(nogil=True)
def read_track(
    data: np.ndarray,
    begin: int,
    end: int,
    track: int,
    sequence: int,
    stamp: int,
    limit: int,
    messages: Messages,
    numbering: Numbering,
    counts: np.ndarray,
) -> int:
    """Add what is played in the bytes `begin` to `end` of uint8 `data`; returns how that ended, and says where in `counts`.

    track: its number; sequence, stamp: of the sequence and the track, those that `numbering` has not seen are new; limit:
    messages that the track may have, drums too.
    """
    at = place = begin
    tick, port, running, heard = 0, 0, 0, 0
    m, places, lanes, voices = counts[MESSAGE_COUNT], counts[PLACE_COUNT], counts[LANE_COUNT], counts[VOICE_COUNT]
    metas = counts[META_COUNT]
    # To pass `messages` to a function for each event would take longer than to read it.
    ticks, rest, of_place, of_voice = messages.tick, messages.rest, numbering.places, numbering.voices
    result = NO_END
    while place < end:
        at = place
        wait, result, place = _read_number(data, place, end)
        if result == COMPLETE:
            tick += wait
            result, status, first, second, place = _read_event(data, place, end, running)
        if result != COMPLETE:
            at = place if result == LONG_NUMBER else at
            break
        result = NO_END
        if status == _META:
            kind, length = first, second
            body = place - length
            if kind == _END:
                result = COMPLETE
                break
            if kind == _PORT and length:
                port = _i64(data[body])
            elif kind == _PORT or kind == _TEMPO or kind == _TIME_SIGNATURE or kind == _KEY_SIGNATURE:  # noqa: SIM109
                messages.metas[metas, 0], messages.metas[metas, 1], messages.metas[metas, 2] = kind, at, tick
                messages.metas[metas, 3], messages.metas[metas, 4] = body, length
                metas += 1
        elif status < _SYSTEM:
            running = status
            kind, channel = status & 0xF0, status & 0x0F
            if kind == NOTE_OFF or kind == NOTE_ON or kind == CONTROL or kind == BEND:  # noqa: SIM109
                heard += 1
                if heard > limit:
                    result = TOO_MANY
                    break
                if channel == _DRUMS or (kind == CONTROL and not _IS_USED[min(first, 127)]):
                    continue
                first, second = min(first, 127), min(second, 127)
                raw = port * 16 + channel
                if of_place[raw, 0] != sequence:
                    of_place[raw, 0], of_place[raw, 1] = sequence, places
                    messages.places[places] = raw
                    places += 1
                where = of_place[raw, 1]
                if kind == NOTE_OFF or kind == NOTE_ON:  # noqa: SIM109
                    slot = raw * KEYS + first
                    if of_voice[slot, 0] != stamp:
                        if of_place[raw, 2] != stamp:
                            of_place[raw, 2], of_place[raw, 3] = stamp, lanes
                            messages.lanes[lanes, 0], messages.lanes[lanes, 1] = track, where
                            lanes += 1
                        of_voice[slot, 0], of_voice[slot, 1] = stamp, voices
                        messages.voices[voices, 0], messages.voices[voices, 1] = of_place[raw, 3], first
                        voices += 1
                    where = of_voice[slot, 1]
                ticks[m] = tick
                rest[m, KIND], rest[m, WHERE], rest[m, FIRST], rest[m, SECOND] = kind, where, first, second
                m += 1
    counts[MESSAGE_COUNT], counts[PLACE_COUNT], counts[LANE_COUNT], counts[VOICE_COUNT] = m, places, lanes, voices
    counts[META_COUNT], counts[PLACE], counts[AT], counts[TICK], counts[HEARD] = metas, place, at, tick, heard
    return result


# --- Events ---


@njit(inline="always")
def _read_event(data: np.ndarray, place: int, end: int, running: int) -> tuple[int, int, int, int, int]:
    """How reading it ended, COMPLETE if well; its status, that of the one before (`running`) if it has none of its own; two
    numbers; and where it ends, or how far it was read. The numbers are its data bytes, of a meta event its kind and length.
    """
    if place >= end:
        return WITHIN_EVENT, 0, 0, 0, place
    status = _i64(data[place])
    if status >= _SYSTEM:
        return _read_system(data, place + 1, end, status)
    if status >= 0x80:
        place += 1
        if place >= end:
            return WITHIN_EVENT, 0, 0, 0, place
    else:
        status = running
    first = _i64(data[place])
    place += 1
    if status == 0:
        return NOT_RUNNING, 0, 0, 0, place
    kind = status & 0xF0
    if kind == 0xC0 or kind == 0xD0:  # program and channel pressure have one data byte
        return COMPLETE, status, first, 0, place
    if place >= end:
        return WITHIN_EVENT, 0, 0, 0, place
    return COMPLETE, status, first, _i64(data[place]), place + 1


@inner
def _read_system(data: np.ndarray, place: int, end: int, status: int) -> tuple[int, int, int, int, int]:
    """The same of a meta event or a system message, whose status byte has been read."""
    kind = 0
    if status == _META:
        if place >= end:
            return WITHIN_EVENT, 0, 0, 0, place
        kind = _i64(data[place])
        place += 1
    if status == _META or status == 0xF0 or status == 0xF7:  # system exclusive
        length, result, place = _read_number(data, place, end)
        if result != COMPLETE:
            return result, 0, 0, 0, place
    else:
        length = _count_system_bytes(status)
        if length < 0:
            return NO_STATUS, 0, 0, 0, place
    if place + length > end:
        return WITHIN_EVENT, 0, 0, 0, place
    return COMPLETE, status, kind, length, place + length


@njit(inline="always")
def _read_number(data: np.ndarray, place: int, end: int) -> tuple[int, int, int]:
    """A number of seven bits a byte, how reading it ended, and where it ends, or begins if it is cut off or too long."""
    number = 0
    for i in range(4):
        if place + i >= end:
            return 0, WITHIN_EVENT, place
        byte = _i64(data[place + i])
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, COMPLETE, place + i + 1
    return 0, LONG_NUMBER, place


@njit(inline="always")
def _count_system_bytes(status: int) -> int:
    """The data bytes of a system message; -1: there is no such message."""
    if status == 0xF1 or status == 0xF3:
        return 1
    if status == 0xF2:
        return 2
    if status == 0xF6 or status == 0xF8 or (status >= 0xFA and status <= 0xFC) or status == 0xFE:
        return 0
    return -1


@cache.keep
@njit(nogil=True)
def sort_ticks(ticks: np.ndarray, first: int, last: int) -> np.ndarray:
    """The indices `first` to `last` - 1 in order of their ticks; those of equal ones stay in order (a radix sort)."""
    order, other = np.arange(first, last), np.empty(last - first, np.int64)
    highest = ticks[first:last].max() if last > first else 0
    shift = 0
    while highest >> shift:
        begins = np.zeros(_RADIX + 1, np.int64)
        for i in range(first, last):
            begins[(ticks[i] >> shift & _RADIX - 1) + 1] += 1
        for digit in range(_RADIX):
            begins[digit + 1] += begins[digit]
        for message in order:
            its_digit = ticks[message] >> shift & _RADIX - 1
            other[begins[its_digit]] = message
            begins[its_digit] += 1
        order, other = other, order
        shift += _RADIX_BITS
    return order
