"""A folder in an object store or on a website, through fsspec. Objects are written whole, by one request or one upload.

Requests are tried again for half a minute, for a store may be busy; what no patience mends is said at once.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TextIO, TypeVar

from dx7data.errors import InputError, make_printable
from dx7data.files import check_length
from dx7data.storage import address, faults

T = TypeVar("T")
S = TypeVar("S")

TRIES = 11
PAUSE, LONGEST_PAUSE = 0.25, 4.0  # seconds before the second try, doubled before each one after it: 28 s in all
_AT_ONCE = 16  # small files that are read at a time: what takes long is to wait
_BLOCK = 1 << 20
_LOG_BYTES = 64 << 20


def compute_pause(tries: int, chance: float) -> float:
    """Seconds until a request comes again, half to one and a half times as many as above: by chance, of 0 to 1.

    Else those that a busy store refuses at the same moment come again at the same moment, and some of them never get in.
    """
    return min(LONGEST_PAUSE, PAUSE * 2 ** (tries - 1)) * (0.5 + chance)


def open_url(url: str) -> "RemoteFolder":
    """The folder at a URL; no request is made. Raises InputError for an unknown scheme and for a package that is missing."""
    address.check(url)
    return RemoteFolder(url)


class RemoteFolder:
    """See Folder."""

    simultaneous = 2

    def __init__(self, url: str):
        self.name = self.identity = url.rstrip("/")
        self.title = self.name.rpartition("/")[2]
        self._scheme = address.get_scheme(url)

    def __str__(self) -> str:
        return self.name

    def where(self, name: str) -> str:
        return f"{self.name}/{name}"

    # --- Reading ---

    def list_sizes(self) -> dict[str, int | None] | None:
        if self._scheme in address.WEBSITES:
            return None

        def list_all(fs: Any, root: str) -> list[dict]:
            try:
                return fs.ls(root, detail=True)
            except FileNotFoundError as error:  # a store has no empty folders
                if faults.is_bucket_missing(error):
                    raise
                return []

        names = {entry["name"].rstrip("/").rpartition("/")[2]: entry for entry in self.request(list_all)}
        own = self.name.rpartition("/")[2]  # an empty object that some programs put for a folder
        return {
            name: entry["size"] if entry["type"] == "file" else None
            for name, entry in names.items()
            if name != own or not entry["name"].endswith("/")
        }

    def exists(self, name: str) -> bool:
        try:
            # Not by HEAD, whose answer does not say what is wrong with credentials, nor that there is no bucket.
            self.measure(name) if self._scheme in address.WEBSITES else self.read_part(name, 0, 1)
            return True
        except FileNotFoundError:
            return False

    def measure(self, name: str) -> int:
        size = self.request(lambda fs, path: fs.info(path)["size"], name)
        if size is None:
            raise InputError(f"{self.where(name)}: the server does not say how long it is")
        return size

    def read(self, name: str, limit: int) -> bytes:
        def read_all(fs: Any, path: str) -> bytes:
            if self._scheme in address.WEBSITES:  # which may send all of a file, or more, whatever part is asked for
                with fs.open(path, "rb") as file:
                    return file.read(limit + 1)
            return fs.cat_file(path, start=0, end=limit + 1)

        data = self.request(read_all, name)
        check_length(len(data), limit, self.where(name))
        return data

    def read_part(self, name: str, offset: int, size: int) -> bytes:
        data = self.request(lambda fs, path: fs.cat_file(path, start=offset, end=offset + size), name)
        # A website without range requests sends all of it, which is longer than any part of a shard.
        return data if len(data) <= size else data[offset : offset + size]

    @contextmanager
    def open(self, name: str, limit: int) -> Iterator[BinaryIO]:
        with TemporaryFile(prefix="dx7data-") as file:

            def copy(fs: Any, path: str) -> None:
                file.seek(0)
                file.truncate()
                with fs.open(path, "rb") as source:
                    while block := source.read(_BLOCK):
                        file.write(block)
                        check_length(file.tell(), limit, self.where(name))

            self.request(copy, name)
            file.seek(0)
            yield file

    def map(self, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        # Not all items at once: results take memory.
        left, waiting = iter(items), deque[Future[T]]()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting.extend(pool.submit(function, item) for item in islice(left, 4 * _AT_ONCE))
            try:
                while waiting:
                    yield waiting.popleft().result()
                    waiting.extend(pool.submit(function, item) for item in islice(left, 1))
            finally:
                pool.shutdown(cancel_futures=True)

    # --- Writing ---

    def check_writable(self) -> None:
        self._refuse_read_only()
        self.exists("dataset.json")  # or not: the answer shows whether there is a bucket, and access to it

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        with TemporaryFile(prefix="dx7data-") as file:  # without a name, so that nothing stays when this process is killed
            yield file
            file.flush()
            self._put(lambda fs, path: fs.put_file(f"/dev/fd/{file.fileno()}", path), name)

    def upload(self, name: str, path: Path) -> None:
        """Put a copy of a file of this machine."""
        self._put(lambda fs, there: fs.put_file(str(path), there), name)

    def write(self, name: str, data: bytes) -> None:
        self._put(lambda fs, path: fs.pipe_file(path, data), name)

    def claim(self, name: str, data: bytes) -> bool:
        def put_first(fs: Any, path: str) -> None:
            try:
                fs.pipe_file(path, data, mode="create")
            except Exception as error:
                if not faults.is_taken(error):
                    raise

        self._put(put_first, name)
        try:
            return self.read(name, len(data)) == data  # also where the store knows no conditions, and the last one wins
        except InputError:  # it is longer
            return False

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.request(lambda fs, path: fs.rm_file(path), name)

    def remove_partial(self, chosen: Callable[[str], bool]) -> None:
        """There are none: an upload that breaks leaves nothing under a name."""

    @contextmanager
    def open_log(self, name: str) -> Iterator[TextIO]:
        """Lines that two processes add at the same moment may be lost: an object is only written as a whole."""
        log = StringIO()
        yield log
        try:
            before = self.read(name, _LOG_BYTES)
        except FileNotFoundError:
            before = b""
        self.write(name, before + log.getvalue().encode())

    def lock(self, shared: bool = False) -> AbstractContextManager[None]:
        return nullcontext()

    def lock_plan(self) -> AbstractContextManager[None]:
        return nullcontext()

    def list_links(self) -> dict[str, str]:
        return {}

    def is_blocked(self, name: str) -> bool:
        return False

    # --- Requests ---

    def _refuse_read_only(self) -> None:
        if reason := address.READ_ONLY.get(self._scheme):
            raise InputError(f"{self.name} can only be read: {reason}")

    def _put(self, act: Callable[[Any, str], T], name: str) -> T:
        self._refuse_read_only()  # at once, instead of after the last try
        try:
            return self.request(act, name)
        except FileNotFoundError:
            raise self._bucket_error() from None

    def _bucket_error(self) -> InputError:
        bucket = "/".join(self.name.split("/")[:3])
        return InputError(f"{bucket} does not exist: correct the name, or make this bucket first")

    def request(self, act: Callable[[Any, str], T], name: str = "") -> T:
        """act(file system, path), as often as it takes. Raises FileNotFoundError at once, InputError after the last try."""
        for attempt in range(TRIES):
            try:
                fs, root = address.connect(self.name)
                return act(fs, f"{root}/{name}" if name else root)
            except InputError:
                raise
            except Exception as error:  # every file system has error classes of its own
                if self._scheme in address.WEBSITES:
                    error = faults.find_failure(error)
                if faults.is_bucket_missing(error):
                    raise self._bucket_error() from None
                if isinstance(error, FileNotFoundError):
                    raise
                if reason := faults.explain(error, self._scheme):
                    raise InputError(f"{self.where(name) if name else self}: {reason}") from None
                last = error
                if attempt < TRIES - 1:
                    time.sleep(compute_pause(attempt + 1, random.random()))
        reason = make_printable(getattr(last, "strerror", None) or str(last) or type(last).__name__)[:300]
        raise InputError(f"{self.where(name) if name else self}: {TRIES} tries failed, the last one with: {reason}")
