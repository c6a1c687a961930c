"""Many files to unique patches, each with where it came from; one patch by reference; patches to files.

Takes files of SysEx and exports, folders and zips, gives a Bank. What cannot be read becomes a line of its report, never an
exception.
"""

import difflib
import hashlib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from dx7data.errors import InputError, explain_os_errors
from dx7data.files import check_output, read_stream, write_output
from dx7data.output import format_count, log
from dx7data.patches import audible, containers, exports, patch, sysex
from dx7data.patches.report import Report, make_printable

EXAMPLE = "example"  # instead of a path: the bank that comes with the package
_MAX_LIST_BYTES = 64 << 20  # of a list of patches: a line for each of a million
_EXAMPLE_FILE = Path(__file__).with_name("example_bank.syx")


@dataclass(frozen=True)
class Bank:
    """N patches, unique by id unless duplicates are kept, in order of first appearance.

    patches: uint8 (N, 155), legal; origins: where each was met first: `file` (base name; `zip/member` in a zip), `sha256`
    of that file's bytes, `index` (1-based among its voices), and `copies`, how often it was met again.
    """

    patches: np.ndarray
    ids: list[str]
    names: list[str]
    origins: list[dict]
    report: Report

    @cached_property
    def known(self) -> set[str]:
        """The ids, to look one up in."""
        return set(self.ids)

    @cached_property
    def places(self) -> dict[str, dict[str, str]]:
        """Name -> id -> FILE:INDEX of the patches of this name, in any case and whatever the blanks around it."""
        found: dict[str, dict[str, str]] = {}
        for key, name, origin in zip(self.ids, self.names, self.origins, strict=True):
            found.setdefault(_fold(name), {})[key] = f"{origin['file']}:{origin['index']}"
        return found

    @cached_property
    def labels(self) -> dict[str, set[str]]:
        """FILE:INDEX, as `patches ls` has it -> ids: several if files of the same name are in different folders."""
        found: dict[str, set[str]] = {}
        for key, origin in zip(self.ids, self.origins, strict=True):
            found.setdefault(f"{origin['file']}:{origin['index']}", set()).add(key)
        return found


def _fold(name: str) -> str:
    return name.strip().lower()


def _files(paths: Iterable, report: Report) -> Iterator[tuple[str, str, bytes]]:
    return containers.read_files((_EXAMPLE_FILE if path == EXAMPLE else path for path in paths), report)


def load(paths: str | os.PathLike | Iterable[str | os.PathLike], keep_duplicates: bool = False) -> Bank:
    """The patches of files, folders (searched recursively) and zips; in these the suffix says what to read (containers.py).

    paths: one or several; the word `example` stands for the shipped bank. A file named here is read whatever its suffix.
    What is not read is named in the report.
    With keep_duplicates, patches of the same id stay, each with its own origin.
    """
    report, rows, origins = Report(), list[np.ndarray](), list[dict]()
    first: dict[str, int] = {}  # id -> row
    for path, name, data in _files([paths] if isinstance(paths, str | os.PathLike) else paths, report):
        reading = exports.read(path, data)
        report.add(path, reading)
        log.debug(f"{path}: {format_count(len(reading.voices), 'voice')}")
        sha256 = hashlib.sha256(data).hexdigest()
        for index, record in enumerate(reading.voices, 1):
            row = np.frombuffer(record.patch, np.uint8)
            known = first.setdefault(patch.patch_id(row), len(rows))
            if known < len(rows):
                report.duplicates += 1
                origins[known]["copies"] += 1
            if known == len(rows) or keep_duplicates:
                rows.append(row)
                origins.append({"file": name, "sha256": sha256, "index": index, "copies": 0})
    patches = np.array(rows, np.uint8).reshape(-1, patch.STORED_BYTES)
    return Bank(patches, [patch.patch_id(row) for row in rows], [patch.patch_name(row) for row in rows], origins, report)


