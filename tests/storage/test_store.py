"""Data sets in an object store, moto's S3 over HTTP: the same bytes as in a folder, whole or not there, in few requests."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import object_store
import pytest
from object_store import open_s3, read_all

pytest.importorskip("moto")
pytest.importorskip("s3fs")
from dx7data import cli
from dx7data.dataset import folders
from dx7data.plan.plan import Plan
from dx7data.storage import open_folder, remote

ROOT = Path(__file__).resolve().parents[2]
PLAN = ["--patches", "example", "--samples", "40", "--seconds", "0.25", "--shard-size", "100kB", "--prefix", "bytes"]


@pytest.fixture(scope="module")
def store():
    with object_store.serve() as running:
        yield running


@pytest.fixture
def bucket(store, monkeypatch):
    return object_store.make_bucket(store, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The data set in a folder."""
    folder = tmp_path_factory.mktemp("made")
    assert run("render", *PLAN, "--out", folder, "--device", "cpu", "--workers", 1) == 0
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another plan."""
    folder = tmp_path_factory.mktemp("other")
    assert run("plan", *PLAN, "--seed", 1, "--out", folder) == 0
    return folder


def render(plan, out, *more):
    return run("render", "--plan", plan, "--out", out, "--device", "cpu", "--workers", 1, *more)


def run(*arguments):
    try:
        return cli.main([str(each) for each in arguments])
    except SystemExit as left:
        return left.code


def read_folder(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def without_log(files):
    return {name: data for name, data in files.items() if name != "render.log"}


def upload(folder, url):
    fs = open_s3()
    for path in folder.iterdir():
        fs.put_file(str(path), f"{url.removeprefix('s3://')}/{path.name}")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_holds_what_a_folder_holds(bucket, made, store, workers, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # A process of its own: workers have the environment, with its credentials, of the first test that had some.
    command = ["render", "--plan", str(made), "--out", f"{bucket}/set", "--device", "cpu", "--workers", str(workers)]
    subprocess.run([sys.executable, "-m", "dx7data", *command], cwd=ROOT, check=True, timeout=300)
    assert without_log(read_all(f"{bucket}/set")) == without_log(read_folder(made))
    assert not list(tmp_path.iterdir())
    shards = len(Plan.load(made).shards())
    assert shards > 5
    assert store.count("PUT", ".tar") == store.count("PUT", ".stats.json") == shards
    assert not [path for _, path in store.requests if "uploads" in path]


def test_the_same_command_reads_a_list_and_the_stats(bucket, made, store):
    upload(made, f"{bucket}/set")
    store.requests.clear()
    assert render(made, f"{bucket}/set") == 0
    shards = len(Plan.load(made).shards())
    assert store.count("GET", ".stats.json") == 2 * shards  # what is missing, and the index
    assert not [path for _, path in store.requests if path.endswith(".tar")]
    assert sum("list-type=2" in path for _, path in store.requests) == 2
    assert len(store.requests) < 2 * shards + 20


def test_a_job_reads_what_is_there_of_its_own_part(bucket, made, store):
    """A thousand jobs that each read all of it are too many for a store."""
    upload(made, f"{bucket}/set")
    shards = [each.name for each in Plan.load(made).shards()]
    for name in ("index.json", f"{shards[1]}.stats.json", f"{shards[2]}.stats.json"):
        open_s3().rm(f"{bucket}/set/{name}")
    store.requests.clear()
    assert render(made, f"{bucket}/set", "--job", "2/3") == 0
    read = [path.rpartition("/")[2] for method, path in store.requests if method == "GET" and path.endswith(".stats.json")]
    assert sorted(read) == sorted(f"{name}.stats.json" for name in shards[4::3])
    assert store.count("PUT", ".tar") == 1
    assert store.count("PUT", "index.json") == 0


def test_commands_that_read(bucket, made, tmp_path, capsys):
    upload(made, f"{bucket}/set")
    texts = []
    for where in (made, f"{bucket}/set"):
        capsys.readouterr()
        assert run("inspect", where, "--json") == 0
        texts.append(json.loads(capsys.readouterr().out) | {"folder": ""})
        assert run("verify", where) == 0
        assert "every file is as it was written" in capsys.readouterr().out
    assert texts[0] == texts[1]
    (tmp_path / "set").symlink_to(made)  # a page bears the name of its folder
    for where, page in ((tmp_path / "set", "a.html"), (f"{bucket}/set", "b.html")):
        assert run("inspect", where, "--html", tmp_path / page) == 0
    pages = [(tmp_path / name).read_text() for name in ("a.html", "b.html")]
    assert pages[0].replace(f"<title>{made.name}", "<title>set").replace(made.name, "set") == pages[1]


def test_damage_is_found_and_mended(bucket, made, capsys):
    upload(made, f"{bucket}/set")
    fs, root = open_s3(), f"{bucket.removeprefix('s3://')}/set"
    tar = bytearray((made / "train-000001.tar").read_bytes())
    tar[5000] ^= 1
    fs.pipe_file(f"{root}/train-000001.tar", bytes(tar))
    fs.rm_file(f"{root}/train-000002.parquet")
    fs.pipe_file(f"{root}/train-999999.tar", b"foreign")
    capsys.readouterr()
    assert run("verify", f"{bucket}/set") == 1
    said = capsys.readouterr().out
    assert "train-000001: the tar has changed since it was rendered" in said
    assert "train-000002: train-000002.parquet is missing" in said
    assert "train-999999.tar: no shard of this plan" in said
    fs.rm_file(f"{root}/train-999999.tar")
    assert run("verify", "--fix", f"{bucket}/set") == 0
    assert run("verify", "--full", f"{bucket}/set") == 0
    assert without_log(read_all(f"{bucket}/set")) == without_log(read_folder(made))


def test_plan_jobs_and_extend(bucket, made, tmp_path):
    """A plan is put first; jobs render it; more samples are added: all as in a folder."""
    local, url = tmp_path / "set", f"{bucket}/set"
    shutil.copytree(made, local)
    assert run("plan", *PLAN, "--out", url) == 0
    for part in ("1/2", "2/2"):
        assert run("render", "--plan", url, "--job", part, "--device", "cpu", "--workers", 1) == 0
    for where in (local, url):
        assert run("extend", where, "--samples", 60, "--device", "cpu", "--workers", 1) == 0
    assert run("verify", url) == 0
    assert without_log(read_all(url)) == without_log(read_folder(local))
    assert len(read_all(url)["render.log"].splitlines()) == 3
    assert render(made, url, "--overwrite") == 0
    assert without_log(read_all(url)) == without_log(read_folder(made))


def test_a_plan_at_a_url_is_rendered_into_a_folder(bucket, made, tmp_path):
    upload(made, f"{bucket}/set")
    assert run("render", "--plan", f"{bucket}/set", "--out", tmp_path / "out", "--workers", 1, "--device", "cpu") == 0
    assert without_log(read_folder(tmp_path / "out")) == without_log(read_folder(made))


def test_what_is_there_is_kept(bucket, made, other, capsys):
    """Another plan, and other things than a data set."""
    upload(made, f"{bucket}/set")
    before = read_all(f"{bucket}/set")
    assert render(other, f"{bucket}/set") == 2
    assert "holds another data set: --seed is 0 there and 1 here" in capsys.readouterr().err
    open_s3().pipe_file(f"{bucket.removeprefix('s3://')}/mine/photo.jpg", b"mine")
    assert render(made, f"{bucket}/mine") == 2
    assert "holds photo.jpg and no data set" in capsys.readouterr().err
    assert read_all(f"{bucket}/set") == before
    assert list(read_all(f"{bucket}/mine")) == ["photo.jpg"]


def test_one_of_two_plans_at_the_same_moment_is_refused(bucket, made, other, store):
    """The first one is put after the second has looked whether there is one."""
    first = Plan.load(made)
    folder, document = open_folder(f"{bucket}/set"), made / "dataset.json"

    def put_other(method, path):
        if method == "PUT" and path.endswith("dataset.json"):
            store.answer = lambda method, path: None
            folders.write_plan(first, folder)

    store.answer = put_other
    with pytest.raises(folders.InputError, match="holds another data set: --seed is 0 there and 1 here"):
        folders.prepare(Plan.load(other), folder, overwrite=False)
    assert read_all(f"{bucket}/set")["dataset.json"] == document.read_bytes()
    store.answer = put_other
    open_s3().rm_file(f"{bucket.removeprefix('s3://')}/set/dataset.json")
    assert len(folders.prepare(first, folder, overwrite=False)) == len(first.shards())  # an equal one


@pytest.mark.parametrize("ending", [".tar", ".parquet", ".stats.json"])
def test_an_upload_that_breaks_leaves_nothing(bucket, made, store, capsys, ending):
    name = f"train-000001{ending}"
    store.answer = lambda method, path: object_store.BUSY if method == "PUT" and path.endswith(name) else None
    assert render(made, f"{bucket}/set") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{bucket}/set/{name}: {remote.TRIES} tries failed, the last one with: Please reduce your request rate" in said
    assert name not in read_all(f"{bucket}/set")
    store.answer = lambda method, path: None
    assert render(made, f"{bucket}/set") == 0
    assert without_log(read_all(f"{bucket}/set")) == without_log(read_folder(made))


def test_a_large_upload_that_breaks_leaves_no_parts(bucket, store):
    """In several parts from 100 MB on."""
    store.answer = lambda method, path: object_store.EXPIRED if "partNumber=2" in path else None
    with pytest.raises(folders.InputError, match="expired"), open_folder(f"{bucket}/set").create("large.tar") as file:
        file.truncate(101 << 20)
    store.answer = lambda method, path: None
    assert any("uploadId" in path for _, path in store.requests)
    assert not open_s3().list_multipart_uploads(bucket.removeprefix("s3://"))
    assert not read_all(bucket)


def test_a_busy_store_is_waited_for(bucket, made, store):
    """It answers ten times that it is busy."""
    upload(made, f"{bucket}/set")
    busy = []

    def answer(method, path):
        if path.endswith("dataset.json") and len(busy) < 10:
            busy.append(path)
            return object_store.BUSY
        return None

    store.answer = answer
    assert Plan.load(f"{bucket}/set").fingerprint == Plan.load(made).fingerprint
    assert len(busy) == 10


@pytest.mark.slow
def test_killed_and_given_again(bucket, made, store, tmp_path):
    """With two workers, after some shards; temporary files have no names, so nothing stays."""
    command = [sys.executable, "-m", "dx7data", "render", "--plan", str(made), "--out", f"{bucket}/set", "--workers", "2"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, start_new_session=True)
    end = time.monotonic() + 300
    while store.count("PUT", ".stats.json") < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert render(made, f"{bucket}/set") == 0
    assert without_log(read_all(f"{bucket}/set")) == without_log(read_folder(made))


def test_a_list_of_many_names(bucket, made, store):
    """A thousand a request."""
    upload(made, f"{bucket}/set")
    root = "set/"
    pages = []

    def answer(method, path):
        if "list-type=2" not in path:
            return None
        first = 1000 * len(pages)
        pages.append(path)
        keys = "".join(
            f"<Contents><Key>{root}train-{i:06d}.x</Key><Size>1</Size><ETag>a</ETag><StorageClass>STANDARD</StorageClass>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for i in range(first, first + 1000)
        )
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>" * (first < 4000)
        body = f"<ListBucketResult><Name>b</Name><Prefix>{root}</Prefix>{more}{keys}</ListBucketResult>"
        return "200 OK", body.encode()

    store.answer = answer
    assert len(open_folder(f"{bucket}/set").list_sizes()) == 5000
    assert len(pages) == 5
