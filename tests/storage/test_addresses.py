"""Addresses that a person gets wrong: one sentence, at once, and nothing is rendered."""

import ssl
import subprocess
import sys
from pathlib import Path

import object_store
import pytest

from dx7data import cli
from dx7data.errors import InputError
from dx7data.storage import address, faults, open_folder, remote

ROOT = Path(__file__).resolve().parents[2]
RENDER = ["render", "--patches", "example", "--samples", "4", "--seconds", "0.25", "--out"]
KEYS = {"AWS_ACCESS_KEY_ID": "name", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def store():
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with object_store.serve() as running:
        yield running


def refused(capsys, *arguments):
    try:
        status = cli.main([str(each) for each in arguments])
    except SystemExit as left:  # of argparse
        status = left.code
    assert status == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s4://bucket/x", "s4://bucket/x begins with no scheme that is known: did you mean s3://?"),
        ("S3 ://bucket/x", "begins with no scheme that is known"),
        ("htps://host/x", "did you mean https://?"),
        ("s3://", "s3:// names no bucket: it must be as in s3://bucket/folder"),
        ("https://example.com/x", "https://example.com/x can only be read: name a folder, or a bucket"),
        ("hf://datasets/me/x", "can only be read: each file would be a commit"),
    ],
)
def test_urls_that_nothing_can_be_written_to(capsys, url, sentence, monkeypatch, tmp_path):
    if url.startswith(("https", "hf")):
        pytest.importorskip({"https": "aiohttp", "hf": "huggingface_hub"}[url.partition(":")[0]])
    monkeypatch.chdir(tmp_path)
    for command in (RENDER, ["plan", *RENDER[1:]]):
        assert sentence in refused(capsys, *command, url)
    assert not list(tmp_path.iterdir())


def test_the_folder_of_an_older_version_is_named(capsys, monkeypatch, tmp_path):
    (tmp_path / "s4:" / "bucket" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(["inspect", "s4://bucket/x"])
    assert "s4:/bucket/x is not used: an older version took s4://bucket/x for this folder's name" in capsys.readouterr().err


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "s3"), ("gs", "gcs"), ("az", "azure"), ("https", "http")])
def test_a_missing_package_is_named(monkeypatch, capsys, scheme, extra):
    def import_nothing(scheme):
        raise ImportError("Install something")

    monkeypatch.setattr(address.fsspec, "get_filesystem_class", import_nothing)
    assert f"'.[{extra}]' installs what it needs" in refused(capsys, *RENDER, f"{scheme}://bucket/x")


def test_a_bucket_that_does_not_exist(store, capsys, monkeypatch):
    set_environment(monkeypatch, KEYS, store.endpoint)
    sentence = "s3://no-such-bucket does not exist: correct the name, or make this bucket first"
    assert sentence in refused(capsys, *RENDER, "s3://no-such-bucket/x")
    assert cli.main(["inspect", "s3://no-such-bucket/x"]) == 2
    assert sentence in capsys.readouterr().err


def test_no_credentials(store, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    set_environment(monkeypatch, {"AWS_EC2_METADATA_DISABLED": "true"}, store.endpoint)
    sentence = refused(capsys, *RENDER, "s3://bucket/x")
    assert "no credentials were accepted" in sentence
    assert "set AWS_ACCESS_KEY_ID" in sentence


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        ("400 Bad Request", "ExpiredToken", "the credentials have expired"),
        ("403 Forbidden", "AccessDenied", "access is denied"),
        ("403 Forbidden", "InvalidAccessKeyId", "access is denied"),
        ("403 Forbidden", "SignatureDoesNotMatch", "access is denied"),
    ],
)
def test_credentials_that_are_not_accepted(store, capsys, monkeypatch, status, code, sentence):
    set_environment(monkeypatch, KEYS, store.endpoint)
    store.answer = lambda *_: (status, f"<Error><Code>{code}</Code><Message>No ({code}).</Message></Error>".encode())
    asked = len(store.requests)
    try:
        assert sentence in refused(capsys, *RENDER, "s3://bucket/x")
    finally:
        store.answer = lambda *_: None
    assert len(store.requests) - asked <= 3  # it is not tried again


def test_a_certificate_that_has_expired():
    wrong = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired")
    for error in (wrong, OSError(f"Cannot connect to host: [{wrong}]")):
        assert faults.explain(error, "s3").startswith("the connection is not safe (")


def test_nobody_answers(capsys, monkeypatch):
    set_environment(monkeypatch, KEYS, "http://127.0.0.1:9")
    pytest.importorskip("s3fs")
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    assert f"s3://bucket/x/dataset.json: {remote.TRIES} tries failed" in refused(capsys, *RENDER, "s3://bucket/x")


def set_environment(monkeypatch, values, endpoint):
    for name in (*KEYS, "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**values, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    if "s3fs" in sys.modules:
        sys.modules["s3fs"].S3FileSystem.clear_instance_cache()


def test_a_local_folder_imports_no_file_systems(tmp_path):
    script = (
        "import sys; from dx7data.cli import main; status = main(['plan', '--patches', 'example', '--samples', '4',"
        f"'--out', {str(tmp_path / 'x')!r}]); print(status, 'fsspec' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.stdout.splitlines()[-1] == "0 False", found.stderr


def test_paths_are_no_urls(tmp_path):
    assert open_folder(str(tmp_path)).identity == open_folder(tmp_path / "x" / "..").identity
    assert open_folder(open_folder(tmp_path)).name == str(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        open_folder(tmp_path / "none").list_sizes()
