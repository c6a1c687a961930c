"""Banks from real files on disk: provenance, refusals, references, exports."""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dexed import Patch

from dx7data.errors import InputError
from dx7data.patches import bank, patch, sysex

FOLDER = Path(bank.__file__).parent


def legal_patches(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parameters = rng.integers(0, patch.MAXIMA.astype(int) + 1, (count, patch.PARAMETERS))
    return np.hstack([parameters, rng.integers(32, 127, (count, 10))]).astype(np.uint8)


PATCHES = legal_patches(1, 64)
FIRST, SECOND = sysex.write_bank(PATCHES[:32]), sysex.write_bank(PATCHES[32:])


def refusals(loaded) -> list[str]:
    return [str(line) for line in loaded.report.refused]


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_the_shipped_bank_is_the_table():
    """To regenerate it: FOLDER / "example_bank.syx" with sysex.write_bank(bank.read_table(FOLDER / "example_bank.toml"))."""
    expected = sysex.write_bank(bank.read_table(FOLDER / "example_bank.toml"))
    assert (FOLDER / "example_bank.syx").read_bytes() == expected


def test_example_has_one_patch_per_algorithm():
    loaded = bank.load_example()
    assert loaded.patches[:, 134].tolist() == list(range(32))
    assert len(set(loaded.ids)) == 32
    assert loaded.names[0] == "ROUND BASS"
    assert not loaded.report.refused
    assert not loaded.report.warnings
    expected = [voice.to_raw() for voice in Patch.load_bank(str(FOLDER / "example_bank.syx"))]
    np.testing.assert_array_equal(loaded.patches, expected)


def test_files_are_merged_in_order_with_provenance(tmp_path):
    (tmp_path / "b.syx").write_bytes(FIRST + sysex.write_voice(PATCHES[40]))
    (tmp_path / "a.SYX").write_bytes(SECOND)
    loaded = bank.load([tmp_path / "b.syx", tmp_path / "a.SYX"])
    np.testing.assert_array_equal(loaded.patches, PATCHES[[*range(32), 40, *range(32, 40), *range(41, 64)]])
    assert loaded.ids == [patch.patch_id(row) for row in loaded.patches]
    origin = loaded.origins[32]
    assert origin == {"file": "b.syx", "sha256": hashlib.sha256((tmp_path / "b.syx").read_bytes()).hexdigest()} | {
        "index": 33,
        "copies": 1,
    }
    assert (loaded.report.files, loaded.report.found, loaded.report.duplicates) == (2, 65, 1)


def test_the_same_sound_under_two_names_is_one_patch(tmp_path):
    renamed = PATCHES[:2].copy()
    renamed[1] = renamed[0]
    renamed[1, 145:] = 65
    (tmp_path / "two").write_bytes(b"".join(sysex.write_voice(row) for row in renamed))
    loaded = bank.load(str(tmp_path / "two"))
    assert loaded.names == [patch.patch_name(PATCHES[0])]
    assert loaded.origins[0]["copies"] == 1


def test_folders_are_searched_in_order(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "deep.Syx").write_bytes(sysex.write_voice(PATCHES[2]))
    (tmp_path / "b.syx").write_bytes(sysex.write_voice(PATCHES[1]))
    (tmp_path / "a.syx").write_bytes(sysex.write_voice(PATCHES[0]))
    (tmp_path / "notes.txt").write_bytes(sysex.write_voice(PATCHES[3]))
    make_zip(tmp_path / "z" / "y.zip", {"sub/m.BIN": FIRST, "readme.txt": b"no"})
    loaded = bank.load(tmp_path)
    assert [origin["file"] for origin in loaded.origins[:4]] == ["a.syx", "b.syx", "deep.Syx", "y.zip/sub/m.BIN"]
    assert not refusals(loaded)
    assert len(bank.load(tmp_path / "notes.txt").ids) == 1


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    (tmp_path / "empty.syx").write_bytes(b"")
    (tmp_path / "dir").mkdir()
    (tmp_path / "not.zip").write_bytes(b"PK\x03\x04 no")
    with open(tmp_path / "huge.syx", "wb") as file:
        file.truncate((256 << 20) + 1)  # sparse
    os.mkfifo(tmp_path / "pipe.syx")
    names = ["missing.syx", "empty.syx", "dir", "not.zip", "huge.syx", "pipe.syx", "nul\0.syx", "n" * 300]
    loaded = bank.load([tmp_path / name for name in names])
    assert loaded.patches.shape == (0, 155)
    assert len(loaded.report.refused) == len(names)
    reasons = ["No such file", "empty", "holds no .syx", "no zip file", "more than", "no regular", "null byte", "too long"]
    for line, reason in zip(refusals(loaded), reasons, strict=True):
        assert reason in line
        assert str(tmp_path) in line


def test_dangerous_zip_members_are_refused_and_the_rest_is_read(tmp_path):
    dangerous = ["/abs.syx", "../up.syx", "a/../../up.syx", "C:\\win.syx", "..\\up.syx", "\\abs.bin"]
    path = make_zip(tmp_path / "z.zip", dict.fromkeys(dangerous, FIRST) | {"ok.syx": SECOND, "bomb.syx": bytes(65 << 20)})
    before = sorted(tmp_path.parent.rglob("*"))
    loaded = bank.load(path)
    assert sorted(tmp_path.parent.rglob("*")) == before
    np.testing.assert_array_equal(loaded.patches, PATCHES[32:])
    assert len(refusals(loaded)) == 7
    assert sum("leads out of its zip" in line for line in refusals(loaded)) == 6
    assert "bomb.syx: unpacks to 68,157,440 bytes" in refusals(loaded)[-1]


def test_encrypted_zip_members_are_refused(tmp_path):
    data = bytearray(make_zip(tmp_path / "z.zip", {"a.syx": FIRST}).read_bytes())
    data[6] |= 1  # the encryption flag, local and central
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "z.zip").write_bytes(data)
    assert "is encrypted" in refusals(bank.load(tmp_path))[0]


