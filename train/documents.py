"""Files of a run and of its checkpoints, read within bounds: regular files only, and JSON whose fields are as a type says.

A run may be damaged, edited, or come from anybody: whatever is wrong is one sentence with the file and the field.
"""

import os
import stat
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import Meta

from dx7data.errors import InputError
from dx7data.files import read_all

MAX_JSON_BYTES = 1 << 20  # of config.json, checkpoint.json and result.json; ours have some 2 kB

_PRINTABLE, _SHA256 = r"^[^\x00-\x1f\x7f-\x9f]*\Z", r"^[0-9a-f]{64}\Z"
Name = Annotated[str, Meta(max_length=4096, pattern=_PRINTABLE)]  # a text that a terminal may show
Digest = Annotated[str, Meta(pattern=_SHA256)]
_IN_WORDS = {_PRINTABLE: "text without control characters", _SHA256: "64 hexadecimal digits"}


def open_regular(path: Path) -> BinaryIO:
    """A regular file, to read. Raises FileNotFoundError; and InputError for a link, a folder, a pipe or a device.

    None of these is followed or waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        what = "is a link" if os.path.islink(path) else f"can't be read ({getattr(error, 'strerror', None) or error})"
        raise InputError(f"{path} {what}: put the file itself in its place") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is no regular file: put a copy of the file in its place")
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, max_bytes: int) -> bytes:
    """All of a regular file. Raises FileNotFoundError, and InputError, also if it has more than so many bytes."""
    with open_regular(path) as file:
        return read_all(file, max_bytes, path)


def convert(document: Any, kind: type, where: Path | str, above: str = "") -> Any:
    """What was read from JSON, as a type that msgspec knows. Raises InputError with the field that is of another type.

    above: where the document is in that of the file, such as `settings.`
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).replace("`", "").rpartition(" - at $")
        reason, place = (reason, place) if reason else (place, "")  # without a place it is of the document itself
        for pattern, words in _IN_WORDS.items():
            reason = reason.replace(f"str matching regex {pattern!r}", words)
        field = (above + place.removeprefix(".")).removesuffix(".")
        raise InputError(f"{where}{f', field {field}' if field else ''}: {reason[0].lower()}{reason[1:]}") from None


def decode(data: bytes) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, or nested too deeply to be ours."""
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
