"""The parser against mido and dexed-py, on every framing, on damage and on noise."""

import time
import tracemalloc

import mido
import numpy as np
import oracle
import pytest
from dexed import Patch
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data.patches import patch, sysex

BULK, SINGLE = b"\xf0\x43\x00\x09\x20\x00", b"\xf0\x43\x00\x00\x01\x1b"


def legal_patches(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parameters = rng.integers(0, patch.MAXIMA.astype(int) + 1, (count, patch.PARAMETERS))
    return np.hstack([parameters, rng.integers(32, 127, (count, 10))]).astype(np.uint8)


PATCHES = legal_patches(1, 32)
STORED = [row.tobytes() for row in PATCHES]
BANK = sysex.write_bank(PATCHES)
VOICE = sysex.write_voice(PATCHES[0])


def found(data: bytes) -> list[bytes]:
    return [record.patch for record in sysex.read(data).voices]


def mac_binary(data: bytes) -> bytes:
    header = bytearray(128)
    header[1:6] = b"\x04BANK"
    header[65:69] = b"SYEX"
    header[83:87] = len(data).to_bytes(4, "big")
    return bytes(header) + data


def test_clean_dumps_leave_nothing_to_say():
    reading = sysex.read(BANK + VOICE)
    assert not reading.warnings
    assert not reading.refused
    assert [record.patch for record in reading.voices] == STORED + STORED[:1]
    assert [record.index for record in reading.voices] == [*range(1, 33), 1]
    assert [record.offset for record in reading.voices] == [*range(6, 4102, 128), 4110]
    assert not any(record.repaired for record in reading.voices)


def test_writers_agree_with_mido_and_dexed(tmp_path):
    assert (len(BANK), len(VOICE)) == (4104, 163)
    for dump in (BANK, VOICE):
        (message,) = mido.Parser(dump).messages
        assert message.type == "sysex"
        assert bytes(message.bin()) == dump
        assert sum(dump[6:-1]) % 128 == 0
    path = tmp_path / "bank.syx"
    path.write_bytes(BANK)
    np.testing.assert_array_equal([voice.to_raw() for voice in Patch.load_bank(str(path))], PATCHES)
    np.testing.assert_array_equal(Patch.from_sysex(VOICE[6:161]).to_raw(), PATCHES[0])


def test_dexeds_banks_are_read(tmp_path):
    path = tmp_path / "bank.syx"
    Patch.save_to_bank(str(path), [Patch.from_raw(row) for row in PATCHES])
    assert found(path.read_bytes()) == STORED


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 32), st.integers(1, 16))
def test_round_trips(seed, count, channel):
    patches = legal_patches(seed, count)
    records = found(sysex.write_bank(patches))
    assert records == [row.tobytes() for row in patches] + [patch.INIT.tobytes()] * (32 - count)
    for row in patches[:3]:
        dump = sysex.write_voice(row, channel)
        assert dump[2] == channel - 1
        assert found(dump) == [row.tobytes()]


def test_writers_refuse_what_they_cannot_write():
    with pytest.raises(ValueError, match="holds 32 patches, not 33"):
        sysex.write_bank(legal_patches(1, 33))
    with pytest.raises(ValueError, match="channel must be 1 to 16, not 0"):
        sysex.write_voice(PATCHES[0], 0)
    wrong = PATCHES[0].copy()
    wrong[134] = 32
    with pytest.raises(ValueError, match="algorithm is 32"):
        sysex.write_voice(wrong)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (BANK[6:4102], STORED),
        (VOICE[6:161], STORED[:1]),
        (BANK[6:134], STORED[:1]),
        (mac_binary(BANK), STORED),
        (mac_binary(BANK[6:4102]), STORED),
        (mac_binary(BANK) + bytes(120), STORED),
        (mac_binary(VOICE + VOICE), STORED[:1] * 2),
        (bytes(128) + BANK, STORED),
        (BANK * 3, STORED * 3),
        (b"\xf0\x41\x10\x16\x12\x7f\xf7" + BANK + b"\xf0\x43\x00\x04\x20\x00\x05\xf7" + VOICE, STORED + STORED[:1]),
        (BANK[:2] + b"\x0f" + BANK[3:], STORED),
        (BANK[:100] + b"\xfe\xf8\xfe" + BANK[100:], STORED),
        (VOICE[:50] + b"\xfe" + VOICE[50:], STORED[:1]),
    ],
    ids=[
        "bare bank",
        "bare stored",
        "bare packed",
        "mac",
        "mac bare",
        "mac padded",
        "mac voices",
        "128 zeros",
        "three banks",
        "other instruments",
        "channel 16",
        "real time in bank",
        "real time in voice",
    ],
)
def test_framings(data, expected):
    reading = sysex.read(data)
    assert [record.patch for record in reading.voices] == expected
    assert not reading.refused


