"""The files that may hold patches: named ones, those in folders, and members of zips, which are read in memory.

Each file is given, refused or named as left unread; what a zip may cost is bounded before it is unpacked.
"""

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PureWindowsPath

from dx7data.patches.report import Report, make_printable
from dx7data.search import Refusals, find_files, read_file

SUFFIXES = (".syx", ".bin", ".dx7", ".tx7", ".mid", ".midi", ".kar", ".rmi", ".json", ".parquet", ".zip")
_LIMIT = 64 << 20  # bytes of a file, and of all that a zip unpacks to: 500,000 voices, more than all public banks together
_TEXT_LIMIT = 256 << 20  # bytes of a .json: some 3,500 are a patch
_MEMBERS_LIMIT = 100_000  # of a zip and those in it: each takes 0.1 ms and 4 kB, however small it is
_DEEPEST = 3  # zips in each other
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError, OverflowError),
    MemoryError,  # LZMA asks for as much as the file says
)


def read_files(paths: Iterable, report: Report) -> Iterator[tuple[str, str, bytes]]:
    """Path and base name as shown (`zip/member` in a zip), contents; what is named itself is read whatever its suffix."""
    for path in map(Path, paths):
        inside = [path]
        if os.path.isdir(path):
            inside = find_files(path, SUFFIXES, report, lambda file: leave(report, file))
        for file in inside:
            suffix = file.suffix.lower()
            data = read_file(file, _TEXT_LIMIT if suffix == ".json" else _LIMIT, report)
            if data is not None and suffix == ".zip":
                yield from Zip(report).members(data, str(file), file.name)
            elif data is not None:
                yield make_printable(file), make_printable(file.name), data


def leave(report: Refusals, file: Path | str) -> None:
    """Note that a file was passed over."""
    report.warn(file, "was not read, for its suffix is none that is looked for: rename it, or name the file itself")


class Zip:
    """A zip and the zips in it, which share what they may unpack to."""

    def __init__(
        self, report: Refusals, suffixes: tuple[str, ...] = SUFFIXES, largest: int = _LIMIT, total: int = _LIMIT
    ) -> None:
        """suffixes: of the files that are read; largest, total: bytes of one of them, and of all together."""
        self._report, self._suffixes, self._largest, self._total = report, suffixes, largest, total
        self._left, self._files_left = total, _MEMBERS_LIMIT

    def members(self, data: bytes, path: str, name: str, depth: int = 1) -> Iterator[tuple[str, str, bytes]]:
        """The files in it, in its order; nothing is written to disk."""
        if (count := data.count(b"PK\x01\x02")) > self._files_left:
            total = _MEMBERS_LIMIT - self._files_left + count
            limit = f"more than the {_MEMBERS_LIMIT:,} that are read: unpack it into a folder, which may have any number"
            self._report.refuse(path, f"makes {total:,} files in its zip, {limit}")
            return
        self._files_left -= count
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                entries = [entry for entry in archive.infolist() if not entry.is_dir()]
                if _find_overlap(entries):
                    self._report.refuse(path, "holds files that overlap, as no zip program writes them: pack it anew")
                    return
                known = [entry for entry in entries if entry.filename.lower().endswith(self._suffixes)]
                if not known:
                    self._report.refuse(path, f"holds no {' or '.join(self._suffixes)} file")
                for entry in entries:
                    yield from self._member(archive, entry, path, name, depth)
        except _ZIP_ERRORS as error:
            self._report.refuse(path, f"is no zip file that can be read: {make_printable(error)}")

    def _member(
        self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: str, name: str, depth: int
    ) -> Iterator[tuple[str, str, bytes]]:
        path, name = f"{path}/{entry.filename}", f"{name}/{entry.filename}"
        nested = entry.filename.lower().endswith(".zip")
        if not entry.filename.lower().endswith(self._suffixes):
            leave(self._report, path)
        elif nested and depth == _DEEPEST:
            self._report.refuse(path, f"is a zip inside {depth} others, and {_DEEPEST} in each other are read: unpack it")
        elif (data := self._unpack(archive, entry, path)) is None:
            return
        elif nested:
            yield from self.members(data, path, name, depth + 1)
        else:
            yield make_printable(path), make_printable(name), data

    def _unpack(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: str) -> bytes | None:
        name = PureWindowsPath(entry.filename)  # knows both kinds of slash, and drives
        if name.anchor or ".." in name.parts:
            self._report.refuse(path, "has a name that leads out of its zip: rename it")
        elif entry.flag_bits & 1:
            self._report.refuse(path, "is encrypted: unpack it with its password first")
        elif entry.file_size > self._largest:
            self._report.refuse(path, f"unpacks to {entry.file_size:,} bytes, more than the {self._largest:,} that are read")
        elif entry.file_size > self._left:
            total = self._total - self._left + entry.file_size
            limit = f"more than the {self._total:,} that are read: split the zip"
            self._report.refuse(path, f"makes {total:,} bytes of what its zip unpacks to, {limit}")
        else:
            self._left -= entry.file_size  # also if it fails: that takes as long
            try:
                with archive.open(entry) as file:
                    return file.read(self._largest)
            except _ZIP_ERRORS as error:
                self._report.refuse(path, f"cannot be unpacked: {make_printable(error)}")
        return None


def _find_overlap(entries: list[zipfile.ZipInfo]) -> bool:
    """Whether packed bytes belong to several files, which makes a small zip unpack to a huge one."""
    header = 30  # bytes, without the name
    ends = sorted((entry.header_offset, entry.header_offset + header + entry.compress_size) for entry in entries)
    return any(end > start for (_, end), (start, _) in pairwise(ends))
