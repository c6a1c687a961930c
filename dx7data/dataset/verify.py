"""Is a data set what its plan renders to? Every byte is checked, and what is damaged can be made again."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dx7data import prefix
from dx7data.dataset import card, executors, folders, shard
from dx7data.errors import InputError
from dx7data.patches import sysex
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard

_REBUILT = 3  # samples of each shard that are rendered again
_BLOCK = 1 << 22


def verify(folder: Path, progress: Callable[[int], object] = lambda size: None, fix: bool = False) -> list[str]:
    """What is wrong with a data set, a sentence each; empty when every byte is as it was rendered.

    All files are hashed, and of each shard a few samples are rendered and their prefixes decoded; not so of older formats.
    progress: is called with the number of bytes read. fix: make what is damaged again. Last, `index.json` is written if all
    shards are there. Raises InputError if the plan itself is damaged, since all else follows from it, or too old to fix.
    """
    plan = Plan.load(folder)
    if fix:
        plan.check_current()
    wrong = []
    with ThreadPoolExecutor(executors.count_workers()) as pool:  # hashing does not hold the interpreter's lock
        checked = pool.map(lambda each: _check_files(plan, each, folder, progress), plan.shards())
        try:
            for each, problem in zip(plan.shards(), checked, strict=True):
                problems = [problem] if problem else [] if plan.old_fingerprint else list(_check_samples(plan, each, folder))
                wrong += [f"{each.name}: {problem}" for problem in problems]
                if problems and fix:
                    _remake(plan, each, folder)
        except BaseException:  # Ctrl-C too: the pool would hash everything else before it ends
            pool.shutdown(cancel_futures=True)
            raise
    wrong += _check_others(plan, folder)
    known = {f"{each.name}.tar" for each in plan.shards()}
    wrong += [
        f"{path.name}: no shard of this plan; remove it"
        for path in sorted(folder.glob("*.tar"))
        if folders.is_own(path) and path.name not in known
    ]
    try:
        if fix:
            folders.write_plan(plan, folder)
        if fix or not wrong:
            folders.write_index(plan, folder)
    except OSError as error:
        raise InputError(f"the shards are checked, but {folder} can't be written to: {error.strerror or error}") from None
    return wrong


def _remake(plan: Plan, each: Shard, folder: Path) -> None:
    try:
        folders.remove_partial(folder, [each])
        shard.write_shards(plan, [each], folder)
    except OSError as error:
        raise InputError(f"writing {each.name} to {folder} failed: {error.strerror or error}") from None


def _check_files(plan: Plan, each: Shard, folder: Path, progress: Callable[[int], object]) -> str | None:
    """What is wrong with the files of a shard, if anything is."""
    stats = shard.read_stats(plan, each, folder)
    if stats is None:
        return "missing, cut short, damaged, or of another plan"
    for kind in ("tar", "parquet"):
        size, digest = _hash(folder / f"{each.name}.{kind}", progress)
        if {"bytes": size, "sha256": digest} != stats[kind]:
            return f"the {kind} has changed since it was rendered"
    return None


def _check_samples(plan: Plan, each: Shard, folder: Path) -> Iterator[str]:
    """What is wrong with a few samples of a shard whose files are as they were written."""
    rows = shard.read_rows(folder, each)
    for i in sorted({round(part * (each.count - 1) / max(1, _REBUILT - 1)) for part in range(_REBUILT)}):
        yield from _check_sample(plan, each, folder, rows[i])


def _check_sample(plan: Plan, each: Shard, folder: Path, row: dict) -> Iterator[str]:
    """A sample against its plan, and its prefixes against the patches in its dump."""
    again = plan[each.split, row["index"]]
    members = {name.removeprefix(f"{again.key}."): data for name, data in again.members()}
    there = shard.read_members(folder, each, row)
    if there != members or row["key"] != again.key:
        yield f"sample {row['key']} is not what its plan renders to"
    yield from (f"sample {row['key']}: {problem}" for problem in check_prefixes(plan, there))


def check_prefixes(plan: Plan, members: dict[str, bytes]) -> Iterator[str]:
    """What the prefixes of a sample say, against the patches in its dump."""
    dumped = [np.frombuffer(record.patch, np.uint8) for record in sysex.read(members["target.syx"]).voices]
    for codec in plan.spec.prefixes:
        for stored, audio in zip(dumped, folders.split_layers(plan, members[f"prefix.{codec}.wav"]), strict=False):
            try:
                if prefix.CODECS[codec].decode is None:
                    agrees = (prefix.encode(stored, codec, plan.spec.sample_rate) == audio).all()
                else:
                    agrees = (prefix.decode(audio, codec, plan.spec.sample_rate) == stored).all()
                if not agrees:
                    yield f"its {codec} prefix is of another patch than target.syx"
            except prefix.PrefixError as error:
                yield str(error)


def _check_others(plan: Plan, folder: Path) -> Iterator[str]:
    """The files that follow from the plan and the shards."""
    path = folder / "README.md"
    if not plan.old_fingerprint and (not path.exists() or path.read_bytes() != card.format_card(plan).encode()):
        yield "README.md: has changed since it was written"
    data, path = folders.make_index(plan, folders.list_shards(folder, plan)), folder / "index.json"
    if path.exists() and data is not None and path.read_bytes() != data:
        yield "index.json: has changed since it was written"


def _hash(path: Path, progress: Callable[[int], object] = lambda size: None) -> tuple[int, str]:
    """Length and SHA-256 of a file; 0 and none if it is not there."""
    state, size = hashlib.sha256(), 0
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                state.update(block)
                size += len(block)
                progress(len(block))
    except FileNotFoundError:
        return 0, ""
    return size, state.hexdigest()