def load_patches(*paths: str | os.PathLike) -> np.ndarray:
    """Read the patches of files, folders and zips: uint8 (V, 155), each once, in order of first appearance.

    paths: as of `--patches` on the command line; "example" is the bank that comes with dx7data. Damaged data is repaired or
    left out; `dx7data.patches.bank.load` reports it. Raises InputError when no usable patch is found.
    """
    bank = load(paths)
    if not bank.ids:
        raise explain_empty(paths, bank.report)
    return bank.patches


def explain_empty(paths: Iterable[str | os.PathLike], report: Report) -> InputError:
    """The error of files in which nothing can be used, with what was wrong with the first of them."""
    refused = "; ".join(map(str, report.refused[:3])) or "they hold none"
    return InputError(f"no usable patch in {', '.join(map(str, paths))}: {refused}")


def load_example() -> Bank:
    """The shipped bank: 32 patches, one per algorithm, CC0."""
    return load(EXAMPLE)


def _read_voices(path: str) -> list[sysex.Record]:
    """Of a file. Raises InputError if it has none, or is several."""
    report = Report()
    files = list(_files([path], report))
    voices = [record for file, _, data in files for record in _read(file, data, report)]
    if len(files) > 1:
        raise InputError(f"{make_printable(path)} holds {len(files):,} files: name one of them")
    if not voices:
        raise InputError(str(report.refused[0]))
    return voices


def pick(reference: str, read: Callable[[str], list[sysex.Record]] = _read_voices) -> np.ndarray:
    """One patch, uint8 (155,): `FILE:INDEX` counts voices from 1 as the DX7 does; `FILE` alone if it holds one voice.

    FILE may be the word `example`. read: gives its voices. Raises InputError when there is no such voice.
    """
    match = None if os.path.exists(reference) else re.fullmatch(r"(.+):([0-9]{1,9})", reference, re.DOTALL)
    path, index = (match[1], int(match[2])) if match else (reference, None)
    voices, path = read(path), make_printable(path)
    if index is None and len(voices) > 1:
        raise InputError(f"{path} holds {len(voices):,} voices: add the number of one, as in {path}:1")
    if index is not None and not 1 <= index <= len(voices):
        raise InputError(f"{path} has no voice {index}: its voices are 1 to {len(voices):,}")
    return np.frombuffer(voices[(index or 1) - 1].patch, np.uint8)


def choose(bank: Bank, references: Iterable[str]) -> set[str]:
    """Ids of the patches of a bank that are called by id, name or FILE:INDEX. Raises InputError for none and for several."""
    read = cache(_read_voices)  # of a long list most are in few files
    return {_choose(bank, reference, read) for reference in references}


def _choose(bank: Bank, reference: str, read: Callable[[str], list[sysex.Record]]) -> str:
    if reference in bank.known:
        return reference
    named = bank.places.get(_fold(reference), {})
    if len(named) == 1:
        return next(iter(named))
    if named:
        raise InputError(
            f"{len(named)} patches are called {make_printable(reference)}: {', '.join(named.values())}; choose by FILE:INDEX"
        )
    labelled = bank.labels.get(reference, set())
    if len(labelled) == 1 and not os.path.exists(reference.rpartition(":")[0]):
        return next(iter(labelled))
    if os.path.exists(reference) or re.fullmatch(r".+:[0-9]+", reference):
        key = patch.patch_id(pick(reference, read))
        if key not in bank.known:
            raise InputError(
                f"{make_printable(reference)} is not among the --patches: add its file there, "
                "or, if it sounds like another one, leave out --dedupe audible"
            )
        return key
    close = difflib.get_close_matches(reference, bank.names, n=3)
    raise InputError(
        f"no patch is called {make_printable(reference)}" + (f"; there are {', '.join(close)}" if close else "")
    )


