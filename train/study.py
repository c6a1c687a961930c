"""`python -m train.study`: several models on the same data, each at the best of a few learning rates, and a table of them.

With several seeds each model is trained once with each.

Every run is a `python -m train` of its own. The same command goes on where it was stopped: what is done is skipped, what was
begun is resumed. On several GPUs the runs are shared out.
"""

import dataclasses
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from dx7data import process
from dx7data.errors import InputError
from dx7data.files import refuse_unwritable, write_atomically
from dx7data.output import log, print_result
from models.registry import MODELS
from train import arguments, baselines, benchmarks, compare, study_table
from train.benchmarks import BENCHMARKS
from train.config import Count
from train.loop.folder import check_contents
from train.options import parse, setting
from train.results import patch_curve, reader
from train.study_jobs import Job, run_jobs

_OWN = ("--shards", "--live", "--model", "--layers", "--lr", "--steps", "--seed", "--out", "--resume")
_RESULTS = ("table.md", "compare.html", "curve.png")  # that are replaced
_OWN_OUTPUT = ("-q", "--quiet", "-v", "--verbose", "--json")
VARIANTS = ("s4", "s4-conv", "s4d", "mamba1", "mamba2-seed", "mamba2", "mamba3", "hybrid", "wavenet", "transformer")
LRS = (1e-3, 3e-3, 1e-2)
_SEVERAL = {"nargs": "+", "action": "extend"}  # of an option that is given twice, both count
_SEED = "-seed-"  # in the name of a run's folder, between the model and a seed other than 0


