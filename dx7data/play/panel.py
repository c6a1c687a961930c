"""The page of the instrument as HTML: a control for each of the 145 parameters, in the DX7's groups and words; the keys.

What does not depend on the patch is in play.html; play.js fills in the values.
"""

from html import escape
from pathlib import Path
from string import Template

from dx7data.page.drawing import name_key
from dx7data.patches import patch
from dx7data.patches.algorithms import OPERATORS

FIRST_KEY, LAST_KEY = 36, 96  # the DX7's 61 keys, C to C
_BLACK_KEYS = (1, 3, 6, 8, 10)
_ON = ("off", "on")
_CURVES = ("−LIN", "−EXP", "+EXP", "+LIN")

# Each row: field, its short label, its name in full; and, where the panel does not show the stored number, what is added
# to that, or the words for 0, 1, ...
_OPERATOR = (
    *((f"eg_rate_{i}", f"R{i}", f"EG rate {i}") for i in range(1, 5)),
    *((f"eg_level_{i}", f"L{i}", f"EG level {i}") for i in range(1, 5)),
    ("oscillator_mode", "mode", "oscillator mode", ("ratio", "fixed")),
    ("frequency_coarse", "coarse", "frequency coarse"),
    ("frequency_fine", "fine", "frequency fine"),
    ("detune", "detune", "detune", -7),
    ("output_level", "level", "output level"),
    ("key_velocity_sensitivity", "velocity", "key velocity sensitivity"),
    ("amp_mod_sensitivity", "AMS", "amplitude modulation sensitivity"),
    ("rate_scaling", "rate sc.", "keyboard rate scaling"),
    ("break_point", "break", "keyboard level scaling break point"),
    ("left_depth", "L depth", "keyboard level scaling left depth"),
    ("right_depth", "R depth", "keyboard level scaling right depth"),
    ("left_curve", "L curve", "keyboard level scaling left curve", _CURVES),
    ("right_curve", "R curve", "keyboard level scaling right curve", _CURVES),
)
_COMMON = {
    "Voice": (
        ("algorithm", "algorithm", "algorithm", 1),
        ("feedback", "feedback", "feedback"),
        ("transpose", "transpose", "transpose", -24),
        ("oscillator_sync", "key sync", "oscillator key sync", _ON),
    ),
    "LFO": (
        ("lfo_wave", "wave", "LFO wave", patch.LFO_WAVES),
        ("lfo_speed", "speed", "LFO speed"),
        ("lfo_delay", "delay", "LFO delay"),
        ("lfo_pitch_mod_depth", "PMD", "LFO pitch modulation depth"),
        ("lfo_amp_mod_depth", "AMD", "LFO amplitude modulation depth"),
        ("pitch_mod_sensitivity", "PMS", "pitch modulation sensitivity"),
        ("lfo_key_sync", "key sync", "LFO key sync", _ON),
    ),
    "Pitch EG": (
        *((f"pitch_eg_rate_{i}", f"R{i}", f"pitch EG rate {i}") for i in range(1, 5)),
        *((f"pitch_eg_level_{i}", f"L{i}", f"pitch EG level {i}") for i in range(1, 5)),
    ),
}


def write_page(with_model: bool) -> str:
    """The page; with a part for takes if there is a model to convert them."""
    here = Path(__file__).parent
    return Template((here / "play.html").read_text()).substitute(
        operators="\n".join(map(_write_operator, range(1, OPERATORS + 1))),
        common="\n".join(_write_group(title, controls) for title, controls in _COMMON.items()),
        keys="".join(map(_write_key, range(FIRST_KEY, LAST_KEY + 1))),
        model=(here / "model.html").read_text() if with_model else "",
    )


def _write_operator(number: int) -> str:
    controls = "".join(
        _write_control(f"op{number}_{name}", label, f"Operator {number} {full}", *shown)
        for name, label, full, *shown in _OPERATOR
    )
    return (
        f'<section class="operator" data-operator="{number}" aria-label="Operator {number}"><header>'
        f'<button type="button" class="switch" aria-pressed="true" aria-label="Operator {number} sounds">{number}</button>'
        f'<span class="frequency"></span></header><div class="controls">{controls}</div></section>'
    )


def _write_group(title: str, controls: tuple) -> str:
    written = "".join(
        _write_control(name, label, full[0].upper() + full[1:], *shown) for name, label, full, *shown in controls
    )
    return f'<section class="group"><h3>{title}</h3><div class="controls">{written}</div></section>'


def _write_control(name: str, label: str, full: str, shown: int | tuple[str, ...] = 0) -> str:
    """A number, or a choice among words; `data-byte` says which byte of the patch it is."""
    byte = patch.FIELDS.index(name)
    what = f'data-byte="{byte}" aria-label="{escape(full)}" title="{escape(full)}"'
    if isinstance(shown, tuple):
        choices = "".join(f'<option value="{value}">{escape(word)}</option>' for value, word in enumerate(shown))
        control = f"<select {what}>{choices}</select>"
    else:
        top = int(patch.MAXIMA[byte])
        control = f'<input type="number" {what} data-shift="{shown}" min="{shown}" max="{top + shown}" required>'
    kind = name.split("_", 1)[1] if name.startswith("op") and name[2].isdigit() else name
    return f'<label class="{kind}"><span aria-hidden="true">{label}</span>{control}</label>'


def _write_key(key: int) -> str:
    kind = "black" if key % 12 in _BLACK_KEYS else "white"
    name = "<span>C</span>" if key % 12 == 0 else ""
    return (
        f'<button type="button" class="{kind}" data-key="{key}" tabindex="{0 if key == 60 else -1}" '
        f'aria-label="{name_key(key)}">{name}</button>'
    )
