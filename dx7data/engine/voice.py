"""Patches and notes in, integer voice parameters out: the last place that sees a stored 0-99 value.

Everything here happens once per note, vectorised over voices; the only floats that round are here and in
engine/tables.py. Rules and constants: engine-spec.md (Time, Pitch, Operator level, Operator envelope, LFO).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dx7data.engine import tables
from dx7data.patches import scales
from dx7data.patches.algorithms import FEEDBACK_SHIFT, LOOP_LENGTH, OPERATORS
from dx7data.patches.patch import require_legal

_OPERATOR_BYTES = 21
_PIECE = 2048  # voices whose integers are made together: what that takes stays in the cache


class Voices(NamedTuple):
    """V voices as a structure of arrays, all integers; operators in stored order, op 6 first.

    Times are in blocks of 64 samples, levels as in the operator envelope, frequencies in Q24 octaves above 1 Hz.
    """

    rate: int  # of the engine, in Hz
    start: np.ndarray  # (V,) block of the note-on in its row
    release: np.ndarray  # (V,) blocks from note-on to note-off
    eg_target: np.ndarray  # (V, 6, 4)
    eg_increment: np.ndarray  # (V, 6, 4) per block
    eg_plateau: np.ndarray  # (V, 6, 4) samples that a stage without a way to go lasts; 0: none
    log_frequency: np.ndarray  # (V, 6)
    fixed: np.ndarray  # (V, 6) bool: deaf to pitch modulation
    amp_mod_sensitivity: np.ndarray  # (V, 6) Q24
    pitch_target: np.ndarray  # (V, 4) Q24 octaves
    pitch_increment: np.ndarray  # (V, 4) per block
    lfo_wave: np.ndarray  # (V,)
    lfo_sync: np.ndarray  # (V,) bool
    lfo_increment: np.ndarray  # (V,) per block; a period is 2^32
    lfo_delay: np.ndarray  # (V, 2) counter increments before and during the fade-in
    pitch_mod_depth: np.ndarray  # (V,) 0-255
    pitch_mod_sensitivity: np.ndarray  # (V,) 0-255
    amp_mod_depth: np.ndarray  # (V,) 0-255
    algorithm: np.ndarray  # (V,) 0-31
    loop_length: np.ndarray  # (V,) operators in the feedback loop; 0: no feedback
    feedback_shift: np.ndarray  # (V,) bits

    def take(self, index: np.ndarray | slice) -> "Voices":
        """The voices that `index` (anything NumPy indexes by) selects."""
        return Voices(self.rate, *(field[index] for field in self[1:]))

    def join(self, other: "Voices") -> "Voices":
        """These voices and then others of the same rate."""
        return Voices(self.rate, *(np.concatenate(fields) for fields in zip(self[1:], other[1:], strict=True)))


class Curves(NamedTuple):
    """Controller curves, one value per block of a row. A row without one is at rest."""

    of: np.ndarray  # int64 (rows,): which curve is whose; -1: none
    bend: np.ndarray  # int32 (C, K), Q24 octaves
    wheel: np.ndarray  # int32 (C, K), 0-127: modulation wheel, range already taken off


def voices(
    patches: ArrayLike, notes: ArrayLike, velocities: ArrayLike, held: ArrayLike, rate: int, start: ArrayLike = 0
) -> Voices:
    """Turn patches and notes into V voices: the integers from which `render` computes audio.

    - patches: uint8 (V, 155), legal ones, as `load_patches` gives them
    - notes, velocities: MIDI numbers, 0-127; note 60 is middle C
    - held: seconds from note-on to note-off
    - rate: sample rate of the engine in Hz, above 16,384
    - start: block of 64 samples at which the note begins

    All but `rate` broadcast against each other. Raises ValueError on a value outside these ranges.
    """
    patches = np.atleast_2d(require_legal(np.asarray(patches)))
    if rate <= 16384:
        raise ValueError(f"the engine needs a rate above 16,384 Hz, not {rate}")
    shapes = patches.shape[:1], *map(np.shape, (notes, velocities, held, start))
    try:
        count = np.broadcast_shapes(*shapes)
    except ValueError:
        given = dict(zip(("patches", "notes", "velocities", "held", "start"), shapes, strict=True))
        raise ValueError(f"each must have one value or as many as the others: {given}") from None
    patches = np.broadcast_to(patches, (*count, 155))
    note, velocity, held, start = (np.broadcast_to(x, count) for x in (notes, velocities, held, start))
    for name, value, top in (("notes", note, 127), ("velocities", velocity, 127)):
        if value.size and (value.min() < 0 or value.max() > top or (value % 1).any()):
            raise ValueError(f"{name} must be whole numbers from 0 to {top}, not {value.min()} to {value.max()}")
    if held.size and not (np.isfinite(held).all() and held.min() >= 0):
        raise ValueError("held must be seconds, 0 or more")
    if start.size and start.min() < 0:
        raise ValueError("start must be a block, 0 or more")

    bounds = range(0, max(count[0], 1), _PIECE)
    cut = [slice(i, i + _PIECE) for i in bounds]
    pieces = [_integers(patches[one], note[one], velocity[one], held[one], start[one], rate) for one in cut]
    return Voices(int(rate), *map(np.concatenate, zip(*(piece[1:] for piece in pieces), strict=True)))


def _integers(
    patches: np.ndarray, note: np.ndarray, velocity: np.ndarray, held: np.ndarray, start: np.ndarray, rate: int
) -> Voices:
    """As `voices`, of what it found to be legal."""
    patches = patches.astype(np.int64)
    operator = patches[:, : OPERATORS * _OPERATOR_BYTES].reshape(-1, OPERATORS, _OPERATOR_BYTES)
    common = patches[:, OPERATORS * _OPERATOR_BYTES :]
    note = np.clip(note.astype(np.int64) + common[:, 18] - 24, 0, 127)
    return Voices(
        rate=rate,
        start=start.astype(np.int32),
        release=-(-tables.count_samples(held, rate) // tables.BLOCK),
        **_envelopes(operator, note, velocity.astype(np.int64), rate),
        **_frequencies(operator, note),
        amp_mod_sensitivity=scales.AMP_MOD_SENSITIVITY[operator[:, :, 14]],
        **_pitch_envelope(common, rate),
        **_lfo(common, rate),
        **_routing(common),
    )


def _level(operator: np.ndarray, note: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Output level (V, 6) after keyboard scaling and velocity, in 1/32 of the output-level steps."""
    distance = note[:, None] - operator[:, :, 8] - 17  # keys right of the break point
    right = distance >= 0
    group = np.where(right, distance + 1, 1 - distance) // 3
    depth = np.where(right, operator[:, :, 10], operator[:, :, 9])
    curve = np.where(right, operator[:, :, 12], operator[:, :, 11])
    linear = (group * depth * 329) >> 12
    exponential = (scales.EXPONENTIAL_SCALING[np.minimum(group, 32)] * depth * 329) >> 15
    scaling = np.where((curve == 0) | (curve == 3), linear, exponential)
    scaling = np.where(curve < 2, -scaling, scaling)
    level = np.minimum(scales.LEVEL[operator[:, :, 16]] + scaling, 127) << 5
    sensitivity = operator[:, :, 15]
    level += ((sensitivity * (scales.VELOCITY[velocity >> 1][:, None] - 239) + 7) >> 3) << 4
    return np.maximum(level, 0)


