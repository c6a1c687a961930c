"""What a person can get wrong at the command line: one clear sentence and exit status 2, never a traceback."""

import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import wave
import zipfile
from pathlib import Path

import numpy as np
import oracle
import pytest

from dx7data import cli
from dx7data.cli import types
from dx7data.patches import bank, patch, sysex
from dx7data.phrases import compose
from dx7data.phrases.sources.drawn import KINDS

ROOT = Path(__file__).resolve().parents[2]
RENDER = ["render", "--samples", "4", "--seconds", "0.25"]


def run(*arguments):
    """Status of a command; argparse exits by itself, with status 2."""
    try:
        return cli.main([str(each) for each in arguments])
    except SystemExit as left:
        return left.code


def refused(capsys, *arguments):
    """The sentence with which a command is refused."""
    assert run(*arguments) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--samples", "0"], "--samples: must be 1 to"),
        (["--samples", "9" * 30], "--samples"),
        (["--samples", "-3"], "--samples"),
        (["--samples", "many"], "--samples"),
        (["--seconds", "-1"], "--seconds: must be 0.01 to 600"),
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--sample-rate", "12345"], "--sample-rate"),
        (["--sample-rate", "96000"], "8000"),
        (["--split", "0.5,0.5"], "--split: must be three parts"),
        (["--split", "0.5,0.6,0.1"], "add up to 1"),
        (["--split", "a,b,c"], "--split"),
        (["--shard-size", "0"], "--shard-size"),
        (["--shard-size", "inf"], "--shard-size"),
        (["--shard-size", "64"], "64 is no size from 1kB up: 64MB"),  # of MB, which were left out
        (["--shard-size", "64 parsecs"], "--shard-size"),
        (["--gain", "loud"], "--gain"),
        (["--gain", "1000"], "--gain"),
        (["--workers", "0"], "--workers"),
        (["--source", "nowhere.syx:1"], "nowhere.syx"),
        (["--source", "example:33"], "33"),
        (["--sample", "4"], "--sample"),
    ],
)
def test_options(tmp_path, capsys, options, word):
    assert word in refused(capsys, "render", "--patches", "example", "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [("60..", 127, (60, 127)), ("60..", None, (60, None)), ("60", 127, (60, 60)), ("60..72", 127, (60, 72))],
)
def test_spans(text, most, expected):
    assert types.span(0, most)(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("b,a", ("a", "b")), ("a", ("a",)), ("c, a,c", ("a", "c"))])
def test_several(text, expected):
    assert types.choices("a", "b", "c")(text) == expected


def test_all_kinds_of_phrases_can_be_asked_for():
    assert KINDS == compose.KINDS  # written down twice, since importing compose takes time


def bad_files(folder):
    rng = random.Random(1)
    (folder / "empty.syx").write_bytes(b"")
    (folder / "random.syx").write_bytes(rng.randbytes(5000))
    (folder / "truncated.syx").write_bytes(sysex.write_bank(bank.load(["example"]).patches)[:3000])
    (folder / "text.syx").write_text("not a patch")
    (folder / "broken.zip").write_bytes(b"PK\3\4" + rng.randbytes(100))
    with zipfile.ZipFile(folder / "outside.zip", "w") as archive:
        archive.writestr("../escape.syx", sysex.write_voice(patch.SINE))


def test_nothing_usable(tmp_path, capsys):
    bad_files(tmp_path)
    for path in [*sorted(tmp_path.iterdir()), tmp_path, tmp_path / "missing.syx"]:
        message = refused(capsys, *RENDER, "--patches", path, "--out", tmp_path / "out")
        assert "no usable patch" in message
        assert path.name in message
    assert not (tmp_path / "out").exists()
    assert not (tmp_path.parent / "escape.syx").exists()


def test_bad_files_do_not_stop_good_ones(tmp_path, capsys):
    bad_files(tmp_path)
    (tmp_path / "good.SYX").write_bytes(sysex.write_bank(bank.load(["example"]).patches))
    assert run("patches", "ls", tmp_path, "--report", tmp_path / "report.json") == 0
    found = capsys.readouterr()
    assert found.out.count("\n") == 32
    for name in ("empty.syx", "random.syx", "truncated.syx", "text.syx", "broken.zip", "escape.syx"):
        assert name in found.err, f"{name} was skipped in silence"
    assert (tmp_path / "report.json").stat().st_size > 100


