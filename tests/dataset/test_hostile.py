"""Data sets that somebody has made to do harm, with all hashes right: refused in a sentence, and nothing happens elsewhere.

A part of what benchmarks/campaign/hostile.py does, in this process.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.campaign.hostile_folders.collection import CASES
from benchmarks.campaign.hostile_folders.folder import SHARD, make, sign, write_json
from benchmarks.campaign.hostile_folders.places import IN_ITS_PLACE, borrow
from benchmarks.campaign.hostile_folders.values import MARKUP
from dx7data import cli
from dx7data.errors import InputError
from dx7data.patches import bank, patch, sysex
from dx7data.plan import schema, tables
from dx7data.plan.plan import Plan

# Of each kind of file and of fault some; the campaign has them all.
SOME = [
    "tables: /dev/zero",
    "tables: climbing",
    "a billion shards of one sample",
    "a billion samples in one shard",
    "a split without patches",
    "a shard of 7 GiB",
    f"{SHARD}.parquet: patch_name is markup",
    f"{SHARD}.parquet: {MARKUP} is there",
    f"{SHARD}.parquet: notes is null",
    f"{SHARD}.parquet: json_offset is negative",
    f"{SHARD}.parquet: source_wav_offset is huge",
    "patches.parquet: fields out of range",
    "patches.parquet: patches of 127 bytes",
    "patches.parquet: split climbs",
    "patches.parquet: ten million rows in some kilobytes",
    "phrases.arrow: about is deeply nested",
    "phrases.arrow: held is 0",
    "phrases.arrow: note is 255",
    "phrases.arrow: bounds beyond the end",
    "phrases.arrow: thousands of notes in a phrase",
    "phrases.arrow: compressed",
    "phrases.arrow: compressed dictionaries",
    "phrases.arrow: a kind of ten million letters",
    "phrases.arrow: a word that is not in the dictionary",
    "tar: names that climb",
    "tar: noise",
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "good"
    make(folder)
    return folder


@pytest.fixture
def copy(good, tmp_path):
    return shutil.copytree(good, tmp_path / "data")


def run(*argv):
    return cli.main([str(each) for each in argv])


@pytest.mark.parametrize("case", [name for name in SOME if name in CASES])
def test_it_is_refused(copy, capsys, case):
    CASES[case](copy)
    page = copy.parent / "page.html"
    assert run("inspect", copy, "--html", page) in (0, 2)
    assert run("verify", copy) in (1, 2)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "\x1b]" not in said.out + said.err
    assert not page.exists() or MARKUP not in page.read_text()
    assert sorted(path.name for path in copy.parent.iterdir()) in (["data"], ["data", "page.html"])


def test_every_case_has_a_name():
    assert len([name for name in SOME if name in CASES]) >= 20
    assert len(CASES) > 95


FIELDS = [
    (("samples",), {"../../outside/x": 3}),
    (("samples", "train"), 10**18),
    (("samples", "train"), -1),
    (("spec", "seconds"), 1e9),
    (("spec", "sample_rate"), 8001),
    (("spec", "source"), "00" * 127),
    (("spec", "prefixes"), ["../x"]),
    (("spec", "layers"), [2, 1]),
    (("spec", "shard_bytes"), 0),
    (("spec", "gain"), "1\n| loud"),
    (("tables",), {"patches.parquet": "../../x"}),
    (("fingerprint",), "../../x"),
    (("left_out_as_silent",), [{"id": "../x", "name": "x"}]),
    (("hidden", "things"), {MARKUP: {"samples": 1, "changed": 1, "hidden": 1, "best_snr": None}}),
]


@pytest.mark.parametrize(("path", "value"), FIELDS, ids=str)
def test_a_field_of_the_plan(copy, path, value):
    """The sentence names the file and the field."""
    document = json.loads((copy / "dataset.json").read_bytes())
    inside = document
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = value
    if path == ("fingerprint",):
        write_json(copy / "dataset.json", document, signed=True)
    else:
        sign(copy, document)
    with pytest.raises(InputError, match=rf"dataset.json, field (key in )?{path[0]}"):
        Plan.load(copy)
    assert run("render", "--plan", copy, "--workers", 1) == 2
    assert run("verify", copy, "--fix") == 2
    assert [path.name for path in copy.parent.iterdir()] == ["data"]


def test_deep_json(tmp_path):
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900):
        with pytest.raises(InputError, match="a file"):
            schema.decode(text.encode(), schema.Stats, "a file")


@pytest.mark.parametrize("put", ["a pipe", "a folder", "a link that leads out", "a dangling link", "a link to /dev/zero"])
def test_what_is_no_file(copy, capsys, put):
    """In the place of a shard: a line of verify, and --fix puts a file there; what a link led to stays as it was."""
    IN_ITS_PLACE[put](copy / f"{SHARD}.tar")
    before = {path: path.read_bytes() for path in copy.parent.glob("outside/*")}
    assert run("inspect", copy) == 0
    assert run("verify", copy) == 1
    assert f"{SHARD}: " in capsys.readouterr().out
    assert run("verify", copy, "--fix") == (1 if put == "a folder" else 0)  # with a file of the user in it
    assert {path: path.read_bytes() for path in copy.parent.glob("outside/*")} == before
    if put != "a folder":
        assert run("verify", copy) == 0


@pytest.mark.parametrize("command", ["inspect", "verify", "render --patches example --samples 4 --out"])
def test_a_folder_that_is_a_link_to_itself(tmp_path, capsys, command):
    (tmp_path / "data").symlink_to(tmp_path / "data")
    assert run(*command.split(), tmp_path / "data") == 2
    assert str(tmp_path / "data") in capsys.readouterr().err


def make_snapshot(data, cache):
    """The same files as the cache of the Hugging Face Hub has them: links into blobs/, which are named by their hashes."""
    (cache / "blobs").mkdir(parents=True)
    folder = cache / "snapshots" / "0123abcd" / "data"
    folder.mkdir(parents=True)
    for path in sorted(data.iterdir()):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            shutil.copy(path, cache / "blobs" / digest)
            (folder / path.name).symlink_to(f"../../../blobs/{digest}")
    return folder


def test_a_snapshot_of_the_hugging_face_hub(good, tmp_path):
    """It is read as the data set that it is; what is written replaces a link, and the blob stays as it was."""
    folder = make_snapshot(good, tmp_path / "cache")
    assert run("inspect", folder, "--html", tmp_path / "page.html") == 0
    assert run("verify", folder) == 0
    (folder / f"{SHARD}.tar").unlink()
    (folder / f"{SHARD}.tar").symlink_to((folder / f"{SHARD}.parquet").readlink())
    before = {path: path.read_bytes() for path in tmp_path.glob("cache/blobs/*")}
    assert run("verify", folder) == 1
    assert run("verify", folder, "--fix") == 0
    assert not (folder / f"{SHARD}.tar").is_symlink()
    assert {path: path.read_bytes() for path in tmp_path.glob("cache/blobs/*")} == before


@pytest.mark.parametrize(
    "target", ["../../../secret", "../../../blobs/within/secret", "../../../refs/secret", "/etc/passwd"]
)
def test_no_other_link_out_of_a_snapshot(good, tmp_path, capsys, target):
    folder = make_snapshot(good, tmp_path / "cache")
    (folder / "dataset.json").unlink()
    (folder / "dataset.json").symlink_to(target)
    secret = Path(os.path.normpath(folder / target))
    if not secret.exists():
        secret.parent.mkdir(exist_ok=True)
        shutil.copy(good / "dataset.json", secret)
    assert run("inspect", folder) == 2
    assert "dataset.json is a link that leads out of the data set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("compressed", "phrases.arrow can't be read: it is compressed"),
        ("compressed dictionaries", "phrases.arrow can't be read: it is compressed"),
        ("a kind of ten million letters", "in column kind is a word of more than 100 letters"),
        ("thousands of notes in a phrase", "phrases.arrow, column notes: a phrase has 3,000, more than the 500 of a clip"),
    ],
)
def test_phrases_that_would_grow(copy, capsys, case, words):
    CASES[f"phrases.arrow: {case}"](copy)
    assert run("inspect", copy) == 2
    assert words in capsys.readouterr().err


def test_phrases_of_format_2_that_would_grow(tmp_path):
    """A million notes, all of them the same, are a few bytes of a Parquet file."""
    notes = [{"start": 0, "held": 1, "note": 60, "velocity": 1}] * 1_000_000
    row = {"id": "0" * 16, "split": "train", "kind": "midi", "cut": False, "about": "{}", "notes": notes, "events": []}
    path = tmp_path / "phrases.parquet"
    columns = tables.list_phrase_columns()
    pq.write_table(pa.Table.from_pylist([row], columns), path)
    with pytest.raises(InputError, match="would grow"):
        tables.read_table(path.read_bytes(), columns, path, 1)
    row["notes"], row["about"] = notes[:1], "9" * 10**7
    pq.write_table(pa.Table.from_pylist([row], columns), path)
    with pytest.raises(InputError, match="column about: its texts are too long"):
        tables.read_table(path.read_bytes(), columns, path, 1)


def test_parts_of_another_data_set(good, copy, tmp_path, capsys):
    other = tmp_path / "other"
    make(other, seed=1)
    borrow("patches.parquet", other, copy)
    borrow("phrases.arrow", other, copy)
    assert run("inspect", copy) == 2
    assert "another data set" in capsys.readouterr().err
    shutil.rmtree(copy)
    shutil.copytree(good, copy)
    for kind in ("tar", "parquet", "stats.json"):
        shutil.copy(other / f"{SHARD}.{kind}", copy)
    assert run("verify", copy) == 1
    assert "field fingerprint: it is of another data set" in capsys.readouterr().out
    assert run("verify", copy, "--fix") == 0
    assert (copy / f"{SHARD}.tar").read_bytes() == (good / f"{SHARD}.tar").read_bytes()


def test_verify_says_what_it_did(copy, capsys):
    """One sample in the middle is another one, and all hashes are right: only a full verify looks at it."""
    (copy / "notes.txt").write_text("mine")
    (copy / f".0123abcd.{SHARD}.tar.partial").write_bytes(b"half")
    assert run("verify", copy) == 0
    said = capsys.readouterr().out
    assert "every file is as it was written; up to 3 samples" in said
    assert "note: notes.txt: not a part of the data set" in said
    assert f"note: .0123abcd.{SHARD}.tar.partial: left over" in said
    assert run("verify", copy, "--full") == 0
    assert "every byte is as it was rendered" in capsys.readouterr().out

    path = copy / f"{SHARD}.tar"
    data = bytearray(path.read_bytes())
    start = data.index(b"data", data.index(b"train_00000001.source.wav")) + 8
    data[start] ^= 1
    path.write_bytes(data)
    sign(copy)
    assert run("verify", copy) == 0
    assert "every byte" not in capsys.readouterr().out
    assert run("verify", copy, "--full", "--fix") == 0
    assert run("verify", copy, "--full") == 0


def test_names_reach_neither_card_nor_terminal_as_they_are(tmp_path, capsys):
    odd = bank.load("example").patches[0].copy()
    odd[patch.PARAMETERS :] = np.frombuffer(b"<b>|`\x1b[2J*", np.uint8)
    (tmp_path / "\x1b[2J.syx").write_bytes(sysex.write_voice(odd))
    options = ["--patches", "example", "--source", f"{tmp_path}/\x1b[2J.syx:1", "--samples", 3, "--split", "1,0,0"]
    assert run("plan", *options, "--seconds", 0.1, "--out", tmp_path / "data") == 0
    assert "played by \\<b\\>\\|\\`?\\[2J\\*;" in (tmp_path / "data" / "README.md").read_text()
    assert run("patches", "ls", tmp_path / "\x1b[2J.syx") == 0
    assert run("patches", "ls", tmp_path / "\x1b[2J.sy") == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "\\x1b[2J.syx:1" in said.out


def test_a_render_into_such_a_folder(copy, capsys):
    """The plan that is there is looked at; it may be a pipe, or JSON that no reader bears."""
    options = ["--patches", "example", "--samples", 12, "--seconds", 0.1]
    (copy / "dataset.json").write_bytes(b"[" * 100_000 + b"]" * 100_000)
    assert run("render", *options, "--out", copy) == 2
    IN_ITS_PLACE["a pipe"](copy / "dataset.json")
    assert run("render", *options, "--out", copy) == 2
    assert "dataset.json" in capsys.readouterr().err
