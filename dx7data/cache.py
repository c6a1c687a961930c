"""How code is compiled and where it is kept: one folder for each state of the sources that it was compiled from.

numba's own cache looks only at the file of the function that is called. A change in a module which that file imports
goes unnoticed, and the old sound comes out. Here the folder's name is a digest of all of them.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import llvmlite
import numba
import numpy as np

_PACKAGE = Path(__file__).resolve().parent
# For functions that only compiled code calls: without what Python would call, compiling takes a quarter less time.
inner = numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)

SOURCES = sorted(path for folder in ("patches", "engine", "audio") for path in (_PACKAGE / folder).glob("[a-z]*.py"))


def compute_digest(sources=SOURCES) -> str:
    """Digest of the source files and of the versions of what compiles them."""
    state = hashlib.sha256(f"numba {numba.__version__} llvmlite {llvmlite.__version__} numpy {np.__version__}".encode())
    for source in sources:
        state.update(source.name.encode() + b"\0" + source.read_bytes())
    return state.hexdigest()[:16]


@lru_cache(maxsize=1)
def folder() -> Path:
    """This state's folder: below NUMBA_CACHE_DIR if set, else the user's cache; a temporary one if that can't be written."""
    try:
        path = _base() / compute_digest()
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        path = Path(tempfile.mkdtemp(prefix="dx7data-"))
    return path


def _base() -> Path:
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dx7data"


def is_warm(module: str = "cpu") -> bool:
    """Whether the loops of a module have been compiled from these sources before."""
    return any(folder().rglob(f"{module}.*.nbc"))


@contextmanager
def use_folder() -> Iterator[None]:
    """Functions that are given `cache=True` in this context are kept in `folder()`."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder())
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before
