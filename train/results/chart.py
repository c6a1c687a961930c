"""Curves of several runs in one frame, SVG. Their colours are left to the page's style, so that it can be light or dark."""

from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from dx7data.audio.markup import html, join
from dx7data.audio.svg import join_points, make_svg

_WIDTH, _HEIGHT = 236, 150  # of a frame, in the SVG's own units, about a pixel
_LEFT, _TOP, _RIGHT, _BELOW = 40, 6, 12, 32  # around it
_POINTS = 300  # of a curve at most
_MARKED = 60  # a curve of that many points or fewer has each one marked, with its value as a tooltip
_UNSETTLED = 0.1  # of the way; what is there and higher leaves the frame, for the ends of the curves are what differs


class Curve(NamedTuple):
    """A run's values, float64 (N,), where they are, and the number of its colour."""

    number: int
    name: str
    across: np.ndarray
    values: np.ndarray


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


def chart(title: str, unit: str, across: str, curves: list[Curve], shown: Frame) -> Markup:
    """A figure of the curves; what is out of the frame is cut off."""
    width, height = _WIDTH / (shown.last - shown.first), _HEIGHT / (shown.high - shown.low)
    down = [(value, (shown.high - value) * height) for value in ticks(shown.low, shown.high)]
    along = [(value, (value - shown.first) * width) for value in ticks(shown.first, shown.last)]
    labels = [html('<text class="left" x="-6" y="{:.1f}">{:g}</text>', y + 4, value) for value, y in down]
    labels += [html('<text x="{:.1f}" y="{}">{}</text>', x, _HEIGHT + 15, _short(value)) for value, x in along]
    labels += [html('<text class="left" x="{}" y="{}">{}</text>', _WIDTH, _HEIGHT + 29, across)]
    content = html(
        '<path class="grid" d="{}"/>{}<svg width="{}" height="{}">{}</svg>',
        "".join(f"M0 {y:.1f}H{_WIDTH}" for _, y in down) + "".join(f"M{x:.1f} 0V{_HEIGHT}" for _, x in along),
        join(labels),
        _WIDTH,
        _HEIGHT,
        join(_line(curve, (curve.across - shown.first) * width, (shown.high - curve.values) * height) for curve in curves),
    )
    svg = make_svg(content, (-_LEFT, -_TOP, _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BELOW), "chart", title)
    return html("<figure><figcaption><b>{}</b> {}</figcaption>{}</figure>", title, unit, svg)


def _line(curve: Curve, x: np.ndarray, y: np.ndarray) -> Markup:
    """A curve and its points, in units from the left and from the top."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(int))
    path = join_points(x[kept], y[kept])
    mark = '<circle cx="{:.1f}" cy="{:.1f}" r="2.2"><title>{}: {:.4g}</title></circle>'
    marks = [html(mark, x[i], y[i], curve.name, curve.values[i]) for i in kept] if len(x) <= _MARKED else []
    title = html("<title>{}</title>", curve.name)
    return html('<g class="{}"><path d="M{}">{}</path>{}</g>', colour(curve.number), path, title, join(marks))


def ticks(low: float, high: float) -> list[float]:
    """At most seven round numbers, evenly spread from low to high."""
    rough = max(high - low, 1e-9) / 6
    step = next(step for step in (10.0 ** np.floor(np.log10(rough)) * np.array([1, 2, 5, 10])) if step >= rough)
    return [i * step for i in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)]


def colour(number: int) -> str:
    """The classes of a run's line: eight colours, which come again with dashes."""
    return f"run run-{number % 8}" + " dashed" * (number >= 8)


def _short(value: float) -> str:
    """1,500,000 as 1.5M."""
    letter, size = next(((letter, size) for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if value >= size), ("", 1))
    return f"{value / size:g}{letter}"
