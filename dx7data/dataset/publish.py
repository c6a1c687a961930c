"""A data set goes to the Hugging Face Hub: its plan first, then whole shards, several in a commit.

The repository itself says what is there, by the hash of each file. So a publication that was stopped goes on with the same
command, and what has reached the Hub is not sent again, even if its commit was not made. Nothing is kept on this machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dx7data.dataset import card, folders
from dx7data.errors import InputError, suggest_install
from dx7data.files import check_length, measure_regular, open_regular, read_regular
from dx7data.output import format_count, log
from dx7data.plan import schema
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.storage import LocalFolder

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.hf_api import RepoFile

_ADDRESS = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([\w./-]+))?/?", re.ASCII)
_TOGETHER = 4  # shards that are sent at the same time
_COMMIT_BYTES, _COMMIT_FILES = 4 << 30, 200  # of a commit: large enough for the Hub, which limits commits an hour
_KINDS = ("tar", "parquet", "stats.json")


@dataclass(frozen=True)
class Repository:
    """A data set on the Hub, `hf://datasets/OWNER/NAME`, maybe with `@BRANCH`."""

    name: str
    branch: str

    @staticmethod
    def parse(address: str) -> Repository:
        """Raises InputError."""
        found = _ADDRESS.fullmatch(address)
        if not found:
            raise InputError(f"{address} is no data set on the Hub: publish to hf://datasets/OWNER/NAME")
        return Repository(found[1], found[2] or "main")

    def __str__(self) -> str:
        return f"hf://datasets/{self.name}" + (f"@{self.branch}" if self.branch != "main" else "")


@dataclass(frozen=True)
class Published:
    """What was found and done: whole shards of the folder, and how many of them were sent now."""

    shards: int
    sent: int
    missing: int


def measure(folder: Path, plan: Plan) -> int:
    """Bytes of the whole shards in a folder."""
    return sum(_size(stats) for _, stats in folders.list_shards(LocalFolder(folder), plan) if stats)


def publish(
    folder: Path,
    repository: Repository,
    plan_only: bool = False,
    private: bool = False,
    progress: Callable[[int], object] = lambda size: None,
) -> Published:
    """Bring a data set to the Hub, or what of it is not there. The repository is made if there is none.

    progress: is called with the number of bytes of shards that are there. Raises InputError when there is no token, or the
    Hub refuses it, can't be reached or has another data set there; and when a shard was damaged.
    """
    plan = Plan.load(folder)
    api = _open_api()
    with _explain_errors(repository, api.endpoint):
        api.create_repo(repository.name, repo_type="dataset", private=private or None, exist_ok=True)
        if repository.branch != "main":
            api.create_branch(repository.name, branch=repository.branch, repo_type="dataset", exist_ok=True)
        there = _list_files(api, repository)
        _refuse_another(api, repository, there, plan)
        _send_plan(api, repository, there, folder, plan)
        if plan_only:
            return Published(0, 0, len(plan.shards()))
        listed = list(folders.list_shards(LocalFolder(folder), plan))  # once: a render may go on meanwhile
        whole = [(each, stats) for each, stats in listed if stats]
        sent = _send_shards(api, repository, there, folder, whole, progress)
        if (index := folders.make_index(plan, listed)) is not None:
            _commit(api, repository, [_add("index.json", index)])
    return Published(len(whole), sent, len(plan.shards()) - len(whole))


def _open_api() -> HfApi:
    """Raises InputError if there is no token, or no library to speak to the Hub with."""
    try:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils import disable_progress_bars, logging
    except ImportError:
        raise InputError(f"publishing needs huggingface_hub: {suggest_install('hf')}") from None
    if not get_token():
        raise InputError("there is no token for the Hub: `hf auth login` keeps one, or put it into HF_TOKEN")
    disable_progress_bars()  # ours counts the whole data set
    logging.set_verbosity_error()
    return HfApi(library_name="dx7data")


def _list_files(api: HfApi, repository: Repository) -> dict[str, RepoFile]:
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(repository.name, repo_type="dataset", revision=repository.branch)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _read_remote(api: HfApi, repository: Repository, name: str) -> bytes:
    """A small file of the repository, as it is now."""
    with TemporaryDirectory() as folder:
        path = api.hf_hub_download(repository.name, name, repo_type="dataset", revision=repository.branch, local_dir=folder)
        return Path(path).read_bytes()


def _refuse_another(api: HfApi, repository: Repository, there: dict[str, RepoFile], plan: Plan) -> None:
    """Raises InputError if there is a plan of another data set: parts of two would be mixed."""
    if "dataset.json" in there:
        where = f"{repository}/dataset.json"
        check_length(there["dataset.json"].size, schema.DOCUMENT_BYTES, where)
        found = schema.decode_plan(_read_remote(api, repository, "dataset.json"), where)
        if found["fingerprint"] != plan.fingerprint:
            raise InputError(f"{repository} has another data set: publish this one under another name")
        if any(count > plan.counts.get(str(split), 0) for split, count in found["samples"].items()):
            raise InputError(f"{repository} has more samples of this data set: `dx7data extend` renders them here too")


def _send_plan(api: HfApi, repository: Repository, there: dict[str, RepoFile], folder: Path, plan: Plan) -> None:
    """The plan and its card, in which the words stay that somebody wrote at the Hub."""
    words = folders.read_card(LocalFolder(folder))
    if words and "README.md" in there and card.format_card(plan, words) == card.format_card(plan):
        words = card.format_card(plan, _read_remote(api, repository, "README.md"))
    additions = [_add(name, folder / name) for name in folders.PLAN_FILES if _is_part(folder / name)]
    _commit(api, repository, [*additions, _add("README.md", words)] if words else additions)


def _is_part(path: Path) -> bool:
    """Whether a file of the plan is there. Raises InputError for a link out of the folder: its target is not sent."""
    try:
        measure_regular(path)
    except FileNotFoundError:
        return False
    return True


def _send_shards(
    api: HfApi,
    repository: Repository,
    there: dict[str, RepoFile],
    folder: Path,
    whole: list[tuple[Shard, schema.Stats]],
    progress: Callable[[int], object],
) -> int:
    """Send those that are not there, and commit them every so often; returns how many."""
    absent = [(each, stats) for each, stats in whole if not _is_there(there, folder, each, stats)]
    progress(sum(_size(stats) for _, stats in whole) - sum(_size(stats) for _, stats in absent))
    waiting: list[CommitOperationAdd] = []
    size = 0
    for i in range(0, len(absent), _TOGETHER):
        group = absent[i : i + _TOGETHER]
        for each, stats in group:
            _check_hashes(folder, each, stats)
        additions = [_add(f"{each.name}.{kind}", folder / f"{each.name}.{kind}") for each, _ in group for kind in _KINDS]
        api.preupload_lfs_files(repository.name, additions, repo_type="dataset", revision=repository.branch)
        progress(sent := sum(_size(stats) for _, stats in group))
        log.debug(f"sent {', '.join(each.name for each, _ in group)}")
        size, waiting = size + sent, waiting + additions
        if size >= _COMMIT_BYTES or len(waiting) >= _COMMIT_FILES or i + _TOGETHER >= len(absent):
            _commit(api, repository, waiting)
            size, waiting = 0, []
    return len(absent)


def _size(stats: schema.Stats) -> int:
    return stats["tar"]["bytes"] + stats["parquet"]["bytes"]


def _is_there(there: dict[str, RepoFile], folder: Path, each: Shard, stats: schema.Stats) -> bool:
    """Whether all files of a shard are at the Hub, as they are here."""
    found = [there.get(f"{each.name}.{kind}") for kind in _KINDS]
    hashes = [entry and (entry.lfs.sha256 if entry.lfs else entry.blob_id) for entry in found]
    kept = read_regular(folder / f"{each.name}.stats.json", schema.STATS_BYTES)
    blob = hashlib.sha1(b"blob %d\0" % len(kept) + kept).hexdigest()  # as git names a file that is not a large one
    return hashes == [stats["tar"]["sha256"], stats["parquet"]["sha256"], blob]


def _check_hashes(folder: Path, each: Shard, stats: schema.Stats) -> None:
    """Raises InputError for a shard that was damaged: it would be so for everybody."""
    for kind in ("tar", "parquet"):
        path = folder / f"{each.name}.{kind}"
        with open_regular(path) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != stats[kind]["sha256"]:
                raise InputError(f"{path} has changed since it was rendered: dx7data verify --fix makes it again")


def _add(name: str, content: Path | bytes) -> CommitOperationAdd:
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))


def _commit(api: HfApi, repository: Repository, additions: list[CommitOperationAdd]) -> None:
    """What has not changed is left out, and without a change there is no commit."""
    names = [addition.path_in_repo for addition in additions]
    message = f"Add {names[0]}" + (f" and {format_count(len(names) - 1, 'more file')}" if len(names) > 1 else "")
    api.create_commit(repository.name, additions, commit_message=message, repo_type="dataset", revision=repository.branch)


@contextmanager
def _explain_errors(repository: Repository, endpoint: str) -> Iterator[None]:
    """Raises InputError for what goes wrong at the Hub or on the way there."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled

    goes_on = "what is published stays, and the same command goes on"
    try:
        yield
    except (HFValidationError, OfflineModeIsEnabled) as error:
        raise InputError(f"{repository} can't be published to: {_shorten(error)}") from None
    except (HTTPError, OSError, RuntimeError, ValueError) as error:  # RuntimeError: of an upload, with what it came of
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if not isinstance(cause, HfHubHTTPError):
            if isinstance(cause, HTTPError):
                raise InputError(f"the Hub at {endpoint} can't be reached ({_shorten(cause)}); {goes_on}") from None
            raise InputError(f"publishing to {repository} failed: {_shorten(cause)}; {goes_on}") from None
        status = cause.response.status_code
        if status == 401:
            raise InputError(
                f"the Hub does not know the token, or {repository} is not there for it: `hf auth login` keeps another"
            ) from None
        if status == 403:
            raise InputError(f"the token may not write to {repository}: take one with the right to write") from None
        if status == 404:
            raise InputError(f"there is no {repository}, or the token may not see it") from None
        raise InputError(f"the Hub answered {status} ({_shorten(cause)}); {goes_on}") from None


def _shorten(error: BaseException) -> str:
    """What it says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
