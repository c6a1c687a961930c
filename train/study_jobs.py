"""The runs of a study: each a `python -m train` of its own, skipped if it is done, shared out among the GPUs."""

import dataclasses
import os
import queue
import shlex
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from dx7data.errors import InputError
from dx7data.output import log, progress_bar
from train import arguments
from train.config import INDIFFERENT, RunSettings
from train.evaluation import verdict
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


def run_jobs(jobs: Iterable[Job], what: str, at_once: int) -> dict[str, str]:
    """Run what is not done; which runs failed, each with the sentence that it ended with."""
    waiting = [job for job in jobs if not job.done]
    gpus = torch.cuda.device_count()
    gpus_free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    turns: list[int | None] = [*range(gpus)] * at_once or [None]
    for place in turns:
        gpus_free.put(place)
    failed = {}

    def run(job: Job) -> None:
        place = gpus_free.get()
        log.debug(shlex.join(job.command()))
        environment = os.environ | ({} if place is None else {"CUDA_VISIBLE_DEVICES": _name_gpu(place)})
        try:
            job.run.parent.mkdir(parents=True, exist_ok=True)
            ended = subprocess.run(job.command(), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        finally:
            gpus_free.put(place)
        if ended.returncode not in (0, _DIVERGED):
            lines = ended.stderr.decode(errors="replace").strip().splitlines()
            failed[str(job.run)] = lines[-1] if lines else f"exit status {ended.returncode}"

    with ThreadPoolExecutor(max(1, gpus * at_once)) as pool:
        try:
            for _ in progress_bar(pool.map(run, waiting), desc=what, total=len(waiting), unit="run"):
                pass
        except KeyboardInterrupt:  # the runs heard it too, and write their checkpoints
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def _name_gpu(place: int) -> str:
    """The GPU at a place among those that this process sees."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[place] if named else str(place)
