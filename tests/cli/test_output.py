"""-q, -v and --json of every command: one document with the documented keys, the facts of the text, and nothing else."""

import io
import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import documented
import pytest
from tqdm import tqdm

from dx7data import cli, output
from dx7data.errors import Ending

CLIPS = ["--seconds", "0.1", "--samples", "40"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    made = tmp_path_factory.mktemp("output") / "it's here"  # a name that a shell needs in quotes
    assert cli.main(["render", "--patches", "example", "--out", str(made), *CLIPS, "--workers", "1", "-q"]) == 0
    return made


@pytest.fixture
def run(capsys):
    """Runs a command; what it printed on stdout and on stderr."""

    def run(*argv, status=0):
        capsys.readouterr()
        assert cli.main(list(map(str, argv))) == status
        return capsys.readouterr()

    return run


def test_render(run, tmp_path):
    said = run("render", "--patches", "example", "--out", tmp_path, *CLIPS, "--workers", "1", "--json", "-q")
    found = json.loads(said.out)
    assert said.err == ""
    documented.check("dx7data render", found)
    documented.check("dx7data plan", found["plan"], without=("folder", "next"))
    assert sum(found["plan"]["samples"].values()) == found["written_samples"] == 40
    assert (found["written"], found["others"], found["complete"]) == (len(list(tmp_path.glob("*.tar"))), 0, True)
    assert found["x_real_time"] == pytest.approx(40 * 0.1 / found["render_seconds"])
    next(tmp_path.glob("*.stats.json")).unlink()
    first = ["--only", "train/0"] if next(tmp_path.glob("train-000000.stats.json"), None) else ["--only", "val/0"]
    partly = json.loads(run("render", "--plan", tmp_path, *first, "--json").out)
    assert not partly["complete"]
    assert " verify " in partly["next"]
    assert json.loads(run("render", "--plan", tmp_path, "--json").out)["complete"]
    again = json.loads(run("extend", tmp_path, "--samples", "50", "--workers", "1", "--json").out)
    documented.check("dx7data render", again)
    assert sum(again["plan"]["samples"].values()) == 50


def test_plan(run, tmp_path):
    said = run("plan", "--patches", "example", "--out", tmp_path / "a", *CLIPS, "--json")
    found = json.loads(said.out)
    documented.check("dx7data plan", found)
    assert "prefix bytes" in found["warnings"][0]
    text = run("plan", "--patches", "example", "--out", tmp_path / "b", *CLIPS).out
    assert found["warnings"] == [line for line in text.splitlines() if line.startswith("Warning")]
    assert run("patches", "breed", "example", "--count", "36", "--out", tmp_path / "more.syx", "-q").err == ""
    more = run("extend", tmp_path / "a", "--patches", tmp_path / "more.syx", "--out", tmp_path / "c", "--json", "-q").out
    documented.check("dx7data plan", json.loads(more), more=["refused"])
    dry = run("render", "--patches", "example", "--out", tmp_path / "d", *CLIPS, "--dry-run", "--json", "-q").out
    only = ["bytes", "render_seconds", "workers"]
    documented.check("dx7data plan", json.loads(dry), without=("folder", "next"), more=only)
    assert not (tmp_path / "d").exists()


def test_inspect(run, shards, tmp_path):
    found = json.loads(run("inspect", shards, "--json").out)
    documented.check("dx7data inspect", found)
    text = run("inspect", shards).out
    assert f"{sum(found['samples'].values())} pairs of 0.1 s" in text
    assert all(row["key"] in text for row in found["rows"])
    page = json.loads(run("inspect", shards, "--html", tmp_path / "page.html", "--json").out)
    assert page == {"folder": str(shards), "page": str(tmp_path / "page.html")}


def test_verify(run, shards):
    found = json.loads(run("verify", shards, "--json", "-q").out)
    documented.check("dx7data verify", found)
    assert found["bytes"] == sum(path.stat().st_size for path in shards.iterdir() if path.suffix in (".tar", ".parquet"))
    assert (found["problems"], found["left"]) == ([], [])
    assert found["checks"] in run("verify", shards, "-q").out
    tar = next(iter(shards.glob("train-*.tar")))
    data = tar.read_bytes()
    tar.write_bytes(b"x" + data[1:])
    found = json.loads(run("verify", shards, "--json", status=1).out)
    assert found["problems"] == found["left"]
    assert found["problems"][0] in run("verify", shards, status=1).out
    fixed = json.loads(run("verify", shards, "--fix", "--json").out)
    assert (fixed["problems"], fixed["left"], fixed["fixed"]) == (found["problems"], [], True)
    assert tar.read_bytes() == data


def test_patches(run, tmp_path):
    found = json.loads(run("patches", "ls", "example", "--json").out)
    documented.check("dx7data patches ls", found)
    lines = run("patches", "ls", "example", "-q").out.splitlines()
    assert [line.split()[1] for line in lines] == [each["id"] for each in found["patches"]]
    assert found["report"]["found"] == len(lines)
    assert run("patches", "show", "example:3", "--json").out == run("patches", "show", "example:3").out
    wrote = json.loads(run("patches", "export", "example", "--out", tmp_path / "a.syx", "--json").out)
    documented.check("dx7data patches export", wrote)
    assert wrote == {"patches": 32, "file": str(tmp_path / "a.syx")}


def test_wav(run, tmp_path):
    found = json.loads(run("wav", "--patch", "example:11", "--seconds", "0.2", "--out", tmp_path / "a.wav", "--json").out)
    documented.check("dx7data wav", found)
    with wave.open(found["file"]) as file:
        assert (file.getframerate(), file.getnframes()) == (found["sample_rate"], round(found["seconds"] * 48000))


def test_wav_through_a_pipe(run, tmp_path, monkeypatch):
    """Its bytes alone go there; what is said of them goes elsewhere."""
    monkeypatch.chdir(tmp_path)
    note = ("wav", "--patch", "example:11", "--seconds", "0.2", "--out")
    run(*note, "a.wav")
    found = subprocess.run([sys.executable, "-m", "dx7data", *note, "-"], capture_output=True, check=True)
    assert found.stdout == Path("a.wav").read_bytes()
    assert b"note 60" in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_bench_and_play_are_described():
    """They run for long: test_speed and the tests of the page look at what they print."""
    assert {key.partition("[")[0] for key in documented.read_keys("dx7data bench")} == {"machine", "rows", "no_gpu"}
    assert documented.read_keys("dx7data play") == ["address"]


# --- How much is said ---


def test_quiet_and_verbose(run, tmp_path):
    """As a process, whose notes and progress come before this process could set them up."""
    said = {}
    for how in ("-q", "-v", "--json"):
        argv = ["render", "--patches", "example", "--out", tmp_path / how, *CLIPS, "--workers", "1", how]
        said[how] = run(*argv)
    usual = run("render", "--patches", "example", "--out", tmp_path / "usual", *CLIPS, "--workers", "1")
    assert said["-q"].err == ""
    assert "40/40" in usual.err
    assert "1 file: 32 patches found, 0 duplicates" in usual.err
    assert "near-duplicates" in said["-v"].err
    assert "near-duplicates" not in usual.err
    assert re.search(r"^ *\d+ ms  Rendering on cpu$", said["-v"].err, re.M)
    assert "40/40" in said["--json"].err
    numbers = re.compile(r"in .* x real time|'?/\S+'?|\S+python\S*")
    lines = [[numbers.sub("", line) for line in each.out.splitlines()] for each in (usual, said["-q"], said["-v"])]
    assert lines[0] == lines[1] == lines[2], "the result is the same"
    assert run("patches", "ls", "example", "-q").err == ""
    assert "32 patches found" in run("patches", "ls", "example").err, "the next command is not quiet"


@pytest.mark.parametrize("workers", [1, 2])
def test_verbose_names_each_shard(run, tmp_path, workers):
    said = run("render", "--patches", "example", "--out", tmp_path, *CLIPS, "--workers", workers, "-v").err
    named = re.findall(r"^ *\d+ ms  (\S+) is written$", said.replace("\r", "\n"), re.M)
    assert sorted(named) == sorted(path.stem for path in tmp_path.glob("*.tar"))
    assert len(named) > 1


def test_quiet_and_verbose_exclude_each_other(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["inspect", "x", "-q", "-v"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("how", [[], ["--json"], ["-q"], ["-v"]])
def test_errors_are_the_same(run, tmp_path, how):
    said = run("inspect", tmp_path, *how, status=2)
    assert said.out == ""
    assert said.err.splitlines()[-1] == f"dx7data: {tmp_path} is no data set: it has no dataset.json"


def test_no_figure_is_written_as_nan(capsys):
    output.configure({"json": True})
    output.print_result({"a": [float("nan"), 1.0], "b": {"c": float("inf")}}, lambda _: [])
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": [None, 1.0], "b": {"c": None}}


def test_notes_and_a_bar_share_the_terminal(capsys):
    output.configure({})
    with output.progress_bar(range(3)) as bar:
        next(iter(bar))
        output.log.info("a note\x1b[2J\nof two lines")
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert "a note\\x1b[2J" in lines
    assert "of two lines" in lines
    output.configure({"quiet": True})
    assert isinstance(output.progress_bar(range(3)), tqdm)
    assert list(output.progress_bar(range(3))) == [0, 1, 2]
    output.log.warning("x")
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_warnings_are_red_on_terminals(monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.configure({})
    output.print_result({"warnings": ["worse\x07"]}, lambda _: ["done"])
    assert capsys.readouterr().out == "done\nworse\\x07\n"
    monkeypatch.setattr(sys, "stdout", Terminal())
    output.print_result({"warnings": ["worse"]}, lambda _: ["done"])
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_result({"warnings": ["worse"]}, lambda _: ["done"])
    assert sys.stdout.getvalue() == "done\n\x1b[31mworse\x1b[0m\ndone\nworse\n"


def test_a_library_says_no_more_than_warnings():
    code = "from dx7data.output import log, progress_bar; log.info('a'); log.warning('b'); list(progress_bar([1]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "b\n")
    assert logging.getLogger().handlers is not output.log.handlers


def test_endings_have_a_status():
    assert [Ending("a", 7).status, Ending("a").status, str(Ending("a", 7))] == [7, 1, "a"]


# --- Next steps ---


def test_next_steps_run(run, tmp_path):
    """Each as a shell reads it; a plan, then its shards one at a time, then a look at them."""
    place = tmp_path / "it's here"
    step = json.loads(run("plan", "--patches", "example", "--out", place, *CLIPS, "--json", "-q").out)["next"]
    assert step in run("plan", "--patches", "example", "--out", place, *CLIPS).out
    for more in ("--only train/0 -q --json", "--only val/0 -q --json", "--only test/0 -q --json"):
        done = subprocess.run(f"{step} {more}", shell=True, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        following = json.loads(done.stdout)["next"]
    assert shlex.split(following)[-2:] == ["inspect", str(place)]
    shown = subprocess.run(following, shell=True, capture_output=True, text=True)
    assert "40 pairs of 0.1 s" in shown.stdout, shown.stderr


def test_the_command_is_named_as_it_was_called(monkeypatch, tmp_path):
    script = tmp_path / "bin" / "dx7data"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert output.write_command("dx7data", "inspect", "a b") == f"{script} inspect 'a b'"
    monkeypatch.setenv("PATH", str(script.parent))
    assert output.write_command("dx7data", "inspect", "a") == "dx7data inspect a"
    monkeypatch.setattr(sys, "argv", ["dx7data/__main__.py"])
    assert output.write_command("dx7data", "inspect", "a") == f"{sys.executable} -m dx7data inspect a"


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, "patch", "1 patch"),
        (0, "patch", "0 patches"),
        (1, "family", "1 family"),
        (12, "family", "12 families"),
        (2, "process", "2 processes"),
        (2000, "missing shard", "2,000 missing shards"),
    ],
)
def test_counts(count, noun, text):
    assert output.format_count(count, noun) == text


def test_a_disk_that_is_too_small_is_said_at_the_start(run, tmp_path, monkeypatch):
    """The default of 100 samples for each patch of a large collection is hundreds of gigabytes."""
    clips = ["--seconds", "1", "--sample-rate", "48000", "--samples", "20"]
    argv = ["render", "--patches", "example", *clips, "--workers", "1", "--out"]
    said = run(*argv, tmp_path / "large").err
    measured = sum(path.stat().st_size for path in (tmp_path / "large").glob("*.tar"))
    assert f"To render: 3 shards, about {round(measured / 1e6)} MB\n" in said
    assert "disk space" not in said
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3_000_000))
    assert f"Warning: {tmp_path / 'small'} has only 3 MB of free disk space" in run(*argv, tmp_path / "small").err


@pytest.mark.parametrize(("samples", "unused"), [(31, True), (32, False)])
def test_fewer_samples_than_patches_are_said(run, tmp_path, samples, unused):
    said = run("plan", "--patches", "example", "--samples", samples, "--seconds", "0.1", "--out", tmp_path / "plan").err
    assert ("These samples use at most 31 of the 32 patches" in said) == unused
