"""Data sets on a website: read by Python's own server, which knows no ranges of a file, and by nginx, which does."""

import contextlib
import functools
import http.server
import json
import shutil
import socket
import subprocess
import time

import pytest
import servers

pytest.importorskip("aiohttp")
from dx7data import cli
from dx7data.errors import InputError
from dx7data.plan.plan import Plan
from dx7data.storage import open_folder, remote

OPTIONS = ["--patches", "example", "--samples", "40", "--seconds", "0.25", "--shard-size", "100kB", "--device", "cpu"]
NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/log; worker_processes 1; events {{ }}
http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e; server {{ listen 127.0.0.1:{port}; root {root}; }} }}
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve_by_python(root, _):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
    with servers.run(server):
        yield f"http://127.0.0.1:{server.server_port}"


@contextlib.contextmanager
def serve_by_nginx(root, folder):
    if not (program := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")):
        pytest.skip("nginx is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "conf").write_text(NGINX.format(folder=folder, root=root, port=port))
    root.chmod(0o755)
    for above in root.parents[:2]:
        above.chmod(0o755)
    process = subprocess.Popen([program, "-c", str(folder / "conf"), "-g", "user root;"])
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    assert cli.main(["render", *OPTIONS, "--out", str(root / "set"), "--workers", "1"]) == 0
    return root


@pytest.fixture(params=[serve_by_python, serve_by_nginx], ids=["python", "nginx"])
def site(request, made, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    with request.param(made, tmp_path) as url:
        yield url


def test_reading(site, made, capsys, tmp_path):
    texts = []
    for where in (str(made / "set"), f"{site}/set"):
        capsys.readouterr()
        assert cli.main(["inspect", where, "--json"]) == 0
        texts.append(json.loads(capsys.readouterr().out) | {"folder": ""})
        assert cli.main(["verify", where]) == 0
        assert cli.main(["inspect", where, "--html", str(tmp_path / f"{len(texts)}.html")]) == 0
    assert texts[0] == texts[1]
    assert (tmp_path / "1.html").read_text() == (tmp_path / "2.html").read_text()


def test_verify_without_an_index(site, made, capsys):
    """It can't be written there, and nothing is wrong without it."""
    shutil.copytree(made / "set", made / "bare", ignore=shutil.ignore_patterns("index.json"), dirs_exist_ok=True)
    assert cli.main(["verify", f"{site}/bare"]) == 0
    assert "is as it was written" in capsys.readouterr().out


def test_parts_of_files(site, made):
    data = (made / "set" / "train-000000.tar").read_bytes()
    folder = open_folder(f"{site}/set")
    assert folder.read_part("train-000000.tar", 1000, 500) == data[1000:1500]
    assert folder.measure("train-000000.tar") == len(data)
    with folder.open("train-000000.tar", len(data)) as file:
        assert file.read() == data
    for read in (lambda: folder.read("train-000000.tar", 1000), lambda: folder.open("train-000000.tar", 1000).__enter__()):
        with pytest.raises(InputError, match="more than the 1,000"):
            read()
    with pytest.raises(FileNotFoundError):
        folder.read("none", 10)


def test_what_is_not_there(site, capsys):
    assert cli.main(["inspect", f"{site}/none"]) == 2
    assert f"{site}/none is no data set: it has no dataset.json" in capsys.readouterr().err


def test_nobody_answers(monkeypatch, capsys):
    """The file system says that the file is missing."""
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    assert cli.main(["inspect", "http://127.0.0.1:9/set"]) == 2
    assert f"http://127.0.0.1:9/set/dataset.json: {remote.TRIES} tries failed" in capsys.readouterr().err


def test_a_plan_of_a_website_is_rendered(site, made, tmp_path):
    out = tmp_path / "out"
    command = ["render", "--plan", f"{site}/set", "--out", str(out), "--only", "val/0", "--device", "cpu", "--workers", "1"]
    assert cli.main(command) == 0
    assert (out / "val-000000.tar").read_bytes() == (made / "set" / "val-000000.tar").read_bytes()
    assert Plan.load(out).fingerprint == Plan.load(f"{site}/set").fingerprint


def test_training_reads_it(site, made, tmp_path):
    torch = pytest.importorskip("torch")
    from train.data.datasets import open_clips

    there, here = open_clips(f"{site}/set", cache=tmp_path / "cache"), open_clips(made / "set")
    assert len(there) == len(here)
    assert all(torch.equal(one, other) for one, other in zip(there[0], here[0], strict=True))
    streamed = open_clips(f"{site}/set/train-{{000000..000001}}.tar", reader="webdataset")
    assert len(list(streamed)) == sum(each.count for each in here.shards[:2])
    with pytest.raises(InputError, match="train-000009"):
        open_clips(f"{site}/set/train-000009.tar", reader="webdataset")
