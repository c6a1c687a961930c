"""Is a data set what its plan renders to? Every byte is compared with its hash, and what is damaged can be made again."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dx7data import prefix
from dx7data.dataset import card, folders, shard
from dx7data.dataset.executors import local
from dx7data.errors import InputError
from dx7data.files import PARTIAL, open_regular
from dx7data.patches import sysex
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard

_RENDERED_AGAIN = 3  # samples of each shard
_BLOCK = 1 << 22


def verify(
    folder: Path, progress: Callable[[int], object] = lambda size: None, fix: bool = False, full: bool = False
) -> list[str]:
    """What is wrong with a data set, a sentence each; empty when every file is as it was written.

    All files are hashed and all members of tars looked for; a few samples of each shard are rendered and their prefixes
    decoded, or, if `full`, all samples; none of older formats. progress: is called with the number of bytes read. fix: make
    what is damaged again. Last, `index.json` is written if all shards are there. Raises InputError if the plan itself is
    damaged, since all else follows from it, or too old to fix or to render.
    """
    plan = Plan.load(folder)
    if fix or full:
        plan.check_current()
    wrong = []
    with ThreadPoolExecutor(local.count_workers()) as pool:  # hashing does not hold the interpreter's lock
        checked = pool.map(lambda each: _check_files(plan, each, folder, progress), plan.shards())
        try:
            for each, problem in zip(plan.shards(), checked, strict=True):
                problems = [problem] if problem else list(_check_content(plan, each, folder, progress, full))
                wrong += [f"{each.name}: {problem}" for problem in problems]
                if problems and fix:
                    wrong += _remake(plan, each, folder)
        except BaseException:  # Ctrl-C too: the pool would hash everything else before it ends
            pool.shutdown(cancel_futures=True)
            raise
    wrong += _check_others(plan, folder)
    known = {each.name for each in plan.shards()}
    wrong += [
        f"{path.name}: no shard of this plan; remove it"
        for path in sorted(folder.iterdir())
        if folders.is_shard_file(path) and path.name.partition(".")[0] not in known
    ]
    try:
        if fix:
            folders.write_plan(plan, folder)
        if fix or not wrong:
            folders.write_index(plan, folder)
    except OSError as error:
        raise InputError(f"the shards are checked, but {folder} can't be written to: {error.strerror or error}") from None
    return wrong


def describe_checks(folder: Path, full: bool) -> str:
    """What is known of a data set with which nothing is wrong: no more than was looked at."""
    if full:
        return "all samples were rendered again: every byte is as it was rendered"
    if Plan.load(folder).old_fingerprint:
        return "every file is as it was written; no sample was rendered again, for the format is an older one"
    return (
        f"every file is as it was written, and up to {_RENDERED_AGAIN} samples of each shard are what they render to; "
        "--full renders all of them"
    )


def list_remarks(folder: Path) -> list[str]:
    """A sentence for each thing in a data set's folder that does no harm and is no part of it, or no file of its own."""
    remarks = []
    for path in sorted(folder.iterdir()):
        if not folders.is_own(path):
            remarks.append(f"{path.name}: no part of the data set, and left alone")
        elif path.name.endswith(PARTIAL):
            remarks.append(f"{path.name}: left over from a render that was stopped; dx7data render --plan removes it")
        elif path.is_symlink():
            remarks.append(f"{path.name}: a link to {path.readlink()}")
    return remarks


def _remake(plan: Plan, each: Shard, folder: Path) -> Iterator[str]:
    """Make a shard again; yields what stands in its way. Raises InputError when it can't be written."""
    paths = [folder / f"{each.name}.{kind}" for kind in ("tar", "parquet", "stats.json")]
    blocked = [path.name for path in paths if path.is_dir() and not path.is_symlink() and any(path.iterdir())]
    if blocked:
        yield f"{each.name}: a folder stands in the place of {blocked[0]}, with something in it; move it away"
        return
    try:
        folders.remove_partial(folder, [each])
        shard.write_shards(plan, [each], folder)
    except OSError as error:
        raise InputError(f"writing {each.name} to {folder} failed: {error.strerror or error}") from None


def _check_files(plan: Plan, each: Shard, folder: Path, progress: Callable[[int], object]) -> str | None:
    """What is wrong with the files of a shard, if anything is."""
    try:
        stats = shard.load_stats(plan, each, folder)
        for kind in ("tar", "parquet"):
            if _hash(folder / f"{each.name}.{kind}", progress) != stats[kind]["sha256"]:
                return f"the {kind} has changed since it was rendered"
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"it can't be read: {error.strerror or error}"
    return None


def _check_content(plan: Plan, each: Shard, folder: Path, progress: Callable[[int], object], full: bool) -> Iterator[str]:
    """What is wrong with the samples of a shard whose files are as they were written."""
    try:
        rows = shard.read_rows(plan, each, folder)
        shard.check_members(each, folder, rows)
        if full:
            yield from _render_again(plan, each, folder)
            progress(shard.load_stats(plan, each, folder)["tar"]["bytes"])
        elif not plan.old_fingerprint:
            for i in sorted(
                {round(part * (each.count - 1) / max(1, _RENDERED_AGAIN - 1)) for part in range(_RENDERED_AGAIN)}
            ):
                yield from _check_sample(plan, each, folder, rows[i])
    except InputError as error:
        yield str(error)
    except OSError as error:  # as _check_files has it: another command may remove files meanwhile
        yield f"it can't be read: {error.strerror or error}"


def _render_again(plan: Plan, each: Shard, folder: Path) -> Iterator[str]:
    """What of a shard's files is not what its plan renders to. The bytes of a table depend on the version of pyarrow."""
    with TemporaryDirectory() as name:
        shard.write_shards(plan, [each], Path(name))
        found, again = (shard.load_stats(plan, each, place) for place in (folder, Path(name)))
        if found["tar"] != again["tar"]:
            yield "the tar is not what its plan renders to"
        if not shard.read_table(plan, each, folder).equals(shard.read_table(plan, each, Path(name))):
            yield "the parquet is not what its plan renders to"
        if found | {"parquet": again["parquet"]} != again:
            yield "the stats.json is not what its plan renders to"


def _check_sample(plan: Plan, each: Shard, folder: Path, row: dict) -> Iterator[str]:
    """A sample against its plan, and its prefixes against the patches in its dump."""
    again = plan[each.split, row["index"]]
    members = {name.removeprefix(f"{again.key}."): data for name, data in again.members()}
    there = shard.read_members(folder, each, row)
    if there != members:
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
    if not plan.old_fingerprint and not card.is_current(plan, folders.read_card(folder)):
        yield "README.md: it is missing, or has changed below the line above which it is yours"
    data, path = folders.make_index(plan, folders.list_shards(folder, plan)), folder / "index.json"
    if (path.is_symlink() or path.exists()) and data is not None and not folders.is_written(path, data):
        yield "index.json: has changed since it was written"


def _hash(path: Path, progress: Callable[[int], object]) -> str:
    """The SHA-256 of a file."""
    state = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(_BLOCK):
            state.update(block)
            progress(len(block))
    return state.hexdigest()
