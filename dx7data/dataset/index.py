"""The lists of all shards: `index.json`, and for each split one by which the library wids reads samples by their number."""

import json
from collections.abc import Iterable

from dx7data.plan import schema
from dx7data.plan.plan import Plan
from dx7data.plan.recipe import FORMAT
from dx7data.plan.spec import SPLITS, Shard

NAMES = ("index.json", *(f"{split}.wids.json" for split in SPLITS))


def make_indexes(plan: Plan, shards: Iterable[tuple[Shard, schema.Stats | None]]) -> dict[str, bytes]:
    """Name and content of each list, from all shards with their stats; none if a shard is missing."""
    listed: list[dict] = []
    of_splits: dict[str, list[dict]] = {split: [] for split in plan.counts}
    for each, stats in shards:
        if stats is None:
            return {}
        listed.append({"name": each.name, "samples": each.count, "tar": stats["tar"], "parquet": stats["parquet"]})
        size = stats["tar"]["bytes"]
        of_splits[each.split].append({"url": f"{each.name}.tar", "nsamples": each.count, "filesize": size})
    indexes: dict[str, dict] = {"index.json": {"fingerprint": plan.fingerprint, "shards": listed}}
    if plan.format == FORMAT:
        for split, of_split in of_splits.items():
            about = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": f"{plan.fingerprint[:16]}-{split}"}
            indexes[f"{split}.wids.json"] = about | {"shardlist": of_split}
    return {name: (json.dumps(document, indent=1) + "\n").encode() for name, document in indexes.items()}
