"""Runs that start from the weights of another, and parameters that stay as they are."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from small_runs import SMALL, curve, during, one_sentence, resume, rows, train

from train import __main__ as command
from train.config import RunSettings
from train.loop import checkpoint_reader
from train.loop.frozen import find_frozen

FROZEN = ["--freeze", "embedding.*", "*.log_dt,backbone.blocks.0.*", "--weight-decay", "0.1"]
PATTERNS = ("embedding.*", "*.log_dt", "backbone.blocks.0.*")


@pytest.fixture
def source(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "source"))


@pytest.fixture(scope="module")
def tuned(shards, whole, tmp_path_factory):
    """A run from the weights of `whole`, some of them frozen."""
    run = tmp_path_factory.mktemp("tuned") / "run"
    assert train(shards, run, "--init-from", str(whole), *FROZEN) == 0
    return run


def read_weights(path, part="ema"):
    return checkpoint_reader.read(path, (part,)).tensors[part]


def test_what_is_frozen_stays(whole, tuned):
    """Equal to the bit in the weights and in their average, which still trains elsewhere; nothing is kept for it beside."""
    first = read_weights(whole / "checkpoints" / "00000012")
    last = tuned / "checkpoints" / "00000012"
    frozen = find_frozen(first, PATTERNS)
    assert {"embedding.weight", "backbone.blocks.1.layer.log_dt"} <= frozen
    for part in ("model", "ema"):
        after = read_weights(last, part)
        assert {name for name in first if torch.equal(first[name], after[name])} == frozen
    moments = {name.rpartition(":")[0] for name in read_weights(last, "optimiser")}
    assert moments == first.keys() - frozen
    log = (tuned / "train.log").read_text()
    count = sum(first[name].numel() for name in frozen)
    assert f"frozen{len(frozen):>28}{count:>12,}" in log


def test_it_begins_with_the_weights_that_were_judged(shards, whole, tmp_path):
    """The loss of its first step is that of the averaged weights; the model is that of the run, at any preset."""
    run = tmp_path / "run"
    argv = ["--shards", str(shards), "--out", str(run), "--init-from", str(whole), "--preset", "seed", *SMALL[4:]]
    argv += ["--steps", "1", "--lr", "1e-9", "--warmup", "0", "--grad-accum", "1", "--workers", "0"]
    assert command.main(argv) == 0
    weights = read_weights(whole / "checkpoints" / "00000012")
    for name, tensor in read_weights(run / "checkpoints" / "00000001").items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-7)
    chosen = RunSettings.from_json(json.loads((run / "config.json").read_text())["settings"])
    assert (chosen.model_name, chosen.preset, chosen.model.backbone) == ("s4d", "seed", "stack")
    assert chosen.init_from == str(whole / "checkpoints" / "00000012")
    assert float(rows(run)[0]["loss_bits"]) < float(rows(whole)[0]["loss_bits"]) - 0.1


def test_killed_and_resumed(shards, source, tuned, tmp_path, monkeypatch):
    """Before its first checkpoint, when the other run has gone on; and after it, when that is gone."""
    run = tmp_path / "run"

    def interrupt():
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        during(patched, 2, interrupt)
        assert train(shards, run, "--init-from", str(source), *FROZEN) == 130
    assert resume(source, "--steps", "13") == 0
    with monkeypatch.context() as patched:
        during(patched, 6, lambda: signal.raise_signal(signal.SIGTERM))
        assert resume(run) == 143
    shutil.rmtree(source)
    assert resume(run) == 0
    assert curve(run) == curve(tuned)


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (
            ["--init-from", "{whole}", "--model.d_model", "16"],
            "/ema.safetensors is of another model: 'embedding.weight' is F32 of shape (256, 32) in it and F32",
        ),
        (
            ["--init-from", "{whole}", "--model", "s4"],
            " here; without --model and its options the model is that run's",
        ),
        (["--init-from", "nowhere"], "nowhere is no checkpoint: it has no checkpoint.json"),
        (["--init-from", "{empty}"], "has no checkpoint yet"),
        (["--init-from", "s3://bucket/run"], "is a URL: copy the run to a folder first"),
        (["--freeze", "embeding.*"], "--freeze embeding.*: no parameter has such a name; some are embedding.weight"),
        (["--freeze", "*"], "--freeze leaves nothing to train"),
    ],
)
def test_what_does_not_fit(shards, whole, tmp_path, capsys, argv, word):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    words = [each.format(whole=whole, empty=tmp_path / "empty") for each in argv]
    assert train(shards, tmp_path / "run", *words) == 2
    assert word in one_sentence(capsys)
    assert not (tmp_path / "run").exists()


def test_what_is_frozen_is_one_of_the_decisive_settings(tuned, whole, tmp_path, capsys):
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    assert resume(run, "--freeze", "head.*") == 2
    assert "--freeze is" in one_sentence(capsys)
    document = json.loads((run / "config.json").read_text())
    document["settings"]["freeze"] = []
    (run / "config.json").write_text(json.dumps(document))
    assert resume(run) == 2
    assert "field settings.freeze" in one_sentence(capsys)
