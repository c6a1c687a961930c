"""Envelopes of a patch, by the engine's own rules, as SVG. Colours and line widths are the page's, by class."""

import numpy as np
from markupsafe import Markup
from numba import njit

from dx7data import cache
from dx7data.engine import envelope, pitch
from dx7data.engine.arrays import Integer
from dx7data.engine.operators import gain
from dx7data.engine.tables import BLOCK, ONE_Q24
from dx7data.engine.voice import Voices, voices
from dx7data.markup import html, join
from dx7data.page import algorithm
from dx7data.patches import patch
from dx7data.patches.algorithms import OPERATORS
from dx7data.svg import join_points, make_svg

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
    for n in range(1, OPERATORS + 1):
        operator = fields["operators"][OPERATORS - n]
        role = "modulator" if algorithm.list_targets(fields["algorithm"] + 1, n) else "carrier"
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
