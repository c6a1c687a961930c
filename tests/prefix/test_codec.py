"""A codec of one's own: one new file in dx7data/prefix/, here in a copy of the package, and all commands know it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODEC = '''
"""The codec `loud`: each packed byte as a multiple of 256, so it survives no mu-law, but plain PCM."""

import numpy as np

from dx7data.patches import patch
from dx7data.prefix.codec import Codec, PrefixError, register


def _encode(patches, sample_rate, length, device):
    return patch.pack(patches).astype(np.int16) * 256


def _decode(audio, sample_rate):
    if (audio % 256).any():
        raise PrefixError("not loud")
    return patch.unpack((audio[: patch.PACKED_BYTES] // 256).astype(np.uint8))


register(Codec("loud", lambda sample_rate: patch.PACKED_BYTES, _encode, _decode))
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs dx7data with the codec in its package."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "dx7data", folder / "dx7data", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dx7data" / "prefix" / "loud.py").write_text(CODEC)
    environment = os.environ | {"PYTHONPATH": str(folder)}

    def call(*words):
        command = [sys.executable, "-m", "dx7data", *map(str, words)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    return call


def test_it_is_rendered_verified_and_decoded(run, tmp_path):
    options = ["--samples", "20", "--seconds", "0.2", "--prefix", "loud"]
    made = run("render", "--patches", "example", "--out", tmp_path, *options)
    assert made.returncode == 0, made.stderr
    assert run("verify", tmp_path).returncode == 0
    shown = run("inspect", tmp_path).stdout
    rows = [line for line in shown.splitlines() if "prefix.loud" in line]
    assert len(rows) == 5
    assert "not loud" not in shown


def test_without_the_file_it_is_unknown(tmp_path):
    command = [sys.executable, "-m", "dx7data", "render", "--patches", "example", "--out", tmp_path, "--prefix", "loud"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert found.returncode == 2
    assert "--prefix loud is no codec: take some of bytes, fsk, reference, or none" in found.stderr
