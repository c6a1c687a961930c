"""A large bank from a small one: generations of mutations and crossovers, and random voices that sound.

All of it follows from the parents, the seed and the numbers that are asked for.
"""

from collections.abc import Callable

import numpy as np

from dx7data.audio.silence import find_sounding, measure_peaks
from dx7data.errors import InputError
from dx7data.output import format_count
from dx7data.patches import mutate
from dx7data.patches.audible import find_audible
from dx7data.patches.patch import PARAMETERS, STORED_BYTES, patch_id
from dx7data.plan.split import divide_evenly
from dx7data.rng import KeyedRng

SAMPLE_RATE, SECONDS = 8000, 0.5  # of the clips in which new patches have to be heard
# The native peak that random voices must reach on each of three keys: -36 dB of a carrier at output level 99, 4,093.
LOUD = 64
_TRIES = 100  # to draw a patch that is new and can be heard
Simplify = Callable[[np.ndarray], np.ndarray]  # legal uint8 (N, 155) -> the same: see patches/simplify.py


def breed(
    parents: np.ndarray, seed: int, count: int, generations: int, random: int, simplify: Simplify | None = None
) -> np.ndarray:
    """A bank of legal patches, uint8 (count, 155), all of which can be heard and no two of which have the same parameters.

    First the parents, uint8 (N, 155), without silent ones; then their children, equally many in each generation; last random
    voices, which have no children. Half of the children are mutations and half crossovers, of patches of all generations
    before. Where that is asked for, all are simplified, parents before they have children. Raises InputError where the
    numbers can't be, or no new patch is found.
    """
    simplify = simplify or np.copy
    parents = simplify(parents)
    _, first = np.unique(parents[:, :PARAMETERS], axis=0, return_index=True)  # what is made simpler may become equal
    parents = parents[np.sort(first)]
    population = parents[_is_heard(parents)]
    if not len(population):
        raise InputError("none of these patches can be heard, so they have no children: name others")
    least = len(population) + random + generations
    if count < least:
        raise InputError(
            f"--count {count} is too few for {format_count(len(population), 'patch')}, "
            f"{format_count(random, 'random voice')} and {format_count(generations, 'generation')} with a child each: "
            f"take {least} or more"
        )
    known = {patch_id(parent) for parent in population}
    for generation, size in enumerate(divide_evenly(count - random - len(population), [1] * generations)):
        children = _draw(size, _Children(population), simplify, _is_heard, known, (seed, "child", generation))
        population = np.concatenate([population, children])
    return np.concatenate([population, _draw(random, _draw_voice, simplify, _is_loud, known, (seed, "random"))])


class _Children:
    """Draws a child of two patches of a population, or a mutation of one."""

    def __init__(self, population: np.ndarray):
        self._population, self._masks = population, find_audible(population)

    def __call__(self, rng: KeyedRng) -> np.ndarray:
        one, other = (rng.below(len(self._population)) for _ in range(2))
        if one == other or rng.below(2):
            return mutate.mutate(rng, self._population[one], self._masks[one])
        return mutate.cross(rng, self._population[one], self._population[other])


def _draw_voice(rng: KeyedRng) -> np.ndarray:
    return mutate.draw_uniform(rng, 1)[0]


def _draw(
    count: int,
    draw: Callable[[KeyedRng], np.ndarray],
    simplify: Simplify,
    is_good: Callable[[np.ndarray], np.ndarray],
    known: set[str],
    name: tuple,
) -> np.ndarray:
    """Patches, uint8 (count, 155), each drawn until it is good and new. known: the ids so far, to which theirs come."""
    rngs = [KeyedRng("breed", *name, i) for i in range(count)]
    drawn = np.zeros((count, STORED_BYTES), np.uint8)
    pending = list(range(count))
    for _ in range(_TRIES):
        if not pending:
            return drawn
        drawn[pending] = simplify(np.stack([draw(rngs[i]) for i in pending]))
        again = []
        for i, good in zip(pending, is_good(drawn[pending]), strict=True):
            key = patch_id(drawn[i])
            if good and key not in known:
                known.add(key)
            else:
                again.append(i)
        pending = again
    raise InputError(f"still silent or known after {_TRIES} tries: {format_count(len(pending), 'new patch')}; ask for fewer")


def _is_heard(patches: np.ndarray) -> np.ndarray:
    return find_sounding(patches, SAMPLE_RATE, SECONDS)


def _is_loud(patches: np.ndarray) -> np.ndarray:
    return measure_peaks(patches, SAMPLE_RATE, SECONDS).min(axis=1) >= LOUD