def test_damaged_zips_never_raise(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.syx", FIRST)
        archive.writestr("b.syx", SECOND, zipfile.ZIP_DEFLATED)
        archive.writestr("c.syx", SECOND, zipfile.ZIP_BZIP2)
    good, rng = np.frombuffer(buffer.getvalue(), np.uint8), np.random.default_rng(3)
    structure = [
        i
        for sign in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
        for i in range(len(good))
        if good[i : i + 4].tobytes() == sign
    ]
    for case in range(600):
        data = good.copy()
        near = rng.choice(structure, 3) + rng.integers(0, 60, 3)
        places = near if case % 2 else rng.integers(0, len(data), 5)
        data[np.minimum(places, len(data) - 1)] = rng.integers(0, 256, len(places))
        path = tmp_path / "damaged.zip"
        path.write_bytes(data.tobytes()[: rng.integers(1, len(data)) if case % 7 == 0 else None])
        loaded = bank.load(path)
        assert len(loaded.ids) or loaded.report.refused


def test_repairs_and_warnings_are_counted(tmp_path):
    data = bytearray(FIRST)
    data[6 + 14] = data[6 + 128 + 14] = 127  # op 6 output level of voices 1 and 2
    (tmp_path / "a.syx").write_bytes(data)
    report = bank.load(tmp_path).report
    assert report.repaired == 2
    assert dict(report.repaired_fields) == {"op6_output_level": 2}
    assert "checksum" in report.warnings[0].reason
    assert report.warnings[0].offset == 0
    document = json.loads(json.dumps(report.to_dict()))
    assert document["repaired_fields"] == {"op6_output_level": 2}
    assert document["warnings"][0]["file"].endswith("a.syx")


def test_long_reports_are_cut_and_names_are_escaped(tmp_path):
    names = [f"{i:02}\x1b[31m\n\u202e.syx" for i in range(14)] + [b"\xff.syx".decode("utf-8", "surrogateescape")]
    for name in names:
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / names[0]).write_bytes(FIRST)
    loaded = bank.load(tmp_path)
    text = loaded.report.text()
    assert "and 4 more" in text
    assert all(line.isprintable() for line in text.split("\n"))
    assert loaded.origins[0]["file"] == r"00\x1b[31m\n\u202e.syx"
    json.dumps(loaded.report.to_dict()).encode()
    with pytest.raises(InputError) as error:
        bank.pick(str(tmp_path / names[1]))
    assert str(error.value).isprintable()


