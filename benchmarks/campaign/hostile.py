"""Hostile data sets under every command that reads one: `python benchmarks/campaign/hostile.py`, about ten minutes.

Each case of hostile_folders/ is made anew for each of six commands, which run in a process of their own. A run passes if
it ends by itself within 20 s of processor time and 1 GB, with a status that the manual knows and without a traceback; if it
wrote nothing outside the data set and its own output; and if no markup and no control character of the data set came out as
such. Python's audit events say what was written, and what lies beside the data set is compared before and after.
"""

import argparse
import hashlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.campaign.hostile_folders import folder as folders  # noqa: E402
from benchmarks.campaign.hostile_folders.collection import collect  # noqa: E402
from benchmarks.campaign.hostile_folders.values import MARKUP  # noqa: E402
from dx7data import cache, cli  # noqa: E402
from train.__main__ import main as run_training  # noqa: E402

for module in ("dx7data.dataset.verify", "dx7data.page.page", "pyarrow.parquet", "train.evaluation.evaluate"):
    import_module(module)  # what the commands import when they run: once, not in each process

SECONDS, BYTES = 20, 10**9  # of processor time, which does not depend on what else the machine does
_HANGS = 120  # seconds
_NAME = "<dx7>data"  # of the folder itself, which comes out in many places
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass
class Outcome:
    """How one command ended on one hostile folder."""

    case: str
    command: str
    status: int
    seconds: float
    bytes: int
    faults: list[str]


def commands(place: Path) -> dict[str, Callable[[], int]]:
    """What is run on the data set in a place; each returns its exit status."""
    data = str(place / _NAME)
    training = ["--model", "s4", "--preset", "tiny", "--steps", "1", "--batch", "2", "--seconds", "0.05", "--workers", "0"]
    training += ["--prefix", "bytes", "--device", "cpu", "--evaluate-samples", "2", "--out", str(place / "run")]
    return {
        "inspect": lambda: cli.main(["inspect", data]),
        "inspect --html": lambda: cli.main(["inspect", data, "--html", str(place / "page" / "page.html")]),
        "verify": lambda: cli.main(["verify", data]),
        "verify --fix": lambda: cli.main(["verify", data, "--fix"]),
        "render --plan": lambda: cli.main(["render", "--plan", data, "--workers", "1"]),
        "train": lambda: run_training(["--shards", data, *training]),
    }


def run(case: str, change: Callable[[Path], None], command: str, good: Path) -> Outcome:
    """Make the folder, run the command on it in a process of its own, and look at what it did."""
    with tempfile.TemporaryDirectory(prefix="dx7data-hostile-") as name:
        place = Path(name)
        shutil.copytree(good, place / _NAME)
        (place / "outside").mkdir()
        (place / "page").mkdir()
        (place / "outside" / "precious.txt").write_text("a file of the user")
        _in_a_process(partial(change, place / _NAME))  # so that its memory is not counted as the command's
        before = _contents(place / "outside")
        began = time.monotonic()
        child = os.fork()
        if not child:
            _become(partial(commands(place)[command]), place)
        status, used, killed = _wait(child, began + _HANGS)
        status, seconds = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        faults = ["hangs"] * killed
        outcome = Outcome(case, command, status, seconds, 1024 * used.ru_maxrss, faults)
        faults += _find_faults(outcome, place)
        if _contents(place / "outside") != before:
            faults.append("changed what lies beside the data set")
        return outcome


def _become(act: Callable[[], int], place: Path) -> None:
    """The rest of a forked process: the command alone, with its output in files."""
    status = 70
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr"), (3, "writes")):
            os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.environ["TMPDIR"] = os.environ["XDG_CACHE_HOME"] = str(place)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.chdir(place)
        allowed = [place / _NAME, place / "run", place / "page", cache.folder()]
        sys.addaudithook(partial(_note_writes, [str(path) for path in allowed]))
        try:
            status = act() or 0
        except SystemExit as left:
            status = left.code
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _note_writes(allowed: list[str], event: str, arguments: tuple) -> None:
    """An audit hook that writes a line to file 3 for whatever is written, renamed or removed outside the allowed places."""
    if event == "open":
        path, _, flags = arguments
        paths = [os.path.realpath(path)] if isinstance(path, str | bytes | os.PathLike) and flags & _WRITING else []
    elif event in ("os.rename", "os.link", "os.symlink"):
        paths = [_of_name(arguments[1])]
    elif event in ("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"):
        paths = [_of_name(arguments[0])]
    else:
        return
    for path in paths:
        path = os.fsdecode(path)
        if not path.startswith((*allowed, "/dev/null")) and not path.endswith((".pyc", ".nbi", ".nbc", ".lock")):
            os.write(3, f"{event} {path}\n".encode(errors="replace"))