def test_unreadable_and_not_writable(tmp_path):
    """In a process of its own, for which root gives up the right to read and write everything."""
    powerless = ["setpriv", "--bounding-set", "-all"] if os.geteuid() == 0 else []
    if powerless and not shutil.which("setpriv"):
        pytest.skip("root may read and write everything, and there is no setpriv to give that up")

    def refused(*arguments):
        command = [*powerless, sys.executable, "-m", "dx7data", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    secret = tmp_path / "secret.syx"
    secret.write_bytes(sysex.write_voice(patch.SINE))
    secret.chmod(0)
    assert "secret.syx" in refused(*RENDER, "--patches", secret, "--out", tmp_path / "out")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    for out in (locked, locked / "out"):
        said = refused(*RENDER, "--patches", "example", "--out", out)
        assert said == f"dx7data: can't write to {out}: Permission denied\n"  # and nothing of patches: none was read


def test_out_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "file" in refused(capsys, *RENDER, "--patches", "example", "--out", out)
    assert (tmp_path / "file").read_text() == "mine"
    assert "file" in refused(capsys, "wav", "--patch", "example:1", "--out", tmp_path / "file" / "a.wav")
    assert "only wav is written" in refused(capsys, "wav", "--patch", "example:1", "--out", tmp_path / "a.mp3")


@pytest.mark.parametrize("name", ["photos.tar", "README.md.bak", "table.parquet"])
def test_a_folder_with_other_things_is_left_alone(tmp_path, capsys, name):
    """It is said before patches are read, and the only thing that is said."""
    (tmp_path / name).write_bytes(b"mine")
    for options in ([], ["--overwrite"]):
        message = refused(capsys, *RENDER, "--patches", "example", "--out", tmp_path, *options)
        assert message.startswith(f"dx7data: {tmp_path} holds {name} and no data set")
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_are_shown_without_control_characters(tmp_path, capsys):
    odd = patch.SINE.copy()
    odd[145:155] = np.frombuffer(b"\x1b[31m\x07\x00\xff\xc3\n", np.uint8)
    path = tmp_path / "odd.syx"
    path.write_bytes(bytes([0xF0, 0x43, 0, 0, 1, 0x1B, *(odd & 127), -int((odd & 127).sum()) & 127, 0xF7]))
    assert run("patches", "ls", path) == 0
    assert run(*RENDER, "--patches", path, "--out", tmp_path / "out", "--overwrite") == 0
    assert run("inspect", tmp_path / "out") == 0
    shown = capsys.readouterr()
    assert not set(shown.out) & {chr(code) for code in range(32)} - {"\n"}
    assert "\x1b" not in shown.err


def test_folders_that_are_no_data_set(tmp_path, capsys):
    assert "no dataset.json" in refused(capsys, "inspect", tmp_path)
    assert "is no folder" in refused(capsys, "verify", tmp_path / "missing")
    (tmp_path / "dataset.json").write_text("{")
    assert "dataset.json" in refused(capsys, "inspect", tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 99, "engine": 1}')
    assert "another version" in refused(capsys, "inspect", tmp_path)


def test_wav_is_what_the_oracle_plays(tmp_path):
    out = tmp_path / "note.wav"
    assert run("wav", "--patch", "example:5", "--note", "64", "--velocity", "90", "--gain", "native", "--out", out) == 0
    with wave.open(str(out)) as audio:
        assert audio.getparams()[:4] == (1, 2, 48000, 120000)
        samples = np.frombuffer(audio.readframes(120000), "<i2")
    assert (samples == oracle.render(bank.load(["example"]).patches[4], 64, 90, 1.0, 2.5, 48000)).all()


@pytest.mark.parametrize("suffix", [".syx", ".json", ".parquet", ".txt"])
def test_export(tmp_path, suffix):
    assert run("patches", "export", "example", "--out", tmp_path / f"bank{suffix}") == 0
    assert (tmp_path / f"bank{suffix}").stat().st_size > 1000
    if suffix == ".syx":
        assert (bank.load([str(tmp_path / "bank.syx")]).patches == bank.load(["example"]).patches).all()


@pytest.mark.parametrize("verb", ["export", "breed"])
def test_a_bank_that_is_read_is_not_replaced(tmp_path, capsys, verb):
    bank = tmp_path / "banks" / "bank.syx"
    bank.parent.mkdir()
    assert cli.main(["patches", "export", "example", "--out", str(bank)]) == 0
    (tmp_path / "link.syx").symlink_to(bank)
    before = bank.read_bytes()
    for source, out in ((bank, bank), (bank.parent, bank), (bank, tmp_path / "link.syx"), (tmp_path / "link.syx", bank)):
        assert cli.main(["patches", verb, str(source), "--out", str(out)]) == 2
        assert f"--out {out} is one of the files that are read" in capsys.readouterr().err
    assert bank.read_bytes() == before
    assert cli.main(["patches", verb, str(bank.parent), "--out", str(bank.parent / "new.syx")]) == 0


def test_exports_keep_positions_if_asked(tmp_path, capsys):
    example = bank.load(["example"]).patches
    (tmp_path / "in.syx").write_bytes(b"".join(map(sysex.write_voice, example[[0, 0, 1]])))
    keep = ("--keep-duplicates",)
    assert run("patches", "export", tmp_path / "in.syx", "--out", tmp_path / "one.syx", "--full-bank") == 0
    assert (tmp_path / "one.syx").stat().st_size == 4104
    assert run("patches", "export", tmp_path / "in.syx", "--out", tmp_path / "all.json", *keep) == 0
    assert len(json.loads((tmp_path / "all.json").read_text())) == 3
    capsys.readouterr()
    assert run("patches", "ls", tmp_path / "all.json", *keep) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [f"all.json:{i}" for i in (1, 2, 3)]
    arguments = ("patches", "export", "example", "--out", tmp_path / "x.json", "--full-bank")
    assert "leave out --full-bank" in refused(capsys, *arguments)


def test_piping_into_head():
    command = f"{sys.executable} -m dx7data patches ls example | head -1"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert found.stdout.count("\n") == 1
    assert "Traceback" not in found.stderr
    assert "BrokenPipe" not in found.stderr


def test_version(capsys):
    assert run("--version") == 0
    assert re.fullmatch(r"dx7data \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments",
    [
        (*RENDER, "--patches", "example", "--out", "there", "--report"),
        ("inspect", "there", "--html"),
        ("wav", "--patch", "example:1", "--out"),
        ("patches", "export", "example", "--out"),
        ("patches", "ls", "example", "--report"),
    ],
    ids=" ".join,
)
def test_a_url_is_no_path(tmp_path, monkeypatch, capsys, arguments):
    """It was a folder with the name `s3:`."""
    monkeypatch.chdir(tmp_path)
    assert "s3://bucket/x is a URL, and a path of this machine is needed here" in refused(
        capsys, *arguments, "s3://bucket/x"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["render", "--sampels", "5"], "render: there is no option --sampels: did you mean --samples?"),
        (["render", "--xyz=5"], "render: there is no option --xyz: dx7data render --help shows them all"),
        (["render", "bank.syx"], "render: bank.syx belongs to no option: dx7data render --help shows them all"),
        (["render", "--polyphony", "9..2"], "render: --polyphony: 9..2 is empty"),
        (["patches", "ls"], "patches ls: the following arguments are required: PATH"),
        (["rendr"], ": VERB: invalid choice: 'rendr'"),
        (["plan", "--patches", "example", "--targets", "all", "X", "--out", "x"], ": --targets all X: name patches"),
        (["plan", "--random-patches", "4", "--report", "r", "--out", "x"], ": --report says what was found in files"),
        (["plan", "--seed", str(2**63)], "plan: --seed: must be -9223372036854775808 to 9223372036854775807"),
        (["patches", "ls", ""], ": there is nothing after ls: is a variable of the shell not set?"),
        (["render", "--out="], ": there is nothing after --out=: is a variable of the shell not set?"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(capsys, arguments, sentence):
    """Not below 25 lines of usage."""
    message = refused(capsys, *arguments)
    assert message.startswith("dx7data" + (" " + sentence).replace(" :", ":"))
    assert message.count("\n") == 1


def test_a_folder_with_the_name_of_the_example_bank(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("patches", "ls", "example", "-q") == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "example").mkdir()
    assert run("patches", "ls", "example") == 0
    assert "./example is what is in this folder" in capsys.readouterr().err
