"""Differences of runs on the clips that they share, with intervals: is one model better, or were other clips drawn?"""

import math
from typing import NamedTuple

import numpy as np

from train.evaluation.bootstrap import mean_interval
from train.results.reader import Run

HEAD = ["set", "run", "bits more than", "difference", "95 % interval", "clips"]


class Difference(NamedTuple):
    """Mean of the differences in bits a sample, clip by clip, its 95 % interval (bootstrap.py), and the number of clips."""

    mean: float
    low: float
    high: float
    clips: int


def compare(run: Run, other: Run, which: str) -> Difference | None:
    """Of the last evaluations of a set, run less other; None if there are no clips that both have."""
    if run.find_clips(which) != other.find_clips(which):
        return None
    ours, theirs = (_bits(each, which) for each in (run, other))
    if not (shared := ours.keys() & theirs.keys()):
        return None
    values = np.array([ours[clip] - theirs[clip] for clip in sorted(shared)])
    return Difference(float(values.mean()), *mean_interval(values), len(values))


def average(runs: list[Run]) -> Run:
    """Runs that differ in their seeds as one: of each clip that all have the mean of their bits."""
    first = runs[0]
    if len(runs) == 1:
        return first
    clips = {}
    for which, rows in first.clips.items():
        bits = [_bits(run, which) for run in runs]
        keys = [((row["split"], row["sample"]), row) for row in rows]
        clips[which] = [
            row | {"bits": repr(float(np.mean([each[key] for each in bits])))}
            for key, row in keys
            if all(key in each for each in bits)
        ]
    return first._replace(clips=clips)


def compare_with_best(runs: list[Run]) -> list[dict]:
    """For JSON: each run against the best one of a set that has clips to compare; nulls where the two share none."""
    found = []
    for which in dict.fromkeys(which for run in runs for which in run.clips):
        measured = [run for run in runs if run.clips.get(which)]
        means = {run.name: np.mean(list(_bits(run, which).values())) for run in measured}
        best = min(measured, key=lambda run: math.inf if math.isnan(means[run.name]) else means[run.name])
        for run in measured:
            if run is not best:
                difference = compare(run, best, which) or (None,) * len(Difference._fields)
                figures = dict(zip(Difference._fields, difference, strict=True))
                found.append({"set": which, "run": run.name, "best": best.name, **figures})
    return found


def rows(found: list[dict]) -> list[list[str]]:
    """The same as texts of a table with HEAD."""
    return [
        [one["set"], one["run"], one["best"]]
        + (
            ["–", "other clips", ""]
            if one["mean"] is None
            else [f"{one['mean']:+.3f}", f"{one['low']:+.3f} to {one['high']:+.3f}", f"{one['clips']:,}"]
        )
        for one in found
    ]


def _bits(run: Run, which: str) -> dict[tuple[str, str], float]:
    """By split and number of the clip."""
    return {(row["split"], row["sample"]): float(row["bits"]) for row in run.clips.get(which, [])}
