"""Planning: a bank, phrases and a spec become a plan. Silent patches go, new ones come, all are divided into splits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from dx7data import derive, patch
from dx7data.audible import audible
from dx7data.audition import heard
from dx7data.bank import Bank
from dx7data.dice import Dice
from dx7data.errors import InputError
from dx7data.patches import BANK, COUNTERFACTUAL, CROSSOVER, EVERY_SPLIT, MUTATION, NOWHERE, RANDOM, Patches
from dx7data.phrase import Phrases
from dx7data.plan import Plan
from dx7data.spec import RANDOM_SOURCE, SPLITS, Spec

_FEWEST_TARGETS = 10  # with fewer, every split has all patches and other phrases
_TRIES = 100  # to draw a patch that is new and can be heard


def make(
    bank: Bank,
    spec: Spec,
    samples: int | None = None,
    per_patch: int | None = None,
    targets: set[str] | None = None,
    phrases: Phrases | None = None,
) -> Plan:
    """The plan for a bank.

    samples: in all; or per_patch: of each target. targets: ids of the patches of the bank that become targets; None: all.
    phrases: what is played; None: drawn phrases. Raises InputError when nothing audible is in the bank, or a split that is
    asked for stays empty.
    """
    if spec.keep_silent and (spec.perturb or spec.pairs):
        raise InputError("--perturb and --pairs change what can be heard of a patch: leave out --keep-silent")
    patches, silent = _from_bank(bank, spec, targets)
    patches = patches.join(_random(spec, patches))
    if not len(patches):
        raise InputError("no patch in the bank can be heard on notes 36, 60 and 84; --keep-silent renders it all the same")
    patches = _divided(patches, spec)
    if spec.perturb:
        patches = patches.join(_perturbed(spec, patches))
    if spec.pairs:
        patches = patches.join(_counterfactuals(spec, patches))
    patches = patches.take(np.argsort(patches.ids))
    counts = _counts(spec, patches, samples, per_patch)
    phrase_splits = _phrase_splits(len(phrases), counts, spec) if phrases is not None else []
    made = Plan(spec, patches, phrases, phrase_splits, silent, counts)
    for split, own in made.targets.items():
        if own.size < spec.layers[1]:
            raise InputError(f"{spec.layers[1]} layers need as many patches, and {split} has {own.size}: use fewer --layers")
    return made


def _rows(stored: Sequence[np.ndarray], splits: list, kinds: list, parents: list, targets: list, origins: list) -> Patches:
    table = np.array(stored, np.uint8).reshape(-1, patch.STORED_BYTES)
    return Patches(table, [patch.patch_id(each) for each in table], splits, kinds, parents, origins, targets)


# --- The bank ---


def _from_bank(bank: Bank, spec: Spec, targets: set[str] | None) -> tuple[Patches, list[dict]]:
    """The patches of the bank that play a part and can be heard; id and name of the silent ones."""
    takes_part = [
        i for i in np.argsort(bank.ids) if targets is None or bank.ids[i] in targets or spec.source == RANDOM_SOURCE
    ]
    sounds = _sounds(bank.patches[takes_part], spec)
    kept = [i for i, is_heard in zip(takes_part, sounds, strict=True) if is_heard]
    silent = [
        {"id": bank.ids[i], "name": bank.names[i]} for i, is_heard in zip(takes_part, sounds, strict=True) if not is_heard
    ]
    is_target = [targets is None or bank.ids[i] in targets for i in kept]
    if targets is not None and not any(is_target):
        raise InputError(
            "none of the --targets can be heard on notes 36, 60 and 84; --keep-silent renders them all the same"
        )
    origins = [{name: bank.origins[i][name] for name in NOWHERE} for i in kept]
    count = len(kept)
    return _rows(bank.patches[kept], [EVERY_SPLIT] * count, [BANK] * count, [[]] * count, is_target, origins), silent


def _sounds(stored: np.ndarray, spec: Spec) -> np.ndarray:
    return np.ones(len(stored), bool) if spec.keep_silent else heard(stored, spec.sample_rate, spec.seconds)


def _divided(patches: Patches, spec: Spec) -> Patches:
    """The same rows with a split for each, by order of id. Ids are hashes: a random order that never changes."""
    if sum(patches.targets) < _FEWEST_TARGETS:
        return patches
    splits = np.array(patches.splits, object)
    for role in (True, False):
        members = [i for i in np.argsort(patches.ids) if patches.targets[i] == role]
        splits[members] = _divide(len(members), spec.split)
    return replace(patches, splits=splits.tolist())


# --- New patches ---


class _Wish(NamedTuple):
    """A patch to be drawn; `draw` gives it with its kind and its parents."""

    draw: Callable[[Dice], tuple[np.ndarray, str, list[str]]]
    dice: Dice
    split: str


def _drawn(spec: Spec, patches: Patches, wishes: list[_Wish], targets: bool) -> Patches:
    """A row for each wish, drawn again until it is new and can be heard."""
    known = set(patches.ids)
    made: dict[int, tuple] = {}
    for _ in range(_TRIES):
        pending = [i for i in range(len(wishes)) if i not in made]
        candidates = [wishes[i].draw(wishes[i].dice) for i in pending]
        sounds = _sounds(np.array([each[0] for each in candidates], np.uint8).reshape(-1, patch.STORED_BYTES), spec)
        for i, candidate, is_heard in zip(pending, candidates, sounds, strict=True):
            if is_heard and (key := patch.patch_id(candidate[0])) not in known:
                known.add(key)
                made[i] = candidate
        if len(made) == len(wishes):
            break
    else:
        raise InputError(f"{len(wishes) - len(made)} new patches were silent or known in {_TRIES} tries: ask for fewer")
    stored, kinds, parents = zip(*(made[i] for i in range(len(wishes))), strict=True) if wishes else ((), (), ())
    count = len(wishes)
    splits = [wish.split for wish in wishes]
    return _rows(stored, splits, list(kinds), list(parents), [targets] * count, [NOWHERE] * count)


def _random(spec: Spec, patches: Patches) -> Patches:
    """Uniform legal voices."""
    wishes = [_Wish(_uniform, Dice(spec.seed, RANDOM, i), EVERY_SPLIT) for i in range(spec.random_patches)]
    return _drawn(spec, patches, wishes, targets=True)


def _uniform(dice: Dice) -> tuple[np.ndarray, str, list[str]]:
    return derive.uniform(dice, 1)[0], RANDOM, []


def _perturbed(spec: Spec, patches: Patches) -> Patches:
    """Mutations and crossovers of the bank's targets, as many in each split as it has a share in them."""
    splits, kinds = np.array(patches.splits), np.array(patches.kinds)
    parents = (kinds == (BANK if BANK in patches.kinds else RANDOM)) & patches.targets
    names = sorted(set(splits[parents]))
    members = {name: np.flatnonzero((splits == name) & parents) for name in names}
    shares = _shares(spec.perturb, [members[name].size for name in names])
    masks = audible(patches.stored)
    wishes = [
        _Wish(partial(_perturbation, patches, masks, members[name]), Dice(spec.seed, "perturb", name, i), name)
        for name, share in zip(names, shares, strict=True)
        for i in range(share)
    ]
    return _drawn(spec, patches, wishes, targets=True)


