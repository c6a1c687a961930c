"""Is a data set what its plan renders to? Every byte is compared with its hash, and what is damaged can be made again."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np

from dx7data import prefix
from dx7data.dataset import card, contents, folders, shard
from dx7data.dataset.executors import local
from dx7data.errors import InputError, explain_os_errors
from dx7data.files import PARTIAL
from dx7data.output import format_count, log
from dx7data.patches import sysex
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.storage import Folder, LocalFolder, Where, lock, open_folder

_RENDERED_AGAIN = 3  # samples of each shard
_BLOCK = 1 << 22
_KINDS = ("tar", "parquet", "stats.json")  # of the files of a shard


def verify(
    where: Where,
    progress: Callable[[int], object] = lambda size: None,
    fix: bool = False,
    full: bool = False,
) -> list[str]:
    """What is wrong with a data set, a sentence each; empty when every file is as it was written.

    All files are hashed and all members of tars looked for; a few samples of each shard are rendered and their prefixes
    decoded, or, if `full`, all samples; none of older formats. progress: is called with the number of bytes read. fix: make
    what is damaged again. Last, `index.json` is written if all shards are there. Raises InputError if the plan itself is
    damaged, since all else follows from it, or too old to fix or to render.
    """
    folder = open_folder(where)
    plan = Plan.load(folder)
    if fix or full:
        plan.check_current()
    wrong = []
    at_once = min(local.count_workers(), folder.simultaneous)
    with ThreadPoolExecutor(at_once) as pool:  # hashing does not hold the interpreter's lock
        checked = pool.map(lambda each: _check_files(plan, each, folder, progress), plan.shards())
        try:
            for each, problem in zip(plan.shards(), checked, strict=True):
                problems = [problem] if problem else list(_check_content(plan, each, folder, progress, full))
                wrong += [f"{each.name}: {problem}" for problem in problems]
                log.debug(f"{each.name}: {format_count(len(problems), 'problem')}")
                if problems and fix:
                    wrong += _remake(plan, each, folder)
        except BaseException:  # Ctrl-C too: the pool would hash everything else before it ends
            pool.shutdown(cancel_futures=True)
            raise
    wrong += _check_others(plan, folder)
    known = {each.name for each in plan.shards()}
    wrong += [
        f"{name}: no shard of this plan; remove it"
        for name in sorted(folder.list_sizes() or {})
        if folders.is_shard_file(name) and name.partition(".")[0] not in known
    ]
    try:
        if fix:
            folders.write_card(plan, folder)  # of the plan's other files none is damaged: it was loaded from them
        if fix or not wrong:
            folders.write_index(plan, folder)
    except (InputError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        if fix:
            raise InputError(f"the shards are checked, but {folder} can't be written to: {why}") from None
        log.debug(f"no index.json is written: {why}")  # it is there to read a whole data set faster
    return wrong


def describe_checks(folder: Folder, full: bool) -> str:
    """What is known of a data set with which nothing is wrong: no more than was looked at."""
    if full:
        return "all samples were rendered again: every byte is as it was rendered"
    if Plan.load(folder).old_fingerprint:
        return "every file is as it was written; no sample was rendered again, for the format is an older one"
    return (
        f"every file is as it was written; up to {_RENDERED_AGAIN} samples of each shard, rendered again, are the same; "
        "--full renders all of them"
    )


def list_remarks(folder: Folder) -> list[str]:
    """A sentence for each thing in a data set's folder that does no harm and is no part of it, or no file of its own."""
    remarks, links = [], folder.list_links()
    for name in sorted((folder.list_sizes() or {}).keys() - {lock.NAME}):
        if not folders.is_own(name):
            remarks.append(f"{name}: not a part of the data set; it is left alone")
        elif name.endswith(PARTIAL):
            remarks.append(f"{name}: left over from a render that was stopped; dx7data render --plan removes it")
        elif name in links:
            remarks.append(f"{name}: a link to {links[name]}")
    return remarks


def _remake(plan: Plan, each: Shard, folder: Folder) -> Iterator[str]:
    """Make a shard again; yields what stands in its way. Raises InputError when it can't be written."""
    if blocked := [name for kind in _KINDS if folder.is_blocked(name := f"{each.name}.{kind}")]:
        yield f"{each.name}: a folder stands in the place of {blocked[0]}, with something in it; move it away"
        return
    with explain_os_errors(f"writing {each.name} to {folder} failed"):
        folders.remove_partial(folder, [each])
        shard.write_shards(plan, [each], folder)