def test_pick(tmp_path):
    (tmp_path / "bank.syx").write_bytes(FIRST)
    (tmp_path / "one:1").write_bytes(sysex.write_voice(PATCHES[5]))
    np.testing.assert_array_equal(bank.pick(f"{tmp_path}/bank.syx:11"), PATCHES[10])
    np.testing.assert_array_equal(bank.pick(f"{tmp_path}/one:1"), PATCHES[5])
    np.testing.assert_array_equal(bank.pick(f"{tmp_path}/one:1:1"), PATCHES[5])
    np.testing.assert_array_equal(bank.pick("example:3"), bank.load_example().patches[2])


def test_pick_counts_voices_as_they_lie_in_the_file(tmp_path):
    (tmp_path / "bank.syx").write_bytes(sysex.write_bank(PATCHES[[0, 0, 0, 1]]))
    np.testing.assert_array_equal(bank.pick(f"{tmp_path}/bank.syx:4"), PATCHES[1])


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("example", "holds 32 voices: add the number"),
        ("example:0", "no voice 0"),
        ("example:33", "voices are 1 to 32"),
        ("nowhere.syx:1", "nowhere.syx: cannot be read"),
        (str(FOLDER / "bank.py"), "DX7 voice dump"),
    ],
)
def test_pick_says_what_is_wrong(reference, message):
    with pytest.raises(InputError, match=message):
        bank.pick(reference)


def test_a_file_called_example_needs_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("example").write_bytes(sysex.write_voice(PATCHES[7]))
    assert bank.load("example").names[0] == "ROUND BASS"
    np.testing.assert_array_equal(bank.load("./example").patches, PATCHES[7:8])
    np.testing.assert_array_equal(bank.pick("./example"), PATCHES[7])


def test_choosing_by_name(tmp_path):
    """Blanks around a name do not count, # may be in it, and a patch that is there twice is one patch."""
    stored = PATCHES[[0, 1, 2, 3, 3]]
    for row, name in zip(stored, (b"  LEAD", b"A#1", b"A", b"TWIN", b"TWIN"), strict=True):
        row[145:] = np.frombuffer(name.ljust(10), np.uint8)
    (tmp_path / "#.syx").write_bytes(b"".join(map(sysex.write_voice, stored)))
    loaded = bank.load(tmp_path, keep_duplicates=True)
    lead, sharp, plain, twin, _ = loaded.ids
    assert bank.choose(loaded, ["lead", " TWIN "]) == {lead, twin}
    path = tmp_path / "list.txt"
    for line, expected in (
        ("A#1", {sharp}),
        ("  a#1  # with a # in it", {sharp}),
        ("A # not A#1", {plain}),
        (f"{tmp_path}/#.syx:3  # a file", {plain}),
    ):
        path.write_text(f"\n{line}\n")
        assert bank.read_list(loaded, path) == expected, line


def test_a_patch_that_is_left_out_cannot_be_chosen(tmp_path):
    one, same = bank.load_example().patches[[0, 0]]
    same[136] ^= 1  # oscillator sync, which nobody hears
    (tmp_path / "two.syx").write_bytes(sysex.write_voice(one) + sysex.write_voice(same))
    loaded = bank.load(tmp_path)
    assert bank.choose(loaded, [f"{tmp_path}/two.syx:2"]) == {loaded.ids[1]}
    with pytest.raises(InputError, match="leave out --dedupe audible"):
        bank.choose(bank.drop_same_sounds(loaded), [f"{tmp_path}/two.syx:2"])


