"""How good runs have become with few and with many training patches: charts of their last evaluations."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from markupsafe import Markup

from dx7data.files import write_atomically
from train.results import figures, reader
from train.results.chart import Curve, Frame, Tick, chart
from train.results.reader import Run

_CHARTED = ("bits", "snr_mean_db")  # of figures.MEASURES
_ACROSS = "training patches, and their groups"
_SEEN_DASHES = "5 3"
_LEGEND_COLUMNS = 4
_MARGIN = 0.05  # of the height, above and below; of the width, at both sides


def charts(runs: list[Run]) -> Iterator[Markup]:
    """For the page that compares runs; none unless these have different numbers of training patches."""
    known, ticks = find_ticks(runs)
    if len(ticks) < 2:
        return
    edge = _MARGIN * (ticks[-1].place - ticks[0].place)
    for name in _CHARTED:
        title, unit, scale = figures.MEASURES[name]
        curves = list_curves(known, name, scale)
        values = np.concatenate([curve.values for curve in curves]) if curves else np.empty(0)
        if values.size:
            margin = _MARGIN * (values.max() - values.min()) or 0.5
            ends = ticks[0].place - edge, ticks[-1].place + edge
            shown = Frame(*ends, values.min() - margin, values.max() + margin)
            yield chart(f"{title} with more patches", unit, _ACROSS, curves, shown, ticks)


def draw(runs: list[Run], path: Path) -> bool:
    """The same charts in a picture, PNG; whether there is something to draw."""
    known, ticks = find_ticks(runs)
    if len(ticks) < 2:
        return False
    legend_rows = -(-len(list_curves(known, _CHARTED[0])) // _LEGEND_COLUMNS)
    above = 58 + 20 * legend_rows
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.make_figure("With more training patches", above + 360)
        grid = figures.add_axes(figure, 1, len(_CHARTED), top=above, bottom=60)[0]
        for axes, name in zip(grid, _CHARTED, strict=True):
            title, unit, scale = figures.MEASURES[name]
            for curve in list_curves(known, name, scale):
                line = "--" if curve.dashes else "-"
                tone = matplotlib.colormaps["tab10"](curve.number % 10)
                axes.plot(curve.across, curve.values, line, marker="o", markersize=4, color=tone, label=curve.name)
            axes.set_xticks([tick.place for tick in ticks], ["\n".join(tick.lines) for tick in ticks])
            figures.set_labels(axes, title, unit, _ACROSS)
        place = {"loc": "upper left", "bbox_to_anchor": (0, 1 - 28 / (above + 360)), "ncols": _LEGEND_COLUMNS}
        figure.legend(*grid[0].get_legend_handles_labels(), **place)
        write_atomically(path, partial(figure.savefig, format="png"))
    return True


def find_ticks(runs: list[Run]) -> tuple[list[Run], list[Tick]]:
    """The runs that have recorded their patches; and the numbers of these, each with that of the groups below it."""
    known = [run for run in runs if {"patches", "groups"} <= run.facts.keys() and run.validation]
    numbers = {int(run.facts["patches"]): int(run.facts["groups"]) for run in known}
    return known, [Tick(np.log10(n), (f"{n:,}", f"{groups:,}")) for n, groups in sorted(numbers.items())]


def list_curves(runs: list[Run], name: str, scale: float = 1) -> list[Curve]:
    """A column of the last evaluation over the logarithm of the number of patches, for each kind of model and each set.

    Runs are of one kind that have the same model and prefix, whatever their data; of several seeds it is the mean.
    """
    kinds: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in sorted(runs, key=lambda run: int(run.facts["patches"])):
        kind = tuple((fact, value) for fact, value in run.facts.items() if fact == "prefix" or fact.startswith("model"))
        kinds.setdefault(kind, []).append(run)
    found = []
    for number, (label, own) in enumerate(zip(name_kinds([dict(kind) for kind in kinds]), kinds.values(), strict=True)):
        for which in dict.fromkeys(which for run in own for which in run.validation):
            rows = [
                (np.log10(int(run.facts["patches"])), run.validation[which][-1:]) for run in own if which in run.validation
            ]
            values = scale * np.array([reader.column(last, name)[0] for _, last in rows])
            known = np.isfinite(values)
            places, of_place = np.unique(np.array([place for place, _ in rows])[known], return_inverse=True)
            if places.size:
                means = np.bincount(of_place, values[known]) / np.bincount(of_place)
                dashes = _SEEN_DASHES if which == "seen" else ""
                found.append(Curve(number, f"{label} {which}", places, means, dashes))
    return found


def name_kinds(kinds: list[dict[str, str]]) -> list[str]:
    """The model of each, and in what it differs from others of this name."""
    names = []
    for kind in kinds:
        same = [other for other in kinds if other.get("model_name") == kind.get("model_name")]
        differ = [value for fact, value in kind.items() if any(other.get(fact) != value for other in same)]
        names.append(" ".join([kind.get("model_name", "model"), *differ]))
    return names
