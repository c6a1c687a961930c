"""Documents of a run and of its checkpoints: JSON whose fields are as a type says.

A run may be damaged, edited, or come from anybody: whatever is wrong is one sentence with the file and the field.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dx7data.errors import InputError

MAX_JSON_BYTES = 1 << 20  # of config.json, checkpoint.json and result.json; ours have some 2 kB

# Surrogates stand for bytes of a path that are no UTF-8, and JSON can't keep them.
_PRINTABLE, _SHA256 = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z", r"^[0-9a-f]{64}\Z"
Name = Annotated[str, Meta(max_length=4096, pattern=_PRINTABLE)]  # a text that a terminal may show
Digest = Annotated[str, Meta(pattern=_SHA256)]
_IN_WORDS = {_PRINTABLE: "text without control characters, in UTF-8", _SHA256: "64 hexadecimal digits"}


def convert(document: Any, kind: type, where: Path | str, above: str = "") -> Any:
    """What was read from JSON, as a type that msgspec knows. Raises InputError with the field that is of another type.

    above: where the document is in that of the file, such as `settings.`
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).replace("`", "").rpartition(" - at $")
        reason, place = (reason, place) if reason else (place, "")  # without a place it is of the document itself
        field = (above + place.removeprefix(".")).removesuffix(".")
        raise InputError(f"{where}{f', field {field}' if field else ''}: {put_in_words(reason)}") from None


def put_in_words(reason: str) -> str:
    """What msgspec says of a value, as part of a sentence."""
    for pattern, words in _IN_WORDS.items():
        reason = reason.replace(f"str matching regex {pattern!r}", words)
    return reason[0].lower() + reason[1:]


def decode(data: bytes) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, or nested too deeply to be ours."""
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None


def check_format(document: object, known: int, path: Path) -> None:
    """Before its fields are looked at, which another version may have changed. Raises InputError."""
    version = document.get("format") if isinstance(document, dict) else None
    if type(version) is int and version != known:
        raise InputError(f"{path} has format {version}, this version reads {known}: use the version that wrote it")
