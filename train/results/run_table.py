"""The table of runs on the page that compares them: what each is, how good it became, what it cost."""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from dx7data.markup import html, join
from train.results.reader import Row, Run

# Of columns by key; all others have numbers, in JSON floats.
KINDS = {"model": str, "verdict": str, "parameters": int, "patches": int, "groups": int, "steps": int}


class Column(NamedTuple):
    """Of the table of runs; cells: the exact value and what is shown of it, both empty where there is none."""

    group: str
    key: str  # in JSON
    title: str
    cells: list[tuple[str, str]]
    best: Callable[[list[float]], float] | None = None  # min, max


def list_columns(runs: list[Run]) -> list[Column]:
    """The table of runs, but for their names."""

    def seconds(run: Run, name: str) -> str:
        measured = [row[name] for row in run.metrics if row[name]]
        return repr(float(np.median([float(each) for each in measured]))) if measured else ""

    found = [
        Column("training", "model", "model", [(name := run.facts.get("model_name", ""), name) for run in runs]),
        Column("training", "parameters", "parameters", [_cell(run.facts.get("parameters", ""), "{:,.0f}") for run in runs]),
        Column("training", "patches", "patches", [_cell(run.facts.get("patches", ""), "{:,.0f}") for run in runs]),
        Column("training", "groups", "in groups", [_cell(run.facts.get("groups", ""), "{:,.0f}") for run in runs]),
        Column("training", "steps", "steps", [(str(run.steps), _progress(run)) for run in runs]),
        Column("training", "verdict", "ended", [(said := str(run.result.get("verdict", "")), said) for run in runs]),
    ]
    for which in list_sets(runs):
        rows = [run.validation.get(which, []) for run in runs]
        best = [min((row["bits"] for row in own if row["bits"] != "nan"), key=float, default="") for own in rows]
        last = [own[-1] if own else {} for own in rows]
        same = len({run.find_clips(which) for run, own in zip(runs, rows, strict=True) if own}) == 1
        lowest, highest = (min, max) if same else (None, None)  # of other clips none is the best

        def cells(name: str, last: list[Row] = last) -> list[tuple[str, str]]:
            return [_cell(row.get(name, ""), "{:.2f}") for row in last]

        bits = [_cell(row.get("bits", ""), "{:.4f}") for row in last]
        errors = [_cell(row.get("bits_se", ""), " ± {:.4f}")[1] for row in last]
        found += [
            Column(which, "bits_best", "bits, best", [_cell(each, "{:.4f}") for each in best], lowest),
            Column(
                which,
                "bits",
                "bits, last",
                [(exact, shown + more) for (exact, shown), more in zip(bits, errors, strict=True)],
                lowest,
            ),
            Column(which, "snr_mean_db", "SNR of the mean, dB", cells("snr_mean_db"), highest),
            Column(which, "snr_argmax_db", "of the likeliest, dB", cells("snr_argmax_db"), highest),
        ]
    cost = [("ms a step", "{:,.1f}", "step_seconds", 1000, min), ("tokens/s", "{:,.0f}", "tokens_per_second", 1, max)]
    for title, form, name, scale, better in cost:
        found.append(Column("cost, medians", name, title, [_cell(seconds(run, name), form, scale) for run in runs], better))
    ended = [("peak GB", "{:,.2f}", "peak_memory_bytes", 1e-9), ("first steps, s", "{:,.1f}", "first_steps_seconds", 1.0)]
    for title, form, name, size in ended:
        found.append(
            Column("cost, in all", name, title, [_cell(str(run.result.get(name, "")), form, size) for run in runs], min)
        )
    return found


def _cell(exact: str, form: str, scale: float = 1) -> tuple[str, str]:
    return (exact, form.format(scale * float(exact))) if exact not in ("", "nan") else ("", "")


def _progress(run: Run) -> str:
    steps = int(run.facts.get("steps", run.steps))
    return f"{run.steps:,}" + f" of {steps:,}" * (steps != run.steps)


def list_sets(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(which for run in runs for which in run.validation))


def draw_table(runs: list[Run], names: list[Markup]) -> Markup:
    table = list_columns(runs)
    groups = [(name, len(list(own))) for name, own in groupby(table, lambda column: column.group)]
    head = join(html('<th colspan="{}" scope="colgroup">{}</th>', count, name) for name, count in groups)
    titles = join(html('<th scope="col">{}</th>', column.title) for column in table)
    rows = join(
        html('<tr><th scope="row">{}</th>{}</tr>', name, join(_td(column, i) for column in table))
        for i, name in enumerate(names)
    )
    return html(
        '<table><thead><tr><td></td>{}</tr><tr><th scope="col">run</th>{}</tr></thead><tbody>{}</tbody></table>',
        head,
        titles,
        rows,
    )


def _td(column: Column, i: int) -> Markup:
    exact, shown = column.cells[i]
    known = [float(each) for each, _ in column.cells if each] if column.best else []
    best = column.best and len(set(known)) > 1 and exact and float(exact) == column.best(known)
    return html('<td{}><data value="{}">{}</data></td>', " class=best" * bool(best), exact, shown or "–")
