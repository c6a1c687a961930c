"""The drawing of an algorithm, as the front panel shows it, as SVG. Colours and line widths are the page's, by class."""

from collections.abc import Collection

from markupsafe import Markup

from dx7data.markup import html, join
from dx7data.patches.algorithms import CARRIERS, FEEDBACK_OPERATOR, LOOP_LENGTH, MODULATORS, OPERATORS
from dx7data.svg import make_svg

_NUMBERS = range(1, OPERATORS + 1)

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
