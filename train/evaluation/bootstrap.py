"""How sure a mean over clips is: its standard error, and an interval of the difference of two runs on the same clips.

Efron's percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13): clips are drawn
again, as many as there are, with replacement; the interval holds the middle 95 % of the means. Differences are taken clip
by clip first: what makes a clip hard for every model cancels. Clips count as independent, though some share a patch or a
phrase, and another seed of training is not in it: the interval says what other clips would change, and no more.
"""

import numpy as np

RESAMPLES = 10_000
_AT_ONCE = 500  # resamples: 1,024 clips take 4 MB of indices


def standard_error(values: np.ndarray) -> float:
    """Of the mean of N values; NaN of fewer than two."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def describe_error(error: float) -> str:
    """ " ± 0.067", to stand behind a mean; nothing where the error is not known."""
    return f" ± {error:.3f}" if np.isfinite(error) else ""


def mean_interval(values: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Low and high end for the mean of values, float64 (N,); always the same for the same values and seed."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=(_AT_ONCE, len(values)))].mean(1) for _ in range(RESAMPLES // _AT_ONCE)]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
