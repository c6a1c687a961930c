"""Files that are mapped into memory, and looked at and written from there piece by piece."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

PIECE = 1 << 20  # rows, notes or events that are looked at together
_PIECE_BYTES = 16 << 20


def map_file(file: BinaryIO) -> mmap.mmap | bytes:
    """The bytes of a file in its own memory; an empty one has none."""
    file.flush()
    size = file.seek(0, 2)
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""


def split_pieces(count: int) -> Iterator[slice]:
    return (slice(begin, min(begin + PIECE, count)) for begin in range(0, count, PIECE))


class InPieces:
    """A file for Arrow to write to, which it gives whole columns: they are let go as they are written."""

    closed = False

    def __init__(self, file: Any, let_go: Callable[[], None]) -> None:
        self._file, self._let_go = file, let_go

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for begin in range(0, len(view), _PIECE_BYTES):
            self._file.write(view[begin : begin + _PIECE_BYTES])
            self._let_go()
        return len(view)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class Hashed:
    """A hash as a file to write to."""

    def __init__(self, state: hashlib._Hash) -> None:
        self.write = state.update
