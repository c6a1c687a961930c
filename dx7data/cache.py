"""How code is compiled and where it is kept: one folder for each state of the sources that it was compiled from.

numba's own cache looks only at the file of the function that is called. A change in a module which that file imports
goes unnoticed, and the old sound comes out. Here the folder's name is a digest of all of them. And numba unpickles and runs
whatever lies there: here each file ends in its own hash, so that what a full disk or a power cut left is compiled again.
"""

import hashlib
import io
import multiprocessing
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite
import numba
import numpy as np

from dx7data.errors import InputError
from dx7data.files import find_cache
from dx7data.output import log

_PACKAGE = Path(__file__).resolve().parent
_HASH_BYTES = 32  # of SHA-256
_MAX_BYTES = 1 << 28  # of a file; the largest of ours has 1 MB
_said = False
# For functions that only compiled code calls: without what Python would call, compiling takes a quarter less time.
inner = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]  # flags that its types lack

_COMPILED = ("patches", "engine", "audio", "phrases/loops")
SOURCES = sorted(path for folder in _COMPILED for path in (_PACKAGE / folder).glob("[a-z]*.py"))


def compute_digest(sources: Iterable[Path] = SOURCES) -> str:
    """Digest of the source files and of the versions of what compiles them."""
    state = hashlib.sha256(f"numba {numba.__version__} llvmlite {llvmlite.__version__} numpy {np.__version__}".encode())
    for source in sources:
        state.update(source.name.encode() + b"\0" + source.read_bytes())
    return state.hexdigest()[:16]


@lru_cache(maxsize=1)
def folder() -> Path | None:
    """This state's folder, below NUMBA_CACHE_DIR if set, else in the user's cache; None if code can't be kept there.

    What lies there is run as it is, so the folder must be this user's own.
    """
    try:
        path = Path(os.environ.get("NUMBA_CACHE_DIR") or find_cache()) / compute_digest()
        path.mkdir(parents=True, exist_ok=True)
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & stat.S_IWOTH:
            raise PermissionError(f"{path} can be written to by others")
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, InputError) as error:
        _say(f"compiled code is not kept: {error}. NUMBA_CACHE_DIR names another folder; now it is compiled in memory")
        return None
    return path


def is_warm(module: str = "cpu") -> bool:
    """Whether the loops of a module have been compiled from these sources before."""
    kept = folder()
    return kept is not None and any(kept.rglob(f"{module}.*.nbc"))


def keep(function: Callable) -> Any:
    """A function of numba's, for the CPU or for CUDA; what it is compiled to is kept in `folder()`, if there is one."""
    if folder() is None or not hasattr(function, "enable_caching"):  # numba's simulator of a GPU compiles nothing
        return function
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]  # numba sets it when it loads
    numba.config.CACHE_DIR = str(folder())  # type: ignore[attr-defined]  # numba sets it when it loads
    try:
        function.enable_caching()
    except (OSError, RuntimeError) as error:  # RuntimeError: numba found no place that it can write to
        _say(f"compiled code is not kept in {folder()}: {error}. It is compiled in memory")
        return function
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]  # numba sets it when it loads
    files = function._cache._cache_file  # type: ignore[attr-defined]  # what enable_caching has made
    files.__class__ = type("SealedFiles", (_SealedFiles, type(files)), {})
    # On a full disk it raises, and SealedFiles.save does not.
    function._cache._impl.locator.ensure_cache_path = lambda: None  # type: ignore[attr-defined]
    return function


if TYPE_CHECKING:
    from numba.core.caching import IndexDataCacheFile
else:
    IndexDataCacheFile = object  # numba-cuda has one of its own: `keep` puts this class before either


class _SealedFiles(IndexDataCacheFile):
    """Before numba's IndexDataCacheFile: a file that is not as it was written counts as missing; a full disk is no error."""

    def load(self, key: tuple) -> object:
        try:
            return super().load(key)
        except (OSError, ValueError) as error:
            _say(f"the compile cache {self._cache_path} is damaged: {error}. It is compiled again")
            return None

    def save(self, key: tuple, data: object) -> None:
        try:
            try:
                super().save(key, data)
            except (OSError, ValueError):  # the index is damaged
                self.flush()
                super().save(key, data)
        except OSError as error:
            _say(f"compiled code is not kept in {self._cache_path}: {error.strerror or error}. It is compiled in memory")

    def _load_index(self) -> dict:
        if os.path.lexists(self._index_path):
            _check_seal(self._index_path)
        return super()._load_index()

    def _load_data(self, name: str) -> object:
        _check_seal(self._data_path(name))
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, path: str) -> Iterator[io.BytesIO]:
        data = io.BytesIO()
        with super()._open_for_write(path) as file:
            yield data
            file.write(data.getvalue() + _seal(path, data.getvalue()))


def _seal(path: str, data: bytes) -> bytes:
    """What follows the content of a file: of its name too, for a function under the name of another is as bad."""
    return hashlib.sha256(os.path.basename(path).encode() + b"\0" + data).digest()


def _check_seal(path: str) -> None:
    """Raises OSError or ValueError for anything but a file as it was written; does not wait for a pipe."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
        data = file.read(_MAX_BYTES) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    if data[-_HASH_BYTES:] != _seal(path, data[:-_HASH_BYTES]):
        raise ValueError(f"{os.path.basename(path)} is not what was written")


def _say(text: str) -> None:
    """One line is enough, and only from the process that a person has started: workers find the same."""
    global _said
    process = multiprocessing.current_process()
    if not _said and multiprocessing.parent_process() is None and not hasattr(process, "_inheriting"):  # fork server
        log.warning(f"dx7data: {text}")
    _said = True
