"""What is said of devices and of waiting for data, once each."""

import os
import re
import resource

import pytest
import torch

from train.config import make_settings
from train.loop import devices
from train.loop.cudagraph import Replay
from train.loop.distributed import Ranks
from train.loop.timer import WAIT_STEPS, StepTimer

CORES = len(os.sched_getaffinity(0))


def test_the_table():
    ranks = Ranks(0, 1, torch.device("cpu"))
    _, head, row = devices.describe_devices(ranks, 1234567.8).splitlines()
    assert head.split() == ["process", "device", "memory", "tokens/s"]
    number, threads, used, total, speed = re.fullmatch(
        r"(\d)        CPU, (\d+) threads?  ([\d.]+) of ([\d.]+) GB +([\d,]+)", row
    ).groups()
    assert (number, int(threads), speed) == ("0", torch.get_num_threads(), "1,234,568")
    assert float(used) == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, abs=0.1)
    with open("/proc/meminfo") as file:
        assert float(total) == pytest.approx(int(re.search(r"MemTotal: +(\d+)", file.read())[1]) * 1024 / 1e9, abs=0.1)
    assert len(row) == len(head)


@pytest.mark.parametrize(("wait", "said"), [(0.25, "25% of"), (0.0625, "6% of"), (0.03125, "")])
def test_the_hint(monkeypatch, wait, said):
    """Once, however often it happens, and after the table, which comes once too. Steps take a second by this clock."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    settings = make_settings("shards", "s4", "tiny", workers=1)
    cpu = torch.device("cpu")
    report, timer = devices.SpeedReport(settings, Ranks(0, 1, cpu), None, Replay(None, cpu)), StepTimer(0)
    texts = []
    for step in range(2 * WAIT_STEPS):
        timer.start()
        with timer.waiting():
            now[0] += wait
        now[0] += 1 - wait
        if timer.stop(1, first=step < 3) is None:
            continue
        texts += report.update(timer, 100.0)
    took = f"3.00 s, {3 * wait:.2f} of them waiting for data"
    assert texts.pop(0) == f"the first 3 steps, which also compile and tune, took {took}"
    assert "tokens/s" in texts.pop(0)
    assert [text.partition(" the time is")[0] for text in texts] == [said] * bool(said)


@pytest.mark.parametrize(
    ("settings", "gpu", "advice"),
    [
        ({"workers": 0}, False, f"raise --workers, 0 now on {CORES} cores"),
        ({"workers": CORES}, False, "a faster disk"),
        ({"workers": CORES, "reader": "live"}, False, "rendering takes all cores, so train on shards"),
        ({"workers": 0, "reader": "live"}, True, "the GPU that trains also renders"),
    ],
)
def test_advice(settings, gpu, advice):
    assert advice in devices.advise(0.123, make_settings("shards", "s4", "tiny", **settings), gpu)
    remote = make_settings("s3://a/shards", "s4", "tiny", workers=CORES)
    assert devices.advise(0.123, remote, False).startswith("12% of the time")
    assert "copy the shards to a disk of this machine" in devices.advise(0.123, remote, False)
