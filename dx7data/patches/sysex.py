"""Bytes in, patches out, whatever the framing; and back.

Reads bulk dumps (32 packed voices), single-voice dumps, any number of them with anything in between, MacBinary
wrappers, and bare voices and banks of exactly 128, 155 or 4,096 bytes. Format: the DX7's MIDI data format.
"""

import re
from dataclasses import dataclass, field

import mido
import numpy as np

from dx7data.patches.patch import FIELDS, INIT, PACKED_BYTES, STORED_BYTES, legal_packed, legal_stored, pack, require_legal

BANK = 32  # voices in a bulk dump
_BANK_BYTES = BANK * PACKED_BYTES
_YAMAHA = 0x43
_BULK = bytes((0x09, _BANK_BYTES >> 7, _BANK_BYTES & 127))  # format and 14-bit byte count
_SINGLE = bytes((0x00, STORED_BYTES >> 7, STORED_BYTES & 127))
_HEADER = re.compile(rb"\xf0\x43[\x00-\x0f](?:" + re.escape(_BULK) + b"|" + re.escape(_SINGLE) + b")")
_BOUNDARY = re.compile(rb"[\xf0\xf7]")
_END = b"\xf7"
_REAL_TIME = 0xF8  # and above: clock, active sensing; MIDI allows them inside any message
_MAC_HEADER = 128


@dataclass(frozen=True)
class Record:
    """One voice as found: 155 legal bytes, where its bytes start, its number 1-32 in its dump, the fields repaired."""

    patch: bytes
    offset: int
    index: int
    repaired: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What `read` found: voices in order, warnings as (offset, sentence), and what was refused as (offset, reason)."""

    voices: list[Record] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)


def read(data: bytes) -> Reading:
    """All voices in `data`, any bytes at all; never raises, in time linear in the length, without copying `data`.

    A wrong or missing checksum and a missing end (F7) are warnings. A dump with too few data bytes is refused whole: the
    lost bytes may be anywhere in it, and every voice after the gap would be noise. Bytes that belong to no dump are
    warned about. Without any dump, exactly 128, 155 or 4,096 bytes are bare voices; anything else is refused.
    """
    reading = Reading()
    start, stop = _unwrapped(data)
    position = 0
    while match := _HEADER.search(data, position):
        _skip(reading, position or start, match.start())
        position = _message(reading, data, match)
    if position:
        _skip(reading, position, len(data))
    else:
        _bare(reading, data, start, stop)
    return reading


def _unwrapped(data: bytes) -> tuple[int, int]:
    """Start and stop of the contents: inside a MacBinary header's data fork, or everything."""
    head = data[:_MAC_HEADER]
    if len(head) == _MAC_HEADER and head[0] == head[74] == head[82] == 0 and 1 <= head[1] <= 63:
        stop = _MAC_HEADER + int.from_bytes(head[83:87], "big")
        if _MAC_HEADER < stop <= len(data):
            return _MAC_HEADER, stop
    return 0, len(data)


def _skip(reading: Reading, start: int, stop: int) -> None:
    if stop > start:
        reading.warnings.append((start, f"skipped {stop - start:,} bytes that are no DX7 voice dump"))


def _message(reading: Reading, data: bytes, match: re.Match) -> int:
    """Read the dump whose header is `match`; gives the offset where to go on."""
    bulk = match[0][3:] == _BULK
    kind, size = ("bulk dump", _BANK_BYTES) if bulk else ("single-voice dump", STORED_BYTES)
    start, first = match.span()
    body, places, end = _body(data, first, size + 1)  # data and checksum
    ended = data[end : end + 1] == _END
    if len(body) < size:
        reason = f"{kind} holds {len(body):,} of {size:,} bytes: refused whole, send or copy it again"
        reading.refused.append((start, reason))
        return end + ended
    _check(reading, start, kind, body[:size], body[size:], ended)
    _voices(reading, body[:size], places, bulk)
    return end + ended


