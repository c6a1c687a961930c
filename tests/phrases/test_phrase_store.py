"""Phrases on their way through the disk: sorted runs, choices among them, and what the plan's file holds."""

import hashlib
import io
import itertools
import json
import pickle
import random
import tempfile
import tracemalloc
from dataclasses import replace

import pyarrow as pa
import pytest
from midi_files import make_file

from dx7data import cli
from dx7data.dataset import folders
from dx7data.errors import InputError
from dx7data.phrases import corpus, store
from dx7data.phrases.columns import Phrases
from dx7data.phrases.report import MusicReport
from dx7data.phrases.selection import Wanted
from dx7data.plan.plan import Plan
from dx7data.storage import LocalFolder


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Some hundred phrases in 60 files, of which some are there twice."""
    folder = tmp_path_factory.mktemp("songs")
    for seed in range(60):
        (folder / f"{seed:02d}.mid").write_bytes(make_file(seed % 50))
    return folder


def collect(paths, max_phrases=None, per_file=None, workers=None, seed=0):
    report = MusicReport()
    wanted = Wanted(1.0, max_phrases=max_phrases, seed=seed)
    phrases = corpus.collect(paths, None, per_file, wanted, report, workers=workers)
    assert report.found == len(phrases) + report.duplicates + report.left_out.total()
    return phrases, report


def written(phrases: Phrases) -> bytes:
    sink = io.BytesIO()
    phrases.with_splits(["train"] * len(phrases)).write(sink)
    return sink.getvalue()


def test_runs_on_disk_give_what_memory_gives(songs, monkeypatch):
    monkeypatch.setattr(corpus, "_TOGETHER", 4)  # files that a thread reads in one go
    expected, report = collect(songs)
    assert expected.ids == sorted(expected.ids)
    assert report.duplicates > 0
    for words in (1, 2000, 20_000):
        monkeypatch.setattr(store, "_TOGETHER", words)
        found, again = collect(songs)
        assert written(found) == written(expected)
        assert again == report


def test_the_file_of_a_plan(songs, tmp_path):
    phrases = collect(songs)[0].with_splits(["train"] * len(collect(songs)[0]))
    path = tmp_path / "phrases.arrow"
    with open(path, "wb") as file:
        phrases.write(file)
    mapped = Phrases.map(path)
    assert list(mapped) == list(phrases) == list(pickle.loads(pickle.dumps(phrases)))
    assert path.read_bytes() == written(Phrases.of(list(phrases))) == written(phrases)
    assert phrases.hash_file() == mapped.hash_file() == hashlib.sha256(path.read_bytes()).hexdigest()
    states = [hashlib.sha256(), hashlib.sha256()]
    phrases.hash_into(states[0])
    mapped.hash_into(states[1])
    assert states[0].digest() == states[1].digest()


@pytest.fixture(scope="module")
def planned(songs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    argv = ["plan", "--patches", "example", "--midi", str(songs), "--samples", "30", "--seconds", "1", "--out", str(folder)]
    assert cli.main([*argv, "-q"]) == 0
    return folder


def test_a_file_of_phrases_that_has_changed(planned, tmp_path):
    """Wherever a bit is another one: in what Arrow reads first, in notes, in what is only looked at later."""
    data = (planned / "phrases.arrow").read_bytes()
    for name in ("dataset.json", "patches.parquet"):
        (tmp_path / name).write_bytes((planned / name).read_bytes())
    for place in (0, 8, 300, *random.Random(2).sample(range(len(data)), 20), len(data) - 1):
        (tmp_path / "phrases.arrow").write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(InputError, match=r"phrases\.arrow is not what it was"):
            Plan.load(tmp_path)
    (tmp_path / "phrases.arrow").write_bytes(data[:-40])
    with pytest.raises(InputError, match=r"phrases\.arrow is not what it was"):
        Plan.load(tmp_path)
    (tmp_path / "phrases.arrow").unlink()
    with pytest.raises(InputError, match=r"phrases\.arrow is not what it was"):
        Plan.load(tmp_path)


def test_a_plan_is_written_in_pieces(planned, tmp_path):
    """Its phrases are in memory once, as they are mapped; in that of Python they take no room."""
    plan = Plan.load(planned)
    many = Phrases(pa.concat_tables([plan.phrases.table] * (40_000_000 // (planned / "phrases.arrow").stat().st_size)))
    many = Phrases(many.table.combine_chunks())
    tracemalloc.start()
    folders.write_plan(replace(plan, phrases=many), LocalFolder(tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "phrases.arrow").stat().st_size > 30_000_000
    assert peak < 5_000_000
    assert json.loads((tmp_path / "dataset.json").read_text())["tables"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.glob("p*.[pa]*")
    }


def test_a_reservoir_is_the_same_in_any_order(songs):
    paths = sorted(songs.iterdir())
    every, _ = collect(songs)
    chosen, report = collect(songs, max_phrases=100)
    assert len(chosen) == 100
    assert report.left_out["max phrases"] > 0
    assert set(chosen.ids) < set(every.ids)
    shuffled = random.Random(1).sample(paths, len(paths))
    for order, workers in itertools.product((paths, paths[::-1], shuffled), (1, 3)):
        assert collect(order, max_phrases=100, workers=workers)[0].ids == chosen.ids
    assert set(chosen.ids) < set(collect(songs, max_phrases=150)[0].ids)
    assert collect(songs, max_phrases=100, seed=1)[0].ids != chosen.ids
    assert collect(songs, max_phrases=10**6)[0].ids == every.ids


def test_a_reservoir_takes_from_everywhere(songs):
    """The ids are hashes, of which it takes no particular ones."""
    every, chosen = collect(songs)[0].ids, collect(songs, max_phrases=200)[0].ids
    places = [every.index(key) / len(every) for key in chosen]
    assert 0.4 < sum(places) / len(places) < 0.6


def test_phrases_of_a_file(songs):
    """Those of one file do not depend on the others."""
    paths = sorted(songs.iterdir())[:20]
    alone = set()
    for path in paths:
        try:
            few, report = collect(path, per_file=3)
        except InputError:
            continue
        assert len(few) <= 3
        assert set(few.ids) <= set(collect(path)[0].ids)
        alone |= set(few.ids)
    together, report = collect(paths, per_file=3)
    assert set(together.ids) == alone
    assert report.left_out["max phrases per file"] > 0


def test_progress_is_told(songs):
    calls = []
    corpus.collect(songs, None, None, Wanted(1.0), MusicReport(), lambda *call: calls.append(call))
    assert calls[-1] == (60, 60)
    assert calls == sorted(calls)


def test_no_room_for_temporary_files_is_one_sentence(songs, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"^temporary files in .*missing can't be written: .*TMPDIR$"):
        collect(songs)


def test_the_options(songs, tmp_path, capsys):
    plan = ["plan", "--patches", "example", "--samples", "8", "--seconds", "0.5", "--split", "1,0,0"]
    limits = ["--max-phrases", "40", "--max-phrases-per-file", "2"]
    assert cli.main([*plan, "--midi", str(songs), *limits, "--out", str(tmp_path / "plan")]) == 0
    assert "max phrases per file left out" in capsys.readouterr().err
    assert len(Phrases.map(tmp_path / "plan" / "phrases.arrow")) == 40
    for option in limits[::2]:
        assert cli.main([*plan, option, "9", "--out", str(tmp_path / "other")]) == 2
        assert option in capsys.readouterr().err
