"""What a study has found: figures for JSON, and the same as tables in Markdown."""

import statistics
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from dx7data.errors import InputError
from dx7data.output import format_count
from train import baselines
from train.evaluation import paired
from train.evaluation.bootstrap import describe_error
from train.results import reader
from train.results.reader import Run, choose_set

FAILED, DIVERGED = "failed", "diverged"  # trials that have no bits
_FACTS = {"device": "versions.device", "torch": "versions.torch", "fingerprint": "fingerprint"}
_COUNTS = ("patches", "groups")  # of training; runs of earlier versions have not recorded them
_MEASURES = ("bits", "bits_se", "snr_mean_db", "snr_argmax_db")
_EXPLAINED = "±: the standard error over clips or, where a model has several seeds, the standard deviation over these."
_KNOWN = ("parameters", *_FACTS.values())  # of each run
_COSTS = ("step_seconds", "peak_memory_bytes", "first_steps_seconds")


def read_run(folder: Path, model: str) -> Run:
    """A run that has come to its end, by the name of its model. Raises InputError, also if the table would lack a figure."""
    run = reader.read(folder, model)
    for name, found, wanted in (("config.json", run.facts, _KNOWN), ("result.json", run.result, _COSTS)):
        if missing := [each for each in wanted if each not in found]:
            raise InputError(f"{folder / name} has no {missing[0]}: take it from a backup, or train again")
    return run


def summarize(
    steps: int,
    trial_steps: int,
    trials: dict[str, dict[str, float | str]],
    runs: list[tuple[str, int, Run | None]],
    best: dict[str, str],
    floors: Path | None,
) -> dict[str, Any]:
    """All figures.

    trials: bits of each model and rate, or why there are none; empty where there was one rate. runs: model after model, each
    with its seed, and None for one that diverged.
    """
    sound = [run for _, _, run in runs if run]
    models = [[run for *_, run in group if run] for _, group in groupby(runs, lambda one: one[0])]
    sets = list(sound[0].validation) if sound else []
    return {
        "steps": steps,
        "tokens": sound[0].tokens_a_step * sound[0].steps if sound and sound[0].tokens_a_step else None,
        **{name: " and ".join(dict.fromkeys(run.facts[fact] for run in sound)) or None for name, fact in _FACTS.items()},
        **{name: int(sound[0].facts[name]) if sound and name in sound[0].facts else None for name in _COUNTS},
        "runs": [
            {"model": model, "lr": best[model], "seed": seed, **_summarize_run(run, sets)} for model, seed, run in runs
        ],
        "differences": paired.compare_with_best([paired.average(group) for group in models if group]),
        "baselines": baselines.read(floors) if floors else None,
        "trial_steps": trial_steps,
        "trials": trials,
        "trials_set": choose_set(sets) if sets else None,
    }


def _summarize_run(run: Run | None, sets: list[str]) -> dict[str, Any]:
    if not run:
        return {"diverged": True}
    last = {name: run.validation[name][-1] for name in sets if name in run.validation}
    costs = {name: run.result[name] for name in _COSTS}
    step = costs["step_seconds"]  # none where no step was timed: the first ones are not
    return {
        "diverged": False,
        "parameters": int(run.facts["parameters"]),
        "sets": {name: {each: float(row.get(each) or "nan") for each in _MEASURES} for name, row in last.items()},
        **costs,
        "tokens_per_second": run.tokens_a_step / step if step and run.tokens_a_step else None,
    }


def format_table(found: dict) -> str:
    """Markdown: what was the same in all runs, the runs, their differences, floors, and all rates that were tried."""
    lines = [f"{format_count(found['steps'], 'step')}; no run came to its end."]
    sound = [run for run in found["runs"] if not run["diverged"]]
    if sound:
        lines = [_format_conditions(found, f"{_format_patches(found)}data {found['fingerprint'][:12]}")]
        sets = list(sound[0]["sets"])
        lines += ["", *_markdown(_head(sets), _rows(found, sets))]
        if found["differences"]:
            title = "Differences in bits, clip by clip, with intervals of a bootstrap over clips:"
            lines += ["", title, "", *_markdown(paired.HEAD, paired.rows(found["differences"]))]
    if found["baselines"]:
        title = "Without a model, and the target through mu-law, on the same clips:"
        lines += ["", title, "", *_markdown(baselines.HEAD, baselines.rows(found["baselines"]))]
    if not found["trials"]:
        return "\n".join(lines)
    tried = [
        [model, *(each if isinstance(each, str) else f"{each:.3f}" for each in rates.values())]
        for model, rates in found["trials"].items()
    ]
    which = f" ({found['trials_set']})" if found["trials_set"] else ""
    lines += ["", f"Learning rates, tried for {format_count(found['trial_steps'], 'step')} each: bits a sample{which}.", ""]
    return "\n".join([*lines, *_markdown(["model", *next(iter(found["trials"].values()))], tried)])