def _of_name(path) -> str:
    """A path whose last part is taken as it is, link or not."""
    head, tail = os.path.split(os.fsdecode(path)) if not isinstance(path, int) else ("/proc", str(path))
    return os.path.join(os.path.realpath(head), tail)


def _wait(child: int, deadline: float) -> tuple[int, resource.struct_rusage, bool]:
    """The status of a process, what it used, and whether it had to be killed."""
    killed = False
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            return status, used, killed
        if time.monotonic() > deadline:
            killed = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.01)


def _find_faults(outcome: Outcome, place: Path) -> list[str]:
    found = []
    output = (place / "stdout").read_text(errors="replace") + (place / "stderr").read_text(errors="replace")
    page = (place / "page" / "page.html").read_text(errors="replace") if (place / "page" / "page.html").exists() else ""
    if outcome.status not in (0, 1, 2) and not outcome.faults:
        found.append(f"status {outcome.status}")
    if "Traceback" in output:
        found.append(f"traceback: {output.strip().splitlines()[-1]}")
    if outcome.seconds > SECONDS:
        found.append(f"took {outcome.seconds:.0f} s")
    if outcome.bytes > BYTES:
        found.append(f"took {outcome.bytes / 1e6:,.0f} MB")
    if writes := (place / "writes").read_text(errors="replace"):
        found.append(f"wrote outside: {writes.splitlines()[0]}")
    if any(sign in output for sign in ("\x1b]", "\x1b[2J", "\x07", "\u202e")):
        found.append("control characters in the terminal")
    if any(text in page for text in (MARKUP, "<dx7>", "\x1b")):
        found.append("markup in the page")
    card = place / _NAME / "README.md"
    if card.is_file() and any(text in card.read_text(errors="replace") for text in (MARKUP, "\x1b")):
        found.append("markup in the card")
    return found


def _contents(folder: Path) -> dict[str, str]:
    """Everything below a folder, with a hash of what is a file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose names have this")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th case")
    options = parser.parse_args()
    began, outcomes = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="dx7data-good-") as name:
        good = Path(name) / "good"
        _in_a_process(partial(folders.make, good))
        _in_a_process(partial(folders.make, Path(name) / "other", seed=1))
        cases = {case: change for case, change in collect(good, Path(name) / "other").items() if options.only in case}
        for case, change in list(cases.items())[:: options.every]:
            for command in commands(good):
                outcome = run(case, change, command, good)
                outcomes.append(outcome)
                for fault in outcome.faults:
                    print(f"{case}, {command}: {fault}", flush=True)
    print(summary(outcomes, time.monotonic() - began))
    return int(any(outcome.faults for outcome in outcomes))


def _in_a_process(act: Callable) -> None:
    """This process starts no threads, which would not survive the forks."""
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.dup2(2, 1)
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("a data set could not be made")


def summary(outcomes: list[Outcome], seconds: float) -> str:
    """One line."""
    bad = [outcome for outcome in outcomes if outcome.faults]
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(Counter(o.status for o in outcomes).items()))
    slowest, largest = max(o.seconds for o in outcomes), max(o.bytes for o in outcomes)
    return (
        f"hostile: {len({o.case for o in outcomes}):,} folders x {len({o.command for o in outcomes})} commands, "
        f"{len(outcomes):,} runs in {seconds:,.0f} s: {len(bad):,} failed; at most {slowest:.1f} s and "
        f"{largest / 1e6:,.0f} MB; exit statuses {statuses}"
    )


if __name__ == "__main__":
    sys.exit(main())
