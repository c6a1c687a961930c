"""Drawings of the page, as SVG text: algorithms, envelopes, phrases and histograms.

Colours and line widths are in template.html, by class. What stretches with the page has `preserveAspectRatio="none"`.
"""

from collections.abc import Collection

import numpy as np
from markupsafe import Markup
from numba import njit

from dx7data import cache
from dx7data.audio.markup import html, join
from dx7data.audio.svg import join_points, make_svg
from dx7data.engine import envelope, pitch
from dx7data.engine.arrays import Integer
from dx7data.engine.operators import gain
from dx7data.engine.tables import BLOCK, ONE_Q24
from dx7data.engine.voice import Voices, voices
from dx7data.patches import patch
from dx7data.patches.algorithms import CARRIERS, FEEDBACK_OPERATOR, LOOP_LENGTH, MODULATORS, OPERATORS
from dx7data.phrases.phrase import name_key

_NUMBERS = range(1, OPERATORS + 1)

# --- The algorithm, as the front panel shows it ---

_BOX, _STEP, _MARGIN = 20, 34, 12  # pixels: an operator, from one to the next, around all
_BRANCH, _LOOP = 4, 5  # pixels: feedback leaves its line so far below the box, and passes the box at this distance


def draw_algorithm(number: int, off: Collection[int] = (), changed: int | None = None, feedback: int = 7) -> Markup:
    """Algorithm 1-32; operators whose output level is 0 and feedback 0 look faint, a changed operator stands out."""
    places = place_operators(number)
    across = max(column for column, _ in places.values())
    top = max(row for _, row in places.values())
    width, height = across * _STEP + _BOX + 2 * _MARGIN, top * _STEP + _BOX + 2 * _MARGIN
    centre = {
        n: (_MARGIN + _BOX / 2 + column * _STEP, _MARGIN + _BOX / 2 + (top - row) * _STEP)
        for n, (column, row) in places.items()
    }
    carriers = [n for n in _NUMBERS if not list_targets(number, n)]
    lines = [_draw_connection(centre, m, n) for m in _NUMBERS for n in list_targets(number, m)]
    lines += [_draw_feedback_loop(number, centre, feedback)]
    bus = height - 2
    lines += [html('<path class="out" d="M{:g} {:g}V{:g}"/>', centre[n][0], centre[n][1] + _BOX / 2, bus) for n in carriers]
    lines += [html('<path class="out" d="M{:g} {:g}H{:g}"/>', centre[carriers[0]][0], bus, centre[carriers[-1]][0])]
    boxes = []
    for n, (x, y) in centre.items():
        role = "carrier" if n in carriers else "modulator"
        role += " off" * (n in off) + " changed" * (n == changed)
        box = html('<rect x="{:g}" y="{:g}" width="{}" height="{}" rx="2"/>', x - _BOX / 2, y - _BOX / 2, _BOX, _BOX)
        number_in_it = html('<text x="{:g}" y="{:g}">{}</text>', x, y + 4.5, n)
        boxes.append(html('<g class="{}" data-operator="{}">{}{}</g>', role, n, box, number_in_it))
    label, size = f"Algorithm {number}: {describe_algorithm(number)}", html('width="{:g}" height="{:g}"', width, height)
    return make_svg(join(lines + boxes), (0, 0, width, height), "algorithm", label, more=size)


def place_operators(number: int) -> dict[int, tuple[float, int]]:
    """Operator -> column, and row above the carriers: carriers from left to right, modulators above what they modulate."""
    columns: dict[int, float] = {}

    def place(n: int, left: float) -> int:
        width = 0
        above = [m for m in _NUMBERS if list_targets(number, m) == [n]]
        for m in above:
            width += place(m, left + width)
        columns[n] = sum(columns[m] for m in above) / len(above) if above else left
        return max(1, width)

    def row(n: int) -> int:
        below = list_targets(number, n)
        return 1 + row(below[0]) if below else 0

    left = 0
    for n in _NUMBERS:
        if not list_targets(number, n):
            left += place(n, left)
    for n in _NUMBERS:  # those that modulate several
        if n not in columns:
            below = list_targets(number, n)
            columns[n] = sum(columns[m] for m in below) / len(below)
    return {n: (columns[n], row(n)) for n in _NUMBERS}


def list_targets(number: int, n: int) -> list[int]:
    """The operators that operator n modulates; none: it is a carrier."""
    return [m for m in _NUMBERS if MODULATORS[number - 1, OPERATORS - m] >> (OPERATORS - n) & 1]


