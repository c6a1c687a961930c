"""The power fails at random moments, on a real file system; the same command afterwards gives the same bytes.

    python -m benchmarks.campaign.power_cuts --count 50          # as root, on Linux

Each cut is of an ext4 file system on a loop device, mounted so that it keeps as little as it may (noauto_da_alloc). The
kernel forgets what has not been written yet (EXT4_IOC_SHUTDOWN without a flush of its journal), and the rest is
mounted again. Shards that count as whole must then be so, to the byte, and the same command must complete the rest.
"""

import argparse
import fcntl
import os
import random
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.campaign.children import Case, adopt_orphans, import_all, repeat, scratch, start
from benchmarks.campaign.kills import cases, reference

_SHUTDOWN, _NO_FLUSH = 0x8004587D, 2  # of linux/ext4.h: EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
_OPTIONS = "loop,noauto_da_alloc,commit=1"


class Disk:
    """An ext4 file system in a file."""

    def __init__(self, folder: Path):
        self.image, self.root = folder / "disk.img", folder / "disk"
        self.root.mkdir()

    def make(self) -> None:
        with open(self.image, "wb") as file:
            file.truncate(128 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", _OPTIONS, self.image, self.root], check=True)

    def unmount(self) -> None:
        for _ in range(100):  # until the last process that had a file open there is gone
            if subprocess.run(["umount", self.root], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.root} is still in use")

    def cut(self) -> None:
        descriptor = os.open(self.root, os.O_RDONLY)
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
        os.close(descriptor)


def main() -> int:
    top = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    top.add_argument("--count", type=int, default=20, help="cuts in all")
    top.add_argument("--seed", type=int, default=0)
    top.add_argument("--no-sync", action="store_true", help="do without syncs, to see that their lack is found")
    top.add_argument("--cases", nargs="+", default=["render", "overwrite", "plan", "extend", "verify --fix"])
    options = top.parse_args()
    if os.geteuid() != 0:
        print("power cuts: 0, since only root mounts file systems")
        return 0
    if options.no_sync:
        os.fsync = lambda descriptor: None
    adopt_orphans()
    import_all()
    if "train" in options.cases:
        import train.__main__  # noqa: F401
    rng, counts, empty, faults, began = random.Random(options.seed), Counter(), 0, [], time.monotonic()
    with scratch() as folder:
        disk = Disk(folder)
        work = [(case, *reference(case, folder)) for case in cases(folder, options.cases)]
        while counts.total() < options.count:
            case, expected, seconds = work[counts.total() % len(work)]
            running, left, found = cut(case, expected, rng.uniform(0, seconds), disk, folder)
            counts[case.name] += running
            empty += left
            for fault in found:
                print(f"{case.name}: {fault}", file=sys.stderr)
            faults += found
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    took = time.monotonic() - began
    print(f"power cuts: {counts.total()} ({listed}), {empty} files of length 0, {len(faults)} faults, {took:,.0f} s")
    return bool(faults)


def cut(case: Case, expected: dict, instant: float, disk: Disk, folder: Path) -> tuple[bool, int, list[str]]:
    """Whether it was still running, how many files of length 0 had their names then, and what was wrong."""
    disk.make()
    try:
        out, faults = disk.root / "out", []
        case.prepare(out)
        os.sync()
        child = start(lambda: case.run(out), folder / "said")
        time.sleep(instant)
        running = child.is_running()
        disk.cut()
        child.kill(group=True)
        child.wait()
    finally:
        disk.unmount()
    disk.mount()
    try:
        how = f"after {instant:.3f} s"
        names = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]
        left = [path.name for path in names if not path.stat().st_size and path.name not in _MAY_BE_EMPTY]
        faults += [f"{how}: {each}" for each in repeat(case, out, expected, folder / "said again")]
        faults += [f"{how}: {name} has length 0" for name in left]
        return running, len(left), faults if running else []
    finally:
        disk.unmount()


_MAY_BE_EMPTY = {"render.log", "train.log"}  # what is added to line by line


if __name__ == "__main__":
    sys.exit(main())
