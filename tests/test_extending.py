"""The code of docs/extending.md, put as new files into a copy of the checkout: all commands know what it adds."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^## [^\n]*: `(\S+)`\n.*?^```python\n(.*?)^```", PAGE, re.S | re.M))


# In one process, for several that import torch take longer than what they do.
COMMANDS = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs python -m COMMAND in the copy, for each of some commands."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("dx7data", "models", "train"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        assert not (folder / name).exists()
        (folder / name).write_text(text)

    def call(*commands, status=0):
        words = json.dumps([[*map(str, command)] for command in commands])
        environment = os.environ | {"PYTHONPATH": str(folder)}
        command = [sys.executable, "-c", COMMANDS, words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    return call


@pytest.fixture(scope="module")
def shards(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "shards"
    options = ["--samples", "40", "--seconds", "0.2", "--prefix", "bits"]
    run(["dx7data", "render", "--patches", "example", "--out", folder, *options])
    return folder


def test_the_page_has_all():
    csv = "dx7data/phrases/sources/csv_notes.py"
    assert list(FILES) == ["models/layers/attention.py", "dx7data/prefix/bits.py", csv]


@pytest.mark.integration
@pytest.mark.slow
def test_the_codec_is_verified_and_decoded(run, shards):
    shown = run(["dx7data", "verify", shards], ["dx7data", "inspect", shards])
    names = re.findall(r"prefix\.bits: (.*)", shown)
    assert len(names) == 5
    shown = run(["dx7data", "patches", "ls", "example"])
    assert all(name in shown for name in names)


@pytest.mark.integration
@pytest.mark.slow
def test_the_layer_is_trained_and_converts(run, shards, tmp_path):
    options = ["--layers", "s4d,attention", "--preset", "tiny", "--seconds", "0.1", "--prefix", "bits", "--steps", "4"]
    options += ["--evaluate-every", "4", "--evaluate-samples", "2", "--checkpoint-every", "4", "--device", "cpu"]
    source = tmp_path / "run" / "samples" / "00000004" / "0-source.wav"
    convert = ["train.convert", "--checkpoint", tmp_path / "run", "--source", source, "--patch", "example:5"]
    run(
        ["train", "--shards", shards, *options, "--out", tmp_path / "run"],
        [*convert, "--out", tmp_path / "out.wav"],
        [*convert, "--out", tmp_path / "streamed.wav", "--streaming"],
        ["train.timescales", "--checkpoint", tmp_path / "run", "--out", tmp_path / "timescales.png"],
        ["train.compare", tmp_path / "run", "--out", tmp_path / "compare.html"],
    )
    for name in ("out.wav", "streamed.wav"):
        assert (tmp_path / name).stat().st_size == source.stat().st_size
    assert (tmp_path / "timescales.png").stat().st_size > 0
    assert (tmp_path / "compare.html").stat().st_size > 0


def test_without_the_file_a_codec_is_unknown(tmp_path):
    command = [sys.executable, "-m", "dx7data", "render", "--patches", "example", "--out", tmp_path, "--prefix", "bits"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert found.returncode == 2
    assert "--prefix bits is no codec: take some of bytes, fsk, reference, or none" in found.stderr


@pytest.mark.integration
@pytest.mark.slow
def test_the_phrases_are_played(run, tmp_path):
    """Two phrases, of which one is longer than the clip and one does not pass the filter."""
    notes, out = tmp_path / "notes.csv", tmp_path / "out"
    rows = ["a,0,0.1,60,100", "a,0.1,0.2,64,90", "a,0.35,0.1,67,80", "b,0,0.1,48,70", "b,0,0.1,52,70"]
    notes.write_text("\n".join(["phrase,start,duration,note,velocity", *rows]) + "\n")
    render = ["dx7data", "render", "--patches", "example", "--samples", 8, "--seconds", 0.3, "--split", "1,0,0"]
    shown = run(
        [*render, "--csv", notes, "--shift", 12, "--polyphony", 1, "--out", out], ["dx7data", "verify", "--full", out]
    )
    assert ": every byte is as it was rendered" in shown
    with tarfile.open(out / "train-000000.tar") as tar:
        metas = [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
    assert len(metas) == 8
    for meta in metas:
        assert [(note["note"], note["velocity"]) for note in meta["notes"]] == [(72, 100), (76, 90)]
        assert json.loads(meta["phrase"]["about"]) == {"file": "notes.csv", "phrase": "a"}
    run(["dx7data", "inspect", out, "--html", tmp_path / "page.html"])
    assert "csv of 2 notes, cut short · file notes.csv · phrase a" in (tmp_path / "page.html").read_text()
    assert "--shift is for --csv: add it" in run([*render, "--shift", 1, "--out", tmp_path / "x"], status=2)
    assert "notes.csv has no column 'velocity'" in _refuse(run, render, notes, "phrase,start,duration,note\na,0,1,2")
    refused = _refuse(run, render, notes, "phrase,start,duration,note,velocity\na,0,1,128,2")
    assert "notes.csv has a note with start 0 ms, length 1000 ms, key 128 and velocity 2: " in refused


def _refuse(run, render, notes, text):
    notes.write_text(text)
    return run([*render, "--csv", notes, "--out", notes.with_suffix(".out")], status=2)
