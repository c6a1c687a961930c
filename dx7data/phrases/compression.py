"""Whether an Arrow file is compressed: then it could become any size when it is read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

STREAM = 8  # bytes before the first message of an Arrow file: ARROW1, padded


def check_uncompressed(source: pa.NativeFile) -> None:
    """Raises ValueError, before anything is read, if a part of an Arrow file is compressed; `Phrases.write` never does it.

    pyarrow does not say so. It is in the metadata of each part, a flatbuffer of Arrow's Message.fbs, which pyarrow has
    checked: a RecordBatch has a field `compression`, or not.
    """
    import pyarrow as pa

    source.seek(STREAM)
    for message in pa.ipc.MessageReader.open_stream(source):
        data = message.metadata.to_pybytes()
        header = _follow(data, _find_field(data, _follow(data, 0), 2))
        if message.type == "dictionary":
            header = _follow(data, _find_field(data, header, 1))  # of a DictionaryBatch, its RecordBatch
        if message.type in ("dictionary", "record batch") and _find_field(data, header, 3):
            raise ValueError("it is compressed, which no version of dx7data does")


def _find_field(data: bytes, table: int, number: int) -> int:
    """Where a field of a table in a flatbuffer is; 0 if it is not there."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    place = 4 + 2 * number  # after two sizes
    offset = struct.unpack_from("<H", data, fields + place)[0] if place < struct.unpack_from("<H", data, fields)[0] else 0
    return table + offset if offset else 0


def _follow(data: bytes, place: int) -> int:
    """Where an offset in a flatbuffer leads to."""
    return place + int(struct.unpack_from("<I", data, place)[0])
