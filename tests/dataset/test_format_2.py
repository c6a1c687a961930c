"""Data sets of format 2, which the version before rendered, and trainings on them: read as they are, not rendered.

tests/data/format-2: 12 patches of the example bank play 24 phrases from a table; 30 pairs of 0.1 s with a `bytes` prefix.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dx7data import cli
from dx7data.dataset import folders
from dx7data.errors import InputError
from dx7data.plan.plan import Plan
from dx7data.storage import LocalFolder
from train.__main__ import main as train
from train.data.datasets import open_clips
from train.results import reader

FOLDER = Path(__file__).parents[1] / "data" / "format-2"
OPTIONS = [*("--model", "s4", "--preset", "tiny", "--seconds", "0.05", "--prefix", "bytes", "--batch", "4", "--steps", "6")]
OPTIONS += ["--evaluate-every", "3", "--evaluate-samples", "4", "--checkpoint-every", "3", "--device", "cpu"]
# What the version before had for the same command: mean losses of the steps, in bits, and those of three unseen samples.
LOSSES = [8.222115, 8.133905, 7.848189, 7.599182, 7.604615, 7.526585]
UNSEEN = [7.702225, 7.556600]
# The settings that it had.
OLD = {"shards", "model_name", "preset", "model", "split", "reader", "skip_missing", "prefix", "sample_rate", "seconds"}
OLD |= {"steps", "batch", "accumulation", "lr", "warmup", "weight_decay", "clip", "ema", "precision", "compile", "seed"}
OLD |= {"workers", "evaluate_every", "evaluate_samples", "checkpoint_every", "device"}


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "shards")


def test_it_is_read(folder, capsys):
    plan = Plan.load(folder)
    assert plan.fingerprint == json.loads((folder / "dataset.json").read_bytes())["fingerprint"]
    assert [stats["samples"] for _, stats in folders.list_shards(LocalFolder(folder), plan)] == [24, 3, 3]
    assert cli.main(["inspect", str(folder)]) == 0
    assert "30 pairs of 0.1 s" in capsys.readouterr().out
    assert cli.main(["inspect", str(folder), "--html", str(folder.parent / "page.html")]) == 0
    assert "phrases-in.parquet" in (folder.parent / "page.html").read_text()


def test_it_is_verified(folder, capsys):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert cli.main(["verify", str(folder)]) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    damaged = bytearray((folder / "val-000000.tar").read_bytes())
    damaged[5000] ^= 1
    (folder / "val-000000.tar").write_bytes(damaged)
    assert cli.main(["verify", str(folder)]) == 1
    assert "val-000000: the tar has changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "SHARDS", "--fix"],
        ["extend", "SHARDS", "--samples", "60"],
        ["extend", "SHARDS", "--patches", "example", "--out", "OTHER"],
        ["render", "--plan", "SHARDS"],
        ["render", "--plan", "SHARDS", "--out", "OTHER"],
        ["render", "--patches", "example", "--out", "SHARDS"],
    ],
    ids=" ".join,
)
def test_it_is_not_rendered(folder, command, capsys):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    places = {"SHARDS": str(folder), "OTHER": str(folder.parent / "other")}
    assert cli.main([places.get(word, word) for word in command]) == 2
    assert "format" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not (folder.parent / "other").exists()


def test_it_is_not_rendered_in_training(folder, capsys):
    assert train(["--live", str(folder), *OPTIONS, "--out", str(folder.parent / "run")]) == 2
    assert "only the version of dx7data that made it can render" in capsys.readouterr().err
    with pytest.raises(InputError, match="format 2"):
        Plan.load(folder).choose("train", 0)


def test_training_goes_on_in_the_old_order(folder, capsys):
    """Half of it by this version, in settings that the version before could have written, then on from there."""
    run = folder.parent / "run"
    assert (
        train(["--shards", str(folder), *OPTIONS[:-4], "--checkpoint-every", "3", "--device", "cpu", "--out", str(run)]) == 0
    )
    for name in ("metrics.csv", "validation.csv", "result.json"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints" / "00000006")
    for path in (run / "config.json", run / "checkpoints" / "00000003" / "checkpoint.json"):
        document = json.loads(path.read_text())
        document["settings"] = {name: value for name, value in document["settings"].items() if name in OLD}
        path.write_text(json.dumps(document))
    assert train(["--out", str(run), "--resume"]) == 0
    rows = reader.read_table(run / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [4, 5, 6]
    assert np.allclose(reader.column(rows, "loss_bits"), LOSSES[3:], atol=1e-4)


def test_losses_and_evaluation_are_the_old_ones(folder):
    run = folder.parent / "run"
    assert train(["--shards", str(folder), *OPTIONS, "--out", str(run)]) == 0
    assert np.allclose(reader.column(reader.read_table(run / "metrics.csv"), "loss_bits"), LOSSES, atol=1e-4)
    sets = reader.group_by_set(reader.read_table(run / "validation.csv"))
    assert set(sets) == {"unseen"}  # seen patches would have to be rendered
    assert np.allclose(reader.column(sets["unseen"], "bits"), UNSEEN, atol=1e-4)


def test_prefixes_by_webdataset(folder):
    """Whose samples come without a plan, so the number of layers follows from the length of the prefix."""
    data = open_clips(str(folder / "val-000000.tar"), reader="webdataset", codec="bytes")
    assert [part.shape[0] for part in next(iter(data))] == [192, 800, 800]