def _envelopes(operator: np.ndarray, note: np.ndarray, velocity: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    stored_rate, stored_level = operator[:, :, 0:4], operator[:, :, 4:8]
    slower = int(44100 / rate * tables.ONE_Q24)  # the rates are meant for 44.1 kHz
    faster = (operator[:, :, 13] * np.clip(note // 3 - 7, 0, 31)[:, None] >> 3)[:, :, None]  # rate scaling

    target = (
        np.maximum((scales.LEVEL[stored_level] >> 1 << 6) + _level(operator, note, velocity)[:, :, None] - 4256, 16) << 16
    )
    step = np.minimum((stored_rate * 41 >> 6) + faster, 63)
    increment = ((4 + (step & 3)) << (8 + (step >> 2))) * slower >> 24

    effective = np.minimum(stored_rate + faster, 99)
    slow = effective < len(scales.PLATEAU_SLOW)
    plateau = np.where(slow, scales.PLATEAU_SLOW[np.minimum(effective, 76)], 20 * (99 - effective))
    # Quirk: an attack to level 0 is a plateau too, 20 times shorter; other attacks are none.
    plateau[:, :, 0] = np.where(slow[:, :, 0], plateau[:, :, 0] // 20, plateau[:, :, 0])
    plateau = plateau * slower >> 24
    plateau[:, :, 0][stored_level[:, :, 0] > 0] = 0
    return {
        "eg_target": target.astype(np.int32),
        "eg_increment": increment.astype(np.int32),
        "eg_plateau": plateau.astype(np.int32),
    }


def _frequencies(operator: np.ndarray, note: np.ndarray) -> dict[str, np.ndarray]:
    fixed, coarse, fine = operator[:, :, 17] == 1, operator[:, :, 18], operator[:, :, 19]
    detune = operator[:, :, 20] - 7

    at_note = int(2**24 * (math.log2(440) - 69 / 12)) + 2**24 // 12 * note[:, None]
    octaves = (at_note.astype(np.float32) / np.float32(2**24)).astype(np.float64)
    spread = 0.0209 * np.exp(-0.396 * octaves) / 7  # Quirk: detune narrows, in cents, towards the top of the keyboard
    ratio = (at_note + spread * at_note * detune).astype(np.int64)
    ratio += scales.COARSE[coarse & 31]
    ratio += np.floor(24204406.323123 * np.log(1 + 0.01 * fine) + 0.5).astype(np.int64)

    hertz = 4458616 * ((coarse & 3) * 100 + fine) >> 3  # 10^(coarse + fine / 100) Hz
    hertz += np.where(detune > 0, 13457 * detune, 0)  # Quirk: fixed frequencies are detuned upwards only
    return {"log_frequency": np.where(fixed, hertz, ratio).astype(np.int32), "fixed": fixed}


def _pitch_envelope(common: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    unit = int(tables.BLOCK * tables.ONE_Q24 / (21.3 * rate) + 0.5)
    return {
        "pitch_target": (scales.PITCH_EG_LEVEL[common[:, 4:8]] << 19).astype(np.int32),
        "pitch_increment": (scales.PITCH_EG_RATE[common[:, 0:4]] * unit).astype(np.int32),
    }


def _lfo(common: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    # A period is 2^32; 4437500000 is the oracle's 2^32 with its LFO's own calibration.
    per_hertz = int(4437500000.0 * tables.BLOCK / rate)
    delay_unit = int(tables.BLOCK * 25190424 / rate + 0.5)
    delay = 99 - common[:, 12]
    steps = (16 + (delay & 15)) << (1 + (delay >> 4))
    none = delay == 99
    before = np.where(none, 2**32 - 1, delay_unit * steps % 2**32)
    during = np.where(none, 2**32 - 1, delay_unit * np.maximum(steps & 0xFF80, 0x80) % 2**32)
    return {
        "lfo_wave": common[:, 16].astype(np.uint8),
        "lfo_sync": common[:, 15] > 0,
        "lfo_increment": (scales.LFO_HERTZ[common[:, 11]] * per_hertz).astype(np.int64),
        "lfo_delay": np.stack([before, during], axis=1),
        "pitch_mod_depth": (common[:, 13] * 165 >> 6).astype(np.int32),
        "pitch_mod_sensitivity": scales.PITCH_MOD_SENSITIVITY[common[:, 17]],
        "amp_mod_depth": (common[:, 14] * 165 >> 6).astype(np.int32),
    }


def _routing(common: np.ndarray) -> dict[str, np.ndarray]:
    algorithm, feedback = common[:, 8], common[:, 9]
    return {
        "algorithm": algorithm.astype(np.uint8),
        "loop_length": np.where(feedback > 0, LOOP_LENGTH[algorithm], 0).astype(np.uint8),
        "feedback_shift": (FEEDBACK_SHIFT[algorithm] + feedback).astype(np.int32),
    }
