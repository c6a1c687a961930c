"""`dx7data verify`: is every byte as it was rendered?"""

import sys
import time
from argparse import Namespace
from contextlib import nullcontext, suppress

from dx7data.cli import types
from dx7data.cli.inputs import announce_compilation
from dx7data.cli.verb import Verbs, add_verb
from dx7data.errors import InputError, make_printable
from dx7data.storage import Folder

_LINES = 1000  # of a list: a folder may hold a million things


def add_to(verbs: Verbs) -> None:
    verify = add_verb(verbs, "verify", run, "check every byte of a folder of shards, and render a few samples again")
    verify.add_argument("folder", type=types.folder, metavar="FOLDER")
    verify.add_argument("--full", action="store_true", help="render all samples again, and compare every byte")
    verify.add_argument("--fix", action="store_true", help="make damaged and missing shards again, to the same bytes")


def run(options: Namespace) -> int:
    """0 when nothing is wrong, or all is mended, else 1."""
    from tqdm import tqdm

    from dx7data.dataset import folders, verify

    announce_compilation()
    size, began = _measure(options.folder), time.perf_counter()
    bar = tqdm(total=size * (1 + options.full), unit="B", unit_scale=True, file=sys.stderr)
    with bar, folders.lock_folder(options.folder) if options.fix else nullcontext():
        wrong = verify.verify(options.folder, bar.update, options.fix, options.full)
    took = time.perf_counter() - began
    size = size or bar.n // (1 + options.full)  # of a website, which has no list of its files
    left = verify.verify(options.folder) if wrong and options.fix else wrong
    _print(wrong)
    if options.fix:
        _print([f"left: {problem}" for problem in left])
    _print([f"note: {remark}" for remark in verify.list_remarks(options.folder)])
    checked = make_printable(f"{options.folder}: {size / 1e6:,.0f} MB at {size / 1e6 / took:,.0f} MB/s")
    if not wrong:
        print(f"{checked}; {verify.describe_checks(options.folder, options.full)}")
    elif options.fix:
        print(f"{checked}; {len(wrong)} problems, {len(left)} of them are left")
    else:
        print(f"{checked}; {len(wrong)} problems, --fix makes again what is damaged")
    return 1 if left else 0


def _measure(folder: Folder) -> int:
    """Bytes of the files that verify reads; 0 where there is no list of them."""
    total = 0
    for name, size in (folder.list_sizes() or {}).items():
        if name.endswith((".tar", ".parquet")):
            with suppress(FileNotFoundError, InputError):  # what is wrong with it is said later
                total += folder.measure(name) if size is None else size
    return total


def _print(lines: list[str]) -> None:
    for line in lines[:_LINES]:
        print(make_printable(line))
    if len(lines) > _LINES:
        print(f"and {len(lines) - _LINES:,} more")
