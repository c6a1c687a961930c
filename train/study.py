"""`python -m train.study`: several models on the same data, each at the best of a few learning rates, and a table of them.

With several seeds each model is trained once with each.

Every run is a `python -m train` of its own. The same command goes on where it was stopped: what is done is skipped, what was
begun is resumed. On several GPUs the runs are shared out.
"""

import dataclasses
import os
import queue
import shlex
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from msgspec import Meta

from dx7data import process
from dx7data.errors import InputError
from dx7data.files import write_atomically
from dx7data.output import log, print_result, progress_bar
from models.registry import MODELS
from train import arguments, baselines, benchmarks, compare, study_table
from train.benchmarks import BENCHMARKS
from train.config import INDIFFERENT, Count, RunSettings
from train.evaluation import verdict
from train.loop.folder import check_contents
from train.options import parse, setting
from train.results import reader

_OWN = ("--shards", "--live", "--model", "--layers", "--lr", "--steps", "--seed", "--out", "--resume")
_OWN_OUTPUT = ("-q", "--quiet", "-v", "--verbose", "--json")
VARIANTS = ("s4", "s4-conv", "s4d", "mamba1", "mamba2-seed", "mamba2", "mamba3", "hybrid", "wavenet", "transformer")
LRS = (1e-3, 3e-3, 1e-2)
_SEED = "-seed-"  # in the name of a run's folder, between the model and a seed other than 0
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


@dataclass(frozen=True)
class StudyOptions:
    """What is compared, and for how long."""

    shards: str | None = setting(None, "what `dx7data render` has written", metavar="FOLDER")
    benchmark: str | None = setting(
        None,
        "instead of --shards: data that is the same everywhere, rendered live; its plan is put into --out",
        choices=BENCHMARKS,
    )
    out: Path = setting(Path("runs/study"), "where the runs and the table are put", metavar="FOLDER")
    models: tuple[str, ...] = setting(VARIANTS, "that are compared", choices=MODELS, metavar="NAME", kwargs={"nargs": "+"})
    lrs: tuple[Annotated[float, Meta(gt=0, le=1000)], ...] = setting(
        LRS, "learning rates that are tried", metavar="LR", kwargs={"nargs": "+"}
    )
    trial_steps: Count = setting(500, "steps of each rate", metavar="N")
    steps: Count = setting(2000, "steps at the best rate", metavar="N")
    seeds: tuple[Annotated[int, Meta(ge=0, le=2**63 - 1)], ...] = setting(
        (0,),
        "seeds at the best rate; the rates are tried with seed 0. The table also has the seeds of earlier commands",
        metavar="N",
        kwargs={"nargs": "+"},
    )
    at_once: Count = setting(1, "trials that share a GPU", metavar="N")
    options: tuple[str, ...] = setting((), "of python -m train, after --", positional=True, kwargs={"nargs": "*"})


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0, 2 if a run failed or for a person's error, 130 when stopped by Ctrl-C."""
    return process.run("train.study", lambda: start(read_options(argv)), "stopped; the same command goes on")


def read_options(argv: list[str] | None = None) -> StudyOptions:
    """Raises InputError."""
    what = "Train several models on the same data, each at its best learning rate, and make a table of them."
    more = "Options of `python -m train` come after --: python -m train.study --shards shards/ -- --preset seed"
    return parse(StudyOptions, sys.argv[1:] if argv is None else argv, "train.study", what, epilog=more)


def start(options: StudyOptions) -> int:
    """The study; its exit status. Raises InputError."""
    try:
        found = study(options)
    except OSError as error:
        raise InputError(f"{error.filename or options.out}: {error.strerror or error}") from None
    print_result(found, describe)
    return 2 if found["failed"] else 0


