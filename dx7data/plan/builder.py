"""Planning: a bank, phrases and a spec become a plan. Silent patches go, new ones come, all are divided into splits."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from dx7data.audio.silence import find_sounding
from dx7data.errors import InputError
from dx7data.output import format_count, log
from dx7data.patches import patch
from dx7data.patches.bank import Bank
from dx7data.phrases.columns import Phrases
from dx7data.plan import augment, hidden, split
from dx7data.plan.patches import BANK, EVERY_SPLIT, NOWHERE, Patches, make_rows
from dx7data.plan.plan import Plan
from dx7data.plan.recipe import FORMAT
from dx7data.plan.spec import RANDOM_SOURCE, SPLITS, Spec
from dx7data.plan.split import divide_evenly


def make_plan(
    bank: Bank,
    spec: Spec,
    samples: int | None = None,
    per_patch: int | None = None,
    targets: set[str] | None = None,
    phrases: Phrases | None = None,
    held_out: Collection[str] = (),
) -> Plan:
    """The plan for a bank.

    samples: in all; or per_patch: of each target. targets: ids of the patches of the bank that become targets; None: all.
    phrases: what is played; None: drawn phrases. held_out: ids of patches that belong to test, with their near-duplicates.
    Raises InputError when nothing audible is in the bank, or a split that is asked for stays empty.
    """
    if spec.keep_silent and (spec.perturb or spec.pairs):
        raise InputError("--perturb and --pairs change what can be heard of a patch: leave out --keep-silent")
    patches, silent = _take_audible(bank, spec, targets)
    if spec.random_patches:
        patches = patches.join(augment.draw_random(spec, patches))
    if not len(patches):
        raise InputError("no patch in the bank can be heard on notes 36, 60 and 84; --keep-silent renders it all the same")
    log.debug(f"{len(silent)} of {len(patches) + len(silent)} patches are silent; looking for near-duplicates")
    # Held-out patches that play no part, because they are silent or no targets, have near-duplicates that do.
    together = split.group_patches(patches.join(_take_others(bank, held_out, patches)))
    patches = split.divide(together, spec, held_out).take(range(len(patches)))
    if spec.perturb:
        patches = patches.join(augment.perturb(spec, patches))
    if spec.pairs:
        patches = patches.join(augment.make_counterfactuals(spec, patches))
    patches = split.limit_train(patches.take(np.argsort(patches.ids, kind="stable")), spec)
    counts = _count_samples(spec, patches, samples, per_patch)
    if phrases is not None:
        phrases = phrases.with_splits(split.divide_phrases(len(phrases), spec))
    report = split.make_report(patches, spec)
    made = Plan(spec=spec, patches=patches, phrases=phrases, silent=silent, counts=counts, split_report=report)
    for name, part in zip(SPLITS, spec.split, strict=True):
        own = int((patches.within(name) & patches.targets).sum())
        if part and own < spec.layers[1]:
            more = " or more --train-patches" if name == "train" and spec.train_patches else ""
            raise InputError(f"{spec.layers[1]} layers need as many patches, and {name} has {own}: use fewer --layers{more}")
    return _measure(made)


def _measure(plan: Plan) -> Plan:
    """The plan with what is hidden in its samples."""
    log.debug("rendering some samples in variations, to measure what a model can't know")
    return replace(plan, hidden=hidden.measure(plan))


def _take_audible(bank: Bank, spec: Spec, targets: set[str] | None) -> tuple[Patches, list[dict]]:
    """The patches of the bank that play a part and can be heard; id and name of the silent ones."""
    by_id = np.argsort(bank.ids, kind="stable")
    takes_part = [i for i in by_id if targets is None or bank.ids[i] in targets or spec.source == RANDOM_SOURCE]
    stored = bank.patches[takes_part]
    sounds = np.ones(len(stored), bool) if spec.keep_silent else find_sounding(stored, spec.sample_rate, spec.seconds)
    kept = [i for i, is_heard in zip(takes_part, sounds, strict=True) if is_heard]
    silent = [i for i, is_heard in zip(takes_part, sounds, strict=True) if not is_heard]
    is_target = [targets is None or bank.ids[i] in targets for i in kept]
    if targets is not None and not any(is_target):
        raise InputError(
            "none of the --targets can be heard on notes 36, 60 and 84; --keep-silent renders them all the same"
        )
    return _take(bank, kept, is_target), [{"id": bank.ids[i], "name": bank.names[i]} for i in silent]


def _take_others(bank: Bank, ids: Collection[str], patches: Patches) -> Patches:
    """The patches of the bank that have these ids and are not among `patches`; none of them is a target."""
    others = sorted(set(ids).difference(patches.ids))
    rows = [bank.ids.index(key) for key in others]
    return _take(bank, rows, [False] * len(rows))


def _take(bank: Bank, rows: list[int], is_target: list[bool]) -> Patches:
    origins = [{name: bank.origins[i][name] for name in NOWHERE} for i in rows]
    return make_rows(bank.patches[rows], [BANK] * len(rows), origins, is_target)


def add_samples(old: Plan, samples: int) -> Plan:
    """A plan for more samples, of which the old ones are the first. Raises InputError if a split would lose some."""
    old.check_current()
    counts = _count_samples(old.spec, old.patches, samples, None)
    for name, count in old.counts.items():
        if counts.get(name, 0) < count:
            raise InputError(
                f"{format_count(samples, 'sample')} would leave {name} {counts.get(name, 0):,}, and it has {count:,}: "
                "ask for more"
            )
    return _measure(replace(old, counts=counts))


def add_patches(old: Plan, bank: Bank) -> tuple[Plan, list[str]]:
    """A plan with more patches, and a sentence for each that it refuses: those that are near patches of several splits.

    The old patches stay in their splits, a new one that is a near-duplicate of an old one joins its group, the
    others are divided like any. Raises InputError for a plan whose train patches are limited.
    """
    old.check_current()
    if old.spec.train_patches:
        raise InputError(
            f"a plan with --train-patches {old.spec.train_patches} takes no more patches, for it does not know which it "
            "has left out: plan anew, with all of them"
        )
    known = set(old.patches.ids)
    fresh, silent = _take_audible(bank, old.spec, None)
    fresh = fresh.take([i for i, key in enumerate(fresh.ids) if key not in known])
    if not len(fresh):
        raise InputError("no patch among these is new and can be heard")
    joined, bridges = split.join(old.patches, fresh, old.spec)
    patches = joined
    if old.spec.pairs:
        patches = patches.join(augment.make_counterfactuals(old.spec, patches, set(joined.ids[len(old.patches) :])))
    patches = patches.take(np.argsort(patches.ids, kind="stable"))
    report = split.make_report(patches, old.spec)
    known = {each["id"] for each in old.silent}
    silent = old.silent + [each for each in silent if each["id"] not in known]
    new = replace(old, format=FORMAT, patches=patches, silent=silent, split_report=report)
    return _measure(new), [
        f"{fresh.origins[i]['file']}:{fresh.origins[i]['index']}, {patch.patch_name(fresh.stored[i])}, is left out: "
        f"it is near patches of {' and '.join(splits)}"
        for i, splits in bridges.items()
    ]


def _count_samples(spec: Spec, patches: Patches, samples: int | None, per_patch: int | None) -> dict[str, int]:
    """How many samples each split has; those with none are left out."""
    own = {split: int((patches.within(split) & patches.targets).sum()) for split in SPLITS}
    each = 2 if spec.pairs else 1
    if per_patch is not None and EVERY_SPLIT not in patches.splits:
        counts = {split: each * per_patch * own[split] for split, part in zip(SPLITS, spec.split, strict=True) if part}
    else:
        total = each * per_patch * sum(patches.targets) if per_patch is not None else samples or 0
        if total % each:
            raise InputError(f"--pairs makes two samples at a time: --samples must be even, not {total}")
        counts = dict(zip(SPLITS, (each * share for share in divide_evenly(total // each, spec.split)), strict=True))
    return {split: count for split, count in counts.items() if count}
