"""The runs of a study: each a `python -m train` of its own, skipped if it is done, shared out among the GPUs."""

import dataclasses
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from dx7data.errors import InputError
from dx7data.output import log, progress_bar
from train import arguments
from train.config import INDIFFERENT, RunSettings
from train.evaluation import verdict
from train.loop.checks import has_other_data
from train.loop.loader import open_training_clips
from train.results import reader

_DIVERGED = 3  # exit status of a run that did: the table says so


class Job(NamedTuple):
    """One run: its folder, and the arguments of its command."""

    run: Path
    argv: list[str]

    @property
    def settings(self) -> RunSettings:
        return arguments.choose_run(arguments.read(self.argv))[1]

    @property
    def done(self) -> bool:
        """Raises InputError if another run than this one has been made, or begun, in its folder: it would be extended."""
        if not (self.run / "config.json").exists():
            return False
        stored = RunSettings.from_json(reader.read_config(self.run)["settings"], self.run / "config.json")
        wanted = self.settings
        if wanted.sample_rate is None:
            wanted = dataclasses.replace(wanted, sample_rate=stored.sample_rate)  # that of the shards
        for name in (field.name for field in dataclasses.fields(RunSettings) if field.name not in INDIFFERENT):
            was, now = getattr(stored, name), getattr(wanted, name)
            if was != now:
                raise InputError(f"{self.run} was made with {name} {was}, this study wants {now}: name another --out")
        return bool(reader.read_result(self.run))

    @property
    def diverged(self) -> bool:
        return reader.read_result(self.run).get("verdict") == verdict.DIVERGED

    def command(self) -> list[str]:
        begun = ["--resume"] if (self.run / "config.json").exists() else []
        return [sys.executable, "-m", "train", *self.argv, "--out", str(self.run), *begun]


def run_jobs(jobs: Sequence[Job], what: str, at_once: int) -> dict[str, str]:
    """Run what is not done; which runs failed, each with the sentence that it ended with.

    Raises InputError if none is done and there is no data to train on: else each of them would say so; and if the data has
    changed since others were made, which no table could compare.
    """
    waiting = [job for job in jobs if not job.done]
    if waiting:
        check_data(jobs, waiting)
    gpus = torch.cuda.device_count()
    gpus_free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    turns: list[int | None] = [*range(gpus)] * at_once or [None]
    for place in turns:
        gpus_free.put(place)
    failed = {}
    running: set[subprocess.Popen] = set()
    stopping = threading.Event()

    def run(job: Job) -> None:
        place = gpus_free.get()
        log.debug(shlex.join(job.command()))
        environment = os.environ | ({} if place is None else {"CUDA_VISIBLE_DEVICES": _name_gpu(place)})
        try:
            job.run.parent.mkdir(parents=True, exist_ok=True)
            process = subprocess.Popen(job.command(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            running.add(process)
            if stopping.is_set():
                process.terminate()
            said = process.communicate()[1]
            running.remove(process)
        except OSError as error:
            failed[str(job.run)] = str(error)
            return
        finally:
            gpus_free.put(place)
        if process.returncode not in (0, _DIVERGED):
            lines = said.decode(errors="replace").strip().splitlines()
            failed[str(job.run)] = lines[-1] if lines else f"exit status {process.returncode}"

    with _interrupt_on_sigterm(), ThreadPoolExecutor(max(1, gpus * at_once)) as pool:
        try:
            for _ in progress_bar(pool.map(run, waiting), desc=what, total=len(waiting), unit="run"):
                pass
        except KeyboardInterrupt:  # of which the runs hear only if it was typed; they write their checkpoints and end
            stopping.set()
            for process in list(running):
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def check_data(jobs: Sequence[Job], waiting: Sequence[Job]) -> None:
    """Raises InputError as `run_jobs` says."""
    try:
        data = open_training_clips(waiting[0].settings)
    except InputError:
        if len(waiting) == len(jobs):
            raise
        return
    for run in (job.run for job in jobs if has_other_data(job.run, data)):
        stored = reader.read_config(run).get("fingerprint", "not recorded")
        raise InputError(
            f"{run} was made with other data (fingerprint {stored[:12]}) than there is now ({data.fingerprint[:12]}): "
            "name another --out"
        )


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Inside the block SIGTERM is a Ctrl-C: it would end this process alone, and leave its runs on the GPUs."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _name_gpu(place: int) -> str:
    """The GPU at a place among those that this process sees."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[place] if named else str(place)