def _body(data: bytes, first: int, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Up to `size` bytes of a message, their offsets, and the offset after the last."""
    boundary = _BOUNDARY.search(data, first, first + 2 * size)
    end = boundary.start() if boundary else min(first + 2 * size, len(data))
    body = np.frombuffer(data[first:end], np.uint8)
    places = np.arange(len(body))
    if len(body) != size:  # of exactly the right length, a high byte is damage; otherwise it came in between
        places = np.flatnonzero(body < _REAL_TIME)[:size]
    if len(places) == size:
        end = first + int(places[-1]) + 1
    return body[places], first + places, end


def _check(reading: Reading, start: int, kind: str, body: np.ndarray, checksum: np.ndarray, ended: bool) -> None:
    """Warn about whatever is odd about a complete dump."""

    def warn(sentence: str) -> None:
        reading.warnings.append((start, f"{kind} {sentence}; its voices are kept"))

    expected = _checksum(body)
    if not checksum.size:
        warn("has no checksum")
    elif checksum[0] != expected:
        warn(f"has checksum {checksum[0]:02X}, its bytes give {expected:02X}")
    if not ended:
        warn("does not end with F7")
    if high := np.count_nonzero(body > 127):
        warn(f"has {high:,} bytes above 127, which MIDI cannot send")


def _checksum(body: np.ndarray) -> int:
    return -int(body.sum(dtype=np.int64)) & 127


def _voices(reading: Reading, body: np.ndarray, places: np.ndarray, packed: bool) -> None:
    size = PACKED_BYTES if packed else STORED_BYTES
    legal, changed = (legal_packed if packed else legal_stored)(body.reshape(-1, size))
    repaired = [()] * len(legal)
    for row in np.flatnonzero(changed.any(axis=1)):
        repaired[row] = tuple(FIELDS[i] for i in np.flatnonzero(changed[row]))
    for row, names in enumerate(repaired):
        reading.voices.append(Record(legal[row].tobytes(), int(places[row * size]), row + 1, names))


def _bare(reading: Reading, data: bytes, start: int, stop: int) -> None:
    size = stop - start
    if size not in (PACKED_BYTES, STORED_BYTES, _BANK_BYTES):
        _refuse_unknown(reading, data, start, stop)
        return
    body = np.frombuffer(data[start:stop], np.uint8)
    if high := np.count_nonzero(body > 127):
        reading.warnings.append(
            (start, f"{high:,} of {size:,} bytes are above 127: is this a DX7 file? Its voices are kept")
        )
    _voices(reading, body, start + np.arange(size), packed=size != STORED_BYTES)


def _refuse_unknown(reading: Reading, data: bytes, start: int, stop: int) -> None:
    if start == stop:
        reason = "empty"
    elif data.find(bytes((0xF0,)), start, stop) >= 0:
        reason = (
            f"{stop - start:,} bytes hold MIDI system-exclusive data, but no DX7 voice dump: it is for another instrument"
        )
    else:
        reason = f"{stop - start:,} bytes hold no DX7 voice dump (nor are they the 128, 155 or 4,096 of bare voices)"
    reading.refused.append((start, reason))


def _dump(head: bytes, body: np.ndarray, channel: int) -> bytes:
    if not 1 <= channel <= 16:
        raise ValueError(f"channel must be 1 to 16, not {channel}")
    data = bytes((_YAMAHA, channel - 1)) + head + body.tobytes() + bytes((_checksum(body),))
    return bytes(mido.Message("sysex", data=data).bin())


def write_voice(patch, channel: int = 1) -> bytes:
    """A single-voice dump, 163 bytes, of a legal patch uint8 (155,). Raises ValueError on an illegal patch or channel."""
    return _dump(_SINGLE, require_legal(patch).reshape(STORED_BYTES), channel)


def write_bank(patches) -> bytes:
    """A bulk dump, 4,104 bytes, of legal patches uint8 (N, 155), N up to 32; the places left are INIT VOICEs.

    Raises ValueError on an illegal patch or more than 32.
    """
    patches = require_legal(patches).reshape(-1, STORED_BYTES)
    if len(patches) > BANK:
        raise ValueError(f"a bank holds {BANK} patches, not {len(patches)}")
    filling = np.broadcast_to(INIT, (BANK - len(patches), STORED_BYTES))
    return _dump(_BULK, pack(np.concatenate([patches, filling])), 1)
