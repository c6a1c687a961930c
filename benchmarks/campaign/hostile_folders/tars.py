"""Tars with other headers and members, and tables that say where these lie."""

import io
import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.campaign.hostile_folders.folder import SHARD, sign
from benchmarks.campaign.hostile_folders.registry import CASES, case
from benchmarks.campaign.hostile_folders.values import TERMINAL, deepen


def read_first_json(folder: Path) -> dict:
    with tarfile.open(folder / f"{SHARD}.tar") as tar:
        return json.load(tar.extractfile(tar.next()))


def _rewrite(folder: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> None:
    """The tar with other members, and a table that says where they lie."""
    path = folder / f"{SHARD}.tar"
    with tarfile.open(path) as tar:
        members = [change(member, tar.extractfile(member).read()) for member in tar]
    table, data = pq.read_table(folder / f"{SHARD}.parquet"), io.BytesIO()
    names = [name.removesuffix("_offset") for name in table.column_names if name.endswith("_offset")]
    places = {f"{name}_{what}": [] for name in names for what in ("offset", "bytes")}
    for n, (member, content) in enumerate(members):
        data.write(member.tobuf(tarfile.USTAR_FORMAT))
        name = names[n % len(names)]
        places[f"{name}_offset"].append(data.tell())
        places[f"{name}_bytes"].append(len(content))
        data.write(content + bytes(-len(content) % 512))
    data.write(bytes(1024))
    data.write(bytes(-data.tell() % 10240))
    path.write_bytes(data.getvalue())
    for name, values in places.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.int64()))
    pq.write_table(table, folder / f"{SHARD}.parquet")
    sign(folder)


def set_sample(document: dict, folder: Path) -> None:
    text = deepen(json.dumps(document, separators=(",", ":")))

    def change(member, data):
        if not member.name.endswith(".json"):
            return member, data
        member.size = len(text)
        return member, text

    _rewrite(folder, change)


def _header(word: str, **fields) -> None:
    def change(member, data):
        for name, value in fields.items():
            setattr(member, name, value(member.name) if callable(value) else value)
        return member, data

    CASES[f"tar: {word}"] = partial(_rewrite, change=change)


_header("names that climb", name=lambda name: f"../../../outside/{name}")
_header("absolute names", name=lambda name: f"/tmp/{name}")
_header("names for the terminal", name=lambda name: f"{TERMINAL}{name[-12:]}")
_header("links", type=tarfile.SYMTYPE, linkname="/etc/passwd")
_header("devices", type=tarfile.CHRTYPE)
_header("sizes of 8 GB", size=8**11 - 1)
_header("one name for all", name="train_00000000.source.wav")


@case("tar: wavs that are none")
def _(folder: Path) -> None:
    _rewrite(folder, lambda member, data: (member, bytes(len(data)) if member.name.endswith("wav") else data))


@case("tar: dumps that are none")
def _(folder: Path) -> None:
    _rewrite(folder, lambda member, data: (member, b"\xf0" * len(data) if member.name.endswith("syx") else data))


@case("tar: noise")
def _(folder: Path) -> None:
    size = (folder / f"{SHARD}.tar").stat().st_size
    (folder / f"{SHARD}.tar").write_bytes(np.random.default_rng(0).bytes(size))
    sign(folder)


@case("tar: cut short")
def _(folder: Path) -> None:
    (folder / f"{SHARD}.tar").write_bytes((folder / f"{SHARD}.tar").read_bytes()[:1000])
    sign(folder)
