"""Which samples of a data set the page shows, by the tables of its shards."""

from itertools import pairwise

import numpy as np

from dx7data.plan.spec import Shard

COLUMNS = ["patch_id", "target_peak", "source_clipped", "target_clipped"]


def choose_samples(
    made: list[Shard], table: dict[str, np.ndarray], count: int, together: int = 1
) -> list[list[tuple[Shard, int]]]:
    """Shard and row of about `count` samples, `together` of them in a list, in the order of the data set.

    They are evenly spread, with at least one of each split, one that clips and one that is silent, where there are such. A
    patch comes twice only when all others of the data set have come; of several layers the first counts.
    table: COLUMNS of all samples of `made`, one shard after another.
    """
    starts = np.cumsum([0, *(each.count for each in made)])
    units = np.concatenate([np.arange(first, end, together) for first, end in pairwise(starts)])
    shards = np.searchsorted(starts, units, side="right") - 1
    patches = np.unique(table["patch_id"][units], return_inverse=True)[1]
    shown = np.zeros(patches.max() + 1, int)  # how often, of each patch
    left = np.ones(units.size, bool)

    def take(near: int, among: np.ndarray) -> None:
        """Of those whose patch has been shown least, the first from `near` on."""
        free = np.flatnonzero(left & among)
        uses = shown[patches[free]]
        free = free[uses == uses.min()]
        one = free[np.searchsorted(free, near) % free.size]
        left[one] = False
        shown[patches[one]] += 1

    splits = np.array([each.split for each in made])[shards]
    kinds = [table["source_clipped"] + table["target_clipped"] > 0, table["target_peak"] == 0]
    wanted = [np.logical_or.reduceat(kind, units) for kind in kinds]
    wanted += [splits == split for split in dict.fromkeys(splits.tolist())]
    for each in wanted:
        if each.any() and left[each].all():
            take(0, each)
    others = min(max(1, count // together), len(units)) - int(np.count_nonzero(~left))
    for i in range(others):
        take(i * len(units) // others, left)
    chosen = zip((made[i] for i in shards[~left]), (units - starts[shards])[~left].tolist(), strict=True)
    return [[(each, row) for row in range(first, min(first + together, each.count))] for each, first in chosen]
