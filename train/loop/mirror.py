"""A run at a URL. It lives in a folder of this machine, and is copied to the store with each checkpoint.

Whole files are copied, of a checkpoint `checkpoint.json` last; what is no longer in the folder goes from the store too. Of
two runs that begin at one URL the second is refused, for `config.json` is put on condition that there is none.
"""

import hashlib
import os
import re
import shutil
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from dx7data.errors import InputError
from dx7data.files import find_cache, write_atomically
from dx7data.output import log
from dx7data.storage.remote import RemoteFolder, open_url
from train.config import DECISIVE
from train.documents import decode
from train.loop import checkpoint
from train.loop.folder import lock_run

_CONFIG = "config.json"
_LOCAL = (".lock", ".partial")  # endings of what is not copied
_NAME = re.compile(r"[\w-][\w.-]*")  # of a folder or a file of a run
_REMOVED = ("checkpoints", "samples", "pictures", "result.json")  # what goes from the folder, and then from the store

Stamp = tuple[int, int]  # of a file: its length, and when it was written


class Mirror:
    """The folder `run` of this machine, and the run at a URL that it stands for."""

    def __init__(self, store: RemoteFolder, run: Path):
        self.store, self.run = store, run
        self._copied: dict[str, Stamp | None] = {}

    @property
    def is_ours(self) -> bool:
        """Whether the run at the URL is this one."""
        return _CONFIG in self._copied

    def push(self) -> None:
        """Copy what is new. Raises InputError when that can't be done, and the folder is all there is."""
        found = {path.relative_to(self.run).as_posix(): path for path in self.run.rglob("*") if path.is_file()}
        names = sorted(name for name in found if not name.endswith(_LOCAL))
        for name in sorted(names, key=lambda name: PurePosixPath(name).name == checkpoint.META):
            self._copy(name, found[name])
        for name in self._copied.keys() - names:
            if name.startswith(_REMOVED):
                self.store.remove(name)
                del self._copied[name]

    def try_push(self, outcome: str = "training goes on, and the next checkpoint tries again") -> None:
        """The same where something else matters more: a failure is a warning, with what comes of it."""
        try:
            self.push()
        except InputError as error:
            log.warning(f"{error}; {outcome}")

    def _copy(self, name: str, path: Path) -> None:
        stamp = _stamp(path)
        if self._copied.get(name) == stamp:
            return
        if name == _CONFIG and not self.is_ours:
            if not self.store.claim(name, path.read_bytes()):
                raise InputError(f"{self.store} is there already: continue it with --resume, or name another --out")
        else:
            self.store.upload(name, path)
        self._copied[name] = stamp

    def pull(self) -> None:
        """Make the folder what is at the URL; but if this run is in it, and has gone further, it is kept."""
        there = _list(self.store)
        if _CONFIG not in there:
            raise InputError(f"{self.store} is no run: it has no {_CONFIG}")
        if self._is_ahead(there):
            self._copied = dict.fromkeys(there)
            return
        if self.run.exists():
            shutil.rmtree(self.run)
        _copy(self.store, there, self.run)
        self._copied = {name: _stamp(self.run / name) for name in there}

    def _is_ahead(self, there: dict[str, int]) -> bool:
        config, last = self.run / _CONFIG, checkpoint.find_last(self.run)
        if last is None or not config.exists():
            return False
        if identify(config.read_bytes()) != identify(self.store.read(_CONFIG, there[_CONFIG])):
            return False
        return int(last.name) >= max(checkpoint.find_steps(there), default=0)


def identify(config: bytes) -> object:
    """What stays in config.json for as long as a run goes on; of a file that can't be read, its bytes."""
    try:
        found = decode(config)
        return found | {"settings": {name: value for name, value in found["settings"].items() if name in DECISIVE}}
    except (ValueError, KeyError, TypeError, AttributeError):
        return config


def open_run(url: str, resume: bool) -> Mirror:
    """A run at a URL, as a folder of this machine to train in. Raises InputError if it can't be written or is there."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(f"--out {url}: a run of several processes needs a folder that all of them see")
    store = open_url(url)
    store.check_writable()
    mirror = Mirror(store, _find_place(store, "runs"))
    if mirror.run.exists():
        os.close(lock_run(mirror.run))  # which nobody else has, or this folder is not ours to change
    if resume:
        mirror.pull()
    elif _list(store):
        raise InputError(f"{url} is there already: continue it with --resume, or name another --out")
    elif mirror.run.exists():  # of a run that was removed from the store
        shutil.rmtree(mirror.run)
    return mirror


def read_run(text: str) -> Path:
    """An option that is the folder of a run, or its URL, from which it is copied first. Raises InputError."""
    if "://" not in text:
        return Path(text)
    store = open_url(text)
    place, files = _find_place(store, "copies"), _list(store)
    if not files:
        raise InputError(f"{text} is no run: there is nothing")
    kept = _find_unchanged(store, files, place)
    _copy(store, {name: size for name, size in files.items() if name not in kept}, place)
    for path in place.rglob("*"):
        if path.is_file() and not path.name.endswith(_LOCAL) and path.relative_to(place).as_posix() not in files:
            path.unlink(missing_ok=True)
    return place


def _find_unchanged(store: RemoteFolder, files: dict[str, int], folder: Path) -> set[str]:
    """The files of checkpoints that an earlier copy has: their `checkpoint.json` has a hash of each, and is the same."""
    kept = set()
    for name, size in files.items():
        if not name.endswith(f"/{checkpoint.META}") or not (folder / name).exists():
            continue
        if (folder / name).read_bytes() == store.read(name, size):
            beside = (other for other in files if PurePosixPath(other).parent == PurePosixPath(name).parent)
            kept |= {other for other in beside if (folder / other).exists()}
    return kept


def _find_place(store: RemoteFolder, kind: str) -> Path:
    """In the cache."""
    return find_cache() / kind / hashlib.sha256(store.name.encode()).hexdigest()[:16] / store.title


def _copy(store: RemoteFolder, files: dict[str, int], folder: Path) -> None:
    def vouches(name: str) -> tuple[bool, bool]:
        return name == _CONFIG, name.endswith(checkpoint.META)

    for name in sorted(files, key=vouches):  # last what says that the others are there: of a checkpoint, and of the run
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.open(name, files[name]) as source:  # each whole: another program may be reading this copy, or making it
            write_atomically(path, partial(shutil.copyfileobj, source))


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _list(store: RemoteFolder) -> dict[str, int]:
    """The files of a run by their names below it, with their lengths."""

    def find(fs: Any, root: str) -> dict[str, int]:
        fs.invalidate_cache()
        found = fs.find(root, detail=True).items()
        return {path.removeprefix(root).strip("/"): entry["size"] for path, entry in found}

    if store.list_sizes() is None:
        raise InputError(f"{store}: a website has no list of the files of a run: copy it to a folder first")
    try:
        files = store.request(find)
    except FileNotFoundError:  # a store has no empty folders
        return {}
    if odd := [name for name in files if not all(map(_NAME.fullmatch, name.split("/")))]:
        raise InputError(f"{store.where(odd[0])} is no file of a run: remove it")
    return files
