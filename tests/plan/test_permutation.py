"""permutation.py: every order has everything once, is one of all, and is the same on every machine."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dx7data.plan.permutation import Permutation


@given(st.integers(1, 2000), st.integers(0, 2**40), st.integers())
def test_each_turn_has_everything_once(count, turn, seed):
    order = Permutation(count, seed)
    assert sorted(order(turn, place) for place in range(count)) == list(range(count))


@pytest.mark.parametrize("count", [10**6, 2**31 + 11, 10**12])
def test_what_is_too_many_to_list(count):
    order = Permutation(count, "large")
    found = [order(3, place) for place in (*range(1000), *range(count - 1000, count))]
    assert len(set(found)) == 2000
    assert 0 <= min(found) < max(found) < count
    assert stats.kstest(np.array(found) / count, "uniform").pvalue > 1e-4


def test_all_orders_of_four_come_equally_often():
    order = Permutation(4, "four")
    counts = Counter(tuple(order(turn, place) for place in range(4)) for turn in range(24_000))
    assert set(counts) == set(permutations(range(4)))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize("count", [12, 97])
def test_neighbours_part_and_places_are_shared(count):
    order = Permutation(count, "many", count)
    found = np.array([[order(turn, place) for place in range(count)] for turn in range(3000)])
    for place in (0, 1, count - 1):  # over the turns, every value comes to a place
        assert stats.chisquare(np.bincount(found[:, place], minlength=count)).pvalue > 1e-4
    steps = (found[:, 1] - found[:, 0]) % count  # places that are neighbours have values that are not
    assert stats.chisquare(np.bincount(steps, minlength=count)[1:]).pvalue > 1e-4
    again = (found[1:, 0] - found[:-1, 0]) % count  # nor does a turn tell of the next
    assert stats.chisquare(np.bincount(again, minlength=count)).pvalue > 1e-4


def test_it_is_stable():  # data sets on people's disks are made with it
    order = Permutation(10, 0, "train", "phrases")
    assert [order(0, place) for place in range(10)] == [8, 6, 2, 0, 9, 3, 7, 4, 1, 5]
