"""The compile cache: whatever lies where compiled code was kept, the right code runs, with one line for a person at most."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from dx7data import cache

SOURCE = "def add(a, b):\n    return a + b\n\ndef take(a, b):\n    return a - b\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache of our own, in which nothing is yet, and nothing has been said."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "home"))
    monkeypatch.setattr(cache, "_said", False)
    cache.folder.cache_clear()
    yield tmp_path / "home"
    cache.folder.cache_clear()


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "made.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made", raising=False)
    return importlib.import_module("made")


def compile_again(functions):
    """As another process does; how often code was found that had been compiled before."""
    hits = 0
    for name, expected in (("add", 5), ("take", 1)):
        function = cache.keep(numba.njit(getattr(functions, name)))
        assert function(3, 2) == expected
        hits += sum(function.stats.cache_hits.values())
    return hits


def test_code_is_kept(home, functions, capsys):
    assert compile_again(functions) == 0
    assert compile_again(functions) == 2
    assert capsys.readouterr().err == ""


def put(make):
    """Something else in the place of a file."""

    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def rewrite(change):
    def damage(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return damage


def flip(part: float, bit: int):
    def change(data: bytes) -> bytes:
        data = bytearray(data)
        data[int(part * (len(data) - 1))] ^= 1 << bit
        return bytes(data)

    return rewrite(change)


def swap(path: Path) -> None:
    """The file of another function under its name."""
    others = [each for each in path.parent.iterdir() if each.suffix == path.suffix and each.name != path.name]
    shutil.copy(others[0], path)


DAMAGES = {
    "gone": Path.unlink,
    "empty": rewrite(lambda data: b""),
    "one byte": rewrite(lambda data: data[:1]),
    "half": rewrite(lambda data: data[: len(data) // 2]),
    "the last byte is missing": rewrite(lambda data: data[:-1]),
    "zeros": rewrite(lambda data: bytes(len(data))),
    "ends in zeros": rewrite(lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2)),
    "text": rewrite(lambda data: b"not what was here\n"),
    "a byte more": rewrite(lambda data: data + b"\0"),
    "twice": rewrite(lambda data: 2 * data),
    "first bit": flip(0, 0),
    "a bit of the version": flip(0.02, 3),
    "a bit in the middle": flip(0.5, 0),
    "another bit in the middle": flip(0.7, 7),
    "last bit": flip(1, 7),
    "of another function": swap,
    "a folder": put(Path.mkdir),
    "a full folder": put(lambda path: (path / "more").mkdir(parents=True)),
    "a dangling link": put(lambda path: path.symlink_to("nowhere")),
    "a link to itself": put(lambda path: path.symlink_to(path.name)),
    "a link to a device": put(lambda path: path.symlink_to("/dev/zero")),
    "a pipe": put(os.mkfifo),
    "not readable": lambda path: path.chmod(0),
    "an empty pickle": rewrite(lambda data: b"N."),
}


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("kind", DAMAGES)
def test_damage(home, functions, capsys, kind, suffix):
    compile_again(functions)
    first = sorted(home.rglob(f"*{suffix}"))[0]
    DAMAGES[kind](first)
    compile_again(functions)  # which asserts what comes out
    assert len(capsys.readouterr().err.splitlines()) <= 1
    compile_again(functions)
    assert compile_again(functions) == (1 if "folder" in kind else 2), "it is mended, where there is room for it"
    assert not list(home.rglob("*.tmp.*"))


def test_a_cache_that_others_can_write_to(home, functions, capsys):
    """Its content is run: it would be theirs to choose."""
    compile_again(functions)
    cache.folder().chmod(0o777)
    cache.folder.cache_clear()
    assert compile_again(functions) == 0
    assert "can be written to by others" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_cache_of_another_user(home, functions, capsys):
    compile_again(functions)
    os.chown(cache.folder(), 12345, 12345)
    cache.folder.cache_clear()
    assert compile_again(functions) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("place", ["a file", "/dev/null", "/proc", "a dangling link"])
def test_no_place_for_a_cache(tmp_path, monkeypatch, home, functions, capsys, place):
    (tmp_path / "a file").write_text("mine")
    (tmp_path / "a dangling link").symlink_to("/proc/nowhere")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / place))
    assert compile_again(functions) == 0
    assert not cache.is_warm()
    (line,) = capsys.readouterr().err.splitlines()
    assert "compiled in memory" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("options", ["size=4k", "size=8k", "size=40k", "nr_inodes=1", "nr_inodes=4", "ro"])
def test_a_full_disk(tmp_path, options):
    """The disk is a small one in memory; a whole command runs on it."""
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "from dx7data.audio import gain; import numpy as np\n"
        "print(gain.apply(np.full((1, 4), 8192 << 3, np.int32), 'peak')[0])"
    )
    mount = f"mount -t tmpfs -o {options} tmpfs '{home}'"
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} && '{sys.executable}' -c \"{code}\" && ls -R '{home}'"],
        env=os.environ | {"NUMBA_CACHE_DIR": str(home)},
        capture_output=True,
        text=True,
    )
    if "mount" in run.stderr:
        pytest.skip("no mounts here")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("[[29204 29204 29204 29204]]")
    assert ".tmp." not in run.stdout
    assert len(run.stderr.splitlines()) == 1
    assert "compiled in memory" in run.stderr
