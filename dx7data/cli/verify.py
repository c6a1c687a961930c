"""`dx7data verify`: is every byte as it was rendered?"""

import time
from argparse import Namespace
from contextlib import nullcontext, suppress

from dx7data.cli import types
from dx7data.cli.inputs import announce_compilation
from dx7data.cli.verb import Verbs, add_verb
from dx7data.errors import InputError
from dx7data.output import format_count, print_result, progress_bar
from dx7data.storage import Folder

_LINES = 1000  # of a list: a folder may hold a million things


def add_to(verbs: Verbs) -> None:
    verify = add_verb(verbs, "verify", run, "check every byte of a folder of shards, and render a few samples again")
    verify.add_argument("folder", type=types.folder, metavar="FOLDER")
    verify.add_argument("--full", action="store_true", help="render all samples again, and compare every byte")
    verify.add_argument("--fix", action="store_true", help="make damaged and missing shards again, to the same bytes")


def run(options: Namespace) -> int:
    """0 when nothing is wrong, or all is mended, else 1."""
    from dx7data.dataset import folders, verify

    announce_compilation()
    size, began, read = _measure(options.folder), time.perf_counter(), 0
    bar = progress_bar(total=size * (1 + options.full), unit="B", unit_scale=True)

    def advance(count: int) -> None:
        nonlocal read
        read += count
        bar.update(count)

    with bar, folders.lock_folder(options.folder) if options.fix else nullcontext():
        wrong = verify.verify(options.folder, advance, options.fix, options.full)
        took = time.perf_counter() - began
        left = wrong
        if wrong and options.fix:  # before others may change the folder: what they have only begun is no damage
            bar.total = bar.n + size
            left = verify.verify(options.folder, bar.update)
        remarks = verify.list_remarks(options.folder)
        checks = None if wrong else verify.describe_checks(options.folder, options.full)
    size = size or read // (1 + options.full)  # of a website, which has no list of its files
    found = {
        "folder": str(options.folder),
        "bytes": size,
        "seconds": took,
        "problems": wrong,
        "fixed": options.fix,
        "left": left,
        "remarks": remarks,
        "checks": checks,
    }
    print_result(found, _describe)
    return 1 if left else 0


def _describe(found: dict) -> list[str]:
    wrong, left, rate = found["problems"], found["left"], found["bytes"] / 1e6 / found["seconds"]
    checked = f"{found['folder']}: {found['bytes'] / 1e6:,.0f} MB at {rate:,.0f} MB/s"
    if not wrong:
        end = found["checks"]
    elif found["fixed"]:
        end = f"{format_count(len(wrong), 'problem')}, {len(left)} left"
    else:
        end = f"{format_count(len(wrong), 'problem')}, --fix makes again what is damaged"
    return [
        *_shorten(wrong),
        *_shorten([f"left: {problem}" for problem in left if found["fixed"]]),
        *_shorten([f"note: {remark}" for remark in found["remarks"]]),
        f"{checked}; {end}",
    ]


def _measure(folder: Folder) -> int:
    """Bytes of the files that verify reads; 0 where there is no list of them."""
    total = 0
    for name, size in (folder.list_sizes() or {}).items():
        if name.endswith((".tar", ".parquet")):
            with suppress(FileNotFoundError, InputError):  # what is wrong with it is said later
                total += folder.measure(name) if size is None else size
    return total


def _shorten(lines: list[str]) -> list[str]:
    return lines[:_LINES] + [f"and {len(lines) - _LINES:,} more"] * (len(lines) > _LINES)
