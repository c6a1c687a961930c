"""Bytes in, patches out, whatever the framing; and back.

Reads bulk dumps (32 packed voices), single-voice dumps, any number of them with anything in between, MacBinary
wrappers, dumps in MIDI files, and bare voices (bare.py). Format: the DX7's MIDI data format.
"""

import re
from typing import NamedTuple

import mido
import numpy as np

from dx7data.output import format_count
from dx7data.patches import bare
from dx7data.patches.patch import INIT, NAME_BYTES, PACKED_BYTES, STORED_BYTES, pack, require_legal
from dx7data.patches.reading import NOISE, Reading, Record, add_voices, count_illegal

__all__ = ["BANK", "Reading", "Record", "read", "write_bank", "write_voice"]

BANK = 32  # voices in a bulk dump
_BANK_BYTES = BANK * PACKED_BYTES
_YAMAHA = 0x43
_BULK = bytes((0x09, _BANK_BYTES >> 7, _BANK_BYTES & 127))  # format and 14-bit byte count
_MISPRINT = bytes((0x09, 0x10, 0x00))  # the same count as if it had 8 bits a byte: as some manuals and programs have it
_SINGLE = bytes((0x00, STORED_BYTES >> 7, STORED_BYTES & 127))
_FORMATS = b"|".join(map(re.escape, (_BULK, _MISPRINT, _SINGLE)))
_CHANNEL = rb"(?:\r\n|[\x00-\x0f])"  # CR and LF: channel 11 or 14 after what `_undo_text_transfer` undoes
_HEADER = re.compile(rb"\xf0\x43" + _CHANNEL + rb"(?P<format>" + _FORMATS + rb")")
# In a MIDI file the length of a message comes after its F0; a message in parts goes on with a delay, F7 and a length.
_NUMBER = rb"[\x80-\xff]{0,3}[\x00-\x7f]"
_HEADER_IN_MIDI = re.compile(
    rb"\xf0(?P<length>" + _NUMBER + rb")?(?P<first>\x43" + _CHANNEL + rb"(?P<format>" + _FORMATS + rb"))"
)
_NEXT_PART = re.compile(_NUMBER + rb"\xf7(?P<length>" + _NUMBER + rb")")
_BOUNDARY = re.compile(rb"[\xf0\xf7]")
_LINE_END = re.compile(rb"\r\n")
_START, _END = 0xF0, 0xF7
_REAL_TIME = 0xF8  # and above: clock, active sensing; MIDI allows them inside any message
_MAC_HEADER = 128
_MOST_REFUSED = 10_000  # dumps of a file: more is no music, and each costs time and a line of the report


def read(data: bytes) -> Reading:
    """All voices in `data`, any bytes at all; never raises, in time linear in the length, without copying `data`.

    A wrong or missing checksum and a missing end (F7) are warnings. A dump whose bytes have shifted is refused whole: the
    fault may be anywhere in it, and every voice after it would be noise. It shows by the number of bytes, or by a wrong
    checksum together with values out of range. Bytes that belong to no dump are warned about.
    """
    reading = Reading()
    start, stop = _unwrap(data)
    in_midi = data[start : start + 4] == b"MThd" or data[start : start + 4] + data[start + 8 : start + 12] == b"RIFFRMID"
    header = _HEADER_IN_MIDI if in_midi else _HEADER
    position = 0
    while match := header.search(data, position):
        if not in_midi:
            _skip(reading, position or start, match.start())
        size = STORED_BYTES if match["format"] == _SINGLE else _BANK_BYTES
        position = _message(reading, match, size, _bytes(data, match, size))
        if len(reading.refused) > _MOST_REFUSED:
            reason = f"more than {_MOST_REFUSED:,} dumps before this byte are refused: the rest is not read"
            reading.refused.append((position, reason))
            return reading
    if in_midi and not position:
        reading.refused.append((start, "is a MIDI file without any dump of DX7 voices"))
    elif not position:
        bare.read(reading, data, start, stop)
    elif not in_midi:
        _skip(reading, position, len(data))
    return reading


def _unwrap(data: bytes) -> tuple[int, int]:
    """Start and stop of the contents: inside a MacBinary header's data fork, or everything."""
    head = data[:_MAC_HEADER]
    if len(head) == _MAC_HEADER and head[0] == head[74] == head[82] == 0 and 1 <= head[1] <= 63:
        stop = _MAC_HEADER + int.from_bytes(head[83:87], "big")
        if _MAC_HEADER < stop <= len(data):
            return _MAC_HEADER, stop
    return 0, len(data)


