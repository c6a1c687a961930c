"""What a program prints: its result on standard output, as text or JSON; notes and progress on standard error.

-q, -v and --json, which all commands have, choose how much. Where no command runs, as in notebooks, only warnings appear.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import shutil
import sys
from argparse import _ActionsContainer
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dx7data.errors import make_printable
from dx7data.files import is_stream

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger("dx7data")  # debug: shown with -v; info and warning: not with -q
_as_json = False


def add_options(parser: _ActionsContainer) -> None:
    """-q, -v and --json; `configure` takes what they give."""
    group = parser.add_argument_group("output")
    how_much = group.add_mutually_exclusive_group()
    how_much.add_argument("-q", "--quiet", action="store_true", help="print results and errors alone: no progress, no notes")
    how_much.add_argument("-v", "--verbose", action="store_true", help="say more of what is going on, with the time")
    group.add_argument("--json", action="store_true", help="print the result as one JSON document")


def configure(options: dict[str, Any]) -> None:
    """Do as -q, -v and --json say, and take them out of the options of a command."""
    global _as_json
    quiet, verbose, _as_json = (options.pop(name, False) for name in ("quiet", "verbose", "json"))
    log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    _STANDARD_ERROR.setFormatter(_TIMED if verbose else None)


class _StandardError(logging.Handler):
    """Lines on stderr, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        text = "\n".join(map(make_printable, self.format(record).split("\n")))
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)


_TIMED = logging.Formatter("{relativeCreated:6.0f} ms  {message}", style="{")  # since the program began
_STANDARD_ERROR = _StandardError()
log.addHandler(_STANDARD_ERROR)
log.setLevel(logging.WARNING)
log.propagate = False  # a line comes once, also where another library has set up logging


def progress_bar(iterable: Iterable | None = None, disable: bool | None = False, **options: Any) -> tqdm:
    """A bar of tqdm on stderr; not with -q. disable: as tqdm has it."""
    from tqdm import tqdm

    return tqdm(iterable, file=sys.stderr, disable=not log.isEnabledFor(logging.INFO) or disable, **options)


def print_result(found: dict, describe: Callable[[dict], Iterable[str]], written: Path | None = None) -> None:
    """What a command has found: the lines that describe it, or with --json the same facts as one document.

    In both are the sentences of its entry `warnings`, if it has one: on a terminal they are red. written: what the command
    wrote, `-` for stdout; if that is a pipe, maybe stdout's, the result goes to stderr.
    """
    stream = sys.stderr if written and is_stream(written) else sys.stdout
    if _as_json:
        text = json.dumps(drop_nan(found), indent=1)
    else:
        warnings = [red(make_printable(warning), stream) for warning in found.get("warnings", ())]
        text = "\n".join([*map(make_printable, describe(found)), *warnings])
    print(text, file=stream, flush=True)


def red(text: str, stream: TextIO) -> str:
    """As a terminal shows it in red; as it is for a file, and where NO_COLOR (no-color.org) is set."""
    return f"\033[31m{text}\033[0m" if stream.isatty() and not os.environ.get("NO_COLOR") else text


def drop_nan(value: Any) -> Any:
    """The same with None for what is no number, or infinite, which JSON does not have."""
    if isinstance(value, dict):
        return {key: drop_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [drop_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def align_columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of a table; so many columns begin at their left, the others end at their right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ways = [str.ljust] * left + [str.rjust] * (len(widths) - left)
    return ["  ".join(way(text, width) for way, text, width in zip(ways, row, widths, strict=True)) for row in rows]


def format_count(count: int, noun: str) -> str:
    """`1 patch`, `2,000 patches`. noun: in the singular."""
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun.endswith(("ch", "s")) else f"{noun}s"
    return f"{count:,} {plural}"


def format_length(seconds: float) -> str:
    """Of audio: `2.5 hours`, `50.0 seconds`."""
    size, unit = next(each for each in ((3600, "hours"), (60, "minutes"), (0, "seconds")) if seconds >= each[0])
    return f"{seconds / (size or 1):,.1f} {unit}"


def write_command(program: str, *words: object) -> str:
    """A command for the next step, to be pasted into this shell: of `dx7data`, or of a module such as `train.convert`."""
    if program == "dx7data" and Path(sys.argv[0]).name == program:  # its script, which may not be on the path
        start = [program if shutil.which(program) == sys.argv[0] else sys.argv[0]]
    else:
        start = ["python" if shutil.which("python") == sys.executable else sys.executable, "-m", program]
    return shlex.join([*start, *map(str, words)])
