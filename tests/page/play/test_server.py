"""The page's server: who may ask, what is refused, and that each refusal is a sentence."""

import base64
import http.client
import io
import json
import signal
import subprocess
import sys
import threading
import wave
from contextlib import contextmanager

import numpy as np
import pytest
import servers

from dx7data import cli
from dx7data.page.play import conversion
from dx7data.page.play.conversion import Model
from dx7data.page.play.notes import render_stretch
from dx7data.page.play.server import Instrument, open_server
from dx7data.patches import bank, patch, sysex

BANK = bank.load_example()
HEX = BANK.patches[3].tobytes().hex()
NOTE = {"patch": HEX, "key": 60, "velocity": 100, "release": None, "first": 0, "stop": 4096}


@contextmanager
def serve(model=None):
    """The address of a server, until the block ends."""
    server, address = open_server(Instrument(BANK, model))
    with servers.run(server):
        yield address


@pytest.fixture(scope="module")
def address():
    with serve() as address:
        yield address


def ask(address, name, body=None, method=None, headers=(), token=None):
    """Status, headers and body of an answer."""
    _, _, host, own, _ = address.split("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/{own if token is None else token}/{name}"
    connection.request(method or ("GET" if body is None else "POST"), path, data, dict(headers))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def refused(status, *arguments, **options):
    """The sentence with which a request is refused."""
    found, headers, content = ask(*arguments, **options)
    assert found == status
    assert headers["Content-Type"] == "application/json"
    document = json.loads(content)
    assert list(document) == ["error"]
    assert "Traceback" not in document["error"]
    return document["error"]


def test_the_page_and_its_files(address):
    for name, kind in (
        ("", "text/html"),
        ("colours.css", "text/css"),
        ("play.css", "text/css"),
        ("play.js", "text/javascript"),
        ("player.js", "text/javascript"),
    ):
        status, headers, content = ask(address, name)
        assert (status, headers.get_content_type()) == (200, kind)
        assert b"://" not in content.replace(b"http://www.w3.org", b""), "nothing is from elsewhere"
        policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert headers["Referrer-Policy"] == "no-referrer", "the token is in the address"
        assert headers["Cache-Control"] == "no-store"
    page = ask(address, "")[2].decode()
    assert all(f'data-byte="{byte}"' in page for byte in range(patch.PARAMETERS))
    assert "style=" not in page
    assert "<script>" not in page


def test_the_token_is_asked_for_on_every_request(address):
    for token in ("", "x", "%00", "%C3%A9"):
        for name, body in (("", None), ("play.js", None), ("patches", None), ("note", NOTE)):
            assert "token" in refused(403, address, name, body, token=token)
    host = address.split("/")[2]
    connection = http.client.HTTPConnection(host)
    connection.request("GET", "/")
    assert connection.getresponse().status == 403


def test_other_hosts_and_origins(address):
    """A name that resolves to loopback, and a page of another site."""
    port = address.split("/")[2].partition(":")[2]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}.evil.example"):
        assert "127.0.0.1" in refused(403, address, "patches", headers={"Host": host})
    for origin in ("https://evil.example", "null", f"http://evil.example:{port}", f"https://127.0.0.1:{port}"):
        assert "only the page" in refused(403, address, "note", NOTE, headers={"Origin": origin})
    assert ask(address, "note", NOTE, headers={"Origin": f"http://127.0.0.1:{port}"})[0] == 200


def test_two_servers_have_two_tokens(address):
    with serve() as other:
        pass
    assert other.split("/")[3] != address.split("/")[3]
    assert len(other.split("/")[3]) >= 32


def test_patches(address):
    rows = json.loads(ask(address, "patches")[2])
    assert [row[0] for row in rows] == BANK.names
    assert [row[3] for row in rows] == [int(each[patch.ALGORITHM]) + 1 for each in BANK.patches]
    for i in (0, 31):
        assert bytes.fromhex(json.loads(ask(address, f"patch/{i}")[2])["patch"]) == BANK.patches[i].tobytes()
    for unknown in ("32", "-1", "x", "", "9" * 30, "1/2"):
        assert "there is no patch" in refused(404, address, f"patch/{unknown}")


def test_a_saved_voice_is_read_back(address):
    edited = BANK.patches[3].copy()
    edited[patch.ALGORITHM] = 7
    status, headers, content = ask(address, f"voice/{edited.tobytes().hex()}.syx")
    assert (status, headers.get_content_type()) == (200, "application/octet-stream")
    assert content == sysex.write_voice(edited)
    assert sysex.read(content).voices[0].patch == edited.tobytes()


