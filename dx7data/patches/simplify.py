"""Simpler versions of voices, by which to find out what of a voice a model can learn.

Nothing bends their pitch: fixed frequencies, detune, transposition, pitch EG and LFO are taken away. All but `ratios` and
`steady` are harmonic as well: each operator runs at a whole multiple of the note's frequency, without fine frequencies and
ratio 0.5.
"""

from collections.abc import Callable

import numpy as np

from dx7data.patches.algorithms import CARRIERS, OPERATORS
from dx7data.patches.patch import COMMON_FIELDS, OPERATOR_FIELDS, PARAMETERS
from dx7data.patches.scales import LEVEL

_FIELD = {name: i for i, name in enumerate(OPERATOR_FIELDS)}
_EG_LEVELS = [_FIELD[f"eg_level_{i}"] for i in range(1, 5)]
_OPERATOR_1, _OPERATOR_2 = OPERATORS - 1, OPERATORS - 2  # stored order has op 6 first
_STEADY = {
    **{f"pitch_eg_level_{i}": 50 for i in range(1, 5)},
    **{"lfo_pitch_mod_depth": 0, "lfo_amp_mod_depth": 0, "transpose": 24},
}


def make_steady(patches: np.ndarray) -> np.ndarray:
    """With their algorithm, feedback and all six operators, each at its own ratio to the note's frequency, such as 1.41."""
    simple, operators, common = _open(patches)
    operators[..., _FIELD["oscillator_mode"]] = 0
    operators[..., _FIELD["detune"]] = 7
    for name, value in _STEADY.items():
        common[:, COMMON_FIELDS.index(name)] = value
    return simple


def make_harmonic(patches: np.ndarray) -> np.ndarray:
    """With their algorithm, feedback and all six operators."""
    simple, operators, _ = _open(make_steady(patches))
    operators[..., _FIELD["frequency_fine"]] = 0
    np.maximum(operators[..., _FIELD["frequency_coarse"]], 1, out=operators[..., _FIELD["frequency_coarse"]])
    return simple


def keep_carriers(patches: np.ndarray) -> np.ndarray:
    """All six operators as carriers, without feedback."""
    return keep_ratios(make_harmonic(patches))


def keep_ratios(patches: np.ndarray) -> np.ndarray:
    """All six operators as carriers, without feedback, each at its own ratio."""
    simple, _, common = _open(make_steady(patches))
    _set_algorithm(common, 32)
    return simple


def keep_pair(patches: np.ndarray) -> np.ndarray:
    """The loudest carrier, and the loudest other operator as its modulator."""
    return _keep(patches, 2)


def keep_carrier(patches: np.ndarray) -> np.ndarray:
    """The loudest carrier alone."""
    return _keep(patches, 1)


# Each takes and returns uint8 (N, 155); what goes in is legal, and is left alone. The simplest comes first.
SIMPLER: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "carrier": keep_carrier,
    "carriers": keep_carriers,
    "ratios": keep_ratios,
    "pair": keep_pair,
    "harmonic": make_harmonic,
    "steady": make_steady,
}


def _keep(patches: np.ndarray, count: int) -> np.ndarray:
    """The loudest carrier as op 1; as op 2, if count is 2, the loudest other operator; the others silent."""
    simple, operators, common = _open(make_harmonic(patches))
    loudness = LEVEL[operators[..., _FIELD["output_level"]]] + LEVEL[operators[..., _EG_LEVELS].max(axis=-1)]
    is_carrier = CARRIERS[common[:, COMMON_FIELDS.index("algorithm")], None] >> np.arange(OPERATORS) & 1 == 1
    every = np.arange(len(simple))
    carrier = np.where(is_carrier, loudness, -1).argmax(axis=1)
    loudness[every, carrier] = -1
    kept = operators[every, carrier], operators[every, loudness.argmax(axis=1)]
    operators[..., [_FIELD["output_level"], *_EG_LEVELS]] = 0  # both, for a keyboard curve can lift an output level of 0
    for place, operator in list(zip((_OPERATOR_1, _OPERATOR_2), kept, strict=True))[:count]:
        operators[:, place] = operator
    _set_algorithm(common, 1)
    return simple


def _open(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A copy of patches (N, 155), and its operators (N, 6, 21) and common parameters (N, 19), which write to it."""
    simple = np.array(patches)
    start = OPERATORS * len(OPERATOR_FIELDS)
    operators = simple[:, :start].reshape(len(simple), OPERATORS, len(OPERATOR_FIELDS))
    return simple, operators, simple[:, start:PARAMETERS]


def _set_algorithm(common: np.ndarray, number: int) -> None:
    """By the number on the panel, without feedback."""
    common[:, COMMON_FIELDS.index("algorithm")] = number - 1
    common[:, COMMON_FIELDS.index("feedback")] = 0
