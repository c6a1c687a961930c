"""Workers in processes: what is left when one of them, or their parent, is killed, and when the disk is full."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dx7data import cli
from dx7data.dataset.executors import local
from dx7data.plan.plan import Plan
from dx7data.storage import LocalFolder
from dx7data.workers import Lock

PLAN = ["plan", "--patches", "example", "--samples", "60", "--seconds", "0.5", "--shard-size", "100kB"]


@pytest.fixture
def planned(tmp_path):
    assert cli.main([*PLAN, "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def start_render(folder):
    command = [sys.executable, "-m", "dx7data", "render", "--plan", str(folder), "--workers", "2"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not list(folder.glob(".*.partial")) + list(folder.glob("*.tar")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return process


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_no_semaphore_stays_after_a_kill(planned, kill):
    """Of the parent alone, whose resource tracker said "leaked", or of all processes, after which nobody removes them."""
    process = start_render(planned)
    found = [path for path in Path("/proc").glob("[0-9]*") if _session(path) == process.pid]
    assert len(found) > 3, "the command, its fork server, two workers"
    semaphores = [line for path in found for line in _read(path / "maps").splitlines() if "/dev/shm/sem." in line]
    assert all(line.endswith("(deleted)") for line in semaphores), "one has a name, which a kill leaves behind"
    kill(process.pid, signal.SIGKILL)
    assert "resource_tracker" not in process.communicate(timeout=60)[1]  # when the last worker has ended


def test_a_worker_that_is_killed(planned):
    process = start_render(planned)
    workers = [
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if _session(path) == process.pid and "forkserver" in _read(path / "cmdline")
    ]
    os.kill(max(workers), signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "a worker was killed" in said
    assert "Traceback" not in said
    assert "resource_tracker" not in said
    assert not list(planned.glob(".*")), "partial files"
    assert cli.main(["render", "--plan", str(planned), "--workers", "1"]) == 0


def test_a_worker_that_fails_while_its_parent_is_slow(planned):
    """By then it has ended, and takes no more tasks: why it failed is still to be heard."""
    plan = Plan.load(planned)
    (planned / f"{plan.shards()[2].name}.tar" / "x").mkdir(parents=True)  # in the way of the second task of the first worker
    with pytest.raises(OSError, match=plan.shards()[2].name):
        local.render_shards(plan, plan.shards(), LocalFolder(planned), lambda size: time.sleep(0.3), 2)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""


def _session(process: Path) -> int:
    try:
        return os.getsid(int(process.name))
    except ProcessLookupError:
        return 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("room", [0, 400_000])
def test_a_full_disk_with_several_workers(tmp_path, room):
    """The disk is in memory; two workers are in the middle of a shard when one of them meets its end."""
    script = """
        mount -t tmpfs -o size=8m tmpfs "$2" && cd "$2" && "$1" -m dx7data plan $4 --out out > /dev/null 2>&1 &&
        mount -o remount,size=$(($(df --output=used -B1 . | tail -1) + $3)) "$2" &&
        "$1" -m dx7data render --plan out --workers 2; echo "status $?"; ls -A out; mount -o remount,size=8m "$2";
        "$1" -m dx7data render --plan out --workers 2 > /dev/null 2>&1; "$1" -m dx7data verify out
    """
    (tmp_path / "disk").mkdir()
    words = ["unshare", "-m", "bash", "-c", script, "bash", sys.executable, tmp_path / "disk", str(room), " ".join(PLAN[1:])]
    root = str(Path(__file__).parents[2])
    found = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": root})
    if "mount" in found.stderr:
        pytest.skip("no mounts here")
    assert "status 2" in found.stdout, found.stderr
    assert found.stderr.count("No space left on device") == 1
    assert "Traceback" not in found.stderr
    assert ".partial" not in found.stdout
    assert "resource_tracker" not in found.stderr
    assert found.returncode == 0, "the same command goes on, and verify finds nothing"


def test_a_gpu_lock_excludes_other_processes():
    """It comes to a worker as an argument; a lock of multiprocessing would be a semaphore with a name."""
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    gpu_lock, (ours, theirs) = Lock(), context.Pipe()
    process = context.Process(target=_take, args=(gpu_lock, theirs), daemon=True)
    with gpu_lock:
        process.start()
        assert ours.recv() == "asked"
        assert not ours.poll(0.3)
    assert ours.poll(10)
    assert ours.recv() == "taken"
    process.join()
    with gpu_lock:
        pass


def _take(gpu_lock, pipe):
    pipe.send("asked")
    with gpu_lock:
        pipe.send("taken")


@pytest.mark.parametrize("modules", [(), ("wave",)])
def test_what_was_preloaded_is_there_when_a_process_starts(modules):
    code = (
        "import multiprocessing, sys\n"
        "from dx7data.workers import preload\n"
        f"preload(*{modules})\n"
        "look = 'import sys; sys.exit(\"wave\" in sys.modules)'\n"
        "process = multiprocessing.get_context('forkserver').Process(target=exec, args=(look,))\n"
        "process.start()\n"
        "process.join()\n"
        "sys.exit(process.exitcode)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == len(modules)
