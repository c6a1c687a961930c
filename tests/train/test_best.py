"""What evaluations decide: which checkpoint stays as the best one, and when a run ends early."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_runs import curve, one_sentence, resume, rows, train

from dx7data.errors import InputError
from train.evaluation.best import CHOICES, HIGHER, count_since_best, find_best
from train.loop import checkpoint, checkpoint_reader
from train.results import reader

KEPT = ["--keep-best", "seen/mel_db", "--keep-last", "1"]  # it is the better the less is heard: best at first


@pytest.mark.parametrize("metric", CHOICES)
def test_the_best_value(metric):
    """As numpy finds it, NaN aside."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(-3, 4, rng.integers(1, 9)).astype(float)
        values[rng.random(len(values)) < 0.3] = np.nan
        steps = np.cumsum(rng.integers(1, 5, len(values)))
        by_step = dict(zip(steps.tolist(), values.tolist(), strict=True))
        if np.isnan(values).all():
            assert find_best(by_step, metric) is None
            assert count_since_best(by_step, metric) == len(values)
            continue
        place = int(np.nanargmax(values) if metric.rpartition("/")[2] in HIGHER else np.nanargmin(values))
        assert find_best(by_step, metric) == steps[place]
        assert count_since_best(by_step, metric) == len(values) - 1 - place


def test_every_choice_is_a_column(whole):
    (row, *_) = reader.read_table(whole / "validation.csv")
    for metric in CHOICES:
        assert metric.rpartition("/")[2] in row
    seen = {int(row["step"]): float(row["bits"]) for row in rows(whole, "validation") if row["set"] == "seen"}
    assert reader.read_metric(whole, "bits") == reader.read_metric(whole, "seen/bits") == seen
    assert reader.read_metric(whole, "val/bits") == {}


@pytest.fixture(scope="module")
def ended(shards, tmp_path_factory):
    """A run of 12 steps that ended after 9, because the evaluations after steps 6 and 9 were no better than that after 3."""
    run = tmp_path_factory.mktemp("ended") / "run"
    assert train(shards, run, *KEPT, "--patience", "2", "--evaluate-every", "3") == 0
    return run


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_it_ends_early(ended, whole):
    values = reader.read_metric(ended, "seen/mel_db")
    assert list(values) == [3, 6, 9]
    assert min(values, key=values.get) == 3
    assert curve(ended) == curve(whole)[:9]
    assert json.loads((ended / "result.json").read_text())["steps"] == 9
    assert "no better seen/mel_db in 2 evaluations: the run ends here" in (ended / "train.log").read_text()


def test_the_best_checkpoint_stays(ended):
    """Beside the last one; those of steps 4 and 8 are gone."""
    assert names(ended) == ["00000003", "00000009", "best"]
    assert os.readlink(ended / "checkpoints" / "best") == "00000003"
    assert checkpoint.find_last(ended).name == "00000009"
    _, _, about = checkpoint_reader.load_model(ended / "checkpoints" / "best")
    assert about["step"] == 3


def test_it_goes_on_with_more_patience(ended, whole, tmp_path, capsys):
    run = Path(shutil.copytree(ended, tmp_path / "run", symlinks=True))
    assert resume(run) == 2
    assert "was ended at step 9 by --patience: with a larger one it goes on" in one_sentence(capsys)
    assert resume(run, "--patience", "none", "--keep-last", "2", "--evaluate-every", "1000") == 0
    assert curve(run) == curve(whole)
    assert names(run) == ["00000003", "00000009", "00000012", "best"]


def test_what_was_killed_before_it_could_say_that_it_ended(ended, tmp_path):
    run = Path(shutil.copytree(ended, tmp_path / "run", symlinks=True))
    (run / "result.json").unlink()
    assert resume(run) == 0
    assert json.loads((run / "result.json").read_text())["steps"] == 9
    assert curve(run) == curve(ended)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("mine")])
def test_what_a_person_called_best_is_not_replaced(tmp_path, make):
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    make(tmp_path / "checkpoints" / "best")
    checkpoint.check_places(tmp_path, 4)
    with pytest.raises(InputError, match="best is in the place of the link to the best checkpoint: move it away"):
        checkpoint.check_places(tmp_path, 4, best=True)


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--patience", "3"], "--patience counts evaluations without a better --keep-best METRIC: name one"),
        (["--keep-best", "bit"], "--keep-best: there is no 'bit': did you mean bits?"),
        (["--keep-best", "bits", "--reader", "webdataset"], "--reader webdataset has none"),
        (["--keep-last", "0"], "--keep-last: '0' can't be used"),
    ],
)
def test_wrong_options(shards, tmp_path, capsys, argv, word):
    place = f"{shards}/train-000000.tar" if "webdataset" in argv else shards
    assert train(place, tmp_path / "run", *argv) == 2
    assert word in one_sentence(capsys)
    assert not (tmp_path / "run").exists()


def test_a_set_that_is_not_there(shards, tmp_path, capsys):
    assert train(shards, tmp_path / "run", "--keep-best", "val/bits") == 2
    assert "--keep-best val/bits: the sets are unseen, seen; go on by --resume --keep-best" in one_sentence(capsys)