@dataclass(frozen=True)
class StudyOptions:
    """What is compared, and for how long."""

    shards: str | None = setting(None, "what `dx7data render` has written", metavar="FOLDER")
    benchmark: tuple[str, ...] = setting(
        (),
        "instead of --shards: data that is the same everywhere, rendered live; its plan is put into --out. Of several, each "
        "gets a folder there",
        choices=BENCHMARKS,
        metavar="NAME",
        shown="none",
        kwargs=_SEVERAL,
    )
    out: Path = setting(Path("runs/study"), "where the runs and the table are put", metavar="FOLDER")
    models: tuple[str, ...] = setting(VARIANTS, "that are compared", choices=MODELS, metavar="NAME", kwargs=_SEVERAL)
    lrs: tuple[Annotated[float, Meta(gt=0, le=1000)], ...] = setting(
        LRS, "learning rates that are tried; a single one is taken as it is", metavar="LR", kwargs=_SEVERAL
    )
    trial_steps: Count = setting(500, "steps of each rate", metavar="N")
    steps: Count = setting(2000, "steps at the best rate", metavar="N")
    seeds: tuple[Annotated[int, Meta(ge=0, le=2**63 - 1)], ...] = setting(
        (0,),
        "seeds at the best rate; the rates are tried with seed 0. The table also has the seeds of earlier commands",
        metavar="N",
        kwargs=_SEVERAL,
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
    """All runs, then table.md and compare.html; what the table says, where it is, and which runs failed, and why.

    Of several benchmarks, these files of each and of all; what the table of each says is then in `benchmarks`.
    """
    options = drop_repeated(options)
    check_options(options.options)
    check_out(options.out)
    if (options.shards is None) == (not options.benchmark):
        raise InputError(
            f"name the data: --shards with a folder, or --benchmark with one or more of {', '.join(BENCHMARKS)}, not both"
        )
    parts = divide(options)
    for part in parts:
        check_contents(part.out)
        if part.benchmark:
            benchmarks.prepare(part.benchmark[0], part.out, options.out)
    rates = options.lrs if len(options.lrs) > 1 else ()  # of one there is nothing to find out
    trials = [{(model, rate): trial(part, model, rate) for model in options.models for rate in rates} for part in parts]
    failed = run_jobs([job for jobs in trials for job in jobs.values()], "trials", options.at_once)
    tried = [{key: find_bits(job) for key, job in jobs.items()} for jobs in trials]
    best = [choose_rates(options, bits) for bits in tried]
    # One for each GPU: what shares it would be in their step times.
    wanted = [
        full(part, *one, seed)
        for part, rates in zip(parts, best, strict=True)
        for seed in options.seeds
        for one in rates.items()
    ]
    for part, chosen in zip(parts, best, strict=True):
        find_runs(part, chosen)  # so that an earlier run with other options is refused now, not when all others are done
    failed |= run_jobs(wanted, "runs", 1)
    runs = list(map(find_runs, parts, best))
    found = [write_results(*each) for each in zip(parts, tried, best, runs, strict=True)]
    for run, why in failed.items():
        log.error(f"train.study: {run} failed: {why}")
    if len(parts) == 1:
        return found[0] | {"failed": failed}
    named = dict(zip(options.benchmark, found, strict=True))
    sound = [job.run for ended in runs for _, _, job in ended if not job.diverged]
    where = write_files(options.out, study_table.format_tables(named), sound)
    picture = options.out / "curve.png"
    drawn = patch_curve.draw(compare.read(sound), picture)
    return {"benchmarks": named, **where, "picture": str(picture) if drawn else None, "failed": failed}


def drop_repeated(options: StudyOptions) -> StudyOptions:
    """Each model, rate and seed once: two runs can't share a folder, which has a rate of six digits in its name."""
    return dataclasses.replace(
        options,
        models=tuple(dict.fromkeys(options.models)),
        lrs=tuple(dict.fromkeys(float(f"{rate:g}") for rate in options.lrs)),
        seeds=tuple(dict.fromkeys(options.seeds)),
    )


def check_out(out: Path) -> None:
    """Raises InputError where the results of a study would replace files of something else, or can't be written."""
    if os.path.lexists(out) and not out.is_dir():
        raise InputError(f"--out {out} is no folder: name another")
    refuse_unwritable(out)
    check_contents(out)
    there = [name for name in _RESULTS if os.path.lexists(out / name)]
    if there and not any(path.is_file() for depth in ("*", "*/*") for path in out.glob(f"{depth}/config.json")):
        raise InputError(f"{out} has a {there[0]}, and no runs of a study: name another --out")


def check_options(words: tuple[str, ...]) -> None:
    """Raises InputError for what comes after -- and is the study's own, by any of its names, or no option of training."""
    parser = arguments.make_parser()
    if own := [word for word in words if parser.normalise(word).partition("=")[0] in (*_OWN, *_OWN_OUTPUT)]:
        raise InputError(f"{own[0]} after -- is what the study sets itself: give it before --, or leave it out")
    arguments.read(words)


def divide(options: StudyOptions) -> list[StudyOptions]:
    """The studies that it is made of: with several benchmarks one of each, in a folder of its own."""
    if len(options.benchmark) < 2:
        return [options]
    if len(set(options.benchmark)) < len(options.benchmark):
        raise InputError(f"--benchmark {' '.join(options.benchmark)}: name each once")
    return [dataclasses.replace(options, benchmark=(name,), out=options.out / name) for name in options.benchmark]


def choose_rates(options: StudyOptions, tried: dict[tuple[str, float], float | str]) -> dict[str, float]:
    """The rate of each model whose trial ended with the fewest bits; models of which none ended so are left out. Without
    trials, the only rate."""
    if not tried:
        return dict.fromkeys(options.models, options.lrs[0])
    best = {}
    for model in options.models:
        bits = {rate: each for rate in options.lrs if isinstance(each := tried[model, rate], float) and math.isfinite(each)}
        if bits:
            best[model] = min(bits, key=bits.__getitem__)
    return best


def find_runs(options: StudyOptions, best: dict[str, float]) -> list[tuple[str, int, Job]]:
    """Model after model, those that have come to their end, each with its seed; those of earlier commands too."""
    return [
        (model, seed, job)
        for model, rate in best.items()
        for seed in sorted({*options.seeds, *find_seeds(options, model)})
        if (job := full(options, model, rate, seed)).done
    ]


def write_results(
    options: StudyOptions,
    tried: dict[tuple[str, float], float | str],
    best: dict[str, float],
    runs: list[tuple[str, int, Job]],
) -> dict:
    """table.md and compare.html of one data set; what the table says, and where they are."""
    sound = [job for _, _, job in runs if not job.diverged]
    floors = find_floors(options, sound[0]) if sound else None
    found = study_table.summarize(
        options.steps,
        options.trial_steps,
        {model: {f"{rate:g}": tried[model, rate] for rate in options.lrs} for model in options.models if tried},
        [(model, seed, None if job.diverged else study_table.read_run(job.run, model)) for model, seed, job in runs],
        {model: f"{rate:g}" for model, rate in best.items()},
        floors,
    )
    anything = runs or any(bits != study_table.FAILED for bits in tried.values())
    text = study_table.format_table(found) if anything else None
    return found | write_files(options.out, text, [job.run for job in sound], floors)


def write_files(folder: Path, table: str | None, runs: list[Path], floors: Path | None = None) -> dict[str, str | None]:
    """table.md and compare.html, and where they are; None where there is nothing to write."""
    found: dict[str, str | None] = {"table": None, "page": None}
    if table:
        found["table"] = str(folder / "table.md")
        write_atomically(folder / "table.md", lambda file: file.write(f"{table}\n".encode()))
    if table and runs:
        found["page"] = str(folder / "compare.html")
        compare.write(runs, folder / "compare.html", floors)
    return found


def describe(found: dict) -> list[str]:
    """The table, and where it is."""
    if not found["table"]:
        return ["no run was finished"]
    places = " and ".join(filter(None, [found["table"], found["page"], found.get("picture")]))
    several = "benchmarks" in found
    text = study_table.format_tables(found["benchmarks"]) if several else study_table.format_table(found)
    return ["", *str(text).split("\n"), "", f"This is in {places}"]


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
        data = ["--live", str(benchmarks.find_plan(options.out)), *BENCHMARKS[options.benchmark[0]].train]
    else:
        data = ["--shards", str(options.shards)]
    argv = [*data, "--model", model, "--lr", f"{rate:g}", "--steps", str(steps), "--seed", str(seed)]
    argv += ["--evaluate-every", str(every), "--checkpoint-every", str(every), *options.options]
    return Job(options.out / name, argv)


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
