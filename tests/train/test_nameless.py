"""Processes that read live data: queues without named semaphores, and no process after a kill of the one that trains."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from train.loop.loader import _begin_reading
from train.loop.nameless import NamelessContext


class Squares(torch.utils.data.Dataset):
    """What is read; large enough that a batch does not fit into a pipe."""

    def __init__(self, fails: bool = False):
        self._fails = fails

    def __len__(self):
        return 12

    def __getitem__(self, i):
        if self._fails and i == 7:
            raise ValueError("no seventh")
        return torch.full((1 << 17,), i * i), os.getpid()


def load(fails: bool = False, pin_memory: bool = False) -> DataLoader:
    return DataLoader(
        Squares(fails),
        batch_size=2,
        num_workers=2,
        pin_memory=pin_memory,
        multiprocessing_context=NamelessContext(),
        worker_init_fn=_begin_reading,
    )


def _has_semaphores(pid: int) -> bool:
    return "/dev/shm/sem." in Path(f"/proc/{pid}/maps").read_text()


def test_batches_come_in_order_and_without_names():
    batches = iter(load())
    audio, processes = next(batches)
    assert not any(map(_has_semaphores, processes.tolist()))  # this one may have some of other tests
    rows = [audio, *(audio for audio, _ in batches)]
    assert torch.cat(rows)[:, -1].tolist() == [i * i for i in range(12)]


def test_an_error_of_a_process_comes_out():
    with pytest.raises(ValueError, match="no seventh"):
        list(load(fails=True))


SCRIPT = """
from tests.train.test_nameless import load
if __name__ == "__main__":
    batches = iter(load())
    print(*{int(pid) for _ in range(2) for pid in next(batches)[1]}, flush=True)
    input()
"""


@pytest.mark.parametrize("group", [False, True])
def test_nothing_is_left_after_a_kill(tmp_path, group):
    """With the process that trains alone, and with all that it has started."""
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(__file__).parents[2]
    said = tmp_path / "said"
    with open(said, "w") as errors:
        command = [sys.executable, str(tmp_path / "script.py")]
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        options |= {"cwd": root, "env": os.environ | {"PYTHONPATH": str(root)}, "start_new_session": True}
        child = subprocess.Popen(command, **options)
    pids = list(map(int, child.stdout.readline().split()))
    assert len(pids) == 2, said.read_text()
    assert not any(map(_has_semaphores, [child.pid, *pids]))
    (os.killpg if group else os.kill)(child.pid, signal.SIGKILL)
    child.communicate()
    end = time.monotonic() + 60
    while (left := [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left
    assert said.read_text() == ""


def test_sigterm_of_others_ends_no_reader():
    """Slurm, for one, sends it to all processes, and a run that stops for it takes its last step. torch's own ends them."""
    batches = iter(load())
    pids = set(next(batches)[1].tolist())
    subprocess.run(["kill", *map(str, pids)], check=True)
    assert len(list(batches)) == 5
    batches = iter(load())
    pids = set(next(batches)[1].tolist())
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 60
    while (left := [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left