def test_offsets_lead_to_the_bytes():
    data = b"junk" + BANK[:100] + b"\xfe" + BANK[100:] + mac_binary(VOICE)
    records = sysex.read(data).voices
    assert data[records[2].offset :].startswith(BANK[6 + 256 : 6 + 300])
    assert data[records[32].offset :].startswith(VOICE[6:161])
    bare = mac_binary(BANK[6:4102])
    assert [record.offset for record in sysex.read(bare).voices] == [*range(128, 4224, 128)]


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (BANK[:-2] + bytes([BANK[-2] ^ 1]) + b"\xf7", "checksum"),
        (BANK[:-1], "does not end with F7"),
        (BANK[:-2], "has no checksum"),
        (BANK[:-2] + b"\xf7", "has no checksum"),
        (BANK + b"tail", "skipped 4 bytes"),
        (BANK[:20] + b"\xb0" + BANK[21:], "has 1 byte above 127"),
    ],
)
def test_odd_dumps_are_kept_with_a_warning(data, warning):
    reading = sysex.read(data)
    assert len(reading.voices) == 32
    assert not reading.refused
    assert any(warning in sentence for _, sentence in reading.warnings)


@pytest.mark.parametrize("dump", [BANK, VOICE])
@pytest.mark.parametrize("bit", range(8))
def test_bit_flips_in_the_checksum_keep_the_voices(dump, bit):
    data = dump[:-2] + bytes([dump[-2] ^ 1 << bit]) + b"\xf7" + dump
    reading = sysex.read(data)
    assert [record.patch for record in reading.voices] == found(dump) * 2
    assert any("checksum" in sentence for offset, sentence in reading.warnings if offset == 0)


@given(st.integers(6, 4101))
def test_truncated_dumps_are_refused_and_the_next_is_read(length):
    reading = sysex.read(BANK[:length] + VOICE)
    assert [record.patch for record in reading.voices] == STORED[:1]
    ((offset, reason),) = reading.refused
    assert offset == 0
    assert f"{length - 6:,} of 4,096 bytes" in reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"RIFF" * 50, "200 bytes without a DX7 voice dump"), (b"\xf0\x41\x01\xf7", "another")],
)
def test_what_holds_no_voice_is_refused(data, reason):
    reading = sysex.read(data)
    assert not reading.voices
    assert len(reading.refused) == 1
    assert reason in reading.refused[0][1]


def usual_patches(seed: int, count: int) -> np.ndarray:
    """As people make them: detuned a little, with names in capitals."""
    made = legal_patches(seed, count)
    made[:, 20:126:21] = 5 + made[:, 20:126:21] % 5
    made[:, 145:] = 65 + made[:, 145:] % 26
    return made


USUAL = usual_patches(5, 32)
USUAL_BANK = sysex.write_bank(USUAL)


@pytest.mark.parametrize("place", [6, 200, 1000, 3000, 4000, 4070])
@pytest.mark.parametrize("change", [-2, -1, 1, 2])
def test_a_bank_whose_bytes_have_shifted_never_becomes_patches(place, change):
    added = bytes([64]) * max(change, 0)
    data = USUAL_BANK[:place] + added + USUAL_BANK[place - min(change, 0) :]
    reading = sysex.read(data + VOICE)
    assert [record.patch for record in reading.voices] == STORED[:1]
    assert [offset for offset, _ in reading.refused] == [0]
    assert "refused whole" in reading.refused[0][1]


def test_a_byte_lost_and_another_too_many_is_a_shift_too():
    data = USUAL_BANK[:500] + USUAL_BANK[501:2000] + b"\x01" + USUAL_BANK[2000:]
    reading = sysex.read(data)
    assert not reading.voices
    assert "values that no DX7 has: refused whole" in reading.refused[0][1]