def _perturbation(patches: Patches, masks: np.ndarray, members: np.ndarray, dice: Dice) -> tuple[np.ndarray, str, list[str]]:
    one = dice.pick(members)
    if members.size == 1 or dice.below(2):
        return derive.mutation(dice, patches.stored[one], masks[one]), MUTATION, [patches.ids[one]]
    while (other := dice.pick(members)) == one:
        pass
    crossed = derive.crossover(dice, patches.stored[one], patches.stored[other])
    return crossed, CROSSOVER, [patches.ids[one], patches.ids[other]]


def _counterfactuals(spec: Spec, patches: Patches) -> Patches:
    """Versions of each target with one parameter changed."""
    masks = audible(patches.stored)
    wishes = [
        _Wish(partial(_version, patches, masks, i), Dice(spec.seed, "pairs", patches.ids[i], version), patches.splits[i])
        for i in np.flatnonzero(patches.targets)
        for version in range(spec.pairs)
    ]
    return _drawn(spec, patches, wishes, targets=False)


def _version(patches: Patches, masks: np.ndarray, i: int, dice: Dice) -> tuple[np.ndarray, str, list[str]]:
    return derive.counterfactual(dice, patches.stored[i], masks[i])[0], COUNTERFACTUAL, [patches.ids[i]]


# --- Splits ---


def _counts(spec: Spec, patches: Patches, samples: int | None, per_patch: int | None) -> dict[str, int]:
    """How many samples each split has; those with none are left out."""
    own = {split: int((patches.within(split) & patches.targets).sum()) for split in SPLITS}
    each = 2 if spec.pairs else 1
    if per_patch is not None and EVERY_SPLIT not in patches.splits:
        counts = {split: each * per_patch * own[split] for split in SPLITS}
    else:
        total = samples if per_patch is None else each * per_patch * sum(patches.targets)
        if total % each:
            raise InputError(f"--pairs makes two samples at a time: --samples must be even, not {total}")
        counts = dict(zip(SPLITS, (each * share for share in _shares(total // each, spec.split)), strict=True))
    return {split: count for split, count in counts.items() if count}


def _phrase_splits(phrases: int, counts: dict[str, int], spec: Spec) -> list[str]:
    """A split for each phrase in order of id, none for two."""
    parts = [part if split in counts else 0 for split, part in zip(SPLITS, spec.split, strict=True)]
    if phrases < sum(part > 0 for part in parts):
        raise InputError(f"{phrases} phrases are too few for {', '.join(counts)}: no phrase is in two; use --split 1,0,0")
    return _divide(phrases, parts)


def _divide(count: int, parts: Sequence[float]) -> list[str]:
    """`count` split names in proportion to `parts`; a split that is asked for gets at least one, from the largest."""
    shares = _shares(count, parts)
    for i, part in enumerate(parts):
        if part and not shares[i]:
            shares[i] += 1
            shares[int(np.argmax(shares))] -= 1
    return [split for split, share in zip(SPLITS, shares, strict=True) for _ in range(share)]


def _shares(total: int, parts: Sequence[float]) -> list[int]:
    """`total` divided in proportion to `parts`, by largest remainder."""
    exact = [total * part / sum(parts) for part in parts]
    shares = [int(share) for share in exact]
    for i in sorted(range(len(parts)), key=lambda i: shares[i] - exact[i])[: total - sum(shares)]:
        shares[i] += 1
    return shares
