"""`python -m train.compare runs/a runs/b`: runs on one HTML page, which needs no network, and whether they are comparable.

Everything is in the file: audio as wav, spectrograms as PNG, curves as SVG. Whatever is no markup of our own is escaped.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from dx7data import process
from dx7data.audio.markup import html, join
from dx7data.audio.svg import make_svg
from dx7data.errors import InputError
from dx7data.files import HTML, write_output
from dx7data.output import format_count, log, print_result
from dx7data.page.head import fill_page
from train import baselines
from train.evaluation import paired
from train.loop.mirror import read_run
from train.options import parse, setting
from train.results import comparable, figures, listening, reader
from train.results.chart import Curve, chart, choose_dashes, colour, frame
from train.results.reader import Row, Run

_CHARTED = ("bits", "snr_mean_db", "snr_argmax_db", "accuracy_1", "mel_db")  # of plots.MEASURES
_KINDS = {"parameters": int, "steps": int}  # of what has no best


class Column(NamedTuple):
    """Of the table of runs; cells: the exact value and what is shown of it, both empty where there is none."""

    group: str
    key: str  # in JSON
    title: str
    cells: list[tuple[str, str]]
    best: Callable[[list[float]], float] | None = None  # min, max


@dataclass(frozen=True)
class CompareOptions:
    """Which runs, and where their page is put."""

    runs: tuple[Path, ...] = setting(
        help="folders: runs/a runs/b", positional=True, metavar="RUN", kwargs={"nargs": "+", "type": read_run}
    )
    out: Path = setting(Path("compare.html"), "the page", metavar="FILE")
    baselines: Path | None = setting(None, "what python -m train.baselines has written", metavar="FILE")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""

    def compare() -> None:
        options = parse(CompareOptions, sys.argv[1:] if argv is None else argv, "train.compare", "Puts runs on one page.")
        runs = write(list(options.runs), options.out, options.baselines)
        found = {"page": str(options.out), **summarize(runs)}
        print_result(found, lambda found: [f"Open it in a browser: {found['page']}"], options.out)

    return process.run("train.compare", compare, "stopped; nothing was written")


def write(folders: list[Path], path: Path, floors: Path | None = None) -> list[Run]:
    """Write the page of some runs, and return these. Raises InputError if a run can't be read or the page not be written.

    floors: a baselines.json, which must be of the clips of all these runs.
    """
    runs = read(folders)
    text = page(runs, read_floors(floors, runs) if floors else None)
    try:
        write_output(path, HTML, lambda file: file.write(text.encode(errors="replace")))
    except OSError as error:
        raise InputError(f"can't write the page to {path}: {error.strerror or error}") from None
    return runs


def summarize(runs: list[Run]) -> dict:
    """What the page says, for JSON: whether the runs are comparable, the table of runs, their differences."""
    found = []
    for i, run in enumerate(runs):
        row: dict = {"run": run.name, "sets": {which: {} for which in _sets(runs)}}
        for column in columns(runs):
            exact, kind = column.cells[i][0], float if column.best else _KINDS.get(column.key, str)
            row["sets"].get(column.group, row)[column.key] = kind(exact) if exact else None
        found.append(row)
    broken = comparable.find_broken(runs)
    return {"comparable": not broken, "differ": broken, "runs": found, "paired": paired.compare_with_best(runs)}


def read(folders: list[Path]) -> list[Run]:
    """The runs by their folders' names, or by their paths where two names are the same."""
    names = [os.path.basename(os.path.realpath(folder)) for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    log.debug(f"reading {', '.join(names)}")
    return [reader.read(folder, name) for folder, name in zip(folders, names, strict=True)]


def read_floors(path: Path, runs: list[Run]) -> dict:
    """A baselines.json. Raises InputError if it can't be read, or is not of the clips of a run."""
    found = baselines.read(path)
    measured = reader.flatten({name: found[name] for name in baselines.CONDITIONS})
    for run in runs:
        for name, value in measured.items():
            if (own := run.facts.get(name, comparable.UNKNOWN)) != value:
                raise InputError(f"{path} is of {name} {value}, {run.name} of {own}: measure it with the options of the run")
    return found


# --- The page ---


def page(runs: list[Run], floors: dict | None = None) -> str:
    names = [_name(i, run, len(runs)) for i, run in enumerate(runs)]
    return fill_page(
        Path(__file__).with_name("compare.html"),
        title=", ".join(run.name for run in runs),
        count=format_count(len(runs), "run"),
        verdict=comparable.verdict(runs),
        table=_table(runs, names),
        paired=_plain(
            "Differences of runs",
            paired.HEAD,
            _draw_intervals(paired.compare_with_best(runs)),
            "No two runs have left bits of the same clips.",
        ),
        baselines=_plain(
            "Floors and ceiling",
            baselines.HEAD,
            baselines.rows(floors) if floors else [],
            "Not given: python -m train.baselines measures them, --baselines shows them.",
        ),
        key=join((html("<span>{}</span>", name) for name in names), " "),
        charts=join(_charts(runs)),
        samples=listening.fill_samples(
            join(listening.draw_samples(runs, names)) or html("<p>No run has left samples yet.</p>"),
            listening.identify(runs),
        ),
    )


def _name(number: int, run: Run, count: int) -> Markup:
    line = html('<path d="M0 3H36" stroke-dasharray="{}"/>', choose_dashes(number, count) or "none")
    line = make_svg(line, (0, 0, 36, 6), colour(number))
    return html('<span class="name">{}{}</span>', line, run.name)


def columns(runs: list[Run]) -> list[Column]:
    """The table of runs, but for their names."""

    def seconds(run: Run, name: str) -> str:
        measured = [row[name] for row in run.metrics if row[name]]
        return repr(float(np.median([float(each) for each in measured]))) if measured else ""

    found = [
        Column("training", "model", "model", [(name := run.facts.get("model_name", ""), name) for run in runs]),
        Column("training", "parameters", "parameters", [_cell(run.facts.get("parameters", ""), "{:,.0f}") for run in runs]),
        Column("training", "steps", "steps", [(str(run.steps), _progress(run)) for run in runs]),
        Column("training", "verdict", "ended", [(said := str(run.result.get("verdict", "")), said) for run in runs]),
    ]
    for which in _sets(runs):
        rows = [run.validation.get(which, []) for run in runs]
        best = [min((row["bits"] for row in own), key=float, default="") for own in rows]
        last = [own[-1] if own else {} for own in rows]

        def cells(name: str, last: list[Row] = last) -> list[tuple[str, str]]:
            return [_cell(row.get(name, ""), "{:.2f}") for row in last]

        bits = [_cell(row.get("bits", ""), "{:.4f}") for row in last]
        errors = [_cell(row.get("bits_se", ""), " ± {:.4f}")[1] for row in last]
        found += [
            Column(which, "bits_best", "bits, best", [_cell(each, "{:.4f}") for each in best], min),
            Column(
                which,
                "bits",
                "bits, last",
                [(exact, shown + more) for (exact, shown), more in zip(bits, errors, strict=True)],
                min,
            ),
            Column(which, "snr_mean_db", "SNR of the mean, dB", cells("snr_mean_db"), max),
            Column(which, "snr_argmax_db", "of the likeliest, dB", cells("snr_argmax_db"), max),
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


def _sets(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(which for run in runs for which in run.validation))


def _table(runs: list[Run], names: list[Markup]) -> Markup:
    table = columns(runs)
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


def _plain(title: str, head: list[str], rows: list[list[Any]], otherwise: str) -> Markup:
    """A table of texts and markup, or what is said where it has no rows."""
    if not rows:
        return html('<p class="note">{}</p>', otherwise)
    return html(
        '<div class="table" tabindex="0" role="region" aria-label="{}"><table><thead><tr>{}</tr></thead><tbody>{}</tbody>'
        "</table></div>",
        title,
        join(html('<th scope="col">{}</th>', each) for each in head),
        join(html("<tr>{}</tr>", join(html("<td>{}</td>", cell) for cell in row)) for row in rows),
    )


def _draw_intervals(found: list[dict]) -> list[list[Any]]:
    """Rows of paired.HEAD; each interval is drawn beside its numbers, in one scale, with a line at 0."""
    ends = [one[name] for one in found if one["clips"] for name in ("low", "high")]
    first, last = min(0, *ends, 0), max(0, *ends, 0)
    scale = 200 / ((last - first) or 1)
    rows = []
    for row, one in zip(paired.rows(found), found, strict=True):
        if one["clips"]:
            low, mean, high = ((one[name] - first) * scale for name in ("low", "mean", "high"))
            clear = " clear" * (one["low"] > 0 or one["high"] < 0)
            span = html('<path class="span" d="M{:.1f} 8H{:.1f}"/><circle cx="{:.1f}" cy="8" r="4"/>', low, high, mean)
            drawn = make_svg(html('<path d="M{:.1f} 0V16"/>{}', -first * scale, span), (-6, 0, 212, 16), f"interval{clear}")
            row = [*row[:4], html("{} {}", drawn, row[4]), *row[5:]]
        rows.append(row)
    return rows


def _charts(runs: list[Run]) -> Iterator[Markup]:
    """Figures of the training loss and of what validation has measured."""
    tokens = [run.tokens_a_step for run in runs if run.tokens_a_step]
    axis, each = ("tokens seen", tokens) if len(tokens) == len(runs) else ("steps", [1] * len(runs))
    last = max(run.steps * size for run, size in zip(runs, each, strict=True))

    def curves(rows: list[list[Row]], name: str, scale: float = 1) -> list[Curve]:
        found = []
        for i, (run, own, size) in enumerate(zip(runs, rows, each, strict=True)):
            values = scale * reader.column(own, name)
            known = np.isfinite(values)
            if known.any():
                across = size * reader.column(own, "step")[known]
                found.append(Curve(i, run.name, across, values[known], choose_dashes(i, len(runs))))
        return found

    raw = curves([run.metrics for run in runs], "loss_bits")
    loss = [curve._replace(values=reader.smooth(curve.values)) for curve in raw]
    if loss:  # of a run that diverged at once no loss is a number
        yield chart("Training loss", "bits per sample", axis, loss, frame(loss, 0, last))
        yield chart("Training loss, second half", "bits per sample", axis, loss, frame(loss, last / 2, last))
    for name in _CHARTED:
        title, unit, scale = figures.MEASURES[name]
        if name == "mel_db":
            heard = {row.get("decode") for run in runs for own in run.validation.values() for row in own}
            unit += f", decoded as {' or '.join(sorted(filter(None, heard)))}"
        of_sets = {which: curves([run.validation.get(which, []) for run in runs], name, scale) for which in _sets(runs)}
        every = [curve for found in of_sets.values() for curve in found]
        for which, found in of_sets.items():
            if found:
                yield chart(f"{title}, {which}", unit, axis, found, frame(every, 0, last))


if __name__ == "__main__":
    process.run_main("train.compare", main)
