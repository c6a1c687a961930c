"""The plan of a data set in a folder or at a URL, and which of its shards are there."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dx7data.errors import InputError
from dx7data.plan import schema, tables
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from train.data.storage import Local, Remote


def load_plan(at: Local | Remote) -> Plan:
    """The plan in a folder, of which the tables come along when it is remote."""
    if isinstance(at, Local):
        return Plan.load(Path(at.name))
    with tempfile.TemporaryDirectory() as folder:
        try:
            document = at.read("dataset.json", schema.DOCUMENT_BYTES)
            (Path(folder) / "dataset.json").write_bytes(document)
            for name in ("patches.parquet", "phrases.arrow", "phrases.parquet"):
                if name.encode() in document:
                    (Path(folder) / name).write_bytes(at.read(name, tables.PLAN_BYTES))
        except FileNotFoundError as error:
            missing = Path(str(error.filename or error)).name
            raise InputError(f"{at.name} is no data set, or not a whole one: it has no {missing}") from None
        try:
            return Plan.load(Path(folder))
        except InputError as error:
            raise InputError(str(error).replace(folder, at.name)) from None


def list_shards(plan: Plan, split: str) -> list[Shard]:
    shards = [each for each in plan.shards() if each.split == split]
    if not shards:
        raise InputError(
            f"the data set has no {split!r} samples; it has {', '.join(s for s, n in plan.counts.items() if n)}"
        )
    return shards


def read_stats(at: Local | Remote, plan: Plan, split: str) -> list[tuple[Shard, dict[str, Any] | None]]:
    """Every shard of a split with the lengths and hashes of its files; None where it is missing, or of another plan."""
    shards, names, listed = list_shards(plan, split), at.list_names(), {}
    try:
        index = schema.decode(at.read("index.json", schema.index_bytes(len(plan.shards()))), schema.Index, at.name)
        if index["fingerprint"] == plan.fingerprint:
            listed = {each["name"]: each for each in index["shards"]}
    except (OSError, InputError):
        pass  # it is only the shorter way

    def read_one(each: Shard) -> dict[str, Any] | None:
        try:
            if each.name in listed and listed[each.name]["samples"] == each.count:
                stats = listed[each.name]
            else:
                name = f"{each.name}.stats.json"
                stats = plan.check_stats(each, at.read(name, schema.STATS_BYTES), f"{at.name}/{name}")
            return stats if at.is_complete(f"{each.name}.tar", stats["tar"]["bytes"]) else None
        except (OSError, InputError):
            return None

    if names is not None:  # a plan may have a million shards, and none of them made
        return [(each, read_one(each) if f"{each.name}.tar" in names else None) for each in shards]
    with ThreadPoolExecutor(16) as pool:  # what takes long is to wait for a remote
        return list(zip(shards, pool.map(read_one, shards), strict=True))
