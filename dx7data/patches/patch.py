"""The stored patch: 155 bytes, one per parameter, as a DX7 sends a single voice, or 128 bytes packed, as in a bank.

Takes bytes of either form, gives legal uint8 (..., 155) with every field in range, and what a person reads about
them. Fields and the repair rule: engine-spec.md, "Stored voice"; packed layout: the DX7's MIDI data format (VMEM).
"""

import hashlib

import numpy as np

from dx7data.patches.algorithms import CARRIERS, OPERATORS

STORED_BYTES, PACKED_BYTES, NAME_BYTES = 155, 128, 10

# Stored order: name, largest value. Operator fields occur six times, op 6 first.
_OPERATOR = (
    *((f"eg_rate_{i}", 99) for i in range(1, 5)),
    *((f"eg_level_{i}", 99) for i in range(1, 5)),
    ("break_point", 99),  # 39 = C3
    ("left_depth", 99),
    ("right_depth", 99),
    ("left_curve", 3),  # -LIN, -EXP, +EXP, +LIN
    ("right_curve", 3),
    ("rate_scaling", 7),
    ("amp_mod_sensitivity", 3),
    ("key_velocity_sensitivity", 7),
    ("output_level", 99),
    ("oscillator_mode", 1),  # ratio, fixed
    ("frequency_coarse", 31),
    ("frequency_fine", 99),
    ("detune", 14),  # 7 = none
)
_COMMON = (
    *((f"pitch_eg_rate_{i}", 99) for i in range(1, 5)),
    *((f"pitch_eg_level_{i}", 99) for i in range(1, 5)),  # 50 = no shift
    ("algorithm", 31),  # the panel shows 1-32
    ("feedback", 7),
    ("oscillator_sync", 1),
    ("lfo_speed", 99),
    ("lfo_delay", 99),
    ("lfo_pitch_mod_depth", 99),
    ("lfo_amp_mod_depth", 99),
    ("lfo_key_sync", 1),
    ("lfo_wave", 5),  # LFO_WAVES
    ("pitch_mod_sensitivity", 7),
    ("transpose", 48),  # semitones, 24 = none
)
LFO_WAVES = ("triangle", "saw down", "saw up", "square", "sine", "sample & hold")

OPERATOR_FIELDS = tuple(name for name, _ in _OPERATOR)
COMMON_FIELDS = tuple(name for name, _ in _COMMON)
FIELDS = (*(f"op{number}_{name}" for number in range(OPERATORS, 0, -1) for name in OPERATOR_FIELDS), *COMMON_FIELDS)
MAXIMA = np.array([top for _, top in (*_OPERATOR * OPERATORS, *_COMMON)], np.uint8)
PARAMETERS = len(FIELDS)  # 145
ALGORITHM = FIELDS.index("algorithm")

# Fields that share a byte when packed keep only their own bits; the others have the whole byte.
_MASKS = np.array([(1 << int(top).bit_length()) - 1 if top < 32 else 255 for top in MAXIMA], np.uint8)
_COMMON_START = OPERATORS * len(OPERATOR_FIELDS)
_PITCH_EG = slice(_COMMON_START, _COMMON_START + 8)
_PACKED_OPERATOR, _PACKED_COMMON = 17, 102
# Quirk: dexed-py drops the top bit of these packed bytes, but not of an operator's first eleven.
_SEVEN_BITS = [i for i in range(PARAMETERS) if MAXIMA[i] >= 48 and (i >= _COMMON_START or i % len(OPERATOR_FIELDS) > 10)]


def _bytes(data: np.ndarray, size: int) -> np.ndarray:
    data = np.asarray(data)
    if data.dtype != np.uint8 or data.shape[-1:] != (size,):
        raise ValueError(f"expected uint8 of shape (..., {size}), not {data.dtype} of shape {data.shape}")
    return data


def require_legal(patches: np.ndarray) -> np.ndarray:
    """The patches, uint8 (..., 155), if every field is in range and the name is 7-bit; else ValueError names the field."""
    patches = _bytes(patches, STORED_BYTES)
    wrong = np.argwhere(patches > np.concatenate([MAXIMA, np.full(NAME_BYTES, 127, np.uint8)]))
    if wrong.size:
        byte = wrong[0, -1]
        field = FIELDS[byte] if byte < PARAMETERS else "the name"
        raise ValueError(f"{field} is {patches[tuple(wrong[0])]}, out of range: use patch.legalize_stored first")
    return patches