def describe_algorithm(number: int) -> str:
    """An algorithm for those who can't see it."""
    parts = [
        f"{n} modulates {' and '.join(map(str, list_targets(number, n)))}"
        for n in reversed(_NUMBERS)
        if list_targets(number, n)
    ]
    carriers = [str(n) for n in _NUMBERS if CARRIERS[number - 1] >> (OPERATORS - n) & 1]
    first, last = find_feedback_loop(number)
    loop = f"{first} feeds back" if first == last else f"{last} feeds back to {first}"
    return ", ".join([*parts, f"{' '.join(carriers)} sound", loop])


def find_feedback_loop(number: int) -> tuple[int, int]:
    """First and last operator of the feedback loop; the last one's output goes back to the first."""
    first = OPERATORS - int(FEEDBACK_OPERATOR[number - 1])
    return first, first - int(LOOP_LENGTH[number - 1]) + 1


def _draw_connection(centre: dict, m: int, n: int) -> Markup:
    (x, y), (to_x, to_y) = centre[m], centre[n]
    path = f"M{x:g} {y + _BOX / 2:g}V{to_y - _STEP / 2:g}H{to_x:g}V{to_y - _BOX / 2:g}"
    return html('<path data-from="{}" data-to="{}" d="{}"/>', m, n, path)


def _draw_feedback_loop(number: int, centre: dict, feedback: int) -> Markup:
    first, last = find_feedback_loop(number)
    x, top, bottom = centre[first][0], centre[first][1] - _BOX / 2, centre[last][1] + _BOX / 2
    path = f"M{x:g} {bottom + _BRANCH:g}H{x + _BOX / 2 + _LOOP:g}V{top - _LOOP:g}H{x:g}V{top:g}"
    off = " off" * (feedback == 0)
    return html('<path class="feedback{}" data-from="{}" data-to="{}" d="{}"/>', off, last, first, path)


# --- Envelopes, by the engine's own rules ---

_RATE, _KEY, _VELOCITY = 48000, 60, 100
_HELD, _DRAWN = 3.0, 4.5  # seconds
_FLOOR_DB = 96  # below full level the engine computes nothing
_DECIBELS = 20 * np.log10(2) / 1024  # of the engine's steps of attenuation


def draw_envelopes(stored: np.ndarray, changed: int | None = None) -> Markup:
    """What the six operators put out, op 1 first, and the pitch envelope if it moves; uint8 (155,)."""
    played = voices(stored, _KEY, _VELOCITY, _HELD, _RATE)
    blocks = int(_DRAWN * _RATE) // BLOCK
    fields = patch.to_dict(stored)
    drawn = []
    for n in _NUMBERS:
        operator = fields["operators"][OPERATORS - n]
        role = "modulator" if list_targets(fields["algorithm"] + 1, n) else "carrier"
        role += " off" * (operator["output_level"] == 0) + " changed" * (n == changed)
        loss = compute_operator_decibels(played, OPERATORS - n, blocks)
        title = html("<b>{}</b> <span>{}</span>", n, format_frequency(operator))
        drawn.append(_draw_envelope(title, role, loss, _FLOOR_DB, closed=True))
    octaves = compute_pitch_octaves(played, blocks)
    if octaves.any():
        reach = max(1, int(np.ceil(np.abs(octaves).max())))
        title = html("<b>pitch</b> <span>±{} semitones</span>", 12 * reach)
        drawn.append(_draw_envelope(title, "pitch", reach - octaves, 2 * reach))
    return html('<div class="envelopes">{}</div>', join(drawn))


def format_frequency(operator: dict) -> str:
    """An operator's ratio or fixed frequency, with its detune, as the DX7's display shows it."""
    coarse, fine, detune = (operator[name] for name in ("frequency_coarse", "frequency_fine", "detune"))
    detuned = f" {detune - 7:+}".replace("-", "−") if detune != 7 else ""
    if operator["oscillator_mode"]:
        return f"{10 ** (coarse % 4 + fine / 100):.4g} Hz{detuned}"
    return f"×{(coarse or 0.5) * (1 + fine / 100):.2f}{detuned}"


def compute_operator_decibels(played: Voices, j: int, blocks: int) -> np.ndarray:
    """Decibels below full level of operator index j at the beginning of each block, float64 (blocks + 1,)."""
    levels = _compute_operator_levels(
        played.eg_target[0, j], played.eg_increment[0, j], played.eg_plateau[0, j], played.release[0], blocks
    )
    return np.minimum(levels * _DECIBELS, _FLOOR_DB)