def test_exports_come_back(tmp_path):
    (tmp_path / "a.syx").write_bytes(FIRST + SECOND[:4104] + sysex.write_voice(legal_patches(9, 1)[0]))
    loaded = bank.load(tmp_path / "a.syx")
    out = tmp_path / "out"
    out.mkdir()
    for suffix in ("json", "parquet", "SYX", "txt"):
        bank.export(loaded, out / f"x.{suffix}")
    assert sorted(path.name for path in out.iterdir()) == ["x.SYX", "x.json", "x.parquet", "x.txt"]

    assert (out / "x.SYX").stat().st_size == 2 * 4104 + 163
    np.testing.assert_array_equal(bank.load(out).patches[:65], loaded.patches)
    entries = json.loads((out / "x.json").read_text())
    assert [entry["id"] for entry in entries] == loaded.ids
    assert entries[0]["origin"]["index"] == 1
    assert len((out / "x.txt").read_text().splitlines()) == 65

    table = pq.read_table(out / "x.parquet").to_pydict()
    packed = np.frombuffer(b"".join(table["packed"]), np.uint8).reshape(-1, 128)
    np.testing.assert_array_equal(patch.unpack(packed), loaded.patches)
    np.testing.assert_array_equal(np.stack([table[name] for name in patch.FIELDS], axis=1), loaded.patches[:, :145])
    assert table["index"][:3] == [1, 2, 3]
    assert table["file"][0] == "a.syx"
    assert table["copies"] == [0] * 65


def test_export_says_what_is_wrong(tmp_path):
    loaded = bank.load_example()
    with pytest.raises(InputError, match=r"unknown suffix: use one of \.json, \.parquet, \.syx, \.txt"):
        bank.export(loaded, tmp_path / "x.csv")
    with pytest.raises(InputError, match="cannot be written"):
        bank.export(loaded, tmp_path / "missing" / "x.txt")
    with pytest.raises(InputError, match="no patches"):
        bank.export(bank.load([]), tmp_path / "x.txt")
    assert not list(tmp_path.iterdir())


def test_a_bank_is_filled_up_if_that_was_asked_for(tmp_path):
    (tmp_path / "three.syx").write_bytes(b"".join(map(sysex.write_voice, PATCHES[:3])))
    loaded = bank.load(tmp_path)
    bank.export(loaded, tmp_path / "x.syx")
    assert [record.patch for record in sysex.read((tmp_path / "x.syx").read_bytes()).voices] == [
        row.tobytes() for row in PATCHES[:3]
    ]
    bank.export(loaded, tmp_path / "full.syx", full_bank=True)
    assert (tmp_path / "full.syx").stat().st_size == 4104
    assert bank.load(tmp_path / "full.syx").names[3:] == ["INIT VOICE"]
    with pytest.raises(InputError, match="leave out --full-bank"):
        bank.export(loaded, tmp_path / "x.json", full_bank=True)


@pytest.mark.parametrize("suffix", [".json", ".parquet", ".syx"])
def test_duplicates_keep_their_positions_in_exports(tmp_path, suffix):
    rows = PATCHES[[5, 5, 3, 5, *range(31)]]
    (tmp_path / "a.syx").write_bytes(b"".join(map(sysex.write_voice, rows)))
    bank.export(bank.load(tmp_path, keep_duplicates=True), tmp_path / f"b{suffix}")
    again = bank.load(tmp_path / f"b{suffix}", keep_duplicates=True)
    np.testing.assert_array_equal(again.patches, rows)
    assert [origin["index"] for origin in again.origins] == list(range(1, 36))
    np.testing.assert_array_equal(bank.pick(f"{tmp_path}/b{suffix}:3"), PATCHES[3])


@oracle.needs_factory
def test_factory_banks():
    loaded = bank.load(oracle.FACTORY)
    assert (loaded.report.files, loaded.report.found, loaded.report.repaired) == (8, 256, 4)
    assert loaded.report.found - loaded.report.duplicates == len(loaded.ids)
    assert not refusals(loaded)


def test_a_table_with_the_same_column_twice(tmp_path):
    column = pa.array([bytes(128)])
    pq.write_table(pa.Table.from_arrays([column, column], ["packed", "packed"]), tmp_path / "odd.parquet")
    found = bank.load(tmp_path / "odd.parquet")
    assert not found.ids
    assert "it has 2 columns `packed`" in str(found.report.refused[0])
