"""Files that are written: on the disk before they have their names, where a person wants them, and nowhere else."""

import itertools
import os
import re
import stat
import subprocess
import sys
import threading
import time

import pytest

from dx7data import cli, files
from dx7data.patches import bank

SMALL = ["--samples", "12", "--seconds", "0.25", "--shard-size", "50kB", "--device", "cpu", "--workers", "1"]


@pytest.fixture
def calls(monkeypatch):
    """What is synced (a file's inode and length) and renamed (an inode and a name), in order; both are really done."""
    recorded, sync, replace = [], os.fsync, os.replace

    def fsync(descriptor):
        sync(descriptor)
        found = os.fstat(descriptor)
        recorded.append(("sync", found.st_ino, None if stat.S_ISDIR(found.st_mode) else found.st_size))

    def rename(source, target):
        recorded.append(("rename", os.stat(source).st_ino, str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    return recorded


def check_order(calls, folder):
    """Each file is synced whole before it is renamed, and the folder after all of them."""
    last = max(i for i, call in enumerate(calls) if call[:2] == ("sync", os.stat(folder).st_ino))
    for path in folder.iterdir():
        if path.name in ("render.log", ".lock"):
            continue
        found = path.stat()
        synced, renamed = ("sync", found.st_ino, found.st_size), ("rename", found.st_ino, str(path))
        assert synced in calls, f"{path.name} was not synced, or not all of it"
        assert calls.index(synced) < calls.index(renamed) < last, path.name


def test_a_render_is_on_the_disk(tmp_path, calls):
    folder = tmp_path / "out"
    assert cli.main(["render", "--patches", "example", "--out", str(folder), *SMALL]) == 0
    check_order(calls, folder)
    names = [os.path.basename(call[2]) for call in calls if call[0] == "rename"]
    shards = [name.removesuffix(".tar") for name in names if name.endswith(".tar")]
    assert len(shards) > 2
    folders = [i for i, call in enumerate(calls) if call[:2] == ("sync", folder.stat().st_ino)]
    for shard in shards:
        tar, table, stats = (
            next(i for i, call in enumerate(calls) if call[0] == "rename" and call[2].endswith(f"/{shard}.{kind}"))
            for kind in ("tar", "parquet", "stats.json")
        )
        assert tar < table < stats, "the sign that a shard is whole comes last"
        assert len([i for i in folders if tar < i <= stats + 1]) == 1, "the folder is synced once a shard"
    of_cache = [call for call in calls if call[0] == "rename" and not call[2].startswith(str(tmp_path))]  # what was compiled
    first = next(call for call in calls if call not in of_cache)
    assert first[:2] == ("sync", tmp_path.stat().st_ino), "the folder's own name"


@pytest.mark.parametrize("cut", [b"", b"{", b'{\n "format": 3,\n "engi', b"\0" * 500])
@pytest.mark.parametrize("name", ["dataset.json", "patches.parquet"])
def test_a_torn_plan_is_made_again(tmp_path, capsys, cut, name):
    command = ["render", "--patches", "example", "--out", str(tmp_path / "out"), *SMALL]
    assert cli.main(command) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name != "render.log"}
    (tmp_path / "out" / name).write_bytes(cut)
    for shard in ("train-000000", "val-000000"):
        (tmp_path / "out" / f"{shard}.stats.json").write_bytes(b"")
    (tmp_path / "out" / "train-000001.parquet").write_bytes(b"")
    (tmp_path / "out" / "train-000002.tar").write_bytes(b"")
    assert cli.main(command) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name != "render.log"} == before


def test_a_torn_plan_is_not_taken_for_ones_own(tmp_path, capsys):
    """The shards beside it are of another one: a person has them from before."""
    command = ["render", "--patches", "example", "--out", str(tmp_path / "out"), *SMALL]
    assert cli.main(command) == 0
    (tmp_path / "out" / "dataset.json").write_bytes(b"")
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "out").iterdir())
    assert cli.main([*command, "--seed", "9"]) == 2
    assert "has lost its plan" in capsys.readouterr().err
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / "out").iterdir()) == before
    assert cli.main([*command, "--seed", "9", "--overwrite"]) == 0


def test_a_torn_plan_of_more_samples(tmp_path, capsys):
    """A data set that was extended since keeps what the command that began it does not ask for."""
    out = tmp_path / "out"
    command = ["render", "--patches", "example", "--out", str(out), *SMALL]
    assert cli.main(command) == 0
    assert cli.main(["extend", str(out), "--samples", "400"]) == 0
    (out / "dataset.json").write_bytes(b"")
    before = sorted((path.name, path.read_bytes()) for path in out.iterdir())
    assert cli.main(command) == 2
    assert "is of one with more samples: put dataset.json back, or --overwrite" in capsys.readouterr().err
    assert sorted((path.name, path.read_bytes()) for path in out.iterdir()) == before


def test_a_clock_that_is_set_back(tmp_path, monkeypatch):
    """The log says how long a render took, not by how much the clock has changed."""
    clock = itertools.count(1e9, -1000)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert cli.main(["render", "--patches", "example", "--out", str(tmp_path / "out"), *SMALL]) == 0
    assert re.search(r" shards in \d+\.\d\d s\n", (tmp_path / "out" / "render.log").read_text())


# --- Where a person wants it ---


def write(path, data=b"written"):
    files.write_output(path, ("",), lambda file: file.write(data))