def read_list(bank: Bank, path: Path) -> set[str]:
    """Ids of the patches that a text file lists, each in a line of its own as for `choose`; # begins a comment.

    A # may be a part of a name or a path too: of the ways to read a line, the longest that there is counts.
    """
    try:
        with open(path, "rb") as file:  # also a pipe
            data = read_stream(file, _MAX_LIST_BYTES, "it")
        lines = [_strip_comment(bank, line.strip()) for line in data.decode("utf-8-sig").splitlines()]
        if not any(lines):
            raise InputError("there is no patch in this list")
        return choose(bank, filter(None, lines))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{make_printable(path)} can't be read as a list of patches: {reason}") from None
    except InputError as error:
        raise InputError(f"{make_printable(path)}: {error}") from None


def _strip_comment(bank: Bank, line: str) -> str:
    reference = line
    while "#" in reference and not (_fold(reference) in bank.places or os.path.exists(re.sub(":[0-9]+$", "", reference))):
        reference = reference.rpartition("#")[0].rstrip()
    return reference


def drop_same_sounds(bank: Bank) -> Bank:
    """The bank without the patches that sound like an earlier one (audible.py)."""
    kept = audible.find_distinct(bank.patches)
    ids, names, origins = ([column[i] for i in kept] for column in (bank.ids, bank.names, bank.origins))
    return Bank(bank.patches[kept], ids, names, origins, bank.report)


def _read(file: str, data: bytes, report: Report) -> list[sysex.Record]:
    reading = exports.read(file, data)
    report.add(file, reading)
    return reading.voices


def read_table(path: str | os.PathLike) -> np.ndarray:
    """A table of patches like example_bank.toml, whose head explains it, as legal uint8 (N, 155)."""
    rows = []
    for entry in tomllib.loads(Path(path).read_text("utf-8"))["patch"]:
        operators = [value for operator in entry["operators"] for value in operator]
        common = [*entry["pitch_eg"], entry["algorithm"] - 1, entry["feedback"], entry["oscillator_sync"], *entry["lfo"]]
        name = entry["name"].encode("ascii").ljust(patch.NAME_BYTES)
        rows.append([*operators, *common, entry["pitch_mod_sensitivity"], entry["transpose"], *name])
    return patch.require_legal(np.array(rows, np.uint8))


def check_export(path: Path) -> None:
    """Raises InputError where `export` could not write: asked before patches are made, which takes long."""
    check_output(path, (_read_suffix(path),))


def _read_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise InputError(f"{make_printable(path)} has an unknown suffix: use one of {', '.join(_WRITERS)}")
    return suffix


_WRITERS = {
    ".json": lambda bank, _: exports.to_json(bank.patches, bank.origins),
    ".parquet": lambda bank, _: exports.to_parquet(bank.patches, bank.origins),
    ".syx": lambda bank, full_bank: exports.to_syx(bank.patches, full_bank),
    ".txt": lambda bank, _: exports.to_text(bank.patches),
}


def export(bank: Bank, path: str | os.PathLike, full_bank: bool = False) -> None:
    """Write all patches to `path`, whole or not at all, in the format of its suffix: .json, .parquet, .syx or .txt.

    .json and .parquet hold stored values by name (algorithm 0-31), .parquet the packed 128 bytes too; `load` reads both.
    .syx holds bulk dumps of 32 and single-voice dumps of the rest, or with full_bank a last bulk dump filled up with INIT
    VOICEs; .txt a line for each patch. Raises InputError.
    """
    path = Path(path)
    suffix = _read_suffix(path)
    if full_bank and suffix != ".syx":
        raise InputError(f"only a .syx file has banks to fill: leave out --full-bank for {make_printable(path)}")
    if not len(bank.patches):
        raise InputError(f"there are no patches to write to {make_printable(path)}")
    written = _WRITERS[suffix](bank, full_bank)
    with explain_os_errors(f"{make_printable(path)} cannot be written"):
        write_output(path, (suffix,), lambda file: file.write(written))
