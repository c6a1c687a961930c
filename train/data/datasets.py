"""Samples for training as (prefix, source, target), int16: from shards, from a plan rendered live, or from any webdataset.

Shards are read by byte offset from memory-mapped tars, local or fetched into a cache (storage.py). They and a live plan give
the same samples under torch's plain DataLoader, in the order of sampler.py, which can be resumed exactly.

    data = open_clips("shards/", "train", codec="fsk", crop=16000)
    loader = DataLoader(data, batch_sampler=Batches(data, 64), num_workers=4)
"""

from pathlib import Path
from typing import Any

from dx7data.errors import InputError
from dx7data.plan.plan import Plan
from train.data.clips import Clips, LiveClips
from train.data.shards import ShardClips
from train.data.storage import CACHE_BYTES, open_folder
from train.data.web import UrlClips

READERS = ("shards", "live", "webdataset")


def open_clips(
    where: str | Path | Plan,
    split: str = "train",
    reader: str = "shards",
    codec: str | None = None,
    sample_rate: int | None = None,
    crop: int | None = None,
    skip_missing: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Clips | UrlClips:
    """The samples of a split, from a folder or a URL of one; reader "webdataset": from any address that webdataset reads.

    codec: of the prefix; None: none. sample_rate: the shards' own or, lowered, a part of it. crop: samples at that rate.
    skip_missing: do without shards that are not there; `skipped` names them. seed: of crops of the reader "webdataset".
    cache: of shards at URLs.
    Raises InputError, a sentence, when the data or an option is wrong.
    """
    if reader not in READERS:
        raise InputError(f"the reader must be one of {', '.join(READERS)}, not {reader!r}")
    options: dict[str, Any] = {"codec": codec, "sample_rate": sample_rate, "crop": crop}
    if reader == "webdataset":
        return UrlClips(str(where), **options, seed=seed)
    if isinstance(where, Plan):
        return LiveClips(where, split, **options)
    at = open_folder(where, cache, cache_bytes)
    plan = Plan.load(at)
    if reader == "live":
        return LiveClips(plan, split, **options)
    return ShardClips(at, plan, split, skip_missing, **options)
