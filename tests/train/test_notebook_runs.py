"""A run in a notebook: frames that equal the tables, figures in the style of its pictures."""

import csv
import sys

import numpy as np
import pytest
import run_folder

from dx7data.errors import InputError
from train.results import figures, load_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = run_folder.config(steps=30)
    made = tmp_path_factory.mktemp("runs") / "s4"
    return run_folder.make(made, config, steps=30, evaluate_every=10, clips=1, rate=8000, seconds=0.1)


@pytest.mark.parametrize("table", ["metrics", "validation", "algorithms", "clips"])
def test_frames_are_the_tables(folder, table):
    frame = getattr(load_run(folder), table)
    with open(folder / f"{table}.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(frame.columns) == list(rows[0])
    for name in frame:
        texts = [row[name] for row in rows]
        if name in ("set", "split", "decode"):
            assert list(frame[name]) == texts
        else:
            np.testing.assert_array_equal(frame[name].to_numpy(float), [float(text or "nan") for text in texts])
    assert frame["step"].dtype == np.int64


def test_figures_are_those_of_the_run(folder):
    found = load_run(str(folder)).make_figures()
    assert found.keys() == {"loss", "steps", "validation", "algorithms", "sample-0"}
    assert {round(figure.get_figwidth() * figure.dpi) for figure in found.values()} == {figures.WIDTH}
    assert all(figure.get_suptitle().startswith("s4: ") for figure in found.values())
    axes = found["loss"].axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), load_run(folder).metrics["loss_bits"])
    assert {line.get_color() for line in axes.get_xgridlines()} == {"#e4e4e4"}, "in the style of the pictures"


def test_the_rest(folder):
    run = load_run(folder)
    assert run.config["settings"]["lr"] == 0.003
    assert run.result["steps"] == 30
    clip = run.samples["0"]["generated"]
    assert (clip.audio.dtype, clip.audio.shape, clip.rate) == (np.int16, (800,), 8000)


def test_a_run_that_has_just_begun(folder, tmp_path):
    """Tables of what is not there yet are empty; a training that goes on is followed."""
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    run = load_run(tmp_path)
    assert (len(run.metrics), len(run.validation), run.result, run.samples, run.make_figures()) == (0, 0, {}, {}, {})
    (tmp_path / "metrics.csv").write_bytes((folder / "metrics.csv").read_bytes())
    assert len(run.metrics) == 30


def test_what_a_person_can_get_wrong(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="is no run"):
        load_run(tmp_path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    run = load_run(folder)
    assert run.make_figures()
    with pytest.raises(InputError, match=r"needs pandas: pip install -e '.\[notebook\]'"):
        _ = run.metrics
