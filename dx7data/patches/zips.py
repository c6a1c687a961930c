"""Zips: the files in them, read in memory. What cannot be read becomes a line of a report."""

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from dx7data.patches.report import shown

_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)


def unpack(path: Path, data: bytes, suffixes: tuple[str, ...], limit: int, report) -> Iterator[tuple[str, str, bytes]]:
    """The files in a zip that have one of these suffixes and no more than `limit` bytes, in its order.

    Path and base name, `zip/member` each, as they are shown, and contents. Nothing is written to disk.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.lower().endswith(suffixes)]
            if not entries:
                report.refuse(path, f"holds no {' or '.join(suffixes)} file")
            for entry in entries:
                unpacked = _unpack(archive, entry, limit, report, f"{path}/{entry.filename}")
                if unpacked is not None:
                    yield shown(f"{path}/{entry.filename}"), shown(f"{path.name}/{entry.filename}"), unpacked
    except _ERRORS as error:
        report.refuse(path, f"is no zip file that can be read: {shown(error)}")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int, report, path: str) -> bytes | None:
    name = PureWindowsPath(entry.filename)  # knows both kinds of slash, and drives
    if name.anchor or ".." in name.parts:
        report.refuse(path, "has a name that leads out of its zip: rename it")
    elif entry.flag_bits & 1:
        report.refuse(path, "is encrypted: unpack it with its password first")
    elif entry.file_size > limit:
        report.refuse(path, f"unpacks to {entry.file_size:,} bytes, more than the {limit:,} that are read")
    else:
        try:
            with archive.open(entry) as file:
                return file.read(limit)
        except _ERRORS as error:
            report.refuse(path, f"cannot be unpacked: {shown(error)}")
    return None
