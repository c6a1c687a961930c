"""What else may stand in the place of a file: links, pipes, folders, nothing, a file of another data set."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.campaign.hostile_folders.folder import SHARD, sign, write_json
from benchmarks.campaign.hostile_folders.registry import case
from benchmarks.campaign.hostile_folders.values import TERMINAL


def _link_out(path: Path) -> None:
    target = path.parent.parent / "outside" / path.name
    target.parent.mkdir(exist_ok=True)
    if path.is_file():
        target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)


def _make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "within.txt").write_text("a file of the user")


def _link_to(target: str, path: Path) -> None:
    path.unlink()
    path.symlink_to(target)


IN_ITS_PLACE = {
    "a link that leads out": _link_out,
    "a dangling link": partial(_link_to, "../outside/nothing"),
    "a link to itself": lambda path: _link_to(path.name, path),
    "a link to /dev/zero": partial(_link_to, "/dev/zero"),
    "a pipe": _make_fifo,
    "a folder": _make_folder,
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
}


def replace(name: str, put: Callable[[Path], None], folder: Path) -> None:
    path = folder / name
    if not path.exists():
        path.write_bytes(b"")
    put(path)


@case("a folder and files with names for the terminal")
def _(folder: Path) -> None:
    (folder / f"{TERMINAL}.tar").write_bytes(b"")
    (folder / f"train-00000{TERMINAL}.tar").mkdir()
    (folder / f".0123abcd.{SHARD}.tar.partial").symlink_to("../outside/partial")


@case("more shards than the plan has")
def _(folder: Path) -> None:
    for kind in ("tar", "parquet", "stats.json"):
        (folder / f"train-999999.{kind}").write_bytes((folder / f"{SHARD}.{kind}").read_bytes())


def borrow(name: str, other: Path, folder: Path) -> None:
    """A file of another data set in the place of this one's."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes((other / name).read_bytes())
    if name != "dataset.json":
        document = json.loads((folder / "dataset.json").read_bytes())
        before = document["fingerprint"]
        sign(folder)
        document = json.loads((folder / "dataset.json").read_bytes())
        write_json(folder / "dataset.json", document | {"fingerprint": before}, signed=True)
