"""Voices without any header: so many times 128 bytes packed, or one of 155, with or without its operator switches."""

import re

import numpy as np

from dx7data.output import format_count
from dx7data.patches.patch import PACKED_BYTES, STORED_BYTES
from dx7data.patches.reading import NOISE, Reading, add_voices, count_illegal

_SWITCHED_BYTES = STORED_BYTES + 1  # as in the DX7's edit buffer; the last byte says which operators are on
_ALL_ON = 0x3F
_MESSAGE = re.compile(rb"\xF0[\x00-\x7F]{6,}\xF7")  # system-exclusive; fewer data bytes are in most files by chance


def read(reading: Reading, data: bytes, start: int, stop: int) -> None:
    """Take the voices of a file without dumps, or refuse it; no more than a quarter of them may be spoiled."""
    size = stop - start
    if size in (STORED_BYTES, _SWITCHED_BYTES):
        width = STORED_BYTES
    elif size and size % PACKED_BYTES == 0:
        width = PACKED_BYTES
    else:
        reading.refused.append((start, _unknown(data, start, stop)))
        return
    body = np.frombuffer(data, np.uint8, count=size // width * width, offset=start).reshape(-1, width)
    spoiled = (body > 127).any(axis=1) | (count_illegal(body) >= NOISE)
    if not body.any():
        reading.refused.append((start, f"{size:,} bytes are all 0: they hold no voice"))
    elif 4 * np.count_nonzero(spoiled) > len(body):
        reason = f"hold no DX7 voice dump, and as {format_count(len(body), 'voice')} of {width} bytes without a header"
        reason += f" {np.count_nonzero(spoiled):,} would hold values that no DX7 has"
        reading.refused.append((start, f"{size:,} bytes {reason}"))
    else:
        _keep(reading, body, start, spoiled)
        if size == _SWITCHED_BYTES:
            _switches(reading, start + STORED_BYTES, data[start + STORED_BYTES])


def _keep(reading: Reading, body: np.ndarray, start: int, spoiled: np.ndarray) -> None:
    width = body.shape[1]
    reading.warnings.append((start, f"has no header: read as {format_count(len(body), 'voice')} of {width} bytes"))
    for row in np.flatnonzero(spoiled).tolist():
        reason = f"voice {row + 1:,} holds values that no DX7 has: left out, the others are kept"
        reading.refused.append((start + row * width, reason))
    add_voices(reading, body, start + width * np.arange(len(body)), ~spoiled)


def _switches(reading: Reading, offset: int, switches: int) -> None:
    if switches != _ALL_ON:
        sentence = f"operator switches {switches:02X} are no part of a stored voice: all operators are on"
        reading.warnings.append((offset, sentence))


def _unknown(data: bytes, start: int, stop: int) -> str:
    if start == stop:
        return "empty"
    size = format_count(stop - start, "byte")
    if data[start] == 0xF0 or _MESSAGE.search(data, start, stop):
        return f"{size} of MIDI system-exclusive data, but no DX7 voice dump: is it for another instrument?"
    return f"{size} without a DX7 voice dump (nor are they bare voices: a multiple of 128, or 155 or 156)"
