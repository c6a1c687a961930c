"""A data-set folder: rendering a plan into it, and reading back what is there."""

import json
import platform
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from dx7data.dataset import card, shard
from dx7data.errors import InputError, explain_os_errors, make_printable
from dx7data.output import format_count
from dx7data.plan import schema
from dx7data.plan.plan import Plan, find_differences
from dx7data.plan.spec import Shard
from dx7data.storage import Folder, Where, open_folder
from dx7data.storage.local import get_final_name

_SHARD_FILES = re.compile(r"(train|val|test)-\d{6,}\.(tar|parquet|stats\.json)")
PLAN_FILES = ("dataset.json", "patches.parquet", "phrases.arrow", "phrases.parquet")
_OTHER_FILES = {*PLAN_FILES, "README.md", "index.json", "render.log"}


@contextmanager
def lock_folder(folder: Folder, new: bool = False, shared: bool = False) -> Iterator[None]:
    """Inside the block this process alone, or with others who share it, writes to a data set, which may be new.

    Raises InputError when another process does, and when the folder holds other things or, if not new, no data set. A store
    has no locks: there the plan alone is guarded, see `prepare`, and equal renders do each other no harm.
    """
    with explain_os_errors(f"can't write to {folder}"):
        if new:
            folder.check_writable()
            refuse_foreign(folder)
        elif not folder.exists("dataset.json"):
            raise InputError(f"{folder} is no data set: it has no dataset.json")
        else:
            folder.check_writable()
    with folder.lock(shared):
        yield


def refuse_foreign(folder: Folder) -> None:
    """Raises InputError for a folder that is in use for something else."""
    if not folder.exists("dataset.json"):
        for name in folder.list_sizes() or {}:
            if not name.startswith(".") and not is_own(name):
                raise InputError(f"{folder} holds {make_printable(name)} and no data set; choose an empty or a new folder")


def prepare(plan: Plan, folder: Folder, overwrite: bool, chosen: list[Shard] | None = None) -> list[Shard]:
    """Put the plan into the folder, or find it there; returns the shards, of those chosen, that are still to be made.

    Raises InputError when the plan is of an older format; when the folder holds another one, unless `overwrite`, which
    removes what a render leaves in a folder and nothing else; and when it holds other files and no plan: a data set gets a
    folder of its own.
    """
    plan.check_current()
    with explain_os_errors(f"can't write to {folder}"):
        folder.check_writable()
        refuse_foreign(folder)
        with folder.lock_plan():
            if overwrite:
                _clear(folder, plan)
            if not folder.exists("dataset.json") or _is_torn(plan, folder):
                _refuse_shards_of_others(plan, folder)
                if not folder.claim("dataset.json", plan.to_json()):  # somebody else was first, just now
                    _is_torn(plan, folder)
                write_plan(plan, folder)
    return find_missing(plan, folder, chosen)


def _is_torn(plan: Plan, folder: Folder) -> bool:
    """Whether the plan in a folder must be written again; False if it is this one. Raises InputError for another one."""
    if (differences := _compare(plan, folder)) is None:
        return True
    if differences:
        more = "; `dx7data extend` adds samples" if differences[0].startswith("samples") else ""
        raise InputError(
            f"{folder} holds another data set: {'; '.join(differences)}. Choose another --out, or --overwrite it{more}"
        )
    return False


def _compare(plan: Plan, folder: Folder) -> list[str] | None:
    """How the plan in a folder differs; None if a loss of power has torn it: it is no JSON, or its tables are not its own.

    Raises InputError for what was damaged otherwise: a person may have edited it.
    """
    try:
        return find_differences(Plan.load(folder), plan)
    except InputError as error:
        document = folder.read("dataset.json", schema.DOCUMENT_BYTES)
        try:
            json.loads(document)
        except ValueError:
            return None
        except RecursionError:  # no render wrote that
            raise error from None
        if document == plan.to_json():
            return None
        raise


def _refuse_shards_of_others(plan: Plan, folder: Folder) -> None:
    """Raises InputError if a folder without a plan has shards of another one, or larger ones: not ours to replace."""
    names = sorted(name for name in folder.list_sizes() or {} if name.endswith(".stats.json"))
    expected = {(each.split, each.number): each.count for each in plan.shards()}
    for name, stats in zip(names, folder.map(lambda name: shard.read_own_stats(folder, name), names), strict=True):
        if not stats:
            continue
        if stats["fingerprint"] != plan.fingerprint:
            what = "is of another one"
        elif stats["samples"] > expected.get((stats["split"], stats["shard"]), 0):
            what = "is of one with more samples"
        else:
            continue
        raise InputError(f"{folder} has lost its plan, and {name} {what}: put dataset.json back, or --overwrite")


def remove_partial(folder: Folder, only: list[Shard] | None = None) -> None:
    """Remove what killed renders had begun to write, of some shards or of all; not what others are writing."""
    shards = None if only is None else {each.name for each in only}

    def is_chosen(name: str) -> bool:
        return is_own(name) and (shards is None or not is_shard_file(name) or name.partition(".")[0] in shards)

    folder.remove_partial(is_chosen)


def find_missing(plan: Plan, folder: Folder, chosen: list[Shard] | None = None) -> list[Shard]:
    """The shards of a plan, or of some of its shards, that are still to be made."""
    return [each for each, stats in list_shards(folder, plan, chosen) if stats is None]


def extend(folder: Folder, plan: Plan) -> None:
    """Put a plan that asks for more samples in the place of the one in a folder. Each split's last shard may grow."""
    with explain_os_errors(f"can't write to {folder}"):
        folder.remove("index.json")
        write_plan(plan, folder)


