"""What a study has found: figures for JSON, and the same as tables in Markdown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dx7data.output import format_count
from train import baselines
from train.evaluation import paired
from train.evaluation.bootstrap import describe_error
from train.results.reader import Run, choose_set

FAILED, DIVERGED = "failed", "diverged"  # trials that have no bits
_FACTS = {"device": "versions.device", "torch": "versions.torch", "fingerprint": "fingerprint", "seed": "seed"}
_MEASURES = ("bits", "bits_se", "snr_mean_db", "snr_argmax_db")
_COSTS = ("step_seconds", "peak_memory_bytes", "first_steps_seconds")


def summarize(
    steps: int,
    trial_steps: int,
    trials: dict[str, dict[str, float | str]],
    runs: dict[str, Run | None],
    best: dict[str, str],
    floors: Path | None,
) -> dict[str, Any]:
    """All figures. trials: bits of each model and rate, or why there are none; runs: None for one that diverged."""
    sound = [run for run in runs.values() if run]
    sets = list(sound[0].validation) if sound else []
    return {
        "steps": steps,
        "tokens": sound[0].tokens_a_step * sound[0].steps if sound and sound[0].tokens_a_step else None,
        **{name: sound[0].facts[fact] if sound else None for name, fact in _FACTS.items()},
        "runs": [{"model": model, "lr": best[model], **_summarize_run(run, sets)} for model, run in runs.items()],
        "differences": paired.compare_with_best(sound),
        "baselines": baselines.read(floors) if floors else None,
        "trial_steps": trial_steps,
        "trials": trials,
        "trials_set": choose_set(sets) if sets else None,
    }


def _summarize_run(run: Run | None, sets: list[str]) -> dict[str, Any]:
    if not run:
        return {"diverged": True}
    last = {name: run.validation[name][-1] for name in sets}
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
        tokens = f", {found['tokens']:,} tokens each" if found["tokens"] else ""
        lines = [
            f"{format_count(found['steps'], 'step')}{tokens}, {found['device']}, torch {found['torch']}, "
            f"data {found['fingerprint'][:12]}, one seed ({found['seed']}). ±: the standard error over clips.",
        ]
        sets = list(sound[0]["sets"])
        head = ["model", "parameters", "lr", *(f"bits, {name}" for name in sets)]
        head += [f"SNR dB, {name} ({how})" for how in ("mean", "argmax") for name in sets]
        head += ["step ms", "peak GB", "tokens/s", "first steps s"]
        lines += ["", *_markdown(head, [_row(run, sets, len(head)) for run in found["runs"]])]
        if found["differences"]:
            title = "Differences in bits, clip by clip, with intervals of a bootstrap over clips:"
            lines += ["", title, "", *_markdown(paired.HEAD, paired.rows(found["differences"]))]
    if found["baselines"]:
        title = "Without a model, and the target through mu-law, on the same clips:"
        lines += ["", title, "", *_markdown(baselines.HEAD, baselines.rows(found["baselines"]))]
    tried = [
        [model, *(each if isinstance(each, str) else f"{each:.3f}" for each in rates.values())]
        for model, rates in found["trials"].items()
    ]
    which = f" ({found['trials_set']})" if found["trials_set"] else ""
    lines += ["", f"Learning rates, tried for {format_count(found['trial_steps'], 'step')} each: bits a sample{which}.", ""]
    return "\n".join([*lines, *_markdown(["model", *next(iter(found["trials"].values()))], tried)])


def _row(run: dict, sets: list[str], columns: int) -> list[str]:
    if run["diverged"]:
        return [run["model"], "", run["lr"], *[DIVERGED] * len(sets), *[""] * (columns - 3 - len(sets))]
    measured = run["sets"]
    return [
        run["model"],
        f"{run['parameters']:,}",
        run["lr"],
        *(f"{measured[name]['bits']:.3f}{describe_error(measured[name]['bits_se'])}" for name in sets),
        *(f"{measured[name][column]:.1f}" for column in ("snr_mean_db", "snr_argmax_db") for name in sets),
        f"{1e3 * run['step_seconds']:.1f}" if run["step_seconds"] else "",
        f"{run['peak_memory_bytes'] / 1e9:.2f}",
        f"{run['tokens_per_second']:,.0f}" if run["tokens_per_second"] else "",
        f"{run['first_steps_seconds']:.1f}",
    ]


def _markdown(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
