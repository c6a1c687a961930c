"""Curves of several runs in one frame, SVG. Their colours are left to the page's style, so that it can be light or dark.

Curves that coincide are all seen: the later one is drawn, the more of its line are gaps. Each ends at its name.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from dx7data.markup import html, join
from dx7data.svg import join_points, make_svg

_WIDTH, _HEIGHT = 236, 150  # of a frame, in the SVG's own units, about a pixel; higher if more names than fit end in it
_LEFT, _TOP, _RIGHT = 40, 6, 120  # around it
_LINE = 12  # from one name to the next
_LEADER = 12  # from the frame to the names
_NAME = 14  # characters of a name that have room
_DASHES = 24  # from one dash to the next
_POINTS = 300  # of a curve at most
_MARKED = 60  # a curve of that many points or fewer has each one marked, with its value as a tooltip
_UNSETTLED = 0.1  # of the way; what is there and higher leaves the frame, for the ends of the curves are what differs


class Curve(NamedTuple):
    """A run's values, float64 (N,), where they are, the number of its colour, and its dashes."""

    number: int
    name: str
    across: np.ndarray
    values: np.ndarray
    dashes: str = ""


class Tick(NamedTuple):
    """A place along the axis, and what stands below it, a line each."""

    place: float
    lines: tuple[str, ...]


class Frame(NamedTuple):
    """What is shown: of the way, and of the values."""

    first: float
    last: float
    low: float
    high: float


def frame(curves: list[Curve], first: float, last: float) -> Frame:
    """From `first` to `last`, and high enough for all that is there but for the beginning."""
    settled = first + _UNSETTLED * (last - first)
    parts = [curve.values[curve.across >= settled] for curve in curves]
    seen = np.concatenate(parts) if any(map(len, parts)) else np.concatenate([curve.values for curve in curves])
    margin = 0.05 * (seen.max() - seen.min()) or 0.5
    return Frame(first, last, seen.min() - margin, seen.max() + margin)


def chart(
    title: str, unit: str, across: str, curves: list[Curve], shown: Frame, along: Sequence[Tick] | None = None
) -> Markup:
    """A figure of the curves; what is out of the frame is cut off. along: instead of round numbers."""
    bottom = max(_HEIGHT, _LINE * len(curves))
    width, height = _WIDTH / (shown.last - shown.first), bottom / (shown.high - shown.low)
    down = [(value, (shown.high - value) * height) for value in ticks(shown.low, shown.high)]
    if along is None:
        along = [Tick(value, (_short(value),)) for value in ticks(shown.first, shown.last)]
    places_along = [(tick.place - shown.first) * width for tick in along]
    lines = max((len(tick.lines) for tick in along), default=1)
    labels = [html('<text class="left" x="-6" y="{:.1f}">{:g}</text>', y + 4, value) for value, y in down]
    for x, tick in zip(places_along, along, strict=True):
        labels += [
            html('<text x="{:.1f}" y="{}">{}</text>', x, bottom + 15 + _LINE * i, s) for i, s in enumerate(tick.lines)
        ]
    below = bottom + 17 + _LINE * lines
    labels += [html('<text class="left" x="{}" y="{}">{}</text>', _WIDTH, below, across)]
    places = [((curve.across - shown.first) * width, (shown.high - curve.values) * height) for curve in curves]
    drawn = [_draw_line(curve, *place) for curve, place in zip(curves, places, strict=True)]
    content = html(
        '<path class="grid" d="{}"/>{}{}<svg width="{}" height="{}">{}{}</svg>',
        "".join(f"M0 {y:.1f}H{_WIDTH}" for _, y in down) + "".join(f"M{x:.1f} 0V{bottom}" for x in places_along),
        join(labels),
        join(_name_ends(curves, places, bottom)),
        _WIDTH,
        bottom,
        *map(join, zip(*drawn, strict=True)),
    )
    ends = ", ".join(f"{curve.name} ends at {curve.values[-1]:.4g}" for curve in curves)
    box = (-_LEFT, -_TOP, _LEFT + _WIDTH + _RIGHT, _TOP + below + 3)
    svg = make_svg(content, box, "chart", f"{title}: {ends}")
    return html("<figure><figcaption><b>{}</b> {}</figcaption>{}</figure>", title, unit, svg)


