"""Voices without headers: read by their number of bytes, unless they are noise."""

import numpy as np
import pytest

from dx7data.patches import patch, sysex


def stored(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parameters = rng.integers(0, patch.MAXIMA.astype(int) + 1, (count, patch.PARAMETERS))
    return np.hstack([parameters, rng.integers(32, 127, (count, 10))]).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 2, 10, 32, 64, 100])
def test_any_number_of_packed_voices(count):
    patches = stored(1, count)
    reading = sysex.read(patch.pack(patches).tobytes())
    assert [record.patch for record in reading.voices] == [row.tobytes() for row in patches]
    assert [record.offset for record in reading.voices] == list(range(0, 128 * count, 128))
    assert not reading.refused
    ((_, sentence),) = reading.warnings
    assert f"has no header: read as {count} voice" in sentence


@pytest.mark.parametrize("switches", [0x3F, 0x2F])
def test_a_voice_with_its_operator_switches(switches):
    (row,) = stored(2, 1)
    reading = sysex.read(row.tobytes() + bytes([switches]))
    assert [record.patch for record in reading.voices] == [row.tobytes()]
    assert any("operator switches 2F" in sentence for _, sentence in reading.warnings) == (switches == 0x2F)


def test_one_byte_spoils_one_voice():
    patches = stored(3, 40)
    data = bytearray(patch.pack(patches).tobytes())
    data[7 * 128 + 3] = 0xC8
    reading = sysex.read(bytes(data))
    assert [record.patch for record in reading.voices] == [row.tobytes() for i, row in enumerate(patches) if i != 7]
    assert reading.refused == [(7 * 128, "voice 8 holds values that no DX7 has: left out, the others are kept")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"All work and no play makes Jack a dull boy.\n" * 128, "as 44 voices of 128 bytes without a header 44 would hold"),
        (np.random.default_rng(4).bytes(4096), "would hold values that no DX7 has"),
        (patch.pack(stored(5, 10)).tobytes()[1:] + b"\0", "would hold values that no DX7 has"),
        (bytes(1280), "are all 0"),
        (b"text" * 100, "a multiple of 128, or 155 or 156"),
        (b"\x89PNG\r\n\x1a\n\xf0\x43\x00\x80\xff\x00\xf0\xf7", "without a DX7 voice dump"),
        (b"..\xf0\x41\x10\x16\x12\x7f\x01\x00\xf7", "no DX7 voice dump: is it for another instrument?"),
        (b"\xf0\x43\x00\x04\xf7", "no DX7 voice dump: is it for another instrument?"),
    ],
)
def test_what_is_noise_is_refused(data, reason):
    reading = sysex.read(data)
    assert not reading.voices
    assert len(reading.refused) == 1
    assert reason in reading.refused[0][1]
