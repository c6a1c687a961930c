"""Patches made from patches: mutations, crossovers, counterfactuals, and wholly random ones.

Each is a pure function of the rng, and legal; what goes in is left alone. Patches are legal uint8 (155,).
"""

import numpy as np

from dx7data.patches.audible import find_audible
from dx7data.patches.patch import FIELDS, MAXIMA, NAME_BYTES, PARAMETERS, patch_name
from dx7data.rng import KeyedRng

_MAX_MOVES = 8  # parameters of a mutation
_REACH = np.maximum(MAXIMA // 10, 1)  # how far one moves: 9 of 99, 4 of 48 semitones of transpose, 3 of 31, else 1
# Parameters whose values are names rather than amounts: the next one sounds no more alike than any other.
_NAMES = ("algorithm", "oscillator_mode", "left_curve", "right_curve", "lfo_wave", "oscillator_sync", "lfo_key_sync")
_IS_ORDINAL = np.array([not field.endswith(_NAMES) for field in FIELDS])
_ATTEMPTS = 16  # to mix two patches: if they differ in two places only, one mix in two is like neither


def mutate(rng: KeyedRng, patch: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """The patch with one to eight audible amounts moved, each by at most a tenth of its range (at least 1).

    heard: bool (145,), what can be heard of it, as `find_audible` says. The name stays, and so do algorithm, modes, curves,
    waves and synchronisations. Raises ValueError if nothing can be heard.
    """
    movable = _list_choices(heard & _IS_ORDINAL)
    count = min(rng.between(1, _MAX_MOVES), len(movable))
    mutant = patch.copy()
    for field in movable[rng.permute(len(movable))[:count]]:
        value, reach = int(patch[field]), int(_REACH[field])
        mutant[field] = _draw_other(rng, value, max(value - reach, 0), min(value + reach, int(MAXIMA[field])))
    return mutant


def change_one(rng: KeyedRng, patch: np.ndarray, heard: np.ndarray) -> tuple[np.ndarray, int]:
    """The patch with a single audible parameter changed to another legal value, any with the same chance; and its index.

    heard: as for `mutate`. The name stays. Raises ValueError if nothing can be heard.
    """
    field = int(rng.pick(_list_choices(heard)))
    changed = patch.copy()
    changed[field] = _draw_other(rng, int(patch[field]), 0, int(MAXIMA[field]))
    return changed, field


def cross(rng: KeyedRng, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A patch that has each parameter from either parent, named after both.

    It differs from both in something audible, unless the parents have fewer than two differences, or ones that are
    nothing without each other (like the depth and the sensitivity of a vibrato that only one of them has).
    """
    children = np.where(rng.all_below(np.full(_ATTEMPTS * len(a), 2)).reshape(_ATTEMPTS, -1), a, b)
    of_a, of_b, *of_children = find_audible(np.stack([a, b, *children]))
    differs = (children[:, None] != (a, b))[..., :PARAMETERS] & (np.array(of_children)[:, None] | (of_a, of_b))
    child = children[np.argmax(differs.any(axis=2).all(axis=1))]  # the first if none differs from both
    return _set_name(child, "".join(patch_name(parent).strip()[:5] for parent in (a, b)))


def draw_uniform(rng: KeyedRng, count: int) -> np.ndarray:
    """Uint8 (count, 155): every parameter takes each of its legal values with the same chance."""
    parameters = rng.all_below(np.tile(MAXIMA.astype(np.int64) + 1, count)).reshape(count, PARAMETERS)
    return _set_name(np.pad(parameters.astype(np.uint8), ((0, 0), (0, NAME_BYTES))), "RANDOM")


def _list_choices(mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        raise ValueError("nothing of this patch can be heard: all operators are silent")
    return np.flatnonzero(mask)


def _draw_other(rng: KeyedRng, value: int, minimum: int, maximum: int) -> int:
    """A number from minimum to maximum, but not `value`, which is one of them."""
    drawn = rng.between(minimum, maximum - 1)
    return drawn + (drawn >= value)


def _set_name(patches: np.ndarray, name: str) -> np.ndarray:
    patches[..., PARAMETERS:] = np.frombuffer(name.ljust(NAME_BYTES).encode("ascii"), np.uint8)
    return patches
