"""Music as MIDI files: on all cores, some files at a time, to rows of phrases in the order of the files.

What takes time is compiled and holds no lock of Python's, so threads do it: they share all memory, and start at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dx7data.errors import make_printable
from dx7data.patches import containers
from dx7data.phrases import midi, reservoir
from dx7data.phrases.columns import Phrases
from dx7data.phrases.loops.cut import FOUND, REFUSALS, Limits, Parts, cut_phrases
from dx7data.phrases.loops.rows import Rows
from dx7data.phrases.report import MusicReport
from dx7data.phrases.selection import Wanted, finish
from dx7data.phrases.source import Progress
from dx7data.phrases.store import join_rows, sort_rows, take_rows
from dx7data.search import find_paths, read_file

KIND = "midi"

_SUFFIXES = (".mid", ".midi", ".kar", ".rmi", ".zip")
_ZIP_LIMIT = 256 << 20  # bytes
_UNPACKED_LIMIT = 4 << 30  # bytes of all files in a zip: 100,000 songs
_TOGETHER, _TOGETHER_BYTES = 32, 4 << 20  # files, and bytes of those that came out of zips, that a thread reads in one go
_AHEAD = 3  # such tasks of each thread that are begun before their turn


class Cutting(NamedTuple):
    """How files become phrases."""

    wanted: Wanted
    beats: int | None  # of a window; None: windows of the clip's length
    max_phrases_per_file: int | None  # chosen at random, see reservoir.py


def collect(
    paths: str | os.PathLike | Iterable[str | os.PathLike],
    beats: int | None,
    max_phrases_per_file: int | None,
    wanted: Wanted,
    report: MusicReport,
    progress: Progress = lambda done, total: None,
    workers: int | None = None,
) -> Phrases:
    """The phrases of MIDI files, folders and zips.

    paths: one or several; a file named here is read whatever its suffix; folders are searched recursively for .mid, .midi,
    .kar, .rmi and .zip.
    What a channel plays in a track is cut into windows of `beats` beats of the time signature, counted from the beginning
    of the file and anew where it changes; without `beats` into windows of the clip's length, each from the first note that
    is left. A phrase is the notes that begin in a window, cut at its end, and the controllers. What cannot be read becomes
    a line of the report.
    workers: threads; None: one for each core. Raises InputError when there are no phrases.
    """
    cutting = Cutting(wanted, beats, max_phrases_per_file)
    files = _Files([paths] if isinstance(paths, str | os.PathLike) else paths)
    done = 0
    with wanted.open_store([KIND]) as store:
        for rows, met, count in _read_all(_batch(files), cutting, workers or len(os.sched_getaffinity(0))):
            store.add(rows)
            report.extend(met)
            done += count
            progress(done, files.total)
        files.notes.tell(report)
        return finish(store, report)


def _read_all(tasks: Iterator[list[_Item]], cutting: Cutting, workers: int) -> Iterator[tuple[Rows, MusicReport, int]]:
    """What _read_task gives for each task, in their order, from several threads."""
    pool = ThreadPoolExecutor(workers)
    try:
        running = deque(pool.submit(_read_task, task, cutting) for task in islice(tasks, _AHEAD * workers))
        while running:
            yield running.popleft().result()
            running += [pool.submit(_read_task, task, cutting) for task in islice(tasks, 1)]
    finally:
        pool.shutdown(cancel_futures=True)


# --- Files ---


class _Notes:
    """What is met while files are looked for, until it is its turn in the report."""

    def __init__(self) -> None:
        self.met: list[tuple[str, object, str]] = []

    def refuse(self, file: object, reason: str) -> None:
        self.met.append(("refuse", file, reason))

    def warn(self, file: object, sentence: str) -> None:
        self.met.append(("warn", file, sentence))

    def tell(self, report: MusicReport) -> None:
        for verb, file, text in self.met:
            getattr(report, verb)(file, text)


class _Item(NamedTuple):
    """A file: its path, or what came out of a zip; and what was met before it."""

    notes: _Notes
    path: str
    name: str  # as shown in the phrases
    data: bytes | None


class _Files:
    """The files of some paths, in order."""

    def __init__(self, paths: Iterable[str | os.PathLike]) -> None:
        self.notes = _Notes()  # of what is met before the next file
        self.total = 0
        self._found = [self._find(Path(path)) for path in paths]

    def _find(self, path: Path) -> tuple[_Notes, list[str]]:
        notes, found = _Notes(), [str(path)]
        if os.path.isdir(path):
            found = find_paths(path, _SUFFIXES, notes, lambda file: containers.leave(notes, file))
        self.total += len(found)
        return notes, found

    def refuse(self, file: object, reason: str) -> None:
        self.notes.refuse(file, reason)

    def warn(self, file: object, sentence: str) -> None:
        self.notes.warn(file, sentence)

    def __iter__(self) -> Iterator[_Item]:
        for notes, paths in self._found:
            self.notes.met += notes.met
            for path in paths:
                yield from self._open(path)

    def _open(self, path: str) -> Iterator[_Item]:
        name = os.path.basename(path)
        if os.path.splitext(name)[1].lower() != ".zip":
            yield self._make_item(path, name, None)
        elif (data := read_file(Path(path), _ZIP_LIMIT, self)) is not None:
            archive = containers.Zip(self, _SUFFIXES, midi.BYTES_LIMIT, _UNPACKED_LIMIT)
            for member in archive.members(data, path, name):
                self.total += 1
                yield self._make_item(*member)

    def _make_item(self, path: str, name: str, data: bytes | None) -> _Item:
        notes, self.notes = self.notes, _Notes()
        return _Item(notes, path, name, data)


def _batch(files: Iterable[_Item]) -> Iterator[list[_Item]]:
    batch, size = [], 0
    for item in files:
        batch.append(item)
        size += len(item.data or b"")
        if len(batch) == _TOGETHER or size > _TOGETHER_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- In a thread ---


def _read_task(items: list[_Item], cutting: Cutting) -> tuple[Rows, MusicReport, int]:
    """The rows of some files, what was met, and how many files that were."""
    report, rows = MusicReport(), []
    for notes, path, name, data in items:
        notes.tell(report)
        if data is None:
            data = read_file(Path(path), midi.BYTES_LIMIT, report)
        if data is not None:
            rows += _cut_file(data, make_printable(path), make_printable(name), cutting, report)
    return sort_rows(join_rows(rows)), report, len(items)


def _cut_file(data: bytes, path: str, name: str, cutting: Cutting, report: MusicReport) -> list[Rows]:
    """The phrases of a file, by sequence."""
    wanted, rows, crowded = cutting.wanted, [], []
    counts = np.zeros((FOUND + 1, 2), np.int64)
    try:
        reading = midi.read(data)
        if not reading.sequences:
            raise ValueError("holds no notes that last and are no drums (channel 10)")
        digest, limits = hashlib.sha256(data).hexdigest(), _make_limits(wanted)
        for each in reading.sequences:
            music = (each.notes, each.events, _describe(each, name, digest), each.tempos)
            some, too_many, fits = cut_phrases(*music, wanted.clip, cutting.beats or 0, limits, counts)
            if not fits:
                raise ValueError("becomes phrases of more than 256 MB, since many tracks share its controllers: split it")
            rows.append(some)
            crowded += too_many.tolist()
    except ValueError as error:
        report.refuse(path, str(error))
        return []
    notes = sum(len(sequence.notes.start) for sequence in reading.sequences)
    report.add(path, notes, reading.zero_length, reading.never_ending, reading.warnings)
    report.found += int(counts[FOUND, 0])
    reasons = zip(*counts[:FOUND].T.tolist(), (*REFUSALS, wanted.crowd), strict=True)
    for count, _, reason in sorted(reasons, key=lambda each: each[1]):
        if count:
            report.left_out[reason] += count
    for begin, count in crowded:
        wanted.warn_of_crowd(report, name, begin / 1000, count)
    return [_choose(join_rows(rows), cutting, report)] if cutting.max_phrases_per_file else rows


def _choose(rows: Rows, cutting: Cutting, report: MusicReport) -> Rows:
    """Of the phrases of a file, each once, those with the lowest ranks."""
    ids, first = np.unique(rows.ids, return_index=True)
    report.duplicates += len(rows.ids) - len(ids)
    chosen = np.argsort(reservoir.rank(ids, cutting.wanted.seed))[: cutting.max_phrases_per_file]
    if len(chosen) < len(ids):
        report.left_out["max phrases per file"] += len(ids) - len(chosen)
    return take_rows(rows, np.sort(first[chosen]))


def _describe(sequence: midi.Sequence, name: str, digest: str) -> Parts:
    """What is known of the performances, as JSON, of which the start is left out."""
    file, digest, texts = json.dumps(name), json.dumps(digest), []
    for each in sequence.performances:  # in order of the alphabet
        port = f'"port": {each.port}, ' if each.port else ""
        before = f'{{"channel": {each.channel}, "file": {file}, {port}"sha256": {digest}, "start": '
        texts.append((before, f', "track": {each.track}}}'))
    befores, afters = zip(*texts, strict=True)
    lanes, places = (np.array([getattr(each, name) for each in sequence.performances]) for name in ("lane", "place"))
    return Parts(lanes, places, *_join_texts(befores), *_join_texts(afters))


def _join_texts(texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """All in one, and their bounds; they are ASCII."""
    return np.frombuffer("".join(texts).encode(), np.uint8), np.array([0, *accumulate(map(len, texts))])


def _make_limits(wanted: Wanted) -> Limits:
    def bound(limit: tuple[int, int | None]) -> tuple[int, int]:
        return limit[0], -1 if limit[1] is None else limit[1]

    filters = wanted.filters
    pairs = (bound(filters.notes), bound(filters.polyphony), bound(filters.pitch_range), bound(filters.velocity))
    return Limits(wanted.max_notes, *pairs, different_notes=filters.different_notes, filled=float(filters.filled))
