"""Commands in processes of their own, forked from one that has imported everything: a run takes tenths of a second."""

import contextlib
import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SMALL = ["--samples", "40", "--seconds", "0.25", "--shard-size", "100kB", "--seed", "5"]
UNEQUAL = {"render.log"}  # times and hosts


def dx7data(*argv) -> Callable[[], int]:
    """The command line, to be given to `start`."""
    from dx7data.cli import main

    return lambda: main([str(each) for each in argv])


@dataclass
class Child:
    """A process of its own session; what it prints goes to a file."""

    pid: int
    said: Path

    def wait(self) -> int:
        """Its exit status; minus the signal that ended it."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.end_group()
        return status

    def is_running(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def kill(self, group: bool) -> None:
        """group: with the workers and whatever else it has started."""
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def end_group(self, seconds: float = 60) -> None:
        """Wait until all that it has started has ended by itself; `adopt_orphans` has made them ours."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                os.waitpid(-self.pid, os.WNOHANG)
            except ChildProcessError:
                return
            time.sleep(0.005)
        raise AssertionError(f"processes of {self.pid} are still there after {seconds} s: {self.text()}")

    def text(self) -> str:
        return self.said.read_text(errors="replace")


def start(run: Callable[[], int], said: Path) -> Child:
    """Begin to run a command in a process of its own."""
    pid = os.fork()
    if pid:
        return Child(pid, said)
    status = 70
    try:
        os.setsid()
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = run()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        _end_fork_server()
        os._exit(status)


def _end_fork_server() -> None:
    """What the end of the interpreter does, which os._exit leaves out."""
    from multiprocessing import util

    util._exit_function()


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its path; of those that are promised to be equal."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.name not in UNEQUAL and path.is_file()
    }


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    return [
        f"{name} {'differs' if name in found and name in expected else 'is left over' if name in found else 'is missing'}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]


@dataclass
class Case:
    """A command that writes into a folder, and a folder as it is before."""

    name: str
    run: Callable[[Path], int]
    before: Path | None = None
    contents: Callable[[Path], dict[str, str]] = contents

    def prepare(self, folder: Path) -> None:
        if self.before:
            shutil.copytree(self.before, folder)


def repeat(case: Case, out: Path, expected: dict[str, str], said: Path) -> list[str]:
    """Give a command again that was broken off, and say what is wrong: with how it ends, or with what it leaves."""
    child = start(lambda: case.run(out), said)
    status = child.wait()
    if status not in (0, 1) or "Traceback" in child.text():
        return [f"the same command ends with {status}: {child.text()[-500:]}"]
    return differences(case.contents(out), expected)


def import_all() -> None:
    """What commands import; nothing here starts a thread, which would not survive a fork."""
    import pyarrow.parquet
    import tqdm

    from dx7data.dataset import verify, worker
    from dx7data.patches import bank
    from dx7data.plan import builder

    del pyarrow, tqdm, verify, worker, bank, builder


def adopt_orphans() -> None:
    """Processes whose parent was killed become children of this one, which can wait for them."""
    subreaper = 36  # PR_SET_CHILD_SUBREAPER, of linux/prctl.h
    ctypes.CDLL(None, use_errno=True).prctl(subreaper, 1, 0, 0, 0)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def with_own_shm(module: str) -> None:
    """Go on in a mount namespace whose /dev/shm is ours alone, to see what is left in it; as root only, else as it is."""
    if os.geteuid() != 0 or os.environ.get("CAMPAIGN_OWN_SHM"):
        return
    command = f"mount -t tmpfs tmpfs /dev/shm && exec '{sys.executable}' -m {module} \"$@\""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", *sys.argv[1:]], env=os.environ | {"CAMPAIGN_OWN_SHM": "1"}
    )
    sys.exit(done.returncode)
