"""The code of docs/extending.md, put as new files into a copy of the checkout: all commands know what it adds."""

import json
import os
import re
import shutil
import subprocess
import sys
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

    def call(*commands):
        words, environment = json.dumps(commands, default=str), os.environ | {"PYTHONPATH": str(folder)}
        command = [sys.executable, "-c", COMMANDS, words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture(scope="module")
def shards(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "shards"
    options = ["--samples", "40", "--seconds", "0.2", "--prefix", "bits"]
    run(["dx7data", "render", "--patches", "example", "--out", folder, *options])
    return folder


def test_the_page_has_both():
    assert list(FILES) == ["models/layers/attention.py", "dx7data/prefix/bits.py"]


def test_the_codec_is_verified_and_decoded(run, shards):
    shown = run(["dx7data", "verify", shards], ["dx7data", "inspect", shards])
    names = re.findall(r"prefix\.bits: (.*)", shown)
    assert len(names) == 5
    shown = run(["dx7data", "patches", "ls", "example"])
    assert all(name in shown for name in names)


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