def _check_files(plan: Plan, each: Shard, folder: Folder, progress: Callable[[int], object]) -> str | None:
    """What is wrong with the files of a shard, if anything is."""
    try:
        stats = shard.load_stats(plan, each, folder)
        for kind in ("parquet", "tar"):
            with folder.open(name := f"{each.name}.{kind}", stats[kind]["bytes"]) as file:
                if _hash(file, progress) != stats[kind]["sha256"]:
                    return f"the {kind} has changed since it was rendered"
                if kind == "tar":
                    shard.check_members(file, shard.read_rows(plan, each, folder, stats), folder.where(name))
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"it can't be read: {error.strerror or error}"
    return None


def _check_content(plan: Plan, each: Shard, folder: Folder, progress: Callable[[int], object], full: bool) -> Iterator[str]:
    """What is wrong with the samples of a shard whose files are as they were written.

    Raises InputError when there is no room to render the whole shard: that says nothing of what is there.
    """
    if not full:
        yield from _name_errors(_check_samples(plan, each, folder))
        return
    with TemporaryDirectory() as name:
        made = LocalFolder(Path(name))
        with explain_os_errors(f"can't render {each.name} to {name}, where TMPDIR can name another folder"):
            shard.write_shards(plan, [each], made)
        yield from _name_errors(_compare_files(plan, each, folder, made))
        progress(shard.load_stats(plan, each, made)["tar"]["bytes"])


def _name_errors(problems: Iterator[str]) -> Iterator[str]:
    """The same, and what can't be read as one more: another command may remove files meanwhile."""
    try:
        yield from problems
    except InputError as error:
        yield str(error)
    except OSError as error:  # as _check_files has it
        yield f"it can't be read: {error.strerror or error}"


def _check_samples(plan: Plan, each: Shard, folder: Folder) -> Iterator[str]:
    """A few samples of a shard, from its first to its last."""
    if not plan.old_fingerprint:
        rows = shard.read_rows(plan, each, folder)
        for i in sorted({round(part * (each.count - 1) / max(1, _RENDERED_AGAIN - 1)) for part in range(_RENDERED_AGAIN)}):
            yield from _check_sample(plan, each, folder, rows[i])


def _compare_files(plan: Plan, each: Shard, folder: Folder, made: LocalFolder) -> Iterator[str]:
    """What of a shard's files is not what its plan renders to. The bytes of a table depend on the version of pyarrow."""
    found, again = (shard.load_stats(plan, each, place) for place in (folder, made))
    if found["tar"] != again["tar"]:
        yield "the tar is not what its plan renders to"
    if not shard.read_table(plan, each, folder).equals(shard.read_table(plan, each, made)):
        yield "the parquet is not what its plan renders to"
    if found | {"parquet": again["parquet"]} != again:
        yield "the stats.json is not what its plan renders to"


def _check_sample(plan: Plan, each: Shard, folder: Folder, row: dict) -> Iterator[str]:
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
        try:
            layers = contents.split_layers(plan, members[f"prefix.{codec}.wav"])
        except ValueError as error:
            yield f"its {codec} prefix can't be read: {error}"
            continue
        for stored, audio in zip(dumped, layers, strict=False):
            try:
                if prefix.CODECS[codec].decode is None:
                    agrees = (prefix.encode(stored, codec, plan.spec.sample_rate) == audio).all()
                else:
                    agrees = (prefix.decode(audio, codec, plan.spec.sample_rate) == stored).all()
                if not agrees:
                    yield f"its {codec} prefix is of another patch than target.syx"
            except prefix.PrefixError as error:
                yield str(error)


def _check_others(plan: Plan, folder: Folder) -> Iterator[str]:
    """The files that follow from the plan and the shards."""
    if not plan.old_fingerprint and not card.is_current(plan, folders.read_card(folder)):
        yield "README.md: it is missing, or has changed below the line above which it is yours"
    data = folders.make_index(plan, folders.list_shards(folder, plan))
    there = folder.exists("index.json") or "index.json" in folder.list_links()
    if there and data is not None and not folders.is_written(folder, "index.json", data):
        yield "index.json: has changed since it was written"


def _hash(file: BinaryIO, progress: Callable[[int], object]) -> str:
    """The SHA-256 of a file."""
    state = hashlib.sha256()
    while block := file.read(_BLOCK):
        state.update(block)
        progress(len(block))
    return state.hexdigest()
