"""Splits: which patches and phrases belong to train, val and test. Near-duplicates are never in two of them.

A near-duplicate group (similarity.py), the column `family` of the tables, goes to one split whole, with the patches that
are made from it.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dx7data.errors import InputError
from dx7data.output import format_count
from dx7data.patches.patch import ALGORITHM
from dx7data.patches.similarity import NEAR, Codes, find_nearest, group_near_duplicates
from dx7data.plan.patches import BANK, COUNTERFACTUAL, EVERY_SPLIT, Patches
from dx7data.plan.spec import SPLITS, Spec
from dx7data.rng import KeyedRng

_MIN_GROUPS = 10  # with fewer, every split has all patches and other phrases


def group_patches(patches: Patches) -> Patches:
    """The same rows with the near-duplicate group of each: the smallest id in it."""
    first = group_near_duplicates(Codes(patches.stored))
    smallest: dict[int, str] = {}
    for i in np.argsort(patches.ids):
        smallest.setdefault(int(first[i]), patches.ids[i])
    return replace(patches, families=[smallest[int(i)] for i in first])


def divide(patches: Patches, spec: Spec, held_out: Collection[str]) -> Patches:
    """The same rows with a split for each. held_out: ids of patches that belong to test, with their near-duplicate groups.

    Raises InputError when there is too little to divide by algorithm or by bank.
    """
    if spec.split_by == "phrase" or len(_list_target_groups(patches)) < _MIN_GROUPS:
        if held_out:
            raise InputError("--hold-out divides patches, and these are too few, or are split by phrase: leave it out")
        return replace(patches, splits=[EVERY_SPLIT] * len(patches))
    out = {family for family, key in zip(patches.families, patches.ids, strict=True) if key in held_out}
    label = _label(patches, spec)
    targets = {own: 0 for own, family in zip(label, patches.families, strict=True) if family not in out}
    for own, family, target in zip(label, patches.families, patches.targets, strict=True):
        if family not in out:
            targets[own] += target
    of_label = _allot(targets, spec)
    of_family = dict.fromkeys(out, "test")
    for family, own in _find_group_labels(patches, label).items():
        of_family.setdefault(family, of_label.get(own, "test"))  # of some labels everything is held out
    return replace(patches, splits=[of_family[family] for family in patches.families])


def limit_train(patches: Patches, spec: Spec) -> Patches:
    """The rows that stay when train keeps as many targets as are asked for; the versions that pairs need go with theirs.

    Each target has a random number of its own, and those with the smallest ones stay: so those of a small plan are in every
    larger one, and nothing of val and test changes. Raises InputError where there are no such targets, or fewer.
    """
    wanted = spec.train_patches
    if wanted is None:
        return patches
    if EVERY_SPLIT in patches.splits:
        raise InputError(
            "--train-patches needs patches that are divided, and these are too few, or are split by phrase: leave it out"
        )
    targets = np.flatnonzero(patches.within("train") & patches.targets).tolist()
    if wanted > len(targets):
        raise InputError(f"--train-patches {wanted} is more than train has, {len(targets)}: ask for fewer, or leave it out")
    by_number = sorted(
        (int(KeyedRng(spec.seed, "train patches", patches.ids[i]).raw(1)[0]), patches.ids[i], i) for i in targets
    )
    left_out = {i for _, _, i in by_number[wanted:]}
    # With --dedupe none, a row that stays can have the same id, and needs the versions.
    without = {patches.ids[i] for i in left_out} - {key for _, key, _ in by_number[:wanted]}
    versions = zip(patches.kinds, patches.parents, strict=True)
    left_out |= {i for i, (kind, parents) in enumerate(versions) if kind == COUNTERFACTUAL and parents[0] in without}
    return patches.take([i for i in range(len(patches)) if i not in left_out])


def join(old: Patches, new: Patches, spec: Spec) -> tuple[Patches, dict[int, list[str]]]:
    """New rows after the old ones, which stay as they are; and the new ones that are near several splits, with these."""
    together = old.join(new)
    first = group_near_duplicates(Codes(together.stored))
    split_of: dict[int, set[str]] = {}
    family_of: dict[int, str] = {}
    for i in range(len(old)):
        split_of.setdefault(int(first[i]), set()).add(old.splits[i])
        family_of.setdefault(int(first[i]), old.families[i])
    bridges = {
        i: sorted(split_of[own]) for i, own in enumerate(first[len(old) :].tolist()) if len(split_of.get(own, ())) > 1
    }
    left = [i for i in range(len(new)) if i not in bridges]
    roots = [int(first[len(old) + i]) for i in left]
    new = group_patches(new).take(left)
    new = replace(new, families=[family_of.get(root, own) for root, own in zip(roots, new.families, strict=True)])
    if EVERY_SPLIT in old.splits:
        return old.join(new), bridges
    strangers = [i for i, root in enumerate(roots) if root not in split_of]
    splits = {i: next(iter(split_of[root])) for i, root in enumerate(roots) if root in split_of}
    splits |= dict(zip(strangers, _divide_more(old, new.take(strangers), spec), strict=True))
    return old.join(replace(new, splits=[splits[i] for i in range(len(new))])), bridges


def _divide_more(old: Patches, strangers: Patches, spec: Spec) -> list[str]:
    """A split for each new group: that of its algorithm or bank, if old patches have it, else the one that lacks most."""
    wanted = {split: part * (sum(old.targets) + len(strangers)) for split, part in zip(SPLITS, spec.split, strict=True)}
    for split, target in zip(old.splits, old.targets, strict=True):
        wanted[split] -= target
    of_label = _find_label_splits(old, spec)
    of_group = _find_group_labels(strangers, _label(strangers, spec))
    labels = [of_group[family] for family in strangers.families]
    for label, size in sorted(Counter(labels).items(), key=lambda item: (item[0] not in of_label, -item[1], item[0])):
        split = of_label.setdefault(label, max(wanted, key=lambda split: wanted[split]))
        wanted[split] -= size
    return [of_label[label] for label in labels]


def _find_label_splits(patches: Patches, spec: Spec) -> dict[str, str]:
    """Where `divide` has put each label: where most of its patches are, for some may be held out. Without made patches."""
    divided = patches.take([i for i, parents in enumerate(patches.parents) if not parents])
    of_group = _find_group_labels(divided, _label(divided, spec))
    counts: dict[str, Counter] = {}
    for family, split in sorted(zip(divided.families, divided.splits, strict=True)):
        counts.setdefault(of_group[family], Counter())[split] += 1
    return {label: splits.most_common(1)[0][0] for label, splits in counts.items()}


def _list_target_groups(patches: Patches) -> set[str]:
    return {family for family, target in zip(patches.families, patches.targets, strict=True) if target}


def _label(patches: Patches, spec: Spec) -> list:
    """What is kept together: near-duplicate groups, algorithms or files."""
    if spec.split_by == "algorithm":
        return [str(algorithm + 1) for algorithm in patches.stored[:, ALGORITHM].tolist()]
    if spec.split_by == "bank":
        return [
            origin["sha256"] if kind == BANK else kind for origin, kind in zip(patches.origins, patches.kinds, strict=True)
        ]
    return patches.families


def _find_group_labels(patches: Patches, label: list) -> dict[str, str]:
    """The label that most patches of a group have: a group stays whole, and goes where most of it belongs."""
    counts: dict[str, Counter] = {}
    for family, own in sorted(zip(patches.families, label, strict=True)):
        counts.setdefault(family, Counter())[own] += 1
    return {family: own.most_common(1)[0][0] for family, own in counts.items()}


def _allot(targets: dict[str, int], spec: Spec) -> dict[str, str]:
    """A split for each label, so that the targets are divided as is asked for, as nearly as whole labels allow."""
    asked = [split for split, part in zip(SPLITS, spec.split, strict=True) if part]
    left = sum(count > 0 for count in targets.values())
    if left < len(asked):
        found = format_count(left, spec.split_by)
        raise InputError(f"--split-by {spec.split_by} finds only {found} to divide among {', '.join(asked)}: change --split")
    wanted = {split: part * sum(targets.values()) for split, part in zip(SPLITS, spec.split, strict=True)}
    empty, split_of = set(asked), {}
    for label in sorted(targets, key=lambda label: (-targets[label], label)):
        open_to = [split for split in asked if split in empty] if 0 < left <= len(empty) else asked
        split = max(open_to, key=lambda split: wanted[split])
        wanted[split] -= targets[label]
        empty.discard(split)
        left -= 1
        split_of[label] = split
    return split_of


def divide_phrases(phrases: int, spec: Spec) -> list[str]:
    """A split for each phrase in order of id (a hash, so a random order that never changes). Raises InputError."""
    asked = [split for split, part in zip(SPLITS, spec.split, strict=True) if part]
    if phrases < len(asked):
        raise InputError(
            f"{format_count(phrases, 'phrase')} can't be divided among {', '.join(asked)}, for each is in one of them "
            "alone: give more music, or --split 1,0,0"
        )
    found = divide_evenly(phrases, spec.split)
    for i, part in enumerate(spec.split):
        if part and not found[i]:  # a split that is asked for gets at least one, from the largest
            found[i] += 1
            found[int(np.argmax(found))] -= 1
    return [split for split, share in zip(SPLITS, found, strict=True) for _ in range(share)]


def divide_evenly(total: int, parts: Sequence[float]) -> list[int]:
    """`total` divided in proportion to `parts`, by Webster's method: with a larger total no share gets smaller.

    With at most three parts the method gives each its exact share, but for less than one: a few rounds complete it.
    """
    found = [max(0, int(total * part / sum(parts)) - 1) for part in parts]
    for _ in range(total - sum(found)):
        found[max(range(len(parts)), key=lambda i: parts[i] / (2 * found[i] + 1))] += 1
    return found


def make_report(patches: Patches, spec: Spec) -> dict:
    """How far apart the splits are, and what a split of the same patches without regard to near-duplicates would leak.

    With --train-patches also what train has: it is the only plan of which that is not what --split asks for.
    """
    sizes = Counter(patches.families)
    found: dict[str, Any] = {
        "split_by": "phrase" if EVERY_SPLIT in patches.splits else spec.split_by,
        "families": len(sizes),
        "largest_family": max(sizes.values(), default=0),
        "nearest_across_splits": None,
        "a_random_split_would_leak": None,
    }
    if spec.train_patches:
        found["train"] = {"patches": spec.train_patches, "families": patches.count_groups("train")}
    if EVERY_SPLIT not in patches.splits and len(set(patches.splits)) > 1:
        codes = Codes(patches.stored)
        labels = np.unique(patches.splits, return_inverse=True)[1]
        found["nearest_across_splits"] = int(find_nearest(codes, codes, labels, labels)[0].min())
        train = divide_evenly(len(patches), spec.split)[0]
        at_random = patches.stored[KeyedRng(spec.seed, "random split").permute(len(patches))]
        inside, outside = Codes(at_random[:train]), Codes(at_random[train:])
        distance, _ = find_nearest(outside, inside, np.zeros(len(patches) - train, np.int64), np.ones(train, np.int64))
        found["a_random_split_would_leak"] = int((distance <= NEAR).sum())
    return found


def describe(report: dict) -> str:
    """The report in words, which are a part of each data set's card: dataset/card.py knows earlier words too."""
    largest = format_count(report["largest_family"], "patch")
    text = f"{format_count(report['families'], 'near-duplicate group')}, the largest of {largest}; "
    if report["split_by"] == "phrase":
        return text + "split by phrase: every split has all patches, and phrases of its own"
    if train := report.get("train"):
        groups = format_count(train["families"], "near-duplicate group")
        text += f"train has {format_count(train['patches'], 'patch')} of {groups}; "
    if report["nearest_across_splits"] is None:
        return text + "all in one split"
    leaked = format_count(report["a_random_split_would_leak"], "patch")
    return (
        f"{text}split by {report['split_by']}: patches of two splits differ in at least {report['nearest_across_splits']} "
        f"audible parameters; a random split would have leaked {leaked} into val and test"
    )
