"""`dx7data verify`: is every byte as it was rendered?"""

import sys
import time
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

from dx7data.cli.inputs import announce_compilation
from dx7data.cli.verb import Verbs, add_verb


def add_to(verbs: Verbs) -> None:
    verify = add_verb(verbs, "verify", run, "check every byte of a folder of shards, and render a few samples again")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--fix", action="store_true", help="make damaged and missing shards again, to the same bytes")


def run(options: Namespace) -> int:
    """0 when every byte is as it was rendered, or is so again, else 1."""
    from tqdm import tqdm

    from dx7data.dataset import folders
    from dx7data.dataset.verify import verify

    announce_compilation()
    size = sum(path.stat().st_size for pattern in ("*.tar", "*.parquet") for path in options.folder.glob(pattern))
    began = time.perf_counter()
    bar = tqdm(total=size, unit="B", unit_scale=True, file=sys.stderr)
    with bar, folders.lock_folder(options.folder) if options.fix else nullcontext():
        wrong = verify(options.folder, bar.update, options.fix)
    took = time.perf_counter() - began
    for problem in wrong:
        print(problem)
    checked = f"{options.folder}: {size / 1e6:,.0f} MB at {size / 1e6 / took:,.0f} MB/s"
    if not wrong:
        print(f"{checked}; every byte is as it was rendered")
        return 0
    if not options.fix:
        print(f"{checked}; {len(wrong)} problems, --fix makes again what is damaged")
        return 1
    left = verify(options.folder)
    print("\n".join([*left, f"{checked}; {len(wrong)} problems, {len(left)} of them are left"]))
    return 1 if left else 0
