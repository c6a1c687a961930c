"""Data sets that somebody has made to do harm: small folders, all of whose hashes are right, so that nothing but the checks
of each field stands between them and the reader.

Every case is a function that changes a good data set; `collect` has them by name. All of them end with `folder.sign`, which
puts right every hash, as the person who made it would.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.campaign.hostile_folders import phrases, tables  # noqa: F401  # their cases are in the registry
from benchmarks.campaign.hostile_folders.documents import set_document, set_index, set_stats
from benchmarks.campaign.hostile_folders.folder import SHARD
from benchmarks.campaign.hostile_folders.places import IN_ITS_PLACE, borrow, replace
from benchmarks.campaign.hostile_folders.registry import CASES
from benchmarks.campaign.hostile_folders.tars import read_first_json, set_sample
from benchmarks.campaign.hostile_folders.values import make_variants


def collect(good: Path, other: Path) -> dict[str, Callable[[Path], None]]:
    """All cases: those of the registry, some wrong values for each field of each document of a good data set, what else may
    stand in the place of each file, and files of another data set.
    """
    cases = dict(CASES)
    document = json.loads((good / "dataset.json").read_bytes())
    for word, changed in make_variants({name: value for name, value in document.items() if name != "sha256"}, rotate=True):
        cases[f"dataset.json: {word}"] = partial(set_document, changed)
    stats = json.loads((good / f"{SHARD}.stats.json").read_bytes())
    for word, changed in make_variants({name: value for name, value in stats.items() if name != "sha256"}, rotate=True):
        cases[f"stats: {word}"] = partial(set_stats, changed)
    for word, changed in make_variants(json.loads((good / "index.json").read_bytes()), rotate=True):
        cases[f"index.json: {word}"] = partial(set_index, changed)
    sample = read_first_json(good)
    for word, changed in make_variants(sample, rotate=True):
        cases[f"json of a sample: {word}"] = partial(set_sample, changed)
    of_a_shard = [f"{SHARD}.{kind}" for kind in ("tar", "parquet", "stats.json")]
    for name in ["dataset.json", "patches.parquet", "phrases.arrow", *of_a_shard, "index.json", "README.md", "render.log"]:
        for word, put in IN_ITS_PLACE.items():
            cases[f"{name} is {word}"] = partial(replace, name, put)
        cases[f"{name} is another's"] = partial(borrow, name, other)
    return cases
