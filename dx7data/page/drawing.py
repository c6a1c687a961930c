"""Drawings of the page, as SVG text: algorithms, envelopes, phrases and histograms.

Colours and line widths are in template.html, by class. What stretches with the page has `preserveAspectRatio="none"`.
"""

from collections.abc import Collection
from html import escape

import numpy as np
from numba import njit

from dx7data import cache
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


def draw_algorithm(number: int, off: Collection[int] = (), changed: int | None = None, feedback: int = 7) -> str:
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
    lines += [f'<path class="out" d="M{centre[n][0]:g} {centre[n][1] + _BOX / 2:g}V{bus:g}"/>' for n in carriers]
    lines += [f'<path class="out" d="M{centre[carriers[0]][0]:g} {bus:g}H{centre[carriers[-1]][0]:g}"/>']
    boxes = []
    for n, (x, y) in centre.items():
        role = "carrier" if n in carriers else "modulator"
        role += " off" * (n in off) + " changed" * (n == changed)
        boxes.append(
            f'<g class="{role}" data-operator="{n}"><rect x="{x - _BOX / 2:g}" y="{y - _BOX / 2:g}" width="{_BOX}" '
            f'height="{_BOX}" rx="2"/><text x="{x:g}" y="{y + 4.5:g}">{n}</text></g>'
        )
    label, size = f"Algorithm {number}: {describe_algorithm(number)}", f'width="{width:g}" height="{height:g}"'
    return make_svg("".join(lines + boxes), (0, 0, width, height), "algorithm", label, more=size)


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


def _draw_connection(centre: dict, m: int, n: int) -> str:
    (x, y), (to_x, to_y) = centre[m], centre[n]
    half_way = to_y - _STEP / 2
    return f'<path data-from="{m}" data-to="{n}" d="M{x:g} {y + _BOX / 2:g}V{half_way:g}H{to_x:g}V{to_y - _BOX / 2:g}"/>'


def _draw_feedback_loop(number: int, centre: dict, feedback: int) -> str:
    first, last = find_feedback_loop(number)
    x, top, bottom = centre[first][0], centre[first][1] - _BOX / 2, centre[last][1] + _BOX / 2
    return (
        f'<path class="feedback{" off" * (feedback == 0)}" data-from="{last}" data-to="{first}" '
        f'd="M{x:g} {bottom + _BRANCH:g}H{x + _BOX / 2 + _LOOP:g}V{top - _LOOP:g}H{x:g}V{top:g}"/>'
    )


# --- Envelopes, by the engine's own rules ---

_RATE, _KEY, _VELOCITY = 48000, 60, 100
_HELD, _DRAWN = 3.0, 4.5  # seconds
_FLOOR_DB = 96  # below full level the engine computes nothing
_DECIBELS = 20 * np.log10(2) / 1024  # of the engine's steps of attenuation


def draw_envelopes(stored: np.ndarray, changed: int | None = None) -> str:
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
        title = f"<b>{n}</b> <span>{format_frequency(operator)}</span>"
        drawn.append(_draw_envelope(title, role, loss, _FLOOR_DB, closed=True))
    octaves = compute_pitch_octaves(played, blocks)
    if octaves.any():
        reach = max(1, int(np.ceil(np.abs(octaves).max())))
        drawn.append(
            _draw_envelope(f"<b>pitch</b> <span>±{12 * reach} semitones</span>", "pitch", reach - octaves, 2 * reach)
        )
    return f'<div class="envelopes">{"".join(drawn)}</div>'


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


def _draw_envelope(title: str, role: str, values: np.ndarray, height: float, closed: bool = False) -> str:
    """A curve of `values` from the top, `height` in all, with the moment at which the key is released."""
    kept = simplify(values, height / 100)
    x, y = kept * 1000 / (len(values) - 1), values[kept] * 100 / height
    line = join_points(x, y)
    curve = f'<path class="under" d="M0 100L{line}L1000 100Z"/>' * closed + f'<path class="curve" d="M{line}"/>'
    released = 1000 * _HELD / _DRAWN
    svg = make_svg(f'<path class="key-up" d="M{released:.0f} 0V100"/>{curve}', (0, 0, 1000, 100), stretch=True)
    return f'<figure class="{role}"><figcaption>{title}</figcaption>{svg}</figure>'


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


def draw_roll(notes: list[dict], seconds: float) -> str:
    """A piano roll: time to the right, keys upwards, louder notes in a stronger colour."""
    keys = [note["note"] for note in notes]
    low, high = min(keys), max(keys)
    more = max(0, _MIN_KEYS - (high - low + 1))
    bottom, top = low - 1 - more // 2, high + 1 + more - more // 2
    rows = top - bottom + 1
    black = [
        f'<rect class="black" x="0" y="{top - key}" width="{seconds:g}" height="1"/>'
        for key in range(bottom, top + 1)
        if key % 12 in _BLACK_KEYS
    ]
    played = [_draw_note(note, top, seconds / 400) for note in notes]
    content, label = (
        "".join([*black, _draw_ticks(seconds, rows), *played]),
        f"Piano roll: {len(notes)} notes from {low} to {high}",
    )
    return (
        make_svg(content, (0, 0, seconds, rows), "roll", label, stretch=True)
        + f'<span class="high">{name_key(top - 1)}</span><span class="low">{name_key(bottom + 1)}</span>'
    )


def _draw_note(note: dict, top: int, minimum: float) -> str:
    strength, width = 0.35 + 0.65 * note["velocity"] / 127, max(note["held"], minimum)
    return (
        f'<rect class="note" x="{note["start"]:.3f}" y="{top - note["note"]}" width="{width:.3f}" height="1" '
        f'opacity="{strength:.2f}"><title>{name_key(note["note"])}, velocity {note["velocity"]}</title></rect>'
    )


def draw_controller(values: list[list[float]], rest: float, low: float, high: float, seconds: float) -> str:
    """The steps of one controller's [time, value] list, from its value at rest."""
    line = f"M0 {high - rest:g}" + "".join(f"H{time:.3f}V{high - value:.4g}" for time, value in values) + f"H{seconds:g}"
    span, margin = high - low, (high - low) / 16  # half the width of the line at top and bottom
    content, box = f'{_draw_ticks(seconds, span)}<path class="curve" d="{line}"/>', (0, -margin, seconds, span + 2 * margin)
    return make_svg(content, box, "controller", stretch=True)


def _draw_ticks(seconds: float, height: float) -> str:
    """A line for every half second, or for more when there are many."""
    apart = next(each for each in (0.1, 0.5, 1, 5, 10, 60, 600) if seconds / each <= 12)
    return f'<path class="tick" d="{"".join(f"M{time:g} 0V{height:g}" for time in np.arange(apart, seconds, apart))}"/>'


# --- Counts ---


def draw_histogram(title: str, counts: list[tuple[str, int]], ends: tuple[str, ...]) -> str:
    """Columns with what each one counts as its tooltip, and a few words below them."""
    maximum = max(count for _, count in counts)
    described = ", ".join(f"{label}: {count:,}" for label, count in counts if count)
    columns = "".join(
        f'<i style="--part:{count / maximum:.3f}" title="{escape(label)}: {count:,}"></i>' for label, count in counts
    )
    return (
        f'<figure class="histogram"><figcaption>{escape(title)} <span>{maximum:,}</span></figcaption>'
        f'<div class="columns" role="img" aria-label="{escape(title)}: {escape(described)}">{columns}</div>'
        f'<p class="ends">{"".join(f"<span>{escape(end)}</span>" for end in ends)}</p></figure>'
    )