def _clear(folder: Folder, plan: Plan) -> None:
    """Remove the files of an earlier render: its plan first, so that what is left is never taken for a whole data set.

    This very plan stays, which may have been read from there and be nowhere else.
    """
    try:
        kept = {*PLAN_FILES, "README.md"} if not find_differences(Plan.load(folder), plan) else set()
    except InputError:
        kept = set()
    own = [name for name in folder.list_sizes() or {} if is_own(name) and name not in kept]
    if "dataset.json" in own:
        folder.remove("dataset.json")
    for _ in folder.map(folder.remove, own):
        pass


def is_own(name: str) -> bool:
    """Whether a render makes a file of this name."""
    final = get_final_name(name)
    return final in _OTHER_FILES or is_shard_file(final)


def is_shard_file(name: str) -> bool:
    """Whether a shard of some plan has a file of this name."""
    return _SHARD_FILES.fullmatch(name) is not None


def render_missing(
    plan: Plan,
    folder: Folder,
    missing: list[Shard],
    render_shards: Callable[[Plan, list[Shard], Folder, Callable[[int], None]], str],
    progress: Callable[[int], None],
) -> bool:
    """Make the missing shards, and the index when none is left; whether none is. Whatever stops it, the folder holds only
    whole shards.

    render_shards: of an executor; it returns who rendered, for the log.
    """
    began = time.monotonic()
    try:
        with folder.open_log("render.log") as log:  # before anything is rendered: it may be a link
            remove_partial(folder, missing)
            try:
                who = render_shards(plan, missing, folder, progress)
                complete = write_index(plan, folder)
            finally:
                remove_partial(folder, missing)  # of workers that were stopped
            now, took = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic() - began
            log.write(f"{now} {platform.node()} {who} {format_count(len(missing), 'shard')} in {took:.2f} s\n")
        return complete
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"writing to {folder} failed: {reason}. Whole shards are kept; the same command goes on") from None


def list_shards(
    folder: Folder, plan: Plan, chosen: list[Shard] | None = None
) -> Iterator[tuple[Shard, schema.Stats | None]]:
    """Every shard of a plan, or some of them, with its stats; None where it is missing, of another plan or length."""
    return _read_stats(folder, plan, plan.shards() if chosen is None else chosen, folder.list_sizes())


def _read_stats(
    folder: Folder, plan: Plan, shards: list[Shard], sizes: dict[str, int | None] | None
) -> Iterator[tuple[Shard, schema.Stats | None]]:
    """sizes: the files of the folder, listed once: a plan may have a million shards, and none of them made."""
    there = [each for each in shards if sizes is None or f"{each.name}.stats.json" in sizes]
    found = zip(there, folder.map(lambda each: shard.read_stats(plan, each, folder, sizes), there), strict=True)
    following, stats = next(found, (None, None))
    for each in shards:
        if each is following:
            yield each, stats
            following, stats = next(found, (None, None))
        else:
            yield each, None


def read_samples(where: Where, name: str) -> Iterator[dict[str, bytes]]:
    """The samples of one shard in order: members by extension, and `__key__`."""
    folder = open_folder(where)
    with folder.open(f"{name}.tar", folder.measure(f"{name}.tar")) as file, tarfile.open(fileobj=file) as tar:
        current: dict = {}
        for member in filter(tarfile.TarInfo.isfile, tar):
            key, _, extension = member.name.partition(".")
            if current and current["__key__"] != key:
                yield current
                current = {}
            current |= {"__key__": key, extension: cast(IO[bytes], tar.extractfile(member)).read()}
        if current:
            yield current


def write_index(plan: Plan, folder: Folder) -> bool:
    """`index.json`, if all shards are there: the samples, length and SHA-256 of each. A right one stays untouched.

    Returns whether they are there; where a shard was removed, an index may be there without it.
    """
    there = folder.list_sizes()
    if there is not None and any(f"{each.name}.stats.json" not in there for each in plan.shards()):
        return False  # before any is read: a thousand jobs may come here, one after the other
    data = make_index(plan, _read_stats(folder, plan, plan.shards(), there))
    if data is not None and not is_written(folder, "index.json", data):
        folder.write("index.json", data)
    return data is not None


def make_index(plan: Plan, shards: Iterable[tuple[Shard, schema.Stats | None]]) -> bytes | None:
    """The content of `index.json`, from all shards with their stats; None if one is missing."""
    listed = []
    for each, stats in shards:
        if stats is None:
            return None
        listed.append({"name": each.name, "samples": each.count, "tar": stats["tar"], "parquet": stats["parquet"]})
    return (json.dumps({"fingerprint": plan.fingerprint, "shards": listed}, indent=1) + "\n").encode()


def write_plan(plan: Plan, folder: Folder) -> None:
    """Write the plan and its card.

    Phrases go there piece by piece, for they may be more than memory holds.
    """
    write_card(plan, folder)
    if plan.phrases is not None:
        with folder.create("phrases.arrow") as file:
            plan.phrases.write(file)
    folder.write("patches.parquet", plan.patches.to_parquet())  # then the phrases have their name on the disk, too
    folder.write("dataset.json", plan.to_json())


def write_card(plan: Plan, folder: Folder) -> None:
    """The card, in which the words of a person stay; what killed commands had begun to write of a plan goes."""
    remove_partial(folder, [])
    folder.write("README.md", card.format_card(plan, read_card(folder)))


def read_card(folder: Folder) -> bytes:
    """`README.md`; nothing where there is none that can be read."""
    try:
        return folder.read("README.md", schema.DOCUMENT_BYTES)
    except (FileNotFoundError, InputError):
        return b""


def is_written(folder: Folder, name: str, data: bytes) -> bool:
    """Whether a file of a data set has this content."""
    try:
        return folder.read(name, len(data)) == data
    except (FileNotFoundError, InputError):
        return False