def _skip(reading: Reading, start: int, stop: int) -> None:
    if stop > start:
        reading.warnings.append((start, f"skipped {format_count(stop - start, 'byte')} outside of DX7 voice dumps"))


class _Bytes(NamedTuple):
    """What is between the header of a message and its end: bytes, their offsets, whether F7 is there, what comes next."""

    raw: np.ndarray
    places: np.ndarray
    ended: bool
    after: int


def _bytes(data: bytes, match: re.Match, size: int) -> _Bytes:
    if match.groupdict().get("length") is not None:
        return _bytes_in_midi(data, match, size)
    first, whole = match.end(), match.end() + size + 1  # data and checksum
    if data[whole : whole + 1] == bytes((_END,)) and not _HEADER.search(data, first, whole):
        stop = whole  # an F0 or F7 before it is a damaged byte
    else:
        boundary = _BOUNDARY.search(data, first, first + 2 * size)
        stop = boundary.start() if boundary else min(first + 2 * size, len(data))
    ended = data[stop : stop + 1] == bytes((_END,))
    return _Bytes(np.frombuffer(data[first:stop], np.uint8), np.arange(first, stop), ended, stop + ended)


def _bytes_in_midi(data: bytes, match: re.Match, size: int) -> _Bytes:
    first, stop, limit = match.end(), match.start("first") + _read_number(match["length"]), 2 * size
    parts = []
    while True:
        stop = min(stop, first + limit, len(data))
        parts.append(np.arange(first, stop))
        limit -= len(parts[-1])
        part = _NEXT_PART.match(data, stop) if limit > 0 and data[stop - 1] != _END else None
        if not part or not _read_number(part["length"]):
            break
        first, stop = part.end(), part.end() + _read_number(part["length"])
    places = np.concatenate(parts)
    raw = np.frombuffer(data, np.uint8)[places]
    ended = bool(len(raw)) and raw[-1] == _END
    return _Bytes(raw[: len(raw) - ended], places[: len(raw) - ended], ended, max(stop, match.end()))


def _read_number(digits: bytes) -> int:
    value = 0
    for digit in digits:
        value = value << 7 | digit & 127
    return value


def _message(reading: Reading, match: re.Match, size: int, found: _Bytes) -> int:
    """Read the dump whose header is `match`; gives the offset where to go on."""
    start, kind = match.start(), "bulk dump" if size == _BANK_BYTES else "single-voice dump"
    raw, places, ended, after = found
    undone = None
    if len(raw) != size + 1:  # of exactly the right length, a high byte is damage; otherwise it came in between
        undone = _undo_text_transfer(raw, size)
        kept = np.flatnonzero(raw < _REAL_TIME) if undone is None else undone
        raw, places = raw[kept], places[kept]
    reason = _find_fault(raw, size)
    if reason:
        reading.refused.append((start, f"{kind} {reason}: refused whole, send or copy it again"))
        return after
    if undone is not None:
        sentence = "was spoiled by a transfer as text (LF or CR became CR LF): undone, its checksum is right"
        reading.warnings.append((start, f"{kind} {sentence}"))
    elif match[0][-3:] == _MISPRINT:
        reading.warnings.append((start, f"{kind} counts its bytes as 10 00, not 20 00; its voices are kept"))
    if len(raw) > size + 1:
        ended, after = False, int(places[size]) + 1
    _check(reading, start, kind, raw[:size], raw[size : size + 1], ended)
    _take(reading, start, kind, _split(raw, size), places)
    return after


def _undo_text_transfer(raw: np.ndarray, size: int) -> np.ndarray | None:
    """Which bytes were there before LF, or CR, became CR and LF; None if that gives no dump with the right checksum."""
    pairs = np.array([match.start() for match in _LINE_END.finditer(raw.tobytes())], int)
    if len(raw) - len(pairs) == size + 1:
        for added in (pairs, pairs + 1):
            kept = np.delete(np.arange(len(raw)), added)
            checked = raw[kept[size]] == _compute_checksum(raw[kept[:size]])
            if checked and (count_illegal(_split(raw[kept], size)) < NOISE).all():
                return kept
    return None


