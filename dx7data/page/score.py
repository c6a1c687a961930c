"""A phrase and its controllers on an axis of time, as SVG. Colours and line widths are the page's, by class."""

import numpy as np
from markupsafe import Markup

from dx7data.markup import html, join
from dx7data.output import format_count
from dx7data.phrases.phrase import name_key
from dx7data.svg import make_svg

_BLACK_KEYS = (1, 3, 6, 8, 10)
_MIN_KEYS = 13  # that a roll shows: two notes an octave apart


def draw_roll(notes: list[dict], seconds: float) -> Markup:
    """A piano roll: time to the right, keys upwards, louder notes in a stronger colour."""
    keys = [note["note"] for note in notes]
    low, high = min(keys), max(keys)
    more = max(0, _MIN_KEYS - (high - low + 1))
    bottom, top = low - 1 - more // 2, high + 1 + more - more // 2
    rows = top - bottom + 1
    black = [
        html('<rect class="black" x="0" y="{}" width="{:g}" height="1"/>', top - key, seconds)
        for key in range(bottom, top + 1)
        if key % 12 in _BLACK_KEYS
    ]
    drawn = join([*black, _draw_ticks(seconds, rows), *(_draw_note(note, top, seconds / 400) for note in notes)])
    label = f"Piano roll: {format_count(len(notes), 'note')} from {low} to {high}"
    return html(
        '{}<span class="high">{}</span><span class="low">{}</span>',
        make_svg(drawn, (0, 0, seconds, rows), "roll", label, stretch=True),
        name_key(top - 1),
        name_key(bottom + 1),
    )


def _draw_note(note: dict, top: int, minimum: float) -> Markup:
    return html(
        '<rect class="note" x="{start:.3f}" y="{y}" width="{width:.3f}" height="1" opacity="{strength:.2f}">'
        "<title>{key}, velocity {velocity}</title></rect>",
        start=note["start"],
        y=top - note["note"],
        width=max(note["held"], minimum),
        strength=0.35 + 0.65 * note["velocity"] / 127,
        key=name_key(note["note"]),
        velocity=note["velocity"],
    )


def draw_controller(values: list[list[float]], rest: float, low: float, high: float, seconds: float) -> Markup:
    """The steps of one controller's [time, value] list, from its value at rest."""
    line = f"M0 {high - rest:g}" + "".join(f"H{time:.3f}V{high - value:.4g}" for time, value in values) + f"H{seconds:g}"
    span, margin = high - low, (high - low) / 16  # half the width of the line at top and bottom
    content = html('{}<path class="curve" d="{}"/>', _draw_ticks(seconds, span), line)
    return make_svg(content, (0, -margin, seconds, span + 2 * margin), "controller", stretch=True)


def _draw_ticks(seconds: float, height: float) -> Markup:
    """A line for every half second, or for more when there are many."""
    apart = next(each for each in (0.1, 0.5, 1, 5, 10, 60, 600) if seconds / each <= 12)
    path = "".join(f"M{time:g} 0V{height:g}" for time in np.arange(apart, seconds, apart))
    return html('<path class="tick" d="{}"/>', path)