def unpack(packed: np.ndarray) -> np.ndarray:
    """uint8 (..., 128) -> (..., 155): the layout only; values out of range stay so (legalize_packed mends them)."""
    packed = _bytes(packed, PACKED_BYTES)
    lead = packed.shape[:-1]
    out = np.empty((*lead, STORED_BYTES), np.uint8)
    source = packed[..., :_PACKED_COMMON].reshape(*lead, OPERATORS, _PACKED_OPERATOR)
    operator = np.empty((*lead, OPERATORS, len(OPERATOR_FIELDS)), np.uint8)
    operator[..., :11] = source[..., :11]
    operator[..., 11] = source[..., 11] & 3  # left curve
    operator[..., 12] = source[..., 11] >> 2 & 3  # right curve
    operator[..., 13] = source[..., 12] & 7  # rate scaling
    operator[..., 14] = source[..., 13] & 3  # amp mod sensitivity
    operator[..., 15] = source[..., 13] >> 2 & 7  # key velocity sensitivity
    operator[..., 16] = source[..., 14]  # output level
    operator[..., 17] = source[..., 15] & 1  # mode
    operator[..., 18] = source[..., 15] >> 1 & 31  # frequency coarse
    operator[..., 19] = source[..., 16]  # frequency fine
    operator[..., 20] = source[..., 12] >> 3 & 15  # detune
    out[..., :_COMMON_START] = operator.reshape(*lead, _COMMON_START)

    source, common = packed[..., _PACKED_COMMON:], out[..., _COMMON_START:]
    common[..., :8] = source[..., :8]  # pitch EG
    common[..., 8] = source[..., 8] & 31  # algorithm
    common[..., 9] = source[..., 9] & 7  # feedback
    common[..., 10] = source[..., 9] >> 3 & 1  # oscillator sync
    common[..., 11:15] = source[..., 10:14]  # LFO speed, delay, depths
    common[..., 15] = source[..., 14] & 1  # LFO key sync
    common[..., 16] = source[..., 14] >> 1 & 7  # LFO wave
    common[..., 17] = source[..., 14] >> 4 & 7  # pitch mod sensitivity
    common[..., 18:] = source[..., 15:]  # transpose, name
    return out


def pack(patches: np.ndarray) -> np.ndarray:
    """Legal uint8 (..., 155) -> (..., 128). Raises ValueError on a field out of range: it would spill over."""
    patches = require_legal(patches)
    lead = patches.shape[:-1]
    out = np.empty((*lead, PACKED_BYTES), np.uint8)
    source = patches[..., :_COMMON_START].reshape(*lead, OPERATORS, len(OPERATOR_FIELDS))
    operator = np.empty((*lead, OPERATORS, _PACKED_OPERATOR), np.uint8)
    operator[..., :11] = source[..., :11]
    operator[..., 11] = source[..., 11] | source[..., 12] << 2  # curves
    operator[..., 12] = source[..., 13] | source[..., 20] << 3  # rate scaling, detune
    operator[..., 13] = source[..., 14] | source[..., 15] << 2  # sensitivities
    operator[..., 14] = source[..., 16]  # output level
    operator[..., 15] = source[..., 17] | source[..., 18] << 1  # mode, frequency coarse
    operator[..., 16] = source[..., 19]  # frequency fine
    out[..., :_PACKED_COMMON] = operator.reshape(*lead, _PACKED_COMMON)

    source, common = patches[..., _COMMON_START:], out[..., _PACKED_COMMON:]
    common[..., :9] = source[..., :9]  # pitch EG, algorithm
    common[..., 9] = source[..., 9] | source[..., 10] << 3  # feedback, oscillator sync
    common[..., 10:14] = source[..., 11:15]  # LFO speed, delay, depths
    common[..., 14] = source[..., 15] | source[..., 16] << 1 | source[..., 17] << 4  # LFO sync, wave, pitch mod sensitivity
    common[..., 15:] = source[..., 18:]  # transpose, name
    return out


