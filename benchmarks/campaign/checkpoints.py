"""Broken checkpoints under every command that reads one: `python benchmarks/campaign/checkpoints.py`; over an hour.

Each case of checkpoint_cases/ is made anew for each of four commands, which run in a process of their own. One passes if
it ends by itself, without a traceback, within 20 s of CPU time and 1 GB, and either says in one sentence why not, with exit
status 2, or does what it does with the good checkpoint, or with the one before it: the same losses, audio and time scales.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.campaign.checkpoint_cases.case import NEWEST  # noqa: E402
from benchmarks.campaign.checkpoint_cases.collection import every_case  # noqa: E402

SECONDS, BYTES = 20, 1 << 30  # of CPU time, for the machine may be busy; and beyond what the imports take
_HANGS = 300  # seconds
COMMANDS = ("resume", "convert", "compare", "timescales")
STEPS = 10
TRAIN = ["--model", "s4d", "--preset", "tiny", "--device", "cpu", "--seconds", "0.03", "--batch", "4", "--prefix", "bytes"]
TRAIN += ["--evaluate-samples", "2", "--steps", str(STEPS), "--checkpoint-every", "4", "--evaluate-every", "1000"]


@dataclass
class Ended:
    """How a command ended."""

    status: int  # minus a signal
    seconds: float  # of CPU time
    bytes: int
    said: str
    result: object  # what it made, if the status is 0


def prepare(folder: Path) -> None:
    """A data set, a recording, and a run that was killed after step 8. It ends the process."""
    import numpy as np
    import torch

    from dx7data import cli
    from dx7data.plan.sample import encode_wav
    from train import __main__ as command
    from train.loop import trainer

    options = ["--samples", "40", "--seconds", "0.25", "--sample-rate", "8000", "--workers", "1", "--prefix", "bytes"]
    assert cli.main(["render", "--patches", "example", "--out", str(folder / "shards"), *options]) == 0
    (folder / "in.wav").write_bytes(encode_wav((8000 * np.sin(np.arange(400) / 5)).astype(np.int16), 8000))
    save = trainer.Trainer.save

    def save_and_end(self, stopped: bool) -> None:
        save(self, stopped)
        if self.step == 8:
            self.writer.wait()
            os._exit(0)

    trainer.Trainer.save = save_and_end
    torch.set_num_threads(1)  # sums depend on it
    os._exit(command.main(["--shards", str(folder / "shards"), "--out", str(folder / "run"), *TRAIN]) or 1)


def call(command: str, folder: Path) -> Callable[[], int]:
    """One of COMMANDS on the run in a folder."""
    from train import __main__ as resume
    from train import compare, convert, timescales

    run, source = str(folder / "run"), str(folder.parent / "in.wav")
    conversion = ["--checkpoint", run, "--source", source, "--patch", "example:5", "--out", str(folder / "out.wav")]
    return {
        "resume": lambda: resume.main(["--resume", "--out", run, "--device", "cpu"]),
        "convert": lambda: convert.main([*conversion, "--device", "cpu"]),
        "compare": lambda: compare.main([run, "--out", str(folder / "compare.html")]),
        "timescales": lambda: timescales.main(["--checkpoint", run]),
    }[command]


def read_result(command: str, folder: Path, said: str):
    """What shows whether the weights were the right ones; of a comparison, which has none, nothing."""
    if command == "convert":
        return (folder / "out.wav").read_bytes()
    if command == "timescales":
        return said[said.index("s4d") :]
    if command == "resume":
        rows = [line.split(",") for line in (folder / "run" / "metrics.csv").read_text().splitlines()]
        return [(row[0], row[2]) for row in rows[-(STEPS - 8) :]]  # of the steps after the newest checkpoint
    return None


def execute(command: str, folder: Path) -> Ended:
    """In a process of its own."""
    path = folder / "said"
    pid = os.fork()
    if not pid:
        os.setsid()
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        signal.alarm(_HANGS)
        status = 1
        try:
            status = call(command, folder)()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    before = _resident()
    _, status, usage = os.wait4(pid, 0)
    status, said = os.waitstatus_to_exitcode(status), path.read_text(errors="replace")
    result = read_result(command, folder, said) if status == 0 else None
    return Ended(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 - before, said, result)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def judge(ended: Ended, command: str, good: list) -> list[str]:
    """What is wrong; good: the results that it may have."""
    lines = [line for line in ended.said.replace("\r", "\n").splitlines() if line.startswith(("train: ", "train."))]
    found = {
        "traceback": "Traceback" in ended.said,
        "crash": ended.status < 0,
        "status": ended.status > 0 and ended.status != 2,
        "time": ended.seconds > SECONDS,
        "memory": ended.bytes > BYTES,
        "not one sentence": ended.status == 2 and (len(lines) != 1 or len(lines[0]) > 2000),
        "control characters": "\x1b" in ended.said,
        "another result": ended.status == 0 and ended.result not in good,
    }
    return [name for name, wrong in found.items() if wrong]


def name_outcome(ended: Ended, good: list) -> str:
    """good: the results with the newest checkpoint, and with the one before."""
    if ended.status == 2:
        return "refused"
    names = [name for name, result in zip(["as the good one", "one before"], good, strict=True) if result == ended.result]
    return names[0] if names else "other numbers"


def import_all() -> None:
    """So that a command takes a second, not ten; no thread is started, which a fork would lack."""
    import torch

    from train import __main__, compare, convert, timescales  # noqa: F401

    torch.set_num_threads(1)


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder / "run", to / "run", symlinks=True)
    return to / "run"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, help="so many cases, drawn; default: all")
    parser.add_argument("--only", default="", help="cases with this text in their name")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--verbose", action="store_true", help="what each command said")
    options = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        return campaign(Path(name), options)


def campaign(folder: Path, options: argparse.Namespace) -> int:
    began, counts, faults = time.monotonic(), Counter(), Counter()
    pid = os.fork()  # it renders and trains: threads that a fork of this process would lack
    if not pid:
        for stream in (1, 2):
            os.dup2(os.open(folder / "said", os.O_CREAT | os.O_WRONLY | os.O_APPEND), stream)
        prepare(folder)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError(f"the good run can't be made: {(folder / 'said').read_text()}")
    import_all()
    good = {command: [] for command in COMMANDS}
    for last in ("newest", "older"):
        for command in COMMANDS:
            run = copy(folder, folder / "case")
            if last == "older":
                shutil.rmtree(run / NEWEST)
            ended = execute(command, folder / "case")
            if ended.status:
                raise RuntimeError(f"{command} can't be done with the {last} checkpoint: {ended.said}")
            good[command].append(ended.result)
            shutil.rmtree(folder / "case")
    chosen = [case for case in every_case(folder / "run") if options.only in case.name]
    if options.count:
        chosen = random.Random(options.seed).sample(chosen, min(options.count, len(chosen)))
    runs = 0
    for case in chosen:
        for command in case.commands or COMMANDS:
            runs += 1
            case.change(copy(folder, folder / "case"))
            ended = execute(command, folder / "case")
            wrong = judge(ended, command, [*good[command], *[ended.result] * case.whole])
            counts[name_outcome(ended, good[command])] += 1
            faults.update(wrong)
            if wrong or options.verbose:
                said = "\n  ".join(ended.said.replace("\r", "\n").splitlines()[-12:])
                print(f"{case.name}, {command}: {', '.join(wrong) or ended.status}\n  {said}", flush=True)
            shutil.rmtree(folder / "case")
    print(
        f"checkpoints: {len(chosen):,} cases, {runs:,} commands in {time.monotonic() - began:,.0f} s: "
        f"{counts['refused']:,} refused in a sentence, {counts['one before']:,} with the one before, "
        f"{counts['as the good one']:,} as the good one, {counts['other numbers']:,} with numbers of a person, hash right; "
        f"{sum(faults.values()):,} faults" + "".join(f", {name}: {count}" for name, count in faults.items())
    )
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