def test_a_note_is_samples(address):
    content = ask(address, "note", NOTE | {"release": 20, "first": 100})[2]
    assert (np.frombuffer(content, "<i2") == render_stretch(BANK.patches[3], 60, 100, 20, 100, 4096)).all()
    assert ask(address, "note", NOTE | {"first": 64, "stop": 64})[2] == b""
    assert ask(address, "note", NOTE | {"first": 64, "stop": 6})[2] == b""


def test_many_ask_at_once(address):
    """numba's threads may not be entered twice; each gets its own note."""
    found = {}

    def play(key):
        found[key] = ask(address, "note", NOTE | {"key": key})[2]

    threads = [threading.Thread(target=play, args=(key,)) for key in range(40, 60)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for key, content in found.items():
        assert content == render_stretch(BANK.patches[3], key, 100, None, 0, 4096).astype("<i2").tobytes()
    assert len(found) == 20


def test_a_drawing(address):
    drawn = json.loads(ask(address, "drawing", {"patch": HEX})[2])
    assert drawn["algorithm"].startswith("<svg")
    assert drawn["envelopes"].count("<figure") in (6, 7)
    assert sorted(drawn["frequencies"]) == list("123456")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patch": None}, "310 hexadecimal digits"),
        ({"patch": HEX[:-2]}, "310 hexadecimal digits"),
        ({"patch": "g" * 310}, "310 hexadecimal digits"),
        ({"patch": "ff" * 155}, "op6_eg_rate_1 is 255, out of range"),
        ({"key": 128}, "key must be a whole number from 0 to 127"),
        ({"key": -1}, "key must be"),
        ({"key": 60.5}, "key must be"),
        ({"key": True}, "key must be"),
        ({"velocity": "100"}, "velocity must be"),
        ({"release": 1e99}, "release must be"),
        ({"first": None}, "first must be"),
        ({"stop": 10**9}, "stop must be a whole number from 0 to 2,880,000"),
    ],
)
def test_what_a_note_may_not_be(address, change, said):
    assert said in refused(400, address, "note", NOTE | change)


def test_what_a_request_may_not_be(address):
    for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60000, b'"x"'):
        assert "no JSON object" in refused(400, address, "note", body)
    assert "65,536 bytes" in refused(413, address, "note", b" " * 65537)
    assert "65,536 bytes" in refused(413, address, "note", b"{}", headers={"Content-Length": "999999999"})
    assert "Content-Length" in refused(411, address, "note", b"{}", headers={"Content-Length": "-1"})
    assert "Content-Length" in refused(411, address, "note", method="POST", headers={"Transfer-Encoding": "chunked"})
    for name in ("nothing", "note/", "../server.py", "server.py", "play.html", "play.js/x"):
        assert "there is no GET" in refused(404, address, name)
    assert "there is no POST" in refused(404, address, "patches", {})
    for method in ("PUT", "DELETE", "BREW"):
        refused(501, address, "note", method=method)


def test_takes_need_a_model(address):
    assert "--checkpoint" in refused(404, address, "take", {"patch": HEX, "notes": []})


def test_a_take(monkeypatch, tmp_path):
    """Its clips; train.convert itself is tested where models are."""
    asked = []

    def convert(model, source, stored):
        asked.append((model, source, stored))
        return b"RIFF"

    monkeypatch.setattr(conversion, "convert", convert)
    with serve(Model(tmp_path, 8000, True)) as address:
        notes = [{"key": 60, "velocity": 100, "start": 0, "release": 300}]
        clips = json.loads(ask(address, "take", {"patch": HEX, "notes": notes})[2])
        with wave.open(io.BytesIO(base64.b64decode(clips["source"]))) as file:
            source = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            assert file.getframerate() == 8000
        assert (asked[0][1] == source).all()
        assert base64.b64decode(clips["model"]) == b"RIFF"
        for wrong in (None, [], {}, [1], notes * 1001):
            assert "notes must be a list" in refused(400, address, "take", {"patch": HEX, "notes": wrong})
        assert "release must be" in refused(400, address, "take", {"patch": HEX, "notes": [notes[0] | {"release": None}]})


def test_the_command_ends_with_ctrl_c():
    command = [sys.executable, "-m", "dx7data", "play", "--patches", "example", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert json.loads(ask(address, "patches")[2])[0][0] == BANK.names[0]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("dx7data: stopped")
    assert "Traceback" not in said


def test_the_command_without_patches(tmp_path, capsys):
    (tmp_path / "none.syx").write_bytes(b"nothing")
    assert cli.main(["play", "--patches", str(tmp_path / "none.syx"), "--no-open"]) == 2
    assert "no usable patch" in capsys.readouterr().err
