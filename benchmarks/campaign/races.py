"""Two commands on one folder, the second started at a random instant: no data set is damaged, and each says what it did.

    python -m benchmarks.campaign.races --count 10

Each of them does its work or is refused in a sentence that names the folder; two jobs both do theirs, and readers are never
refused. Afterwards, the first command and `verify` find nothing to complain of. Of two that train in one folder one is
refused, and afterwards the weights are those of one alone.
"""

import argparse
import random
import shutil
import sys
import time
from itertools import combinations_with_replacement
from pathlib import Path
from typing import NamedTuple

from benchmarks.campaign import kills
from benchmarks.campaign.children import SMALL, Case, adopt_orphans, dx7data, import_all, repeat, scratch, start

WRITERS = {
    "render": ["render", "--plan", "PLAN", "--out", "FOLDER", "--workers", "1"],
    "job 1/2": ["render", "--plan", "PLAN", "--out", "FOLDER", "--job", "1/2", "--workers", "1"],
    "job 2/2": ["render", "--plan", "PLAN", "--out", "FOLDER", "--job", "2/2", "--workers", "1"],
    "overwrite": ["render", "--plan", "PLAN", "--out", "FOLDER", "--overwrite", "--workers", "1"],
    "extend": ["extend", "FOLDER", "--samples", "44", "--workers", "1"],
    "fix": ["verify", "FOLDER", "--fix"],
}
READERS = {"inspect": ["inspect", "FOLDER"], "verify": ["verify", "FOLDER"]}
JOBS = {"job 1/2", "job 2/2"}
TRAINING = {"train": ["--shards", "SHARDS", "--out", "FOLDER", *kills.TRAIN], "resume": ["--resume", "--out", "FOLDER"]}
REFUSALS = ("is there already", "another process trains in", "another process has trained in", "has done all its")


def main() -> int:
    top = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    top.add_argument("--count", type=int, default=1, help="races of each pair")
    top.add_argument("--seed", type=int, default=0)
    options = top.parse_args()
    adopt_orphans()
    import_all()
    import train.__main__  # noqa: F401  # before anything is forked

    rng, races, refused, faults, began = random.Random(options.seed), 0, 0, [], time.monotonic()
    pairs = list(combinations_with_replacement(WRITERS, 2)) + [(writer, reader) for writer in WRITERS for reader in READERS]
    pairs += [(name, name) for name in TRAINING]
    with scratch() as folder:
        make(folder)
        training = prepare_training(folder / "training")
        for first, second in pairs * options.count:
            said = race_training(first, training, rng, folder) if first in TRAINING else race(first, second, rng, folder)
            races += 1
            refused += said.count("refused")
            for fault in said:
                if fault != "refused":
                    faults.append(fault)
                    print(f"{first} and {second}: {fault}", file=sys.stderr)
    took = time.monotonic() - began
    print(f"races: {races} of {len(pairs)} pairs, {refused} refused by name, {len(faults)} faults, {took:,.0f} s")
    return bool(faults)


def make(folder: Path) -> None:
    """A plan, and a data set of it in which two shards are missing and two are damaged."""
    plan = ["plan", "--patches", "example", *SMALL, "--out", folder / "plan"]
    for argv in (plan, ["render", "--plan", folder / "plan", "--out", folder / "begun", "--workers", 1]):
        child = start(dx7data(*argv), folder / "said")
        assert child.wait() == 0, child.text()
    for name in ("train-000001.tar", "train-000003.stats.json"):
        (folder / "begun" / name).unlink()
    for name in ("train-000002.tar", "val-000000.parquet"):
        (folder / "begun" / name).write_bytes(b"damaged")


def race(first: str, second: str, rng: random.Random, folder: Path) -> list[str]:
    """What went wrong, and "refused" for each command that was."""
    out, said = folder / "out", []
    shutil.copytree(folder / "begun", out)

    def run(name, log):
        words = (WRITERS | READERS)[name]
        words = [word.replace("PLAN", str(folder / "plan")).replace("FOLDER", str(out)) for word in words]
        return start(dx7data(*words), folder / log)

    children = [(first, run(first, "said first"))]
    time.sleep(rng.uniform(0, 0.7))
    children.append((second, run(second, "said second")))
    for name, child in children:
        status = child.wait()
        if status == 2 and f"mends {out}" in child.text() and name not in READERS and not {first, second} <= JOBS:
            said.append("refused")
        elif status not in ((0,) if name in WRITERS else (0, 1, 2)) and not (
            name in {"render", *JOBS} and _was_extended(child)
        ):
            said.append(f"{name} ends with {status}: {child.text()[-300:]}")
        if "Traceback" in child.text():
            said.append(f"{name}: {child.text()[-300:]}")
    # Whoever was first, the data set is whole once the commands are given again, one after the other.
    for argv in (["verify", out, "--fix"], ["verify", out]):
        child = start(dx7data(*argv), folder / "said")
        if child.wait() != 0:
            said.append(f"{argv[0]} afterwards: {child.text()[-300:]}")
    said += [f"{path.name} is left" for path in out.iterdir() if path.name.startswith(".")]
    shutil.rmtree(out)
    return said


class Training(NamedTuple):
    """What two that train in one folder are compared with."""

    case: Case
    weights: dict[str, str]
    seconds: float  # that one takes
    shards: Path
    begun: Path  # a run that was killed half way


def prepare_training(folder: Path) -> Training:
    folder.mkdir()
    [case] = kills.cases(folder, ["train"])
    weights, seconds = kills.reference(case, folder)
    begun = folder / "begun"
    child = start(lambda: case.run(begun), folder / "said")
    while not (begun / "checkpoints" / "00000006").exists():
        time.sleep(0.001)
    child.kill(group=True)
    child.wait()
    return Training(case, weights, seconds, folder / "made", begun)


def race_training(name: str, training: Training, rng: random.Random, folder: Path) -> list[str]:
    """As `race`, of two that begin a run, or go on with one, in the same folder."""
    from train.__main__ import main as train

    out, said = folder / "out", []
    if name == "resume":
        shutil.copytree(training.begun, out)
    argv = [word.replace("SHARDS", str(training.shards)).replace("FOLDER", str(out)) for word in TRAINING[name]]
    children = []
    for log in ("said first", "said second"):
        children.append(start(lambda: train(argv), folder / log))
        time.sleep(rng.uniform(0, 1.2 * training.seconds) if log == "said first" else 0)
    for child in children:
        status, text = child.wait(), child.text()
        if status == 2 and str(out) in text and any(each in text for each in REFUSALS):
            said.append("refused")
        elif status or "Traceback" in text:
            said.append(f"{name} ends with {status}: {text[-300:]}")
    said += repeat(training.case, out, training.weights, folder / "said")
    shutil.rmtree(out)
    return said


def _was_extended(child) -> bool:
    """A render is right to refuse a data set that `extend` has made larger meanwhile."""
    return "samples are" in child.text() and "there and" in child.text()


if __name__ == "__main__":
    sys.exit(main())
