"""The learning rate at each step: a warm-up, then a cosine or a constant; a run that is extended goes on from its rate.

With "wsd" it goes back up after the decay: to go on from a checkpoint before it instead would throw the steps of the decay
away.
"""

import math
from collections.abc import Sequence

from train.config import Part, RunSettings

FLOOR = 0.1  # of the highest rate, at the last step


def find_rate(step: int, settings: RunSettings) -> float:
    """The learning rate at a step, counted from 1, of parameters without a cap."""
    return settings.lr * find_factor(step, settings.parts, settings.warmup, settings.schedule, settings.decay)


def describe_extension(settings: RunSettings) -> str:
    """A sentence about the last part of a run that was extended."""
    begin, end = settings.parts[-1]
    rates = [f"{find_rate(step, settings):.2g}" for step in (begin, end)]
    stays = rates[0] == rates[1] and settings.schedule == "cosine"
    course = f"{rates[0]} and stays there" if stays else " and ends at ".join(rates)
    return f"extended after step {begin:,} to {end:,} steps: the learning rate goes on at {course} ({settings.schedule})"


def find_factor(step: int, parts: Sequence[Part], warmup: float, schedule: str = "cosine", decay: float = 0.2) -> float:
    """The part of the highest rate at a step, counted from 1.

    warmup: the part of the steps first planned during which the rate rises in a line. decay: the part of all steps during
    which "wsd" falls at the end. Each part of the schedule begins at the rate of the step before it.
    """
    rising = max(1, round(warmup * parts[0].end))
    factor = 0.0
    for i, part in enumerate(parts):
        last = step if i + 1 == len(parts) else min(step, parts[i + 1].begin)
        if schedule == "cosine":
            factor = _follow_cosine(last, part, factor, rising)
        else:
            factor = _follow_wsd(last, part, factor, rising, decay)
        if last == step:
            break
    return factor


def _follow_cosine(step: int, part: Part, first: float, rising: int) -> float:
    """Half a cosine from the end of the warm-up, or from the rate at which the part begins, to its end."""
    if step <= rising:
        return step / rising
    top, begin = (first, part.begin) if part.begin >= rising else (1.0, rising)
    return (top + FLOOR) / 2 + (top - FLOOR) / 2 * math.cos(math.pi * (step - begin) / (part.end - begin))


def _follow_wsd(step: int, part: Part, first: float, rising: int, decay: float) -> float:
    """Up in a line, as steep as the warm-up, constant, and down in a line."""
    falling = max(part.begin, part.end - round(decay * part.end))
    top = min(1.0, first + (min(step, falling) - part.begin) / rising)
    if step <= falling:
        return top
    return top + (FLOOR - top) * (step - falling) / (part.end - falling)
