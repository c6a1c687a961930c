"""Files: found and read, with what goes wrong in a report; and written so that they are whole or not there."""

import hashlib
import json
import operator
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"


@contextmanager
def open_atomically(path: Path):
    """A binary file to write; it gets its name at the end of the block, or vanishes if the block raises."""
    partial = path.with_name(f".{secrets.token_hex(4)}.{path.name}{PARTIAL}")  # others may be writing the same file
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, write: Callable) -> None:
    """Let `write(file)` make the file at `path`."""
    with open_atomically(path) as file:
        write(file)


def to_canonical_json(value) -> bytes:
    """The one way to write a value as JSON, to be hashed: sorted keys, no blanks, whole numbers of numpy as any others."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=operator.index).encode()


def add_hash(document: dict) -> bytes:
    """A JSON document as the content of a file, with its own hash as the last entry."""
    own = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    return (json.dumps(document | {"sha256": own}, indent=1) + "\n").encode()


def check_hash(data: bytes) -> dict:
    """The document that `signed` made a file of. Raises ValueError if a single bit of it is another one."""
    document = json.loads(data)
    if not isinstance(document, dict) or document.pop("sha256", None) is None or add_hash(document) != data:
        raise ValueError("its own hash does not match: it was edited or damaged")
    return document


def encode_parquet(table) -> bytes:
    """A pyarrow table as the content of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()


def decode_parquet(data: bytes, **options):
    """The pyarrow table that is the content of a Parquet file; options of pyarrow's read_table.

    It is read in memory of Arrow's own. Python's would be let go by a thread of Arrow, maybe while Python ends, which aborts
    the process: seen in one of four that read a table just before.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    buffer.write(data)
    return pq.read_table(pa.BufferReader(buffer.getvalue()), **options)


def find_files(folder: Path, suffixes: tuple[str, ...], report, leave: Callable = lambda file: None) -> list[Path]:
    """The files under a folder that have one of these suffixes, sorted; `leave` is called with each of the others.

    Links to folders are not followed.
    """

    def unreadable(error: OSError) -> None:
        report.refuse(error.filename, f"cannot be read: {error.strerror}")

    walk = os.walk(folder, onerror=unreadable)
    files = sorted(Path(parent, name) for parent, _, names in walk for name in names)
    found = [file for file in files if file.name.lower().endswith(suffixes)]
    for file in files:
        if not file.name.lower().endswith(suffixes):
            leave(file)
    if not found:
        report.refuse(folder, f"holds no {' or '.join(suffixes)} file")
    return found


def read_file(path: Path, limit: int, report) -> bytes | None:
    """The bytes of a regular file that has no more than `limit`."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            report.refuse(path, "is no regular file")
        elif status.st_size > limit:
            report.refuse(path, f"has {status.st_size:,} bytes, more than the {limit:,} that are read: split it")
        else:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        report.refuse(path, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return None