def format_tables(found: dict[str, dict]) -> str | None:
    """Markdown: the runs of several data sets in one table, with how many patches each has learned from."""
    ended = {name: one for name, one in found.items() if any(not run["diverged"] for run in one["runs"])}
    if not ended:
        return None
    first = next(iter(ended.values()))
    sets = list(dict.fromkeys(which for one in ended.values() for run in one["runs"] for which in run.get("sets", ())))
    rows = [
        [name, *(f"{one[count]:,}" if one[count] else "" for count in _COUNTS), *row]
        for name, one in found.items()
        for row in _rows(one, sets)
    ]
    table = _markdown(["benchmark", *_COUNTS, *_head(sets)], rows)
    return "\n".join([_format_conditions(first), "", *table])


def _format_conditions(found: dict, data: str = "") -> str:
    """What was the same in all runs."""
    tokens = f"{found['tokens']:,} tokens each" if found["tokens"] else ""
    same = [format_count(found["steps"], "step"), tokens, found["device"], f"torch {found['torch']}", data]
    return f"{', '.join(filter(None, same))}. {_EXPLAINED}"


def _format_patches(found: dict) -> str:
    if not found["patches"]:
        return ""
    return f"{format_count(found['patches'], 'training patch')} in {format_count(found['groups'], 'near-duplicate group')}, "


def _head(sets: list[str]) -> list[str]:
    """Of _rows."""
    found = ["model", "seeds", "parameters", "lr", *(f"bits, {name}" for name in sets)]
    found += [f"SNR dB, {name} ({how})" for how in ("mean", "argmax") for name in sets]
    return [*found, "step ms", "peak GB", "tokens/s", "first steps s"]


def _rows(found: dict, sets: list[str]) -> list[list[str]]:
    """One of each model."""
    return [_row(list(group), sets) for _, group in groupby(found["runs"], lambda run: run["model"])]


def _row(runs: list[dict], sets: list[str]) -> list[str]:
    """Of a model: means over the seeds that did not diverge."""
    sound = [run for run in runs if not run["diverged"]]
    seeds = " ".join(f"{run['seed']}{' (diverged)' * run['diverged']}" for run in runs)
    name, rate = runs[0]["model"], runs[0]["lr"]
    if not sound:
        return [name, seeds, "", rate, *[DIVERGED] * len(sets), *[""] * (2 * len(sets) + 4)]

    def mean(key: str) -> float | None:
        values = [run[key] for run in sound if run[key]]
        return statistics.fmean(values) if values else None

    step, tokens = mean("step_seconds"), mean("tokens_per_second")
    # A set may be one of another data set in the table.
    measured = {which: [run["sets"][which] for run in sound if which in run["sets"]] for which in sets}
    return [
        name,
        seeds,
        f"{sound[0]['parameters']:,}",
        rate,
        *map(_format_bits, measured.values()),
        *(
            f"{statistics.fmean(one[column] for one in measured[which]):.1f}" if measured[which] else ""
            for column in ("snr_mean_db", "snr_argmax_db")
            for which in sets
        ),
        f"{1e3 * step:.1f}" if step else "",
        f"{max(run['peak_memory_bytes'] for run in sound) / 1e9:.2f}",
        f"{tokens:,.0f}" if tokens else "",
        f"{mean('first_steps_seconds') or 0:.1f}",
    ]


def _format_bits(measured: list[dict]) -> str:
    """Of one set, by seed."""
    if not measured:
        return ""
    bits = [one["bits"] for one in measured]
    error = statistics.stdev(bits) if len(bits) > 1 else measured[0]["bits_se"]
    return f"{statistics.fmean(bits):.3f}{describe_error(error)}"


def _markdown(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