def _clip(stored: np.ndarray, legal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    parameters = legal[..., :PARAMETERS]
    np.minimum(parameters, MAXIMA, out=parameters)
    legal[..., PARAMETERS:] &= 127  # a name must fit MIDI data bytes
    return legal, parameters != stored[..., :PARAMETERS]


def legalize_packed(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Any uint8 (..., 128) -> legal uint8 (..., 155) and bool (..., 145): the fields that had to be changed.

    As dexed-py's Patch.from_packed does it; bits that belong to no field are ignored and not counted.
    """
    stored = unpack(packed)
    legal = stored.copy()
    legal[..., _SEVEN_BITS] &= 127
    pitch_eg = legal[..., _PITCH_EG]
    # Quirk: pitch-EG values above 99 are scaled as if 255 were full scale, not clipped.
    legal[..., _PITCH_EG] = np.where(pitch_eg > 99, pitch_eg.astype(np.uint16) * 99 // 255, pitch_eg)
    return _clip(stored, legal)


def legalize_stored(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Any uint8 (..., 155) -> legal uint8 (..., 155) and bool (..., 145): the fields that had to be changed.

    As dexed-py's Patch.from_sysex and from_raw do it: a field keeps the bits it has when packed, then its maximum.
    """
    stored = _bytes(patches, STORED_BYTES)
    legal = stored.copy()
    legal[..., :PARAMETERS] &= _MASKS
    return _clip(stored, legal)


def patch_id(patch: np.ndarray) -> str:
    """16 hex digits of the SHA-256 of the 145 parameter bytes: the same sound under another name has the same id."""
    return hashlib.sha256(_bytes(patch, STORED_BYTES)[:PARAMETERS].tobytes()).hexdigest()[:16]


def patch_name(patch: np.ndarray) -> str:
    """The name in printable ASCII, any other byte as `?`, without trailing blanks."""
    name = _bytes(patch, STORED_BYTES)[PARAMETERS:].tolist()
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in name).rstrip()


def to_dict(patch: np.ndarray) -> dict:
    """JSON-ready: id, name, the 19 common fields and `operators`, six dictionaries, op 6 first, each with its number.

    All values as stored, so algorithm is 0-31, transpose 24 and detune 7 mean none.
    """
    values = _bytes(patch, STORED_BYTES).tolist()
    size = len(OPERATOR_FIELDS)
    operators = [
        {"operator": OPERATORS - i} | dict(zip(OPERATOR_FIELDS, values[i * size : (i + 1) * size], strict=True))
        for i in range(OPERATORS)
    ]
    common = dict(zip(COMMON_FIELDS, values[_COMMON_START:PARAMETERS], strict=True))
    return {"id": patch_id(patch), "name": patch_name(patch), **common, "operators": operators}


def summarize(patch: np.ndarray) -> str:
    """One line: name, algorithm as on the panel (1-32), feedback, carriers, transpose and LFO wave if they act."""
    fields = to_dict(patch)
    carriers = [OPERATORS - i for i in range(OPERATORS) if CARRIERS[fields["algorithm"]] >> i & 1]
    parts = [f"{fields['name']:10}", f"algorithm {fields['algorithm'] + 1:2}", f"feedback {fields['feedback']}"]
    parts.append("carriers " + " ".join(map(str, sorted(carriers))))
    if fields["transpose"] != 24:
        parts.append(f"transpose {fields['transpose'] - 24:+}")
    vibrato = fields["lfo_pitch_mod_depth"] and fields["pitch_mod_sensitivity"]
    tremolo = fields["lfo_amp_mod_depth"] and any(operator["amp_mod_sensitivity"] for operator in fields["operators"])
    if vibrato or tremolo:
        parts.append(f"LFO {LFO_WAVES[fields['lfo_wave']]}")
    return "  ".join(parts)


def _build(name: str, algorithm: int, sounding: dict[int, tuple[int, ...]], lfo: tuple[int, ...]) -> np.ndarray:
    """Some operators at ratio 1.00, unmodulated; algorithm 1-32.

    sounding: operator -> its four rates, key velocity sensitivity and output level; lfo: its wave, speed, and the patch's
    pitch modulation sensitivity.
    """
    silent = (99, 99, 99, 99, 0, 0)
    operators = []
    for operator in range(OPERATORS, 0, -1):
        *rates, sensitivity, level = sounding.get(operator, silent)
        operators += [*rates, 99, 99, 99, 0, 39, *[0] * 6, sensitivity, level, 0, 1, 0, 7]
    wave, speed, pitch_modulation = lfo
    common = [99, 99, 99, 99, 50, 50, 50, 50, algorithm - 1, 0, 1, speed, 0, 0, 0, 1, wave, pitch_modulation, 24]
    patch = np.array([*operators, *common, *name.ljust(NAME_BYTES).encode()], np.uint8)
    patch.flags.writeable = False
    return patch


_AT_ONCE = (99, 99, 99, 99)  # rates: the attack ends within a block of 64 samples; the release falls 21 dB a block
# The voice that the DX7 itself starts from.
INIT = _build("INIT VOICE", 1, {1: (*_AT_ONCE, 0, 99)}, (LFO_WAVES.index("triangle"), 35, 3))
# The source of every sample, if not another is asked for: a sine that follows key, velocity, beginning, end and wheel.
# Two carriers in phase, since one sensitivity alone does not do: 7 makes soft notes inaudible (below 8-bit mu-law), 4 gives
# several neighbouring velocities the same level. Together they peak at 10 for velocity 1 and at 6,990 for 127, of 32,767,
# and every step changes the clip by at least 5 dB more than mu-law does. The exceptions are the DX7's own, true of all
# patches: velocities 2 k and 2 k + 1 are one (0 and 1, ...), and so are 110 to 113 (`velocity_by_half`, engine-spec.md).
# The LFO acts through the modulation wheel alone: a square wave of 6 Hz, heard from a note's beginning on.
SINE = _build("SINE", 32, {1: (*_AT_ONCE, 4, 87), 2: (*_AT_ONCE, 7, 94)}, (LFO_WAVES.index("square"), 35, 4))
# The predecessor's source (Nintorac/s4_dx7), the same at every velocity. Rates 95 and 80 are about 3 and 50 ms.
SINE_FLAT = _build("PURE SINE", 32, {1: (95, 99, 99, 80, 0, 99)}, (LFO_WAVES.index("triangle"), 35, 3))
