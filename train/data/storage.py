"""Shards as files of this machine: those of a folder as they are, those at a URL through a bounded cache."""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from dx7data import storage
from dx7data.errors import InputError
from dx7data.files import find_cache
from dx7data.storage import LocalFolder
from dx7data.storage.remote import RemoteFolder

CACHE_BYTES = 8 << 30  # 125 shards of the usual size
_BLOCK = 1 << 20
_RESERVED = 8 * _BLOCK  # of the cache at a time, as a shard comes
_DIGEST = re.compile("[0-9a-f]{64}")
_STALE = 600  # seconds without a byte, after which nobody is fetching that part any more
_GROUP = 8  # shards, 512 MB of the usual size: with all of them in one group, every sample would fetch a whole shard


class Local(LocalFolder):
    """A folder of this machine."""

    default_group = None  # all shards: any of them is at hand

    def local_path(self, name: str, size: int, digest: str) -> Path:
        """A shard as a file of this machine."""
        return self.path / name

    def capacity(self, largest: int) -> int | None:
        """How many shards are at hand at once; None: any number."""
        return None


class Remote(RemoteFolder):
    """A folder at a URL. Shards are copied whole into the cache when first needed; those used least recently go.

    Processes of one machine share a cache: a file lock, which the kernel drops with its owner, lets one of them fetch a
    shard while the others wait for it.
    """

    default_group = _GROUP

    def __init__(self, url: str, cache: Path | None = None, cache_bytes: int = CACHE_BYTES):
        super().__init__(url)
        self._root = cache or find_cache()
        # By address: two data sets have shards of the same names.
        self._cache = self._root / hashlib.sha256(self.name.encode()).hexdigest()[:16]
        self._limit = cache_bytes

    def local_path(self, name: str, size: int, digest: str) -> Path:
        """A shard as a file of this machine: exactly the bytes that were rendered. Raises InputError."""
        if not _DIGEST.fullmatch(digest) or Path(name).name != name:  # they become the name of a file in the cache
            raise InputError(f"{self.name} has no such shard as {name} with the hash {digest}")
        self.capacity(size)
        path = self._cache / f"{digest[:16]}-{name}"  # a data set that was rendered anew has other shards of the same names
        try:
            if not _touch(path, size):
                self._cache.mkdir(parents=True, exist_ok=True)
                with _lock(path.with_name(f"{path.name}.lock")):
                    if not _touch(path, size):  # another process may have fetched it meanwhile
                        self._download(name, path, size, digest)
        except FileNotFoundError:
            raise InputError(f"{self.name} has no {name}: render the rest") from None
        except OSError as error:
            raise InputError(f"can't write to the cache {self._cache}: {error.strerror or error}") from None
        return path

    def capacity(self, largest: int) -> int | None:
        """How many shards are at hand at once. Raises InputError if not even one is."""
        if largest > self._limit:
            raise InputError(f"a cache of {self._limit:,} bytes can't hold a shard of {largest:,}: enlarge it")
        return self._limit // max(1, largest)

    def _download(self, name: str, path: Path, size: int, digest: str) -> None:
        # The lock makes the name of the partial file safe, so what a killed process left is written over.
        partial = path.with_name(f"{path.name}.part")

        def copy(fs: Any, remote: str) -> None:
            state, copied, reserved = hashlib.sha256(), 0, 0
            with fs.open(remote, "rb") as source, open(partial, "wb") as file:
                while (block := source.read(_BLOCK)) and copied + len(block) <= size:
                    if copied + len(block) > reserved:
                        reserved = min(size, reserved + _RESERVED)
                        self._reserve(file, reserved)
                    file.write(block)
                    state.update(block)
                    copied += len(block)
            if block or (copied, state.hexdigest()) != (size, digest):
                raise ValueError("it is not what was rendered; `dx7data verify` tells more")

        try:
            self.request(copy, name)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _reserve(self, file: BinaryIO, size: int) -> None:
        """Let a file have `size` bytes, so that others who fetch count them. Shards go only for what has come: whatever a
        data set says of its shards, no more of the cache is lost than is needed.
        """
        with _lock(self._root / "room.lock"):
            self._make_room(size - os.fstat(file.fileno()).st_size)
            file.truncate(size)

    def _make_room(self, size: int) -> None:
        """Unlink shards until `size` bytes fit. A process that has one mapped reads on: its pages live until it lets go."""
        found = []
        for path in self._root.glob("*/*.tar*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.suffix != ".lock":
                found.append((status.st_mtime, status.st_size, path))
        free = self._limit - size - sum(taken for _, taken, _ in found)
        for used, taken, path in sorted(found):
            if free >= 0:
                return
            if path.suffix == ".part" and time.time() - used < _STALE:
                continue
            path.unlink(missing_ok=True)
            free += taken


def open_folder(where: str | Path, cache: Path | None = None, cache_bytes: int = CACHE_BYTES) -> Local | Remote:
    """The folder at a path or a URL. Raises InputError for a URL that can't be opened."""
    if isinstance(storage.open_folder(where), LocalFolder):
        return Local(Path(where))
    return Remote(str(where), cache, cache_bytes)


def _touch(path: Path, size: int) -> bool:
    """Mark a file as just used; False if it is not there in this size: extending a data set may lengthen a shard."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path)
        return True
    except FileNotFoundError:
        return False


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
