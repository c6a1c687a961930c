"""A disk that fills up at a random moment of each command that writes; with more room the same command gives the same bytes.

    python -m benchmarks.campaign.full_disks --count 50          # as root, on Linux

The disk is a tmpfs of a random size. The command must end with status 2 and one sentence, and leave no partial file.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.campaign.children import adopt_orphans, import_all, repeat, scratch, start
from benchmarks.campaign.kills import cases, reference


def main() -> int:
    top = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    top.add_argument("--count", type=int, default=20, help="disks in all")
    top.add_argument("--seed", type=int, default=0)
    top.add_argument("--cases", nargs="+", default=["render", "render by 2", "overwrite", "plan", "extend", "verify --fix"])
    options = top.parse_args()
    if os.geteuid() != 0:
        print("full disks: 0, since only root mounts file systems")
        return 0
    adopt_orphans()
    import_all()
    rng, count, full, faults, began = random.Random(options.seed), 0, 0, [], time.monotonic()
    with scratch() as folder:
        work = [(case, reference(case, folder)[0]) for case in cases(folder, options.cases)]
        (folder / "disk").mkdir()
        while count < options.count:
            case, expected = work[count % len(work)]
            was_full, found = fill(case, expected, rng.random(), folder)
            count, full = count + 1, full + was_full
            for fault in found:
                print(f"{case.name}: {fault}", file=sys.stderr)
            faults += found
    took = time.monotonic() - began
    print(f"full disks: {count}, of which {full} were too small, {len(faults)} faults, {took:,.0f} s")
    return bool(faults)


def fill(case, expected: dict, part: float, folder: Path) -> tuple[bool, list[str]]:
    """Whether the disk was too small, and what was wrong. part: of the room that the command needs, beyond what is there."""
    disk, faults = folder / "disk", []
    out = disk / "out"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    try:
        case.prepare(out)
        begun = os.statvfs(disk)
        used = (begun.f_blocks - begun.f_bfree) * begun.f_frsize
        size = used + int(part * 7e5) // 4096 * 4096 + 4096
        subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
        child = start(lambda: case.run(out), folder / "said")
        status, how = child.wait(), f"with {size - used:,} bytes"
        if status not in (0, 1):
            sentences = [line for line in child.text().splitlines() if line.startswith("dx7data:")]
            if status != 2 or len(sentences) != 1 or "No space left" not in sentences[0] or "Traceback" in child.text():
                faults.append(f"{how}: ends with {status}: {child.text()[-300:]}")
            faults += [f"{how}: {path.name} is left" for path in out.glob(".*")]
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        faults += [f"{how}: {each}" for each in repeat(case, out, expected, folder / "said again")]
        return status not in (0, 1), faults
    finally:
        subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    sys.exit(main())
