"""Families against pairs compared one by one, and splits that no step between near patches crosses."""

from collections import Counter

import networkx
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data.patches import audible, bank, patch
from dx7data.patches.mutate import draw_uniform
from dx7data.patches.similarity import Codes, find_nearest, group_near_duplicates
from dx7data.plan import split
from dx7data.plan.patches import BANK, NOWHERE, make_rows
from dx7data.plan.spec import Spec
from dx7data.rng import KeyedRng

EXAMPLE = bank.load("example").patches


def spec(**options):
    return Spec(
        **{
            **{"seconds": 0.5, "sample_rate": 8000, "seed": 0, "source": "random", "split": (0.8, 0.1, 0.1)},
            **{"gain": "native", "keep_silent": False, "shard_bytes": 1000},
            **options,
        }
    )


def near_copies(rng, count, steps):
    """Patches of the example bank, each with up to so many parameters changed."""
    stored = EXAMPLE[rng.integers(0, 6, count)].copy()
    for row in stored:
        for field in rng.choice(patch.PARAMETERS, rng.integers(0, steps + 1), replace=False):
            row[field] = rng.integers(0, patch.MAXIMA[field] + 1)
    return stored


def distance(a, b):
    return len(audible.find_differences(a, b))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 6))
def test_families_are_the_components_of_near_pairs(seed, count, steps):
    stored = near_copies(np.random.default_rng(seed), count, steps)
    graph = networkx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from((i, j) for i in range(count) for j in range(i) if distance(stored[i], stored[j]) <= 2)
    first = group_near_duplicates(Codes(stored))
    assert {min(component): component for component in networkx.connected_components(graph)} == {
        int(root): set(np.flatnonzero(first == root)) for root in set(first)
    }


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nearest_is_the_least_distance_to_another_label(seed):
    rng = np.random.default_rng(seed)
    ours, theirs = near_copies(rng, 12, 8), near_copies(rng, 15, 8)
    labels, labels_there = rng.integers(0, 3, 12), rng.integers(0, 3, 15)
    found, index = find_nearest(Codes(ours), Codes(theirs), labels, labels_there)
    for i in range(12):
        others = {j: distance(ours[i], theirs[j]) for j in range(15) if labels_there[j] != labels[i]}
        assert found[i] == min(others.values(), default=255)
        assert index[i] == min(others, key=others.__getitem__, default=-1)


def rows(stored):
    """Of five banks."""
    return make_rows(
        stored, [BANK] * len(stored), [NOWHERE | {"sha256": str(i % 5)} for i in range(len(stored))], [True] * len(stored)
    )


def divided(stored, **options):
    patches = rows(stored)
    held_out = options.pop("held_out", set())
    return split.divide(split.group_patches(patches), spec(**options), held_out)


@pytest.fixture(scope="module")
def relatives():
    """Near-copies among the example bank, and distances of a tenth of them, numbers 0, 10, 20 ..., to all."""
    stored = np.unique(np.concatenate([near_copies(np.random.default_rng(1), 300, 3), EXAMPLE]), axis=0)
    return stored, np.array([[distance(one, other) for other in stored] for one in stored[::10]])


@pytest.mark.parametrize("split_by", ["patch", "algorithm", "bank"])
def test_no_family_is_in_two_splits(split_by, relatives):
    stored, distances = relatives
    patches = divided(stored, split_by=split_by)
    split_of = {}
    for family, name in zip(patches.families, patches.splits, strict=True):
        assert split_of.setdefault(family, name) == name
    assert set(patches.splits) == {"train", "val", "test"}
    report = split.make_report(patches, spec(split_by=split_by))
    splits = np.array(patches.splits)
    assert 3 <= report["nearest_across_splits"] <= distances[splits[::10, None] != splits].min()
    assert report["largest_family"] == max(Counter(patches.families).values())
    assert report["families"] == len(set(patches.families))
    assert report["a_random_split_would_leak"] > 0


def test_the_parts_are_as_asked():
    counts = Counter(divided(EXAMPLE, split=(0.5, 0.25, 0.25)).splits)
    assert counts == {"train": 16, "val": 8, "test": 8}
    assert Counter(divided(EXAMPLE, split=(0.98, 0.01, 0.01)).splits) == {"train": 30, "val": 1, "test": 1}
    assert set(divided(EXAMPLE, split=(1.0, 0.0, 0.0)).splits) == {"train"}


def test_few_families_are_split_by_phrase():
    """A hundred near-copies of one patch are one family: nothing to divide."""
    stored = np.repeat(EXAMPLE[:1], 100, axis=0)
    stored[:, 16] = np.arange(100) % 100
    assert set(divided(stored).splits) == {"all"}
    assert set(divided(EXAMPLE, split_by="phrase").splits) == {"all"}


def test_held_out_patches_are_in_test_with_their_families():
    copy = EXAMPLE[4].copy()
    copy[144] = 25
    stored = np.concatenate([EXAMPLE, copy[None]])
    key = patch.patch_id(EXAMPLE[4])
    patches = divided(stored, held_out={key})
    assert patches.splits[4] == patches.splits[-1] == "test"
    assert patches.families[4] == patches.families[-1]


def test_algorithms_stay_together():
    stored = np.concatenate([EXAMPLE, EXAMPLE])
    stored[32:, 139] ^= 31  # other patches of the same algorithms
    stored[32:, 125] ^= 7
    stored[32:, 144] ^= 3
    patches = divided(stored, split_by="algorithm")
    split_of = {}
    for algorithm, name in zip(stored[:, patch.ALGORITHM], patches.splits, strict=True):
        assert split_of.setdefault(int(algorithm), name) == name


@pytest.mark.parametrize("split_by", ["algorithm", "bank"])
def test_they_stay_together_when_patches_are_added(split_by):
    """Random voices, each a near-duplicate group of its own, of all 32 algorithms, some of which no old one has."""
    wanted = spec(split_by=split_by)
    old, new = (draw_uniform(KeyedRng(which), count) for which, count in (("old", 60), ("new", 200)))
    patches, bridges = split.join(divided(old, split_by=split_by), rows(new), wanted)
    algorithms = patches.stored[:, patch.ALGORITHM].tolist()
    labels = algorithms if split_by == "algorithm" else [origin["sha256"] for origin in patches.origins]
    assert not bridges
    assert len(set(patches.families)) == 260
    assert len(set(labels)) == (32 if split_by == "algorithm" else 5)
    split_of = {}
    for label, name in zip(labels, patches.splits, strict=True):
        assert split_of.setdefault(label, name) == name


@oracle.needs_factory
def test_the_factory_banks_do_not_leak():
    stored = bank.load(oracle.FACTORY).patches
    patches = divided(stored)
    distances = [
        distance(stored[i], stored[j])
        for i in range(0, len(stored), 7)
        for j in range(len(stored))
        if patches.splits[i] != patches.splits[j]
    ]
    assert min(distances) > 2


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9), st.lists(st.floats(0, 1), min_size=1, max_size=3).filter(lambda parts: sum(parts) > 0.01))
def test_shares(total, parts):
    """They add up, differ from the exact ones by less than one, and none shrinks when there is more to divide."""
    found, more = split.divide_evenly(total, parts), split.divide_evenly(total + 1, parts)
    assert sum(found) == total
    assert all(abs(share - total * part / sum(parts)) < 1.001 for share, part in zip(found, parts, strict=True))
    assert all(b >= a for a, b in zip(found, more, strict=True))