def _find_fault(raw: np.ndarray, size: int) -> str | None:
    """Why the data bytes and checksum of a message are no dump, if they are none."""
    if len(raw) < size:
        return f"holds {len(raw):,} of {size:,} bytes"
    expected = _compute_checksum(raw[:size])
    if len(raw) == size + 1 and raw[size] == expected:
        return None
    voices = _split(raw, size)
    noise = np.count_nonzero(count_illegal(voices[~_find_damaged(voices)]) >= NOISE)
    if len(raw) == size + 1:
        what = f"{noise} of its voices hold" if size == _BANK_BYTES else "its voice holds"
        reason = f"has checksum {raw[size]:02X}, its bytes give {expected:02X}, and {what} values that no DX7 has"
        return reason if noise else None
    # A byte was lost or came in, or only the checksum or the end is missing. What has shifted has done so to the very end.
    shifted = noise or count_illegal(voices[-1:]).any() or (voices[-1, -NAME_BYTES:] < 32).any()
    if shifted or (len(raw) > size and raw[size] != expected):
        return f"holds {format_count(len(raw), 'byte')} where {size + 1:,} belong"
    return None


def _split(raw: np.ndarray, size: int) -> np.ndarray:
    return raw[:size].reshape(-1, STORED_BYTES if size == STORED_BYTES else PACKED_BYTES)


def _find_damaged(voices: np.ndarray) -> np.ndarray:
    """In which voices there is a byte that begins or ends a message."""
    return ((voices == _START) | (voices == _END)).any(axis=1)


def _check(reading: Reading, start: int, kind: str, body: np.ndarray, checksum: np.ndarray, ended: bool) -> None:
    """Warn about whatever is odd about a complete dump."""

    def warn(sentence: str) -> None:
        reading.warnings.append((start, f"{kind} {sentence}; its voices are kept"))

    expected = _compute_checksum(body)
    if not checksum.size:
        warn("has no checksum")
    elif checksum[0] != expected:
        warn(f"has checksum {checksum[0]:02X}, its bytes give {expected:02X}")
    if not ended:
        warn("does not end with F7")
    if high := int(np.count_nonzero(body > 127)):
        warn(f"has {format_count(high, 'byte')} above 127, which MIDI cannot send")


def _compute_checksum(body: np.ndarray) -> int:
    return -int(body.sum(dtype=np.int64)) & 127


def _find_shifted(voices: np.ndarray) -> np.ndarray:
    """In which voices bytes have shifted though length and checksum are right: one was lost, and the same one came in later.

    All are noise but, perhaps, the first and the last, in which a part has shifted; so the neighbours of noise count too.
    """
    noise = (count_illegal(voices) >= NOISE) & ~_find_damaged(voices)
    padded = np.pad(noise, 1)
    return padded[:-2] | noise | padded[2:]


def _take(reading: Reading, start: int, kind: str, voices: np.ndarray, places: np.ndarray) -> None:
    damaged, shifted = _find_damaged(voices), _find_shifted(voices)
    if shifted.any():
        left_out = ", ".join(str(row + 1) for row in np.flatnonzero(shifted))
        reason = f"bytes have shifted in it, for values are there that no DX7 has: voices {left_out} are left out"
        reading.refused.append((start, f"{kind}: {reason}; send or copy it again"))
    for row in np.flatnonzero(damaged).tolist():
        byte = int(np.argmax((voices[row] == _START) | (voices[row] == _END)))
        where = f"{voices[row, byte]:02X} at byte {places[row * voices.shape[1] + byte]:,}"
        reading.refused.append((start, f"voice {row + 1} holds {where}, which is no data: left out, the others are kept"))
    add_voices(reading, voices, places[: voices.size : voices.shape[1]], ~damaged & ~shifted)


def _dump(head: bytes, body: np.ndarray, channel: int) -> bytes:
    if not 1 <= channel <= 16:
        raise ValueError(f"channel must be 1 to 16, not {channel}")
    data = bytes((_YAMAHA, channel - 1)) + head + body.tobytes() + bytes((_compute_checksum(body),))
    return bytes(mido.Message("sysex", data=data).bin())


def write_voice(patch: np.ndarray, channel: int = 1) -> bytes:
    """A single-voice dump, 163 bytes, of a legal patch uint8 (155,). Raises ValueError on an illegal patch or channel."""
    return _dump(_SINGLE, require_legal(patch).reshape(STORED_BYTES), channel)


def write_bank(patches: np.ndarray) -> bytes:
    """A bulk dump, 4,104 bytes, of legal patches uint8 (N, 155), N up to 32; the places left are INIT VOICEs.

    Raises ValueError on an illegal patch or more than 32.
    """
    patches = require_legal(patches).reshape(-1, STORED_BYTES)
    if len(patches) > BANK:
        raise ValueError(f"a bank holds {BANK} patches, not {len(patches)}")
    filling = np.broadcast_to(INIT, (BANK - len(patches), STORED_BYTES))
    return _dump(_BULK, pack(np.concatenate([patches, filling])), 1)
