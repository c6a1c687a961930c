"""Phrases on their way to a plan: on disk, so that a corpus of any size takes the same memory; sorted, and each kept once.

Rows come in order of the music, some thousand at a time, sorted by id. They are written to a file without a name, a run
after the other. At the end a range of ids after the other is read from all runs, and becomes columns, on disk too, which are
mapped into memory. An id is a hash, so ranges of equal width hold equally many.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from dx7data.errors import InputError
from dx7data.phrases.columns import Phrases
from dx7data.phrases.loops import rows as loop
from dx7data.phrases.loops.rows import Rows, split_columns
from dx7data.phrases.mapping import map_file
from dx7data.phrases.reservoir import Reservoir

_TOGETHER = 16 << 20  # words that are merged at once, and that wait to be written: 64 MB, 200,000 phrases
_RANGES = 1024  # of ids, by which a run can be read
_EDGES = np.arange(1, _RANGES, dtype=np.uint64) << np.uint64(64 - 10)


class _Run(NamedTuple):
    """Rows in order of id, in the file of all runs: ids, bounds and words, one after the other."""

    offset: int  # bytes
    rows: int
    words: int
    first: np.ndarray  # int32 (_RANGES + 1,): the row at which each range of ids begins


class Store:
    """Takes rows, gives phrases in order of id."""

    def __init__(self, kinds: list[str], reservoir: Reservoir | None = None) -> None:
        """kinds: by their number in the rows; it may grow. reservoir: which phrases are kept; None: all."""
        self.kept = self.duplicates = self.cut = self.passed_over = 0
        self._kinds, self._reservoir = kinds, reservoir
        self._pending: list[Rows] = []
        self._runs: list[_Run] = []
        with _explain():
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # __exit__ closes it

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Rows) -> None:
        """Rows of what comes next in the music, in order of id."""
        if self._reservoir:
            good = self._reservoir.offer(rows.ids)
            self.passed_over += len(good) - int(good.sum())
            rows = take_rows(rows, np.flatnonzero(good))
        if len(rows.ids):
            self._pending.append(rows)
        if sum(len(each.words) for each in self._pending) >= _TOGETHER:
            self._write_runs()

    def finish(self) -> Phrases | None:
        """All phrases, each once; None: there are none. Counts those kept, their duplicates and what was passed over."""
        with _Columns() as columns:
            for rows in self._merge():
                order = self._choose(rows.ids)
                self.kept += len(order)
                self.cut += columns.add(rows, order)
            return columns.finish(self._kinds) if self.kept else None

    def _choose(self, ids: np.ndarray) -> np.ndarray:
        """Indices of those that are kept, in order of id."""
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        is_new = np.append(True, ids[1:] != ids[:-1])[: len(ids)]
        chosen = self._reservoir.choose(ids) if self._reservoir else np.ones(len(ids), bool)
        self.passed_over += int((~chosen).sum())
        self.duplicates += int((chosen & ~is_new).sum())
        return order[chosen & is_new]

    def _write_runs(self) -> None:
        with _explain():
            for rows in self._pending:
                first = np.concatenate([[0], np.searchsorted(rows.ids, _EDGES), [len(rows.ids)]]).astype(np.int32)
                self._runs.append(_Run(self._file.tell(), len(rows.ids), len(rows.words), first))
                for array in rows:
                    self._file.write(array.data)
        self._pending = []

    def _merge(self) -> Iterator[Rows]:
        """Rows of a few ranges of ids at once: of all runs, in their order."""
        if not self._runs:
            yield join_rows(self._pending)
            return
        self._write_runs()
        self._file.flush()
        words = sum(run.words for run in self._runs)
        step = max(1, _RANGES * _TOGETHER // words)
        for begin in range(0, _RANGES, step):
            yield join_rows([self._read(run, begin, min(begin + step, _RANGES)) for run in self._runs])

    def _read(self, run: _Run, begin: int, end: int) -> Rows:
        """The rows of a run from one range of ids to another."""
        first, last = int(run.first[begin]), int(run.first[end])
        bounds_offset = run.offset + 8 * run.rows
        words_offset = bounds_offset + 8 * (run.rows + 1)
        ids = self._read_array(np.uint64, run.offset + 8 * first, last - first)
        bounds = self._read_array(np.int64, bounds_offset + 8 * first, last - first + 1)
        words = self._read_array(np.int32, words_offset + 4 * int(bounds[0]), int(bounds[-1] - bounds[0]))
        return Rows(ids, bounds - bounds[0], words)

    def _read_array(self, kind: type, offset: int, count: int) -> np.ndarray:
        found: np.ndarray = np.empty(count, kind)
        os.preadv(self._file.fileno(), [found.data.cast("B")] if count else [], offset)
        return found


def sort_rows(rows: Rows) -> Rows:
    """In order of id."""
    return take_rows(rows, np.argsort(rows.ids, kind="stable"))


def take_rows(rows: Rows, order: np.ndarray) -> Rows:
    """The rows with these indices, in this order."""
    return Rows(rows.ids[order], *loop.take_rows(rows.bounds, rows.words, order))


def join_rows(parts: list[Rows]) -> Rows:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(len(part.words) for part in parts)])
    bounds = [part.bounds[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
    ids = np.concatenate([np.empty(0, np.uint64), *(part.ids for part in parts)])
    words = np.concatenate([np.empty(0, np.int32), *(part.words for part in parts)])
    return Rows(ids, np.concatenate([*bounds, ends[-1:]]), words)


class _Columns:
    """The columns of phrases, each a file without a name."""

    _NAMES = ("id", "about", "start", "held", "note", "velocity", "time", "controller", "value")

    def __init__(self) -> None:
        names = (*self._NAMES, "notes_bounds", "events_bounds", "about_bounds")
        with _explain():
            self._files = {name: tempfile.TemporaryFile() for name in names}  # noqa: SIM115  # __exit__ closes them
        self._kinds: list[np.ndarray] = []  # a byte of each phrase: kind << 1 | cut
        self._ends = np.zeros(3, np.int64)

    def __enter__(self) -> "_Columns":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, rows: Rows, order: np.ndarray) -> int:
        """Add the rows with these indices, in this order; returns how many of them are cut."""
        if not len(order):
            return 0
        counts, kinds, *arrays = split_columns(*rows, order)
        bounds = self._ends + np.cumsum(counts, axis=0)
        with _explain():
            for i, name in enumerate(("notes_bounds", "events_bounds", "about_bounds")):
                if not self._kinds:
                    self._files[name].write(np.zeros(1, np.int64).data)
                self._files[name].write(np.ascontiguousarray(bounds[:, i]).data)
            for name, array in zip(self._NAMES, arrays, strict=True):
                self._files[name].write(array.data)
        self._ends = bounds[-1]
        self._kinds.append(kinds)
        return int((kinds & 1).sum())

    def finish(self, kinds: list[str]) -> Phrases:
        """Not yet in splits."""
        with _explain():
            maps = {name: map_file(file) for name, file in self._files.items()}
        return Phrases.of_columns(maps, np.concatenate(self._kinds), kinds)


@contextmanager
def _explain() -> Iterator[None]:
    """Raises InputError for what a full disk raises."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"temporary files in {tempfile.gettempdir()} can't be written: {error.strerror}; "
            "free some space, or name another folder in the environment variable TMPDIR"
        ) from None