def test_an_output_is_replaced_through_links(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "page.html", tmp_path / "link.html"
    target.write_bytes(b"before")
    link.symlink_to("again.html")
    (tmp_path / "again.html").symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"written"
    assert list(target.parent.iterdir()) == [target]


def test_an_output_through_a_dangling_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new")
    write(tmp_path / "link")
    assert (tmp_path / "new").read_bytes() == b"written"


def test_an_output_to_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    heard = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join(10)
    assert heard == [b"written"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_an_output_to_a_device(tmp_path):
    try:
        os.mknod(tmp_path / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        (tmp_path / "null").open("wb").close()
    except OSError:
        pytest.skip("no devices here")
    write(tmp_path / "null")
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)


def test_a_failed_output_leaves_what_was_there(tmp_path):
    (tmp_path / "out").write_bytes(b"before")

    def fail(file):
        file.write(b"half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        files.write_output(tmp_path / "out", ("",), fail)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out", b"before")]


@pytest.fixture(scope="module")
def at_hand(tmp_path_factory):
    """A data set, a bank and an export of it."""
    folder = tmp_path_factory.mktemp("at hand")
    assert cli.main(["render", "--patches", "example", "--out", str(folder / "shards"), *SMALL]) == 0
    for name in ("bank.syx", "bank.json"):
        assert cli.main(["patches", "export", "example", "--out", str(folder / name)]) == 0
    return folder


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["inspect", "shards", "--html", "shards/train-000000.tar"], "is no .html or .htm file"),
        (["inspect", "shards", "--html", "shards/dataset.json"], "as a file of a data set"),
        (["wav", "--patch", "bank.syx:1", "--out", "bank.syx"], "only wav is written"),
        (["patches", "ls", "bank.syx", "--report", "bank.syx"], "is one of the files that are read"),
        (["patches", "ls", "bank.json", "--report", "./bank.json"], "is one of the files that are read"),
        (["patches", "ls", "example", "--report", "bank.syx"], "is no .json file"),
        (["patches", "ls", "example", "--report", "shards/index.json"], "as a file of a data set"),
        (["patches", "export", "example", "--out", "shards/dataset.json"], "as a file of a data set"),
    ],
)
def test_an_output_never_replaces_what_is_no_such_file(at_hand, monkeypatch, capsys, argv, sentence):
    """An option that is mistaken for another, or completed to the file that is read, must not cost a bank or a shard."""
    monkeypatch.chdir(at_hand)
    before = {path: path.read_bytes() for path in at_hand.rglob("*") if path.is_file()}
    assert cli.main(argv) == 2
    assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in at_hand.rglob("*") if path.is_file()} == before


def test_an_output_replaces_its_like_and_what_is_empty(tmp_path):
    for name, content in (("page.HTML", b"an older page"), ("of-mktemp", b"")):
        (tmp_path / name).write_bytes(content)
        files.write_output(tmp_path / name, files.HTML, lambda file: file.write(b"new"))
        assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("argv", "begin"),
    [
        (["wav", "--patch", "example:1", "--seconds", "0.1", "--out", "/dev/stdout"], b"RIFF"),
        (["patches", "ls", "example", "--report", "/dev/stdout"], b"{"),
    ],
)
def test_stdout_as_the_output(argv, begin):
    done = subprocess.run([sys.executable, "-m", "dx7data", *argv], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(begin)
    if argv[0] == "wav":
        assert len(done.stdout) == int.from_bytes(done.stdout[4:8], "little") + 8, "nothing follows the file"
    assert os.path.islink("/dev/stdout")


def test_an_output_of_each_command_goes_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    for name, argv in {
        "a.wav": ["wav", "--patch", "example:1", "--seconds", "0.1", "--out"],
        "b.syx": ["patches", "export", "example", "--out"],
        "c.json": ["patches", "ls", "example", "--report"],
    }.items():
        (tmp_path / name).symlink_to(tmp_path / "real" / name)
        assert cli.main([*argv, str(tmp_path / name)]) == 0
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "real" / name).stat().st_size > 100
    assert len(bank.load([str(tmp_path / "b.syx")]).ids) == 32


# --- Nowhere else ---


@pytest.mark.parametrize("name", ["render.log", ".lock"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_in_a_data_set_is_not_followed(tmp_path, capsys, name, exists):
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    assert cli.main(["plan", "--patches", "example", "--out", str(folder), *SMALL[:-4]]) == 0
    if exists:
        elsewhere.write_text("mine\n")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(elsewhere)
    assert cli.main(["render", "--plan", str(folder), "--workers", "1"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dx7data:")]
    assert name in line
    assert elsewhere.read_text() == "mine\n" if exists else not elsewhere.exists()
    assert not list(folder.glob("*.tar")), "it is refused before an hour is spent on it"


def test_links_are_replaced_by_shards(tmp_path):
    """A shard that lies elsewhere is damaged: it is made here, and not there."""
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    assert cli.main(["render", "--patches", "example", "--out", str(folder), *SMALL]) == 0
    elsewhere.write_bytes(b"mine")
    for name in ("train-000001.tar", "index.json", "README.md"):
        (folder / name).unlink()
        (folder / name).symlink_to(elsewhere)
    assert cli.main(["verify", str(folder), "--fix"]) == 0
    assert elsewhere.read_bytes() == b"mine"
    assert not any(path.is_symlink() for path in folder.iterdir())
