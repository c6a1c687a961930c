"""Which parameters of a patch can be heard, and in which two patches differ.

A parameter is inaudible in a patch when, whatever legal value it alone takes, no sample of the engine changes, at no note
and velocity, however long the key is held; the modulation wheel stays down. The rules, facts of voice.py and engine/:

- An operator is silent when its loudest EG level, at the key that scales it up most and at velocity 127, stays below what
  operators.sounds wants. Then only that can be heard of it which alone could make it sound.
- Nothing is heard of an operator that reaches the mix through silent operators only. Exception: while op 6 sounds, the
  long feedback loops of algorithms 4 and 6 run without a test for silence.
- EG rate 3 is inaudible if levels 2 and 3 are the same, rate 2 if levels 1 to 3 are: those stages have no way to go. Rate
  scaling is, if all rates that are left are 99.
- A keyboard curve is inaudible if its depth is too small to matter; a depth, if its curve could only lift output level 99,
  which is the limit; the break point, if neither depth does anything.
- The algorithm is inaudible if no operator but op 1 sounds: it is a carrier in all, and in none the one with feedback.
  Feedback is, if its operator is not heard; transpose, if no heard operator has a ratio, keyboard or rate scaling.
- All pitch modulation is inaudible if no heard operator has a ratio; a pitch-EG rate, if its stage starts where it ends
  (the first starts at level 4), but rate 4 only if all levels are the same, for a release may come at any time.
- Pitch-mod depth and sensitivity are inaudible without each other, amp-mod depth if no heard operator has sensitivity, and
  the rest of the LFO if neither then acts. Amp-mod sensitivity itself is heard without depth too: it costs 1.2 %.
- Oscillator sync is always inaudible: a voice starts with all phases at 0.

Whatever else nobody hears (a stage too short for a block, or longer than any note) counts as audible.
"""

from collections.abc import Iterator

import numpy as np

from dx7data.patches.algorithms import CARRIERS, FEEDBACK_OPERATOR, LOOP_LENGTH, MODULATORS, OPERATORS
from dx7data.patches.patch import COMMON_FIELDS, OPERATOR_FIELDS, PARAMETERS
from dx7data.patches.scales import LEVEL, SILENCE, VELOCITY

_FIELD = {name: i for i, name in enumerate(OPERATOR_FIELDS)}
_COMMON = {name: i for i, name in enumerate(COMMON_FIELDS)}
_RATES, _LEVELS = slice(0, 4), slice(4, 8)  # of the operators' EGs, and of the pitch EG among the common parameters
_OPERATOR = np.arange(OPERATORS)
_CARRIER = (CARRIERS[:, None] >> _OPERATOR & 1).astype(bool)  # (algorithm, operator)
_MODULATOR = (MODULATORS[:, :, None] >> _OPERATOR & 1).astype(bool)  # (algorithm, modulated operator, operator)

# The values at which a field makes its operator loudest: of the curves +LIN, of the break points one end or the other.
_LOUDEST = (
    *((f"eg_level_{i}", 99) for i in range(1, 5)),
    *(("output_level", 99), ("key_velocity_sensitivity", 7), ("break_point", 0), ("break_point", 99)),
    *(("left_depth", 99), ("right_depth", 99), ("left_curve", 3), ("right_curve", 3)),
)


def find_audible(patches: np.ndarray) -> np.ndarray:
    """Legal uint8 (..., 155) -> bool (..., 145): which parameters can be heard, by the rules above."""
    patches = np.asarray(patches)
    parameters = patches[..., :PARAMETERS].reshape(-1, PARAMETERS).astype(np.int64)
    operators = parameters[:, : -len(COMMON_FIELDS)].reshape(-1, OPERATORS, len(OPERATOR_FIELDS))
    common = parameters[:, -len(COMMON_FIELDS) :]

    loud = _find_loud(operators)
    connected, sounding = _find_routes(common, loud)
    used = _find_used(operators)
    by_operator = connected[..., None] & np.where(sounding[..., None], used, _find_awakening(operators))
    by_patch = _find_audible_common(operators, common, used, loud, connected & sounding)
    result = np.concatenate([by_operator.reshape(-1, PARAMETERS - len(COMMON_FIELDS)), by_patch], axis=1)
    return result.reshape(*patches.shape[:-1], PARAMETERS)


