"""dataset.json, the stats of a shard and the index with other content; among it numbers that are legal one by one."""

import json
from pathlib import Path

from benchmarks.campaign.hostile_folders.folder import SHARD, is_plain, sign, write_json
from benchmarks.campaign.hostile_folders.registry import case
from benchmarks.campaign.hostile_folders.values import CLIMBING


def set_document(document: dict, folder: Path) -> None:
    sign(folder, document)


def set_stats(stats: dict, folder: Path) -> None:
    sign(folder, stats=stats | ({} if "fingerprint" not in stats else {"fingerprint": stats["fingerprint"]}))
    if "fingerprint" not in stats or not is_plain(stats["fingerprint"]):  # sign has put it right
        wrong = json.loads((folder / f"{SHARD}.stats.json").read_bytes())
        wrong.pop("fingerprint", None)
        write_json(folder / f"{SHARD}.stats.json", wrong | {k: v for k, v in stats.items() if k == "fingerprint"}, True)


def set_index(index: dict, folder: Path) -> None:
    write_json(folder / "index.json", index)
    for path in folder.glob("*.stats.json"):  # the index is what a reader goes by first
        path.touch()


def _set_fields(folder: Path, spec: dict | None = None, **fields) -> None:
    document = json.loads((folder / "dataset.json").read_bytes())
    sign(folder, document | fields | {"spec": document["spec"] | (spec or {})})


@case("a billion shards of one sample")
def _(folder: Path) -> None:
    _set_fields(folder, {"shard_bytes": 1}, samples={"train": 10**9, "val": 1, "test": 1})


@case("a billion samples in one shard")
def _(folder: Path) -> None:
    _set_fields(folder, {"shard_bytes": 10**15}, samples={"train": 10**9})


@case("a billion samples of each split")
def _(folder: Path) -> None:
    _set_fields(folder, samples=dict.fromkeys(("train", "val", "test"), 10**18))


@case("tables: /dev/zero")
def _(folder: Path) -> None:
    document = json.loads((folder / "dataset.json").read_bytes())
    sign(folder, document | {"tables": document["tables"] | {"/dev/zero": "0" * 64}})


@case("tables: climbing")
def _(folder: Path) -> None:
    document = json.loads((folder / "dataset.json").read_bytes())
    sign(folder, document | {"tables": document["tables"] | {CLIMBING: "0" * 64}})


@case("a shard of 7 GiB")
def _(folder: Path) -> None:
    stats = json.loads((folder / f"{SHARD}.stats.json").read_bytes())
    sign(folder, stats=stats | {"tar": {"bytes": 7 << 30, "sha256": stats["tar"]["sha256"]}})


@case("a digest that climbs")
def _(folder: Path) -> None:
    stats = json.loads((folder / f"{SHARD}.stats.json").read_bytes())
    sign(folder, stats=stats | {"tar": stats["tar"] | {"sha256": CLIMBING}})
