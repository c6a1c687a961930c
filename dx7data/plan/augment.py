"""New patches for a bank: random ones, mutations, crossovers, counterfactuals. Each can be heard, and stays in one split."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from dx7data.audio.silence import find_sounding
from dx7data.errors import InputError
from dx7data.output import format_count
from dx7data.patches import mutate
from dx7data.patches.audible import find_audible
from dx7data.patches.similarity import NEAR, Codes, find_nearest
from dx7data.plan.patches import BANK, COUNTERFACTUAL, CROSSOVER, EVERY_SPLIT, MUTATION, NOWHERE, RANDOM, Patches, make_rows
from dx7data.plan.spec import Spec
from dx7data.plan.split import divide_evenly
from dx7data.rng import KeyedRng

_TRIES = 100  # to draw a patch that is new, can be heard, and is not near another split


class _Request(NamedTuple):
    """A patch to be drawn; `draw` gives it with its kind and its parents."""

    draw: Callable[[KeyedRng], tuple[np.ndarray, str, list[str]]]
    rng: KeyedRng
    split: str


def _draw_all(spec: Spec, patches: Patches, requests: list[_Request], targets: bool) -> Patches:
    """A row for each request, drawn again until it is new, can be heard, and is not near a patch of another split."""
    known = set(patches.ids)
    all_patches, pending = patches, requests
    for _ in range(_TRIES):
        if not pending:
            return all_patches.take(range(len(patches), len(all_patches)))
        drawn = _draw_candidates(pending, patches, targets)
        good = find_sounding(drawn.stored, spec.sample_rate, spec.seconds) & _find_apart(drawn, all_patches)
        for i, key in enumerate(drawn.ids):
            good[i] &= key not in known
            if good[i]:
                known.add(key)
        all_patches = all_patches.join(drawn.take(np.flatnonzero(good)))
        pending = [request for request, is_good in zip(pending, good, strict=True) if not is_good]
    raise InputError(
        f"still silent, known or near another split after {_TRIES} tries: {format_count(len(pending), 'new patch')}; "
        "ask for fewer"
    )


def _draw_candidates(requests: list[_Request], patches: Patches, targets: bool) -> Patches:
    stored, kinds, parents = zip(*(request.draw(request.rng) for request in requests), strict=True)
    made = make_rows(stored, list(kinds), [NOWHERE] * len(requests), [targets] * len(requests))
    family = dict(zip(patches.ids, patches.families, strict=True))
    families = [family[own[0]] if own else key for own, key in zip(parents, made.ids, strict=True)]
    return replace(made, splits=[request.split for request in requests], parents=list(parents), families=families)


def _find_apart(drawn: Patches, patches: Patches) -> np.ndarray:
    """Which of the drawn patches, bool (N,), are near none of another split, drawn or not."""
    together = patches.join(drawn)
    if len(set(together.splits)) == 1:
        return np.ones(len(drawn), bool)
    labels = np.unique(together.splits, return_inverse=True)[1]
    codes = Codes(drawn.stored)
    distance, _ = find_nearest(codes, Codes(together.stored), labels[len(patches) :], labels)
    return distance > NEAR


def draw_random(spec: Spec, patches: Patches) -> Patches:
    """Uniform legal voices."""
    requests = [_Request(_draw_uniform, KeyedRng(spec.seed, RANDOM, i), EVERY_SPLIT) for i in range(spec.random_patches)]
    return _draw_all(spec, patches, requests, targets=True)


def _draw_uniform(rng: KeyedRng) -> tuple[np.ndarray, str, list[str]]:
    return mutate.draw_uniform(rng, 1)[0], RANDOM, []


def perturb(spec: Spec, patches: Patches) -> Patches:
    """Mutations and crossovers of the bank's targets, as many in each split as it has a share in them."""
    splits, kinds = np.array(patches.splits), np.array(patches.kinds)
    parents = (kinds == (BANK if BANK in patches.kinds else RANDOM)) & patches.targets
    names = sorted(set(splits[parents]))
    members = {name: np.flatnonzero((splits == name) & parents) for name in names}
    counts = divide_evenly(spec.perturb, [members[name].size for name in names])
    masks = find_audible(patches.stored)
    requests = [
        _Request(partial(_perturb_one, patches, masks, members[name]), KeyedRng(spec.seed, "perturb", name, i), name)
        for name, count in zip(names, counts, strict=True)
        for i in range(count)
    ]
    return _draw_all(spec, patches, requests, targets=True)


def _perturb_one(
    patches: Patches, masks: np.ndarray, members: np.ndarray, rng: KeyedRng
) -> tuple[np.ndarray, str, list[str]]:
    one = rng.pick(members)
    if members.size == 1 or rng.below(2):
        return mutate.mutate(rng, patches.stored[one], masks[one]), MUTATION, [patches.ids[one]]
    while (other := rng.pick(members)) == one:
        pass
    crossed = mutate.cross(rng, patches.stored[one], patches.stored[other])
    return crossed, CROSSOVER, [patches.ids[one], patches.ids[other]]


def make_counterfactuals(spec: Spec, patches: Patches, of: set[str] | None = None) -> Patches:
    """Versions of each target, or of those with the ids `of`, with one parameter changed."""
    masks = find_audible(patches.stored)
    requests = [
        _Request(
            partial(_make_version, patches, masks, i),
            KeyedRng(spec.seed, "pairs", patches.ids[i], version),
            patches.splits[i],
        )
        for i in np.flatnonzero(patches.targets).tolist()
        if of is None or patches.ids[i] in of
        for version in range(spec.pairs)
    ]
    return _draw_all(spec, patches, requests, targets=False)


def _make_version(patches: Patches, masks: np.ndarray, i: int, rng: KeyedRng) -> tuple[np.ndarray, str, list[str]]:
    return mutate.change_one(rng, patches.stored[i], masks[i])[0], COUNTERFACTUAL, [patches.ids[i]]