def find_differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the parameters that differ between two legal patches (155,) and can be heard in one of them.

    Where there are none, the two sound the same: what decides whether something acts can be heard wherever it does act.
    """
    different = np.asarray(a)[:PARAMETERS] != np.asarray(b)[:PARAMETERS]
    return np.flatnonzero(different & (find_audible(a) | find_audible(b)))


def find_distinct(patches: np.ndarray) -> np.ndarray:
    """Legal uint8 (N, 155) -> indices, ascending, of the first patch of each sound: the others differ from one of these in
    nothing that can be heard."""
    heard = find_audible(patches)
    sounds = np.concatenate([np.where(heard, patches[:, :PARAMETERS], 0), heard], axis=1, dtype=np.uint8)
    return np.sort(np.unique(sounds, axis=0, return_index=True)[1])


def _scaling(operators: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each side of the break point: its name, depth, curve, and what +LIN adds at the last key (+EXP never adds more)."""
    break_point = operators[..., _FIELD["break_point"]]
    for side, groups in (("left", (break_point + 18) // 3), ("right", (111 - break_point) // 3)):
        depth, curve = operators[..., _FIELD[f"{side}_depth"]], operators[..., _FIELD[f"{side}_curve"]]
        yield side, depth, curve, groups * depth * 329 >> 12


def _find_loud(operators: np.ndarray) -> np.ndarray:
    """Bool (N, 6): which of the operators (N, 6, 21) pass the test for silence at some note and velocity."""
    lift = np.max([np.where(curve >= 2, maximum, 0) for _, _, curve, maximum in _scaling(operators)], axis=0)
    level = np.minimum(LEVEL[operators[..., _FIELD["output_level"]]] + lift, 127) << 5
    level += ((operators[..., _FIELD["key_velocity_sensitivity"]] * (VELOCITY[-1] - 239) + 7) >> 3) << 4
    target = (LEVEL[operators[..., _LEVELS].max(axis=-1)] >> 1 << 6) + level - 4256
    return 16384 - (target << 2) <= SILENCE  # the engine has target << 16, see operators.gain


def _find_awakening(operators: np.ndarray) -> np.ndarray:
    """Bool (N, 6, 21): which fields alone could make their operator loud."""
    result = np.zeros(operators.shape, bool)
    for name, value in _LOUDEST:
        changed = operators.copy()
        changed[..., _FIELD[name]] = value
        result[..., _FIELD[name]] |= _find_loud(changed)
    return result


def _find_used(operators: np.ndarray) -> np.ndarray:
    """Bool (N, 6, 21): which fields make a difference to an operator that sounds."""
    used = np.ones(operators.shape, bool)
    level = LEVEL[operators[..., _LEVELS]] >> 1  # as the EG sees them: 98 and 99 are the same
    used[..., _FIELD["eg_rate_3"]] = level[..., 1] != level[..., 2]
    used[..., _FIELD["eg_rate_2"]] = used[..., _FIELD["eg_rate_3"]] | (level[..., 0] != level[..., 1])
    used[..., _FIELD["rate_scaling"]] = (used[..., _RATES] & (operators[..., _RATES] < 99)).any(axis=-1)
    used[..., _FIELD["break_point"]] = False
    for side, depth, curve, maximum in _scaling(operators):
        lowers = (curve < 2) | (operators[..., _FIELD["output_level"]] < 99)
        used[..., _FIELD[f"{side}_depth"]] = lowers
        used[..., _FIELD[f"{side}_curve"]] = maximum > 0
        used[..., _FIELD["break_point"]] |= lowers & (depth > 0)
    return used


def _find_routes(common: np.ndarray, loud: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bool (N, 6) twice: which operators would reach the mix if they sounded, and which do sound."""
    algorithm = common[:, _COMMON["algorithm"]]
    loop = np.where(common[:, _COMMON["feedback"]] > 0, LOOP_LENGTH[algorithm], 0)[:, None]
    sounding = loud | ((loop > 1) & loud[:, :1] & (loop > _OPERATOR))
    connected = _CARRIER[algorithm] | ((loop > 1) & (_OPERATOR == 0))
    for j in reversed(_OPERATOR):  # modulators come before what they modulate
        connected |= _MODULATOR[algorithm, j] & (connected & sounding)[:, j, None]
    return connected, sounding


def _find_audible_common(
    operators: np.ndarray, common: np.ndarray, used: np.ndarray, loud: np.ndarray, heard: np.ndarray
) -> np.ndarray:
    """Bool (N, 19): which of the common parameters can be heard, where `heard` (N, 6) are the operators that can."""

    def some(condition: np.ndarray) -> np.ndarray:
        return (heard & condition).any(axis=1)

    algorithm = common[:, _COMMON["algorithm"]]
    ratio = some(operators[..., _FIELD["oscillator_mode"]] == 0)
    rate_scaled = used[..., _FIELD["rate_scaling"]] & (operators[..., _FIELD["rate_scaling"]] > 0)
    head = FEEDBACK_OPERATOR[algorithm, None] == _OPERATOR
    moves = common[:, _LEVELS] != np.roll(common[:, _LEVELS], 1, axis=1)
    moves[:, 3] = moves.any(axis=1)
    depth, sensitivity = (common[:, _COMMON[name]] > 0 for name in ("lfo_pitch_mod_depth", "pitch_mod_sensitivity"))
    tremolo = some(operators[..., _FIELD["amp_mod_sensitivity"]] > 0)
    lfo = (ratio & depth & sensitivity) | (tremolo & (common[:, _COMMON["lfo_amp_mod_depth"]] > 0))

    result = np.empty(common.shape, bool)
    result[:, _RATES], result[:, _LEVELS] = ratio[:, None] & moves, ratio[:, None]
    by_name = {
        "algorithm": loud[:, :-1].any(axis=1),
        # Feedback 0 may keep op 6 from the mix in algorithms 4 and 6; any other makes it heard.
        "feedback": (head & loud & (heard | (LOOP_LENGTH[algorithm, None] > 1))).any(axis=1),
        "oscillator_sync": False,
        "lfo_pitch_mod_depth": ratio & sensitivity,
        "pitch_mod_sensitivity": ratio & depth,
        "lfo_amp_mod_depth": tremolo,
        "transpose": ratio | some(used[..., _FIELD["break_point"]] | rate_scaled),
    } | dict.fromkeys(("lfo_speed", "lfo_delay", "lfo_key_sync", "lfo_wave"), lfo)
    for name, mask in by_name.items():
        result[:, _COMMON[name]] = mask
    return result