def study(options: StudyOptions) -> dict:
    """All runs, then table.md and compare.html; what the table says, where it is, and which runs failed, and why."""
    if own := [word for word in options.options if word.partition("=")[0] in (*_OWN, *_OWN_OUTPUT)]:
        raise InputError(f"{own[0]} after -- is what the study sets itself: give it before --, or leave it out")
    if (options.shards is None) == (options.benchmark is None):
        raise InputError(
            f"name the data: --shards with a folder, or --benchmark with one of {', '.join(BENCHMARKS)}, not both"
        )
    check_contents(options.out)
    if options.benchmark:
        benchmarks.prepare(options.benchmark, options.out)
    trials = {(model, rate): trial(options, model, rate) for model in options.models for rate in options.lrs}
    failed = run_jobs(trials.values(), "trials", options.at_once)
    tried = {key: find_bits(job) for key, job in trials.items()}
    best = {}
    for model in options.models:
        bits = {rate: each for rate in options.lrs if isinstance(each := tried[model, rate], float)}
        if bits:
            best[model] = min(bits, key=bits.__getitem__)
    # One for each GPU: what shares it would be in their step times.
    failed |= run_jobs([full(options, *one, seed) for seed in options.seeds for one in best.items()], "runs", 1)
    runs = [
        (model, seed, job)
        for model, rate in best.items()
        for seed in sorted({*options.seeds, *find_seeds(options, model)})
        if (job := full(options, model, rate, seed)).done
    ]
    sound = [job for _, _, job in runs if not job.diverged]
    floors = find_floors(options, sound[0]) if sound else None
    found = study_table.summarize(
        options.steps,
        options.trial_steps,
        {model: {f"{rate:g}": tried[model, rate] for rate in options.lrs} for model in options.models},
        [(model, seed, None if job.diverged else reader.read(job.run, model)) for model, seed, job in runs],
        {model: f"{rate:g}" for model, rate in best.items()},
        floors,
    )
    found |= {"table": None, "page": None, "failed": failed}
    if any(job.done for job in trials.values()):
        found["table"] = str(options.out / "table.md")
        text = study_table.format_table(found)
        write_atomically(options.out / "table.md", lambda file: file.write(f"{text}\n".encode()))
        if sound:
            found["page"] = str(options.out / "compare.html")
            compare.write([job.run for job in sound], options.out / "compare.html", floors)
    for run, why in failed.items():
        log.error(f"train.study: {run} failed: {why}")
    return found


def describe(found: dict) -> list[str]:
    """The table, and where it is."""
    if not found["table"]:
        return ["no trial came to its end"]
    places = " and ".join(filter(None, [found["table"], found["page"]]))
    return ["", *study_table.format_table(found).split("\n"), "", f"This is in {places}"]


def trial(options: StudyOptions, model: str, rate: float) -> Job:
    return _job(options, f"trial-{model}-{rate:g}", model, rate, 0, options.trial_steps, options.trial_steps)


def full(options: StudyOptions, model: str, rate: float, seed: int) -> Job:
    name = f"{model}{_SEED}{seed}" if seed else model
    return _job(options, name, model, rate, seed, options.steps, max(1, options.steps // 4))


def find_seeds(options: StudyOptions, model: str) -> list[int]:
    """Of the runs of a model that are in --out."""
    names = [path.name.removeprefix(f"{model}{_SEED}") for path in options.out.glob(f"{model}{_SEED}*")]
    return [0] * (options.out / model).exists() + [int(name) for name in names if name.isdecimal()]


def _job(options: StudyOptions, name: str, model: str, rate: float, seed: int, steps: int, every: int) -> Job:
    if options.benchmark:
        data = ["--live", str(benchmarks.find_plan(options.out)), *BENCHMARKS[options.benchmark].train]
    else:
        data = ["--shards", str(options.shards)]
    argv = [*data, "--model", model, "--lr", f"{rate:g}", "--steps", str(steps), "--seed", str(seed)]
    argv += ["--evaluate-every", str(every), "--checkpoint-every", str(every), *options.options]
    return Job(options.out / name, argv)


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


def find_floors(options: StudyOptions, job: Job) -> Path | None:
    """baselines.json of a study, measured when it is first asked for; None, with a reason, where it can't be."""
    path = options.out / "baselines.json"
    if not path.exists():
        try:
            baselines.write(path, baselines.measure(job.settings))
        except InputError as error:
            log.warning(f"train.study: no floors and no ceiling beside the runs: {error}")
            return None
    return path


def find_bits(job: Job) -> float | str:
    """Of the last evaluation of a trial; a word where there is none. Raises InputError if it was not evaluated."""
    if not job.done:
        return study_table.FAILED
    if job.diverged:
        return study_table.DIVERGED
    rows = reader.group_by_set(reader.read_table(job.run / "validation.csv"))
    if not rows:
        raise InputError(f"{job.run} has no evaluation to compare rates by: take a data set that has its plan, in a folder")
    return float(rows[reader.choose_set(rows)][-1]["bits"])


if __name__ == "__main__":
    process.run_main("train.study", main)
