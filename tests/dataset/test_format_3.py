"""Data sets of format 3, whose samples have other keys in their json: read, repaired, extended and trained on as they began.

tests/data/format-3: two patches of the example bank in pairs, 16 clips of 0.05 s with a `bytes` prefix.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dx7data import cli
from dx7data.dataset import folders, shard
from dx7data.plan.plan import Plan
from dx7data.storage import LocalFolder
from train.__main__ import main as train

FOLDER = Path(__file__).parents[1] / "data" / "format-3"
# Of a data set without pairs and prefixes, rendered by the last version of this format: its train shard.
PLAIN = ("--patches", "example", "--targets", "example:1", "example:11", "--samples", "6", "--seconds", "0.05")
PLAIN_TAR = "00f31be77cc9e5e2e7fe01a8be964790806852a41176a3ce5d6662b681eadec2"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "shards")


def read_tars(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


def test_it_is_read_and_shown(folder, capsys):
    assert cli.main(["inspect", str(folder)]) == 0
    assert "16 pairs of 0.05 s" in capsys.readouterr().out
    assert cli.main(["inspect", str(folder), "--html", str(folder.parent / "page.html")]) == 0
    assert 'class="changed"' in (folder.parent / "page.html").read_text()


def test_all_of_it_is_what_its_plan_renders_to(folder, capsys):
    assert cli.main(["verify", str(folder), "--full"]) == 0
    assert "every byte is as it was rendered" in capsys.readouterr().out


def test_it_is_repaired_and_extended_in_its_format(folder):
    before = read_tars(folder)
    (folder / "val-000000.tar").unlink()
    assert cli.main(["verify", str(folder), "--fix"]) == 0
    assert read_tars(folder) == before
    old = [one["json"] for one in folders.read_samples(folder, "train-000000")]
    assert cli.main(["extend", str(folder), "--samples", "20"]) == 0
    assert json.loads((folder / "dataset.json").read_bytes())["format"] == 3
    new = [one["json"] for one in folders.read_samples(folder, "train-000000")]
    assert new[: len(old)] == old
    assert all(json.loads(meta).keys() == json.loads(old[0]).keys() for meta in new)
    assert cli.main(["verify", str(folder)]) == 0


def test_more_patches_make_a_plan_of_the_present_format(folder, tmp_path):
    assert cli.main(["extend", str(folder), "--patches", "example", "--out", str(tmp_path / "new")]) == 0
    assert json.loads((tmp_path / "new" / "dataset.json").read_bytes())["format"] == 4


def test_the_same_command_does_not_mix_formats(folder, capsys):
    options = ["--patches", *("example", "--targets", "example:1", "example:11", "--samples", "16", "--seconds", "0.05")]
    options += ["--pairs", "--prefix", "bytes", "--kinds", "melody"]
    assert cli.main(["render", *options, "--out", str(folder)]) == 2
    assert "format is 3 there and 4 here" in capsys.readouterr().err


def test_samples_without_pairs_and_prefixes_keep_their_bytes(tmp_path):
    assert cli.main(["plan", *PLAIN, "--out", str(tmp_path)]) == 0
    plan = replace(Plan.load(tmp_path), format=3)
    shard.write_shards(plan, plan.shards()[:1], LocalFolder(tmp_path))
    assert hashlib.sha256((tmp_path / "train-000000.tar").read_bytes()).hexdigest() == PLAIN_TAR


@pytest.mark.parametrize("reader", ["--shards", "--live"])
def test_it_is_trained_on(folder, reader):
    options = ["--model", "s4", "--preset", "tiny", "--seconds", "0.05", "--prefix", "bytes", "--batch", "4", "--steps", "2"]
    options += ["--evaluate-every", "2", "--evaluate-samples", "2", "--checkpoint-every", "2", "--device", "cpu"]
    assert train([reader, str(folder), *options, "--out", str(folder.parent / "run")]) == 0
