"""Which samples the page shows: properties of the choice over random data sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from dx7data.page.choice import choose_samples
from dx7data.plan.spec import Shard


def make_table(made, patches, clipped=(), silent=()):
    """Samples in order of their place; `patches`: of each."""
    count = sum(each.count for each in made)
    table = {"patch_id": np.array([f"{patch:016x}" for patch in patches], object), "target_peak": np.full(count, 9000)}
    table |= {"source_clipped": np.zeros(count, int), "target_clipped": np.zeros(count, int)}
    table["target_clipped"][list(clipped)] = 7
    table["target_peak"][list(silent)] = 0
    return table


def places(made, chosen):
    """Of each chosen sample, its place in the table."""
    starts = dict(zip(made, np.cumsum([0, *(each.count for each in made)]).tolist(), strict=False))
    return [starts[shard] + row for unit in chosen for shard, row in unit]


@given(some.data())
def test_each_patch_once_before_any_twice(data):
    counts = data.draw(some.lists(some.integers(1, 40), min_size=1, max_size=6))
    splits = [("train", "val", "test")[min(2, i // 2)] for i in range(len(counts))]
    made = [Shard(split, i, 0, count) for i, (split, count) in enumerate(zip(splits, counts, strict=True))]
    total, wanted = sum(counts), data.draw(some.integers(1, 60))
    kinds = data.draw(some.lists(some.integers(0, 12), min_size=total, max_size=total))
    split_of = [("train", "val", "test").index(each.split) for each in made for _ in range(each.count)]
    patches = [13 * split + kind for split, kind in zip(split_of, kinds, strict=True)]  # a patch is in one split
    marked = [data.draw(some.lists(some.integers(0, total - 1), max_size=3)) for _ in range(2)]
    chosen = choose_samples(made, make_table(made, patches, *marked), wanted)
    found = places(made, chosen)
    assert found == sorted(set(found)), "in order, none twice"
    assert min(wanted, total) <= len(found) <= max(wanted, len(set(splits)) + 2)
    assert {shard.split for unit in chosen for shard, _ in unit} == set(splits)
    assert all(not each or set(each) & set(found) for each in marked), "one that clips, one that is silent"
    if not all(marked):  # a patch of which the only silent sample is may have come before, with one that clips
        uses, available = (np.bincount(each, minlength=39) for each in ([patches[place] for place in found], patches))
        assert (uses >= np.minimum(available, uses.max() - 1)).all()


def test_spread_over_shards_and_splits():
    made = [Shard("train", i, 100 * i, 100) for i in range(8)] + [Shard("val", 0, 0, 4), Shard("test", 0, 0, 1)]
    table = make_table(made, range(805))
    chosen = choose_samples(made, table, 24)
    assert len(chosen) == 24
    assert {shard for unit in chosen for shard, _ in unit} == set(made)
    assert np.diff([0, *places(made, chosen)]).max() < 60, "no gap of twice the mean"
    pairs = choose_samples(made, table, 24, together=2)
    assert [len(unit) for unit in pairs] == [2] * 11 + [1]
    assert all(unit[0][1] % 2 == 0 for unit in pairs)
    assert len(choose_samples(made, table, 10**6)) == 805