@pytest.mark.parametrize(("lost", "found"), [(500, 2000), (2000, 500), (6, 4000), (3990, 4101), (700, 960)])
def test_a_byte_that_moved_leaves_length_and_checksum_right(lost, found):
    """All between the two places has shifted. What lies outside is kept, but for a neighbour or two."""
    byte, rest = USUAL_BANK[lost : lost + 1], USUAL_BANK[:lost] + USUAL_BANK[lost + 1 :]
    reading = sysex.read(rest[:found] + byte + rest[found:])
    first, last = sorted(((lost - 6) // 128, (found - 6) // 128))
    outside = [row.tobytes() for i, row in enumerate(USUAL) if not first <= i <= last]
    kept = [record.patch for record in reading.voices]
    assert set(kept) <= set(outside)
    assert len(kept) >= len(outside) - 2
    ((offset, reason),) = reading.refused
    assert offset == 0
    assert "bytes have shifted in it" in reason
    assert str(last + 1) in reason.replace(",", "").split()


@pytest.mark.parametrize("byte", [0xF0, 0xF7])
@pytest.mark.parametrize("place", [0, 700, 4095])
def test_a_byte_that_looks_like_an_end_spoils_one_voice(byte, place):
    data = bytearray(BANK)
    data[6 + place] = byte
    reading = sysex.read(bytes(data) + VOICE)
    others = [row for i, row in enumerate(STORED) if i != place // 128]
    assert [record.patch for record in reading.voices] == others + STORED[:1]
    assert [record.index for record in reading.voices[:-1]] == [i for i in range(1, 33) if i != place // 128 + 1]
    ((offset, reason),) = reading.refused
    assert offset == 0
    assert f"voice {place // 128 + 1} holds {byte:02X} at byte {6 + place:,}" in reason


@pytest.mark.parametrize("end", [b"\n", b"\r"])
@pytest.mark.parametrize("packed", [True, False])
def test_line_ends_of_a_transfer_as_text_are_undone(end, packed):
    patches = usual_patches(6, 32)
    patches[0, 0:3] = 10, 13, 10  # rates of an envelope: LF, CR, LF
    patches[0, 5:8] = 13, 10, 10
    dump = sysex.write_bank(patches) if packed else sysex.write_voice(patches[0], 11 if end == b"\n" else 14)
    reading = sysex.read(dump.replace(end, b"\r\n") + VOICE)
    expected = [row.tobytes() for row in patches[: 32 if packed else 1]]
    assert [record.patch for record in reading.voices] == expected + STORED[:1]
    assert not reading.refused
    assert "undone" in reading.warnings[0][1]


def test_line_ends_that_cannot_be_undone_are_refused():
    spoiled = bytearray(sysex.write_bank(usual_patches(6, 32)))
    spoiled[300] ^= 1
    reading = sysex.read(bytes(spoiled).replace(b"\n", b"\r\n"))
    assert not reading.voices
    assert len(reading.refused) == 1


def test_the_misprinted_count_is_read():
    reading = sysex.read(BANK.replace(BULK, b"\xf0\x43\x00\x09\x10\x00"))
    assert [record.patch for record in reading.voices] == STORED
    assert "10 00, not 20 00" in reading.warnings[0][1]


def number(value: int) -> bytes:
    """As MIDI files write it."""
    digits = [value & 127]
    while value := value >> 7:
        digits.append(value & 127 | 128)
    return bytes(reversed(digits))


def midi_file(*parts: bytes) -> bytes:
    """A song with a dump in one message, or in several parts of it; the first begins with F0."""
    note = b"\x00\x90\x3c\x40\x60\x80\x3c\x40"
    events = [b"\x00\xf0" + number(len(parts[0]) - 1) + parts[0][1:]]
    events += [b"\x81\x00\xf7" + number(len(part)) + part for part in parts[1:]]
    track = note + b"".join(events) + note + b"\x00\xff\x2f\x00"
    return b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + len(track).to_bytes(4, "big") + track


@pytest.mark.parametrize("parts", [(BANK,), (VOICE,), (BANK[:100], BANK[100:3000], BANK[3000:]), (VOICE[:-1], VOICE[-1:])])
def test_dumps_in_midi_files(parts):
    data = midi_file(*parts)
    wrapped = b"RIFF" + (len(data) + 12).to_bytes(4, "little") + b"RMIDdata" + len(data).to_bytes(4, "little") + data
    whole = found(b"".join(parts))
    for file, more in ((data, []), (wrapped, []), (mac_binary(data), []), (data + BANK, STORED)):
        reading = sysex.read(file)
        assert [record.patch for record in reading.voices] == whole + more
        assert not reading.warnings
        assert not reading.refused
    offset = sysex.read(data).voices[0].offset
    assert data[offset:].startswith(parts[0][6:90])


def test_damage_in_midi_files():
    shifted = midi_file(USUAL_BANK[:900] + USUAL_BANK[901:])
    assert not sysex.read(shifted).voices
    assert "refused whole" in sysex.read(shifted).refused[0][1]
    assert "MIDI file without" in sysex.read(midi_file(b"\xf0\x41\x10\xf7")).refused[0][1]
    for length in range(0, len(midi_file(VOICE)), 7):
        reading = sysex.read(midi_file(VOICE)[:length])
        assert reading.voices or reading.refused


@pytest.mark.parametrize("header", [BULK, SINGLE, b"\xf0\xa0\x07" + BULK[1:]])
def test_headers_alone_take_no_time(header):
    start = time.perf_counter()
    reading = sysex.read(b"MThd" * (len(header) > 6) + header * ((16 << 20) // len(header)))
    assert time.perf_counter() - start < 10
    assert not reading.voices
    assert len(reading.refused) <= 10_002


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([BANK, VOICE, BULK, SINGLE, b"\xf0\x43", BANK[:3000]]))))
def test_junk_between_dumps_loses_none(pieces):
    pieces = [part for piece in pieces for part in (piece, BANK, VOICE)]
    records = found(b"".join(pieces))
    assert records.count(STORED[1]) >= pieces.count(BANK)
    assert records.count(STORED[0]) >= pieces.count(BANK) + pieces.count(VOICE)


def test_random_bytes_never_raise_and_every_header_is_accounted_for():
    rng = np.random.default_rng(2)
    alphabets = [np.arange(256), np.frombuffer(BULK + SINGLE + b"\xf7\xfe\x7f", np.uint8), np.arange(128)]
    pieces = [BULK, SINGLE, BULK[:2] + b"\x07" + BULK[3:], BANK[:200], VOICE, BANK, VOICE[:100], b"\xf7", bytes(4097)]
    for case in range(10_000):
        parts = [rng.choice(alphabets[case % 3], rng.integers(0, 200)).astype(np.uint8).tobytes() for _ in range(3)]
        parts += [pieces[i] for i in rng.integers(0, len(pieces), rng.integers(0, 4))]
        data = b"".join(parts[i] for i in rng.permutation(len(parts)))
        reading = sysex.read(data)
        assert reading.voices or reading.refused
        headers = [
            i for i in range(len(data)) if data[i : i + 2] == BULK[:2] and data[i + 3 : i + 6] in (BULK[3:], SINGLE[3:])
        ]
        headers = [i for i in headers if data[i + 2] < 16]
        if headers:
            firsts = [record.offset for record in reading.voices if record.index == 1]
            assert len(firsts) + len(reading.refused) == len(headers)
            assert {offset for offset, _ in reading.refused} <= set(headers)
        for record in reading.voices:
            patch.require_legal(np.frombuffer(record.patch, np.uint8))


def test_repaired_fields_are_named():
    data = bytearray(BANK)
    data[6 + 14] = 127  # op 6 output level of voice 1
    data[6 + 128 + 117] = 100  # transpose of voice 2
    records = sysex.read(bytes(data)).voices
    assert [record.repaired for record in records[:3]] == [("op6_output_level",), ("transpose",), ()]


def seconds_to_read(data: bytes) -> float:
    start = time.perf_counter()
    sysex.read(data)
    return time.perf_counter() - start


@pytest.mark.parametrize("piece", [BANK, BULK, BULK[:5], b"\xf0", BULK + b"\xff" * 9000, SINGLE + bytes(154)])
def test_time_grows_no_faster_than_the_length(piece):
    data = piece * (200_000 // len(piece))
    seconds_to_read(data)
    small, large = (min(seconds_to_read(data * times) for _ in range(3)) for times in (1, 4))
    assert large < 4 * small * 2.5 + 0.05


def test_large_input_is_not_copied():
    data = bytes(50 << 20) + BANK
    tracemalloc.start()
    assert len(found(data)) == 32
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20


@oracle.needs_factory
def test_factory_banks_are_dexeds():
    for path in oracle.FACTORY:
        reading = sysex.read(path.read_bytes())
        assert not reading.warnings
        assert not reading.refused
        expected = [voice.to_raw().astype(np.uint8).tobytes() for voice in Patch.load_bank(str(path))]
        assert [record.patch for record in reading.voices] == expected
