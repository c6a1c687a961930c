"""Which evaluation was the best, by a metric of validation.csv: what --keep-best and --patience go by."""

import math

LOWER = ("bits", "mrstft", "mel_db")  # is better
HIGHER = ("snr_mean_db", "snr_argmax_db", "accuracy_1", "accuracy_3", "accuracy_5", "accuracy_10")
# Of a set that is named, or of that by which runs are judged.
CHOICES = [f"{place}{name}" for place in ("", "seen/", "unseen/", "val/") for name in (*LOWER, *HIGHER)]


def find_best(values: dict[int, float], metric: str) -> int | None:
    """The step of the best value, the first of equal ones; NaN is no value. metric: one of CHOICES."""
    sign = 1 if metric.rpartition("/")[2] in LOWER else -1
    numbers = {step: sign * value for step, value in values.items() if not math.isnan(value)}
    return min(numbers, key=lambda step: (numbers[step], step), default=None)


def count_since_best(values: dict[int, float], metric: str) -> int:
    """The evaluations after the best one."""
    best = find_best(values, metric) or 0
    return sum(step > best for step in values)
