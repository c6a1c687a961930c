"""What the evaluations of a run ask for: a checkpoint that stays, or the end."""

from pathlib import Path

from train.config import RunSettings
from train.evaluation import best
from train.loop import checkpoint
from train.results import reader


def find_best(run: Path, settings: RunSettings, step: int) -> int | None:
    """With --keep-best the step of the best evaluation, of those that have a checkpoint, or get one now at a step."""
    if not settings.keep_best:
        return None
    there = {step, *(int(folder.name) for folder in checkpoint.list_whole(run))}
    values = reader.read_metric(run, settings.keep_best)
    return best.find_best({at: value for at, value in values.items() if at in there}, settings.keep_best)


def is_out_of_patience(run: Path, settings: RunSettings, step: int) -> bool:
    """Whether --patience ends a run at a step."""
    if not (settings.patience and settings.keep_best):
        return False
    values = reader.read_metric(run, settings.keep_best)
    done = {at: value for at, value in values.items() if at <= step}
    return best.count_since_best(done, settings.keep_best) >= settings.patience