def compute_pitch_octaves(played: Voices, blocks: int) -> np.ndarray:
    """The pitch envelope at the beginning of each block, in octaves, float64 (blocks + 1,)."""
    return _compute_pitch_levels(played.pitch_target[0], played.pitch_increment[0], played.release[0], blocks) / ONE_Q24


def _compute_operator_levels(
    target: np.ndarray, increment: np.ndarray, plateau: np.ndarray, release: int, blocks: int
) -> np.ndarray:
    out = np.empty(blocks + 1, np.int64)
    stage: Integer = 0
    level: Integer = 0
    countdown: Integer = int(plateau[0])
    out[0] = gain(level)
    for k in range(blocks):
        if k == release:
            stage = envelope.RELEASE
            countdown = envelope.enter(stage, level, target, plateau)
        stage, level, countdown = envelope.step(stage, level, countdown, k < release, target, increment, plateau)
        out[k + 1] = gain(level)
    return out


def _compute_pitch_levels(target: np.ndarray, increment: np.ndarray, release: int, blocks: int) -> np.ndarray:
    out = np.empty(blocks + 1, np.int64)
    stage: Integer = 0
    level: Integer = int(target[3])
    out[0] = level
    for k in range(blocks):
        if k == release:
            stage = envelope.RELEASE
        stage, level = pitch.step(stage, level, k < release, target, increment)
        out[k + 1] = level
    return out


_compute_operator_levels = cache.keep(njit(_compute_operator_levels))
_compute_pitch_levels = cache.keep(njit(_compute_pitch_levels))


def _draw_envelope(title: Markup, role: str, values: np.ndarray, height: float, closed: bool = False) -> Markup:
    """A curve of `values` from the top, `height` in all, with the moment at which the key is released."""
    kept = simplify(values, height / 100)
    x, y = kept * 1000 / (len(values) - 1), values[kept] * 100 / height
    line = join_points(x, y)
    under = html('<path class="under" d="M0 100L{}L1000 100Z"/>', line) if closed else ""
    key_up = html('<path class="key-up" d="M{:.0f} 0V100"/>', 1000 * _HELD / _DRAWN)
    drawn = html('{}{}<path class="curve" d="M{}"/>', key_up, under, line)
    svg = make_svg(drawn, (0, 0, 1000, 100), stretch=True)
    return html('<figure class="{}"><figcaption>{}</figcaption>{}</figure>', role, title, svg)


def simplify(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Indices of the points between which straight lines stay within `tolerance` of a curve (Ramer, Douglas, Peucker)."""
    kept, open_ends = {0, len(values) - 1}, [(0, len(values) - 1)]
    while open_ends:
        first, last = open_ends.pop()
        straight = np.linspace(values[first], values[last], last - first + 1)
        away = np.abs(values[first : last + 1] - straight)
        if away.max() > tolerance:
            middle = first + int(away.argmax())
            kept.add(middle)
            open_ends += [(first, middle), (middle, last)]
    return np.array(sorted(kept))


# --- The phrase ---

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
    label = f"Piano roll: {len(notes)} notes from {low} to {high}"
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


# --- Counts ---


def draw_histogram(title: str, counts: list[tuple[str, int]], ends: tuple[str, ...]) -> Markup:
    """Columns with what each one counts as its tooltip, and a few words below them."""
    maximum = max(count for _, count in counts)
    described = ", ".join(f"{label}: {count:,}" for label, count in counts if count)
    columns = join(
        html(
            '<rect x="{}" y="{:.3f}" width="0.9" height="{:.3f}"><title>{}: {:,}</title></rect>',
            i,
            1 - count / maximum,
            count / maximum,
            label,
            count,
        )
        for i, (label, count) in enumerate(counts)
    )
    return html(
        '<figure class="histogram"><figcaption>{title} <span>{maximum:,}</span></figcaption>'
        '<svg class="columns" role="img" aria-label="{title}: {described}" viewBox="0 0 {width} 1" '
        'preserveAspectRatio="none">{columns}</svg><p class="ends">{ends}</p></figure>',
        title=title,
        maximum=maximum,
        described=described,
        width=len(counts),
        columns=columns,
        ends=join(html("<span>{}</span>", end) for end in ends),
    )


def draw_bars(title: str, counts: dict[str, int]) -> Markup:
    """A bar for each name."""
    maximum = max(counts.values())
    rows = join(
        html(
            '<li><span>{}</span><svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">'
            '<rect width="{:.3f}" height="1"/></svg><b>{:,}</b></li>',
            name,
            max(0.003, count / maximum),
            count,
        )
        for name, count in counts.items()
    )
    return html('<figure class="histogram"><figcaption>{}</figcaption><ul class="bars">{}</ul></figure>', title, rows)
