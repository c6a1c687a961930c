"""Publishing to a Hub on this machine, which speaks its protocol: whole, resumed, refused."""

import os
import shutil
import signal
import subprocess
import sys

import hub_server
import huggingface_hub
import pytest
from huggingface_hub import constants

from dx7data import cli
from dx7data.dataset import card
from dx7data.dataset.publish import _is_part
from dx7data.errors import InputError

OPTIONS = ["--patches", "example", "--samples", "32", "--seconds", "0.05", "--prefix", "bytes", "--shard-size", "20kB"]
ADDRESS, NAME = "hf://datasets/me/sines", "me/sines"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish") / "shards"
    assert cli.main(["render", *OPTIONS, "--workers", "1", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(rendered, tmp_path):
    return shutil.copytree(rendered, tmp_path / "shards")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with hub_server.start_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        yield hub


def publish(folder, *options, address=ADDRESS):
    return cli.main(["publish", str(folder), address, *options])


def start(command, hub):
    """A process of its own, which can be killed, and whose library reads its settings from the environment."""
    more = {"HF_ENDPOINT": hub.address, "HF_TOKEN": hub_server.TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return subprocess.Popen([sys.executable, *map(str, command)], env=os.environ | more, stderr=subprocess.PIPE)


def read(folder):
    """What is to be published of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "render.log"}


def read_hub(hub, name=NAME):
    return {path: data for path, data in hub.files(name).items() if path != ".gitattributes"}


def test_all_of_a_data_set(folder, hub, capsys):
    assert publish(folder) == 0
    assert read_hub(hub) == read(folder)
    assert "shards sent, 0 already there: hf://datasets/me/sines" in capsys.readouterr().out
    commits, received = len(hub.repositories[NAME]), len(hub.received)
    assert publish(folder) == 0
    assert "0 shards sent" in capsys.readouterr().out
    assert (len(hub.repositories[NAME]), len(hub.received)) == (commits, received), "nothing had changed"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_publication_goes_on(folder, hub, how):
    """Stopped while the seventh large file is on its way; none of those before it is sent again."""
    process = start(["-m", "dx7data", "publish", folder, ADDRESS], hub)

    def stop_at_seventh():
        if len(hub.received) == 6:
            process.send_signal(how)
            if how == signal.SIGKILL:
                process.wait()

    hub.on_upload = stop_at_seventh
    said = process.communicate(timeout=300)[1].decode()
    assert process.returncode == (130 if how == signal.SIGINT else -how), said
    assert "Traceback" not in said
    hub.on_upload = lambda: None
    assert {"README.md", "dataset.json"} <= read_hub(hub).keys() < read(folder).keys(), "the plan comes first"
    assert publish(folder) == 0
    assert read_hub(hub) == read(folder)
    assert len(hub.received) <= len(set(hub.received)) + 1, "all but the one on its way were kept"


def test_samples_that_are_added(folder, hub):
    assert publish(folder) == 0
    before = read_hub(hub)
    assert cli.main(["extend", str(folder), "--samples", "48", "--workers", "1"]) == 0
    received = len(hub.received)
    assert publish(folder) == 0
    assert read_hub(hub) == read(folder)
    new = [name for name, data in read(folder).items() if before.get(name) != data and name.endswith((".tar", ".parquet"))]
    assert len(hub.received) - received == len(new)


def test_shards_that_are_not_rendered_yet(folder, hub, capsys):
    for path in folder.glob("val-000000.*"):
        path.unlink()
    (folder / "index.json").unlink()
    assert publish(folder) == 0
    assert "1 shard not rendered yet" in capsys.readouterr().out
    assert read_hub(hub) == read(folder)


def test_a_plan_from_which_others_render(folder, hub, tmp_path):
    """Its files are a few kilobytes here, and the shards that are made from them have the same bytes."""
    assert publish(folder, "--plan-only") == 0
    assert read_hub(hub).keys() == {"README.md", "dataset.json", "patches.parquet"}
    download = (
        "import sys, huggingface_hub as h; h.snapshot_download(sys.argv[1], repo_type='dataset', local_dir=sys.argv[2])"
    )
    process = start(["-c", download, NAME, tmp_path / "theirs"], hub)
    assert process.wait(timeout=300) == 0, process.stderr.read()
    process.stderr.close()
    assert cli.main(["render", "--plan", str(tmp_path / "theirs"), "--workers", "1"]) == 0
    assert {name: (tmp_path / "theirs" / name).read_bytes() for name in read(folder)} == read(folder)


def test_words_written_at_the_hub_stay(folder, hub):
    assert publish(folder, "--plan-only") == 0
    own, mark, rest = hub.files(NAME)["README.md"].partition(card.MARK.encode())
    words = own.replace(b"license: unknown", b"license: mit") + b"Their words.\n\n" + mark + rest
    hub.commit(NAME, {"README.md": words})
    assert publish(folder) == 0
    assert hub.files(NAME)["README.md"] == words
    (folder / "README.md").write_bytes(own + b"My words.\n\n" + mark + rest)
    assert publish(folder) == 0
    assert b"My words." in hub.files(NAME)["README.md"], "those of the folder, where it has any"


# --- One sentence ---


def refuse(folder, capsys, *words, **options):
    assert publish(folder, **options) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert "Traceback" not in said


def test_a_damaged_shard(folder, hub, capsys):
    path = folder / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    refuse(folder, capsys, "train-000001.tar has changed since it was rendered", "verify --fix")
    assert "train-000001.tar" not in hub.files(NAME)
    assert cli.main(["verify", str(folder), "--fix"]) == 0
    assert publish(folder) == 0
    assert read_hub(hub) == read(folder)


def test_another_data_set_and_a_larger_one(folder, hub, tmp_path, capsys):
    assert publish(folder, "--plan-only") == 0
    other = [*OPTIONS, "--seed", "1"]
    assert cli.main(["plan", *other, "--out", str(tmp_path / "other")]) == 0
    refuse(tmp_path / "other", capsys, "hf://datasets/me/sines has another data set")
    assert cli.main(["plan", *OPTIONS[:3], "20", *OPTIONS[4:], "--out", str(tmp_path / "smaller")]) == 0
    refuse(tmp_path / "smaller", capsys, "has more samples of this data set", "extend")


def test_tokens(folder, hub, monkeypatch, capsys):
    for token, words in (
        (hub_server.READ_ONLY_TOKEN, ["may not write to hf://datasets/me/sines"]),
        ("hf_wrong", ["does not know the token", "hf auth login"]),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        refuse(folder, capsys, *words)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "none"))
    refuse(folder, capsys, "there is no token for the Hub", "hf auth login", "HF_TOKEN")
    assert not hub.repositories


def test_addresses(folder, hub, capsys):
    refuse(folder, capsys, "may not write to hf://datasets/others/x", address="hf://datasets/others/x")
    for address in ("hf://me/x", "s3://datasets/me/x", "hf://datasets/me", "hf://datasets/me/x/y", "me/x"):
        refuse(folder, capsys, "publish to hf://datasets/OWNER/NAME", address=address)
    refuse(folder / "none", capsys, "is no data set")


def test_no_network_and_a_hub_that_fails(folder, hub, monkeypatch, capsys):
    for routes, words in (
        ([("POST", "/api/repos/create", "fail", "")], ["the Hub answered 503", "the same command goes on"]),
        ([("POST", "/api/repos/create", "hang_up", "")], ["can't be reached", "the same command goes on"]),
    ):
        monkeypatch.setattr(hub_server, "_ROUTES", routes)
        refuse(folder, capsys, *words)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    refuse(folder, capsys, "the Hub at http://127.0.0.1:9 can't be reached")


def test_without_the_extra(folder, hub, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refuse(folder, capsys, "publishing needs huggingface_hub: pip install", "[hf]")


def test_the_library_is_imported_only_here():
    assert huggingface_hub.__version__
    command = "import sys, dx7data.cli, dx7data.dataset.publish; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0


def test_what_a_link_leads_to_is_not_published(tmp_path):
    (tmp_path / "secret").write_bytes(b"a key")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "phrases.parquet").symlink_to("../secret")
    with pytest.raises(InputError, match="is a link that leads out"):
        _is_part(tmp_path / "data" / "phrases.parquet")
    assert not _is_part(tmp_path / "data" / "phrases.arrow")
