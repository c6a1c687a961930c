"""Folders and zips: every file in them is read, refused or named, and none costs more than a few seconds."""

import io
import time
import zipfile

import numpy as np
import pytest

from dx7data.patches import bank, containers, patch, sysex


def stored(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parameters = rng.integers(0, patch.MAXIMA.astype(int) + 1, (count, patch.PARAMETERS))
    return np.hstack([parameters, rng.integers(32, 127, (count, 10))]).astype(np.uint8)


PATCHES = stored(1, 12)
VOICES = list(map(sysex.write_voice, PATCHES))


def zipped(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def in_a_song(dump: bytes) -> bytes:
    event = b"\x00\xf0\x81\x22" + dump[1:]  # 162 bytes follow
    return b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + (len(event) + 4).to_bytes(4, "big") + event + b"\0\xff\x2f\0"


NAMES = ["a.syx", "b.bin", "c.dx7", "d.TX7", "e.mid", "f.kar", "g.rmi", "h.midi"]
FILES = [in_a_song(dump) if i > 3 else dump for i, dump in enumerate(VOICES[: len(NAMES)])]
UNKNOWN = ["readme.txt", "no_suffix", "picture.png"]


def test_each_file_of_a_folder_is_read_or_named(tmp_path):
    for name, data in zip(NAMES, FILES, strict=True):
        (tmp_path / name).write_bytes(data)
    for name in UNKNOWN:
        (tmp_path / name).write_bytes(b"no patch")
    loaded = bank.load(tmp_path)
    np.testing.assert_array_equal(loaded.patches, PATCHES[: len(NAMES)])
    assert not loaded.report.refused
    assert sorted(line.file.split("/")[-1] for line in loaded.report.warnings) == sorted(UNKNOWN)
    assert all("was not read" in line.reason for line in loaded.report.warnings)


def test_each_file_of_zips_in_zips_is_read_or_named(tmp_path):
    data = zipped([*zip(NAMES, FILES, strict=True), *((name, b"no") for name in UNKNOWN), ("folder/", b"")])
    deeper = zipped([("in/inner.zip", data), ("other.txt", b"no"), ("x.syx", VOICES[10])])
    (tmp_path / "z.zip").write_bytes(zipped([("deeper.ZIP", deeper), ("y.syx", VOICES[11])]))
    loaded = bank.load(tmp_path)
    np.testing.assert_array_equal(loaded.patches, PATCHES[[*range(len(NAMES)), 10, 11]])
    assert loaded.origins[0]["file"] == "z.zip/deeper.ZIP/in/inner.zip/a.syx"
    assert not loaded.report.refused
    assert len(loaded.report.warnings) == 4
    assert str(loaded.report.warnings[0]).startswith(f"{tmp_path}/z.zip/deeper.ZIP/in/inner.zip/readme.txt: was not read")


def test_zips_in_zips_end(tmp_path):
    data = zipped([("a.syx", VOICES[0])])
    for depth in range(4):
        data = zipped([(f"{depth}.zip", data), (f"{depth}.syx", VOICES[depth])])
    (tmp_path / "z.zip").write_bytes(data)
    loaded = bank.load(tmp_path)
    np.testing.assert_array_equal(loaded.patches, PATCHES[[1, 2, 3]])
    (line,) = loaded.report.refused
    assert "z.zip/3.zip/2.zip/1.zip: is a zip inside 3 others" in str(line)


def quick(path):
    start = time.process_time()  # which does not depend on what else the machine does
    loaded = bank.load(path)
    assert time.process_time() - start < 10
    return loaded, [str(line) for line in loaded.report.refused]


@pytest.mark.parametrize("nested", [False, True])
def test_what_a_zip_unpacks_to_is_bounded_as_a_whole(tmp_path, nested):
    large = bytes(20 << 20)
    data = zipped([("a.syx", VOICES[0]), *((f"{i}.syx", large) for i in range(6)), ("z.syx", VOICES[1])])
    data = zipped([(f"{i}.zip", data) for i in range(3)]) if nested else data
    (tmp_path / "z.zip").write_bytes(data)
    assert len(data) < 500_000
    loaded, refused = quick(tmp_path)
    np.testing.assert_array_equal(loaded.patches, PATCHES[:2])
    bounded = [line for line in refused if "split the zip" in line]
    assert len(bounded) == (15 if nested else 3)
    assert "3.syx: makes 8" in bounded[0]
    assert "more than the 67,108,864 that are read" in bounded[0]


def test_members_that_overlap_are_refused(tmp_path):
    """Many names for the same packed bytes: only the directory at the end of the zip says so."""
    data = zipped([("000.syx", bytes(1 << 20))])
    start = data.index(b"PK\1\2")
    entry, end = data[start : data.index(b"PK\5\6")], bytearray(data[data.index(b"PK\5\6") :])
    entries = b"".join(entry.replace(b"000.syx", b"%03d.syx" % i) for i in range(60))
    end[8:12] = (60).to_bytes(2, "little") * 2
    end[12:16] = len(entries).to_bytes(4, "little")
    (tmp_path / "z.zip").write_bytes(data[:start] + entries + end)
    _, refused = quick(tmp_path)
    assert len(refused) == 1
    assert "z.zip: holds files that overlap" in refused[0]


def test_too_many_members_are_refused(tmp_path):
    entries = b"PK\1\2" * (containers._MEMBERS_LIMIT + 1)
    (tmp_path / "z.zip").write_bytes(entries)
    _, refused = quick(tmp_path)
    assert len(refused) == 1
    assert "makes 100,001 files in its zip, more than the 100,000 that are read: unpack it into a folder" in refused[0]


def test_members_of_zips_in_zips_count_together(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_MEMBERS_LIMIT", 11)
    inner = [zipped([(f"{i}.syx", VOICES[4 * k + i]) for i in range(4)]) for k in range(3)]
    (tmp_path / "z.zip").write_bytes(zipped([(f"{k}.zip", data) for k, data in enumerate(inner)]))
    loaded, refused = quick(tmp_path)
    np.testing.assert_array_equal(loaded.patches, PATCHES[:8])
    assert len(refused) == 1
    assert "z.zip/2.zip: makes 15 files in its zip, more than the 11" in refused[0]


def test_a_library_of_25_000_files_in_a_zip(tmp_path):
    """As people have them: each a voice of its own, here the same few."""
    (tmp_path / "z.zip").write_bytes(zipped([(f"{i}.syx", VOICES[i % 12]) for i in range(25_000)]))
    loaded = bank.load(tmp_path / "z.zip")
    np.testing.assert_array_equal(loaded.patches, PATCHES)
    assert (loaded.report.duplicates, loaded.report.refused) == (24_988, [])


def test_headers_alone_in_a_zip(tmp_path):
    headers = [b"\xf0\x43\x00\x09\x20\x00", b"\xf0\x43\x00\x00\x01\x1b"]
    (tmp_path / "z.zip").write_bytes(zipped([(f"{i}.syx", header * 4_000_000) for i, header in enumerate(headers)]))
    loaded, refused = quick(tmp_path)
    assert not loaded.ids
    assert "more than 10,000 dumps before this byte are refused" in "".join(refused)
