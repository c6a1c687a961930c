"""Files: written so that they are whole or not there, and read within bounds, for they may come from anybody.

Whole also after a power cut: a file system may keep a new name and lose the bytes behind it, unless these are synced first.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import operator
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, TextIO

from dx7data.errors import InputError, explain_os_errors

PARTIAL = ".partial"
HTML = (".html", ".htm")  # endings of names
_OF_A_FOLDER = ("dataset.json", "index.json", "config.json", "checkpoint.json", "result.json")  # a data set, a run


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write; at the end of the block it is on the disk and gets its name; it vanishes if the block raises.

    The name itself is on the disk after `sync_folder`, once for several files. A link at `path` is replaced, not followed.
    """
    partial = _name_partial(path)
    try:
        with open(partial, "xb") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a sign of life, see remove_left_over
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, path)  # before it is closed, which would end the sign of life
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _name_partial(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(4)}.{path.name}{PARTIAL}")  # others may be writing the same file


def write_atomically(path: Path, write: Callable) -> None:
    """Let `write(file)` make the file at `path`; afterwards it survives a power cut."""
    with open_atomically(path) as file:
        write(file)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Let what was added to a file survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems can't
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_left_over(path: Path) -> None:
    """Remove a partial file, unless the process that writes it is alive."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone by now, or a link
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:  # a file system without locks
        pass
    finally:
        os.close(descriptor)
    if path.is_file():
        path.unlink(missing_ok=True)


def open_log(path: Path) -> TextIO:
    """A text file to add lines to. Raises OSError where there is a link, which would lead out of the folder, or a device."""
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(errno.EINVAL, f"{path.name} is no regular file: remove it", str(path))
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666), "a")


def find_cache() -> Path:
    """This project's folder in the user's cache, there or not. Raises InputError for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dx7data"
    except RuntimeError:
        raise InputError("this user has no home folder: let XDG_CACHE_HOME name a folder for what is kept") from None


@contextmanager
def open_output(path: Path, endings: tuple[str, ...]) -> Iterator[BinaryIO]:
    """A binary file to write what a person asked for at `path`.

    A regular file is replaced atomically, also through a link; a device or a pipe, such as /dev/stdout, is written to, and
    `-` is stdout. endings: of the names of such files, as in .wav. Raises InputError where a file of another kind would be
    lost.
    """
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    _check_replaced(path, endings)
    if is_stream(path):
        with open(path, "wb") as file:
            yield file
        return
    real = Path(os.path.realpath(path))
    with open_atomically(real) as file:
        yield file
    sync_folder(real.parent)


def write_output(path: Path, endings: tuple[str, ...], write: Callable) -> None:
    """Let `write(file)` make what a person asked for at `path`, see `open_output`."""
    with open_output(path, endings) as file:
        write(file)


def check_output(path: Path, endings: tuple[str, ...]) -> None:
    """Raises InputError where `open_output` would fail: asked before long work, of which the result would be lost."""
    with explain_os_errors(f"can't write {path}"):
        _check_replaced(path, endings)
        if os.path.isdir(path):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not is_stream(path):
            partial = _name_partial(Path(os.path.realpath(path)))
            open(partial, "xb").close()
            partial.unlink()


def _check_replaced(path: Path, endings: tuple[str, ...]) -> None:
    """An option is easily mistaken for another one, or completed to the file that is read."""
    if not path.is_file() or not path.stat().st_size:
        return
    if path.name in _OF_A_FOLDER or path.name.endswith(".stats.json"):
        raise InputError(f"{path} is there already, as a file of a data set or a run: name another file")
    if not path.name.lower().endswith(endings):
        raise InputError(f"{path} is there already and is no {' or '.join(endings)} file: name another, or remove it")


def is_stream(path: Path) -> bool:
    """Whether a path leads to a device or a pipe, such as /dev/stdout, or is `-`, which stands for stdout."""
    if str(path) == "-":
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def refuse_unwritable(folder: Path) -> None:
    """Before long work. Raises InputError for a folder that can't be written to, or that can't be made."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(each))
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"can't write to {folder}: {os.strerror(errno.EACCES)}")


def to_canonical_json(value: object) -> bytes:
    """The one way to write a value as JSON, to be hashed: sorted keys, no blanks, whole numbers of numpy as any others."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=operator.index).encode()


def add_hash(document: dict) -> bytes:
    """A JSON document as the content of a file, with its own hash as the last entry."""
    own = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    return (json.dumps(document | {"sha256": own}, indent=1) + "\n").encode()


def check_hash(data: bytes) -> dict:
    """The document that `add_hash` made a file of. Raises ValueError if a single bit of it is another one."""
    document = json.loads(data)
    if not isinstance(document, dict) or document.pop("sha256", None) is None or add_hash(document) != data:
        raise ValueError("its own hash does not match: it was edited or damaged")
    return document


# --- Files that may come from anybody ---


def open_regular(path: Path, links: bool = True) -> BufferedReader:
    """A regular file, to read; nothing else is opened, for that may wait for ever or make a device act.

    Raises as `measure_regular` does. links: whether a link may be followed as far as it says; of a run, none is.
    """
    measure_regular(path, links)
    try:
        descriptor = os.open(os.path.realpath(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from None
    return os.fdopen(descriptor, "rb")


def measure_regular(path: Path, links: bool = True) -> int:
    """How many bytes a regular file has.

    Raises FileNotFoundError; and InputError where there is a folder, a pipe or a device, or a link that leads out of its
    folder. A link within a snapshot of the Hugging Face Hub is one of its own.
    """
    try:
        if os.path.islink(path) and not (links and _is_own_link(path)):
            where = " that leads out of the data set" if links else ""
            raise InputError(f"{path} is a link{where}: put a copy of the file in its place")
        status = os.stat(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is no regular file: put a copy of the file in its place")
    return status.st_size


def _is_own_link(path: Path) -> bool:
    """Whether a link leads to a file of the same folder, or of the same repository in the cache of the Hugging Face Hub.

    There, snapshots/REVISION/ holds links into blobs/. The Hub's client made them: a repository brings files, no links, so
    nothing but what was downloaded from it can be read through them. Nothing is written through them: files are replaced.
    """
    real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
    snapshots = next((parent for parent in folder.parents if parent.name == "snapshots"), None)
    return real.is_relative_to(folder) or (snapshots is not None and real.parent == snapshots.with_name("blobs"))


def read_regular(path: Path, limit: int, links: bool = True) -> bytes:
    """All of a regular file of no more than `limit` bytes. Raises FileNotFoundError and InputError."""
    with open_regular(path, links) as file:
        return read_all(file, limit, path)


def read_all(file: BinaryIO, limit: int, path: object) -> bytes:
    """All of an open file of no more than `limit` bytes. Raises InputError."""
    check_length(os.fstat(file.fileno()).st_size, limit, path)
    with explain_os_errors(f"{path} can't be read"):
        return file.read(limit)


def read_stream(file: BinaryIO, limit: int, path: object) -> bytes:
    """All of a file that may be a pipe, of no more than `limit` bytes. Raises InputError."""
    data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path} has more than the {limit:,} bytes that are read of such a file")
    return data


def check_length(size: int, limit: int, where: object) -> None:
    """Raises InputError for a file that is too long to be read."""
    if size > limit:
        raise InputError(f"{where} has {size:,} bytes, more than the {limit:,} that are read of such a file")
