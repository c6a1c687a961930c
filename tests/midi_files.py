"""MIDI files as they are not meant to be, from a random generator: everything that a reader must get right, in small."""

import random
import struct

_CONTROLLERS = (1, 7, 11, 64, 64, 64, 120, 121, 123, 123, 6, 38, 98, 99, 100, 101, 10, 91)
_METAS = (  # whole, short, and without sense
    *(b"\x51\x03\x07\xa1\x20", b"\x51\x03\x03\x00\x00", b"\x51\x03\x16\xe3\x60", b"\x51\x02\x07\xa1", b"\x51\x03\0\0\0"),
    *(b"\x58\x04\x03\x02\x18\x08", b"\x58\x04\x06\x03\x18\x08", b"\x58\x02\x05\x02", b"\x58\x04\x03\x40\x18\x08"),
    *(
        b"\x59\x02\xf8\x00",
        b"\x59\x02\x02\x00",
        b"\x21\x01\x01",
        b"\x21\x01\x00",
        b"\x21\x00",
        b"\x60\x01\x00",
        b"\x01\x02hi",
    ),
)


def encode_number(value: int) -> bytes:
    """A number of seven bits a byte."""
    encoded = [value & 0x7F]
    while value := value >> 7:
        encoded.append(value & 0x7F | 0x80)
    return bytes(reversed(encoded))


def make_file(seed: int) -> bytes:
    """One of them; most can be read."""
    rng = random.Random(seed)
    tracks = [_make_track(rng) for _ in range(rng.choice((1, 1, 2, 3, 5)))]
    kind = rng.choice((0, 1, 1, 1, 2)) if len(tracks) > 1 else rng.choice((0, 1, 2))
    count = len(tracks) + rng.choice((0,) * 9 + (2,))
    chunks = [b"MThd" + struct.pack(">LHHH", 6, kind, count, rng.choice((24, 96, 480, 500, 960)))]
    for track in tracks:
        if rng.random() < 0.05:
            chunks.append(b"XFIH" + struct.pack(">L", 5) + b"abcde")
        if rng.random() < 0.03:
            chunks.append(bytes(rng.randrange(1, 9)))
        size = len(track) + rng.choice((0,) * 19 + (7,))
        chunks.append(b"MTrk" + struct.pack(">L", size) + track)
    data = b"".join(chunks)
    if rng.random() < 0.1:
        data = data[: -rng.randrange(1, 6)]
    if rng.random() < 0.1:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        data = bytes(changed)
    if rng.random() < 0.05:
        body = b"RMIDdata" + struct.pack("<L", len(data)) + data
        data = b"RIFF" + struct.pack("<L", len(body)) + body
    return data


def _make_track(rng: random.Random) -> bytes:
    channels = [rng.choice((0, 0, 1, 2, 9)) for _ in range(2)]
    keys = rng.sample(range(40, 90), rng.choice((2, 4, 8)))  # few, so that they are struck again
    body, running = b"", None
    for _ in range(rng.choice((0, 5, 40, 150))):
        event, status = _make_event(rng, rng.choice(channels), keys)
        body += encode_number(rng.choice((0, 0, 0, 1, 30, 60, 120, rng.randrange(2000))))
        body += event[1:] if status is not None and status == running and rng.random() < 0.7 else event
        running = status or running
    return body + encode_number(rng.randrange(1000)) + b"\xff\x2f\x00" * (rng.random() < 0.95)


def _make_event(rng: random.Random, channel: int, keys: list[int]) -> tuple[bytes, int | None]:
    """And its status byte, if others may leave that out."""
    what = rng.random()
    if what < 0.05:
        return b"\xff" + rng.choice(_METAS), None
    if what < 0.07:
        return rng.choice((b"\xf0\x03\x01\x02\xf7", b"\xf7\x01\x00", b"\xf8", b"\xf2\x01\x02")), None
    if what < 0.10:
        return bytes([0xC0 | channel, rng.randrange(128)]), 0xC0 | channel
    if what < 0.16:
        return bytes([0xE0 | channel, rng.randrange(128), rng.randrange(128)]), 0xE0 | channel
    if what < 0.32:
        value = rng.choice((0, 0, 63, 64, 127, rng.randrange(128)))
        return bytes([0xB0 | channel, rng.choice(_CONTROLLERS), value]), 0xB0 | channel
    key, velocity = rng.choice(keys), rng.choice((0, 1, 64, 127, 200))
    status = (0x80 if what < 0.55 else 0x90) | channel
    return bytes([status, key, velocity]), status
