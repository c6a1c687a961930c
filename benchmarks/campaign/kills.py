"""SIGKILL at random moments of every command that writes; the same command afterwards gives the same bytes.

    python -m benchmarks.campaign.kills --count 1000

Half of the kills are of the command alone, whose workers must end by themselves, half of it with all its processes. After
each one no process, no semaphore and, once the command has been given again, no left-over file may be there.
"""

import argparse
import functools
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.campaign.children import (
    SMALL,
    Case,
    adopt_orphans,
    contents,
    dx7data,
    import_all,
    repeat,
    scratch,
    start,
    with_own_shm,
)

_DEFAULT = [
    "render",
    "render by 2",
    "overwrite",
    "plan",
    "extend",
    "extend by 2",
    "verify --fix",
]  # and train, which is slow
TRAIN = ["--model", "s4d", "--steps", "12", "--batch", "4", "--evaluate-every", "6", "--checkpoint-every", "3"]
TRAIN += ["--evaluate-samples", "4", "--workers", "0", "--device", "cpu", "--seconds", "0.25"]


def cases(folder: Path, names: list[str]) -> list[Case]:
    """Makes the data sets that they begin with."""
    plan = ["plan", "--patches", "example", *SMALL, "--out"]
    made, planned, small, other, damaged = (folder / name for name in ("made", "planned", "small", "other", "damaged"))
    fewer = ["render", "--patches", "example", "--samples", "16", *SMALL[2:], "--workers", "1", "--out"]
    render = ["render", "--plan", planned, "--device", "cpu"]  # planning takes longer, and has a case of its own
    for argv in ([*plan, planned], [*render, "--out", made], [*fewer, small], [*fewer, other, "--seed", "6"]):
        child = start(dx7data(*argv), folder / "said")
        assert child.wait() == 0, child.text()
    shutil.copytree(made, damaged)
    (damaged / "train-000002.tar").write_bytes(b"no tar")
    (damaged / "train-000004.parquet").unlink()
    (damaged / "val-000000.stats.json").write_bytes(b"{")
    (damaged / "index.json").unlink()

    found = [
        Case("render", lambda out: dx7data(*render, "--out", out, "--workers", 1)()),
        Case("render by 2", lambda out: dx7data(*render, "--out", out, "--workers", 2)()),
        Case("overwrite", lambda out: dx7data(*render, "--out", out, "--workers", 1, "--overwrite")(), other),
        Case("plan", lambda out: dx7data(*plan, out)()),
        Case("extend", lambda out: dx7data("extend", out, "--samples", 40, "--workers", 1)(), small),
        Case("extend by 2", lambda out: dx7data("extend", out, "--samples", 40, "--workers", 2)(), small),
        Case("verify --fix", lambda out: dx7data("verify", out, "--fix")(), damaged),
        Case("train", functools.partial(train, made), None, weights),
    ]
    return [case for case in found if case.name in names]


def train(made: Path, folder: Path) -> int:
    """Begin, go on, or find that all is done: a kill may come after the last file was written."""
    from train.__main__ import main

    if (folder / "result.json").exists():
        return 0
    if any(folder.glob("checkpoints/[0-9]*")):
        return main(["--resume", "--out", str(folder)])
    shutil.rmtree(folder, ignore_errors=True)
    return main(["--shards", str(made), "--out", str(folder), *TRAIN])


def weights(folder: Path) -> dict[str, str]:
    """What a run leaves and what does not tell the time."""
    return {name: each for name, each in contents(folder).items() if name.endswith((".safetensors", ".wav", ".partial"))}


def main() -> int:
    top = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    top.add_argument("--count", type=int, default=200, help="kills in all")
    top.add_argument("--seed", type=int, default=0)
    top.add_argument("--cases", nargs="+", default=_DEFAULT)
    options = top.parse_args()
    with_own_shm(__spec__.name)
    adopt_orphans()
    import_all()
    if "train" in options.cases:
        import train.__main__  # noqa: F401
    rng, counts, faults = random.Random(options.seed), Counter(), []
    began = time.monotonic()
    with scratch() as folder:
        work = [(case, *reference(case, folder)) for case in cases(folder, options.cases)]
        while counts.total() < options.count:
            case, expected, seconds = work[counts.total() % len(work)]
            killed, found = kill(case, expected, rng.uniform(0, seconds), rng.random() < 0.5, folder)
            counts[case.name] += killed
            faults += found
            for fault in found:
                print(f"{case.name}: {fault}", file=sys.stderr)
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    took = time.monotonic() - began
    print(f"kills: {counts.total()} ({listed}), {len(faults)} faults, {took:,.0f} s")
    return bool(faults)


def reference(case: Case, folder: Path) -> tuple[dict, float]:
    """What the command leaves if nobody kills it, and how long it takes."""
    case.prepare(folder / "reference")
    began = time.monotonic()
    child = start(lambda: case.run(folder / "reference"), folder / "said")
    status = child.wait()
    took = time.monotonic() - began
    assert status in (0, 1), child.text()
    found = case.contents(folder / "reference")
    shutil.rmtree(folder / "reference")
    return found, took


def kill(case: Case, expected: dict, instant: float, group: bool, folder: Path) -> tuple[bool, list[str]]:
    """Whether it was still running, and what was wrong then."""
    out, faults = folder / "out", []
    case.prepare(out)
    before = set(Path("/dev/shm").glob("sem.*"))
    child = start(lambda: case.run(out), folder / "said")
    time.sleep(instant)
    killed = child.is_running()
    child.kill(group)
    child.wait()
    how = f"after {instant:.3f} s, {'with all its processes' if group else 'alone'}"
    if left := set(Path("/dev/shm").glob("sem.*")) - before:
        faults.append(f"{how}: {len(left)} semaphores are left")
    if "resource_tracker" in child.text():
        faults.append(f"{how}: {child.text().strip().splitlines()[-1]}")
    faults += [f"{how}: {each}" for each in repeat(case, out, expected, folder / "said again")]
    shutil.rmtree(out, ignore_errors=True)
    return killed, faults if killed else []


if __name__ == "__main__":
    sys.exit(main())
