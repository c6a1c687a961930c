"""The page of the instrument as HTML: a control for each of the 145 parameters, in the DX7's groups and words; the keys.

What does not depend on the patch is in play.html; play.js fills in the values.
"""

from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from dx7data.patches import patch
from dx7data.patches.algorithms import OPERATORS
from dx7data.phrases.phrase import name_key

FIRST_KEY, LAST_KEY = 36, 96  # the DX7's 61 keys, C to C
_BLACK_KEYS = (1, 3, 6, 8, 10)
_ON = ("off", "on")
_CURVES = ("−LIN", "−EXP", "+EXP", "+LIN")


class _Control(NamedTuple):
    """A field of the patch as the panel shows it."""

    field: str
    label: str
    name: str  # in full
    shift: int = 0  # what the panel adds to the stored number
    words: tuple[str, ...] = ()  # what it shows instead of 0, 1, ...


_OPERATOR = (
    *(_Control(f"eg_rate_{i}", f"R{i}", f"EG rate {i}") for i in range(1, 5)),
    *(_Control(f"eg_level_{i}", f"L{i}", f"EG level {i}") for i in range(1, 5)),
    _Control("oscillator_mode", "mode", "oscillator mode", words=("ratio", "fixed")),
    _Control("frequency_coarse", "coarse", "frequency coarse"),
    _Control("frequency_fine", "fine", "frequency fine"),
    _Control("detune", "detune", "detune", -7),
    _Control("output_level", "level", "output level"),
    _Control("key_velocity_sensitivity", "velocity", "key velocity sensitivity"),
    _Control("amp_mod_sensitivity", "AMS", "amplitude modulation sensitivity"),
    _Control("rate_scaling", "rate sc.", "keyboard rate scaling"),
    _Control("break_point", "break", "keyboard level scaling break point"),
    _Control("left_depth", "L depth", "keyboard level scaling left depth"),
    _Control("right_depth", "R depth", "keyboard level scaling right depth"),
    _Control("left_curve", "L curve", "keyboard level scaling left curve", words=_CURVES),
    _Control("right_curve", "R curve", "keyboard level scaling right curve", words=_CURVES),
)
_COMMON = {
    "Voice": (
        _Control("algorithm", "algorithm", "algorithm", 1),
        _Control("feedback", "feedback", "feedback"),
        _Control("transpose", "transpose", "transpose", -24),
        _Control("oscillator_sync", "key sync", "oscillator key sync", words=_ON),
    ),
    "LFO": (
        _Control("lfo_wave", "wave", "LFO wave", words=patch.LFO_WAVES),
        _Control("lfo_speed", "speed", "LFO speed"),
        _Control("lfo_delay", "delay", "LFO delay"),
        _Control("lfo_pitch_mod_depth", "PMD", "LFO pitch modulation depth"),
        _Control("lfo_amp_mod_depth", "AMD", "LFO amplitude modulation depth"),
        _Control("pitch_mod_sensitivity", "PMS", "pitch modulation sensitivity"),
        _Control("lfo_key_sync", "key sync", "LFO key sync", words=_ON),
    ),
    "Pitch EG": (
        *(_Control(f"pitch_eg_rate_{i}", f"R{i}", f"pitch EG rate {i}") for i in range(1, 5)),
        *(_Control(f"pitch_eg_level_{i}", f"L{i}", f"pitch EG level {i}") for i in range(1, 5)),
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
    own = (each._replace(field=f"op{number}_{each.field}", name=f"Operator {number} {each.name}") for each in _OPERATOR)
    controls = "".join(map(_write_control, own))
    return (
        f'<section class="operator" data-operator="{number}" aria-label="Operator {number}"><header>'
        f'<button type="button" class="switch" aria-pressed="true" aria-label="Operator {number} sounds">{number}</button>'
        f'<span class="frequency"></span></header><div class="controls">{controls}</div></section>'
    )


def _write_group(title: str, controls: tuple[_Control, ...]) -> str:
    written = "".join(map(_write_control, controls))
    return f'<section class="group"><h3>{title}</h3><div class="controls">{written}</div></section>'


def _write_control(each: _Control) -> str:
    """A number, or a choice among words; `data-byte` says which byte of the patch it is."""
    byte = patch.FIELDS.index(each.field)
    name = escape(each.name[0].upper() + each.name[1:])
    what = f'data-byte="{byte}" data-shift="{each.shift}" aria-label="{name}" title="{name}"'
    if each.words:
        choices = "".join(f'<option value="{value}">{escape(word)}</option>' for value, word in enumerate(each.words))
        control = f"<select {what}>{choices}</select>"
    else:
        top = int(patch.MAXIMA[byte])
        control = f'<input type="number" {what} min="{each.shift}" max="{top + each.shift}" required>'
    wide = ' class="wide"' if max(map(len, each.words), default=0) > 5 or each.field.endswith("curve") else ""
    return f'<label{wide}><span aria-hidden="true">{each.label}</span>{control}</label>'


def _write_key(key: int) -> str:
    kind = "black" if key % 12 in _BLACK_KEYS else "white"
    name = "<span>C</span>" if key % 12 == 0 else ""
    return (
        f'<button type="button" class="{kind}" data-key="{key}" tabindex="{0 if key == 60 else -1}" '
        f'aria-label="{name_key(key)}">{name}</button>'
    )
