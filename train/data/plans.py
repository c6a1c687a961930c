"""Which shards of a plan there are, in a folder or at a URL."""

from typing import Any

from dx7data.errors import InputError
from dx7data.plan import schema
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.storage import Folder


def list_shards(plan: Plan, split: str) -> list[Shard]:
    shards = [each for each in plan.shards() if each.split == split]
    if not shards:
        raise InputError(
            f"the data set has no {split!r} samples; it has {', '.join(s for s, n in plan.counts.items() if n)}"
        )
    return shards


def read_stats(folder: Folder, plan: Plan, split: str) -> list[tuple[Shard, dict[str, Any] | None]]:
    """Every shard of a split with the lengths and hashes of its files; None where it is missing, or of another plan."""
    shards, sizes, listed = list_shards(plan, split), folder.list_sizes(), {}
    try:
        limit = schema.index_bytes(len(plan.shards()))
        index = schema.decode(folder.read("index.json", limit), schema.Index, folder.where("index.json"))
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
                stats = plan.check_stats(each, folder.read(name, schema.STATS_BYTES), folder.where(name))
            return stats if measure(f"{each.name}.tar") in (stats["tar"]["bytes"], None) else None
        except (OSError, InputError):
            return None

    def measure(name: str) -> int | None:
        """None where there is no list: a request for each of thousands of shards takes minutes. See what is read later."""
        if sizes is None:
            return None
        return folder.measure(name) if sizes[name] is None else sizes[name]

    # A plan may have a million shards, and none of them made.
    there = [each for each in shards if sizes is None or f"{each.name}.tar" in sizes]
    found = dict(zip(there, folder.map(read_one, there), strict=True))
    return [(each, found.get(each)) for each in shards]
