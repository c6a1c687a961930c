"""A run at a URL: what is in the store is what a run in a folder leaves, and it goes on from there, exactly."""

import csv
import io
import json
import shutil

import object_store
import pytest
from object_store import read_all

pytest.importorskip("moto")
pytest.importorskip("s3fs")
import torch

from dx7data import cli
from dx7data.output import write_command
from train import __main__ as command
from train import compare, describe
from train.loop import mirror, optim

SMALL = ["--model", "s4d", "--preset", "tiny", "--device", "cpu", "--seconds", "0.03", "--batch", "4", "--steps", "8"]
SMALL += ["--evaluate-samples", "2", "--checkpoint-every", "2", "--evaluate-every", "1000"]


@pytest.fixture(scope="module")
def store():
    with object_store.serve() as running:
        yield running


@pytest.fixture
def bucket(store, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return object_store.make_bucket(store, monkeypatch)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    options = ["--samples", "40", "--seconds", "0.25", "--workers", "1", "--device", "cpu"]
    assert cli.main(["render", "--patches", "example", "--out", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    """The run in a folder."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train("--shards", shards, "--out", run, *SMALL) == 0
    return curve((run / "metrics.csv").read_text()), {
        name
        for path in run.rglob("*")
        if path.is_file() and not (name := path.relative_to(run).as_posix()).startswith(("tensorboard/", ".lock"))
    }


def train(*argv):
    torch.set_num_threads(1)
    return command.main([str(each) for each in argv])


def curve(text):
    return [(row["step"], row["loss_bits"], row["grad_norm"]) for row in csv.DictReader(io.StringIO(text))]


def names(url):
    return {name for name in read_all(url) if not name.startswith("tensorboard/")}


def test_stopped_and_gone_on_with_elsewhere(bucket, shards, whole, tmp_path, monkeypatch, capsys):
    """Ctrl-C at step 5, after the checkpoint of step 4; the shards are in the store too, and the cache is lost."""
    data, run, real = f"{bucket}/set", f"{bucket}/runs/a", optim.update_average
    for path in shards.iterdir():
        object_store.open_s3().put_file(str(path), f"{data.removeprefix('s3://')}/{path.name}")

    def interrupt(ema, model, decay, step):
        real(ema, model, decay, step)
        if step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optim, "update_average", interrupt)
        assert train("--shards", data, "--out", run, *SMALL) == 130
    step = write_command("train", "--resume", "--out", run)
    assert f"{run}/checkpoints/00000004 is complete; to continue: {step}\n" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "cache")
    assert train("--resume", "--out", run, "--device", "cpu") == 0
    assert curve(read_all(run)["metrics.csv"].decode()) == whole[0]
    assert names(run) == whole[1]
    assert train("--shards", data, "--out", run, *SMALL) == 2
    assert f"{run} is there already: continue it with --resume" in capsys.readouterr().err
    for place in (run, f"{run}/checkpoints/00000008"):
        assert describe.main(["--checkpoint", place]) == 0
        assert json.loads(capsys.readouterr().out) == {"sample_rate": 8000, "prefix": None, "patches": 1}
    assert compare.main([run, "--out", str(tmp_path / "page.html")]) == 0
    assert ">a</span>" in (tmp_path / "page.html").read_text()
    assert describe.main(["--checkpoint", f"{bucket}/none"]) == 2
    assert f"{bucket}/none is no run: there is nothing" in capsys.readouterr().err


def test_a_copy_of_a_run_is_brought_up_to_date(bucket, shards, store):
    """Its checkpoints are not fetched twice; what has changed is, and what is gone from the store goes."""
    url, fetched = f"{bucket}/runs/a", []
    assert train("--shards", shards, "--out", url, *SMALL) == 0
    place = mirror.read_run(url)
    kept = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert kept.keys() >= names(url)
    (place / "config.json").write_text("{}")
    (place / "more.txt").touch()
    damaged = place / "checkpoints" / "00000008" / "checkpoint.json"
    damaged.write_text("{}")

    def watch(method, path):
        fetched.extend([path] * (method == "GET" and path.endswith(".safetensors")))

    store.answer = watch
    assert mirror.read_run(url) == place
    assert {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()} == kept
    assert fetched
    assert all("/00000008/" in path for path in fetched)


def test_an_extended_run(bucket, shards, whole, tmp_path, monkeypatch):
    """The last and the best checkpoint are in the store, and no result while it goes on."""
    run, real = f"{bucket}/runs/a", optim.update_average
    assert train("--shards", shards, "--out", run, *SMALL, "--keep-best", "seen/mel_db", "--evaluate-every", "4") == 0
    assert "result.json" in names(run)

    def interrupt(ema, model, decay, step):
        real(ema, model, decay, step)
        if step == 11:
            raise KeyboardInterrupt

    shutil.rmtree(tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(optim, "update_average", interrupt)
        assert train("--resume", "--out", run, "--device", "cpu", "--steps", "12") == 130
    assert "result.json" not in names(run)
    kept = {name.split("/")[1] for name in names(run) if name.startswith("checkpoints/")}
    assert kept == {"00000004", "00000008", "00000010"}
    assert json.loads(read_all(run)["config.json"])["settings"]["extended"] == [[8, 8]]


def test_a_run_is_the_same_one_after_it_was_extended():
    """What this machine has of it is kept then, if it has gone further than the store."""
    config = {"fingerprint": "5", "settings": {"lr": 1.0, "steps": 8, "extended": [], "workers": 0}}
    own = mirror.identify(json.dumps(config).encode())
    for change, same in (({"steps": 9, "extended": [[8, 8]]}, True), ({"workers": 2}, True), ({"lr": 2.0}, False)):
        other = config | {"settings": config["settings"] | change}
        assert (mirror.identify(json.dumps(other).encode()) == own) == same
    assert mirror.identify(json.dumps(config | {"fingerprint": "6"}).encode()) != own
    for data in (b"[]", b"{", b'{"settings": 1}'):
        assert mirror.identify(data) == data


def test_a_checkpoint_that_was_renamed(bucket, shards, tmp_path):
    """It stays, in the store too, and is no step of the run."""
    run = f"{bucket}/runs/a"
    assert train("--shards", shards, "--out", run, *SMALL) == 0
    (folder,) = tmp_path.joinpath("cache").rglob("checkpoints/00000008")
    shutil.copytree(folder, folder.with_name("before-the-change"))
    for steps in ("10", "12"):
        assert train("--resume", "--out", run, "--device", "cpu", "--steps", steps) == 0
    assert "checkpoints/before-the-change/checkpoint.json" in names(run)


def test_an_error_while_the_store_fails(bucket, shards, store, caplog, monkeypatch, capsys):
    """The error is what the program ends with; that its last checkpoint is on this machine only is said beside it."""
    run = f"{bucket}/runs/a"
    real = optim.update_average

    def fail(ema, model, decay, step):
        real(ema, model, decay, step)
        if step == 5:
            store.answer = lambda method, path: object_store.BUSY if method == "PUT" else None
            raise OSError(28, "No space left on device", "metrics.csv")

    monkeypatch.setattr(optim, "update_average", fail)
    assert train("--shards", shards, "--out", run, *SMALL) == 2
    assert "train: metrics.csv: No space left on device" in capsys.readouterr().err
    assert f"all of it is in {mirror._find_place(mirror.open_url(run), 'runs')}" in caplog.text


def test_a_store_that_fails_for_a_while(bucket, shards, whole, store, caplog):
    """Not at the beginning, and not at the end."""
    run = f"{bucket}/runs/a"
    store.answer = lambda method, path: object_store.BUSY if method == "PUT" and "/00000002/" in path else None
    assert train("--shards", shards, "--out", run, *SMALL) == 0
    assert "training goes on, and the next checkpoint tries again" in caplog.text
    assert names(run) == whole[1]
    assert curve(read_all(run)["metrics.csv"].decode()) == whole[0]


def test_two_runs_that_begin_at_one_url(bucket, shards, store, capsys):
    """The other one is put after it was looked whether there is one."""
    run = f"{bucket}/runs/a"

    def put_other(method, path):
        if method == "PUT" and path.endswith("config.json"):
            store.answer = lambda method, path: None
            object_store.open_s3().pipe_file(f"{run.removeprefix('s3://')}/config.json", b"another")

    store.answer = put_other
    assert train("--shards", shards, "--out", run, *SMALL) == 2
    assert f"{run} is there already" in capsys.readouterr().err
    assert read_all(run) == {"config.json": b"another"}


def test_a_download_that_was_interrupted(bucket, shards, tmp_path, monkeypatch):
    """What came down is not taken for the run: else the next upload would remove the rest from the store."""
    url = f"{bucket}/run"
    assert train("--shards", shards, "--out", url, *SMALL) == 0
    there = names(url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    copy, done = mirror.shutil.copyfileobj, []

    def interrupt(source, file):
        done.append(str(file.name))
        if "metrics.csv" in str(file.name):
            raise KeyboardInterrupt
        copy(source, file)

    with monkeypatch.context() as patched:
        patched.setattr(mirror.shutil, "copyfileobj", interrupt)
        assert train("--resume", "--out", url) == 130
    assert any("checkpoints" in name for name in done)
    assert train("--resume", "--out", url, "--steps", "10") == 0
    assert {name for name in there if not name.startswith("checkpoints/")} <= names(url)
    assert [step for step, *_ in curve(read_all(url)["metrics.csv"].decode())] == [str(step) for step in range(1, 11)]