def _draw_line(curve: Curve, x: np.ndarray, y: np.ndarray) -> tuple[Markup, Markup]:
    """A thin line, which goes below those of all curves; its dashes and points. In units from the left and from the top."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(int))
    path = join_points(x[kept], y[kept])
    mark = '<circle cx="{:.1f}" cy="{:.1f}" r="2.2"><title>{}: {:.4g}</title></circle>'
    marks = [html(mark, x[i], y[i], curve.name, curve.values[i]) for i in kept] if len(x) <= _MARKED else []
    dashes = html(' stroke-dasharray="{}"', curve.dashes) if curve.dashes else ""
    line = html('<path d="M{}"{}><title>{}</title></path>', path, dashes, curve.name)
    thin = html('<g class="thin {}"><path d="M{}"/></g>', colour(curve.number), path)
    return thin, html('<g class="{}">{}{}</g>', colour(curve.number), line, join(marks))


def choose_dashes(number: int, count: int) -> str:
    """For the stroke-dasharray of curve `number` of so many, which is drawn over those before it; the first has no gaps.

    All begin together and each is shorter than the one below by the same length, so curves that coincide show equally much.
    """
    length = _DASHES * (count - number) / count
    return f"{length:g} {_DASHES - length:g}" if number else ""


def _name_ends(curves: list[Curve], places: list[tuple[np.ndarray, np.ndarray]], bottom: float) -> Iterator[Markup]:
    """The name of each curve at the right, and a line to it from the end of the curve."""
    ends = [(x[-1], min(max(y[-1], 0), bottom)) for x, y in places]
    beside = spread(np.array([y for _, y in ends]), _LINE, _LINE / 2, bottom - _LINE / 2)
    for curve, (x, y), at in zip(curves, ends, beside, strict=True):
        name = curve.name if len(curve.name) <= _NAME else f"…{curve.name[1 - _NAME :]}"  # of paths the ends differ
        edge = _WIDTH + _LEADER
        line = html('<path d="M{:.1f} {:.1f}H{}L{} {:.1f}"/>', x, y, _WIDTH, edge, at)
        text = html('<text x="{}" y="{:.1f}"><title>{}</title>{}</text>', edge + 3, at + 4, curve.name, name)
        yield html('<g class="{} end">{}{}</g>', colour(curve.number), line, text)


def spread(wanted: np.ndarray, apart: float, first: float, last: float) -> np.ndarray:
    """Places near the wanted ones, float64 (N,), in their order, at least `apart`, from `first` to `last` if these suffice.

    The squares of the moves are least: isotonic regression by pooling adjacent violators (Barlow and others, 1972) of what
    is left of the places when each gives room to those before it.
    """
    order, rooms = np.argsort(wanted, kind="stable"), apart * np.arange(len(wanted))
    pools: list[tuple[float, int]] = []  # mean and number of those that touch
    for place in wanted[order] - rooms:
        pool = (float(place), 1)
        while pools and pools[-1][0] > pool[0]:
            (mean, count), (own, more) = pools.pop(), pool
            pool = ((mean * count + own * more) / (count + more), count + more)
        pools.append(pool)
    found = np.empty(len(wanted))
    means, counts = zip(*pools, strict=True)
    found[order] = np.clip(np.repeat(means, counts), first, max(first, last - rooms[-1])) + rooms
    return found


def ticks(low: float, high: float) -> list[float]:
    """At most seven round numbers, evenly spread from low to high."""
    rough = max(high - low, 1e-9) / 6
    step = next(step for step in (10.0 ** np.floor(np.log10(rough)) * np.array([1, 2, 5, 10])) if step >= rough)
    return [i * step for i in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)]


def colour(number: int) -> str:
    """The classes of what is drawn of a run: eight colours, which come again."""
    return f"run run-{number % 8}"


def _short(value: float) -> str:
    """1,500,000 as 1.5M."""
    letter, size = next(((letter, size) for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if value >= size), ("", 1))
    return f"{value / size:g}{letter}"
