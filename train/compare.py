"""`python -m train.compare runs/a runs/b`: runs on one HTML page, which needs no network, and whether they are comparable.

Everything is in the file: audio as wav, spectrograms as PNG, curves as SVG. Whatever is no markup of our own is escaped.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from dx7data import process
from dx7data.errors import InputError, explain_os_errors
from dx7data.files import HTML, write_output
from dx7data.markup import html, join
from dx7data.output import format_count, log, print_result
from dx7data.page.head import fill_page
from dx7data.svg import make_svg
from train import baselines
from train.evaluation import paired
from train.loop.mirror import read_run
from train.options import parse, setting
from train.results import comparable, figures, listening, patch_curve, reader
from train.results.chart import Curve, chart, choose_dashes, colour, frame
from train.results.reader import Row, Run
from train.results.run_table import KINDS, draw_table, list_columns, list_sets

_CHARTED = ("bits", "snr_mean_db", "snr_argmax_db", "accuracy_1", "mel_db")  # of figures.MEASURES


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
    with explain_os_errors(f"can't write the page to {path}"):
        write_output(path, HTML, lambda file: file.write(text.encode(errors="replace")))
    return runs


def summarize(runs: list[Run]) -> dict:
    """What the page says, for JSON: whether the runs are comparable, the table of runs, their differences."""
    found = []
    for i, run in enumerate(runs):
        row: dict = {"run": run.name, "sets": {which: {} for which in list_sets(runs)}}
        for column in list_columns(runs):
            exact, kind = column.cells[i][0], KINDS.get(column.key, float)
            row["sets"].get(column.group, row)[column.key] = kind(exact) if exact else None
        found.append(row)
    broken = comparable.find_broken(runs)
    return {"comparable": not broken, "differ": broken, "runs": found, "paired": paired.compare_with_best(runs)}


def read(folders: list[Path]) -> list[Run]:
    """The runs by their folders' names, or by their paths below the folder that all are in where two names are the same."""
    names = [os.path.basename(os.path.realpath(folder)) for folder in folders]
    if len(set(names)) < len(names):
        above = os.path.commonpath([folder.absolute().parent for folder in folders])
        names = [os.path.relpath(folder, above) for folder in folders]
    log.debug(f"reading {', '.join(names)}")
    return [reader.read(folder, name) for folder, name in zip(folders, names, strict=True)]


_FLOOR_OPTIONS = {
    "split": "--split",
    "sample_rate": "--sample-rate",
    "seconds": "--seconds",
    "evaluate_samples": "--samples",
}


def read_floors(path: Path, runs: list[Run]) -> dict:
    """A baselines.json. Raises InputError if it can't be read, or is not of the clips of a run."""
    found = baselines.read(path)
    measured = reader.flatten({name: found[name] for name in baselines.CONDITIONS})
    for run in runs:
        for name, value in measured.items():
            if (own := run.facts.get(name, comparable.UNKNOWN)) != value:
                options = " ".join(f"{word} {run.facts.get(fact)}" for fact, word in _FLOOR_OPTIONS.items())
                raise InputError(
                    f"{path} is of {name} {value}, {run.name} of {own}: measure it on the run's data, {options}"
                )
    return found


# --- The page ---


def page(runs: list[Run], floors: dict | None = None) -> str:
    names = [_name(i, run, len(runs)) for i, run in enumerate(runs)]
    return fill_page(
        Path(__file__).with_name("compare.html"),
        title=", ".join(run.name for run in runs),
        count=format_count(len(runs), "run"),
        verdict=comparable.verdict(runs),
        table=draw_table(runs, names),
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
    first, last = min([0, *ends]), max([0, *ends])
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
    """Figures of the training loss, of what validation has measured, and of that with more patches."""
    yield from patch_curve.charts(runs)
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
        of_sets = {which: curves([run.validation.get(which, []) for run in runs], name, scale) for which in list_sets(runs)}
        every = [curve for found in of_sets.values() for curve in found]
        for which, found in of_sets.items():
            if found:
                yield chart(f"{title}, {which}", unit, axis, found, frame(every, 0, last))


if __name__ == "__main__":
    process.run_main("train.compare", main)
