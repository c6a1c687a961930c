"""What must be right before a run begins, in all of its processes alike."""

from pathlib import Path

from dx7data.errors import InputError
from dx7data.process import hold_interrupt
from models.memory import Estimate, TooLarge, check_memory
from train.config import RunSettings
from train.data.clips import Clips
from train.data.web import UrlClips
from train.loop.distributed import Ranks
from train.loop.loader import count_prefix, count_steps
from train.results import reader


def has_other_data(run: Path, data: Clips | UrlClips) -> bool:
    """Whether a run is there, and began with other data."""
    if not data.resumable or not (run / "config.json").exists():
        return False
    return reader.read_config(run).get("fingerprint") != data.fingerprint


def check_data(run: Path, data: Clips | UrlClips, shards: str) -> None:
    """Raises InputError if a run began with other data."""
    if has_other_data(run, data):
        raise InputError(f"{run} began with other data than {shards}: go on with its own, or start another run")


def check_step(settings: RunSettings, data: Clips | UrlClips, ranks: Ranks) -> Estimate:
    """What a step will need. Raises InputError, before anything is allocated, if it can't be had."""
    parts = ranks.count * settings.grad_accum
    if settings.batch % parts:
        near = max(1, round(settings.batch / parts)) * parts
        raise InputError(
            f"--batch {settings.batch} can't be divided into {parts} parts (processes x --grad-accum): take --batch {near}"
        )
    if settings.model.film not in (0, length := count_prefix(data.format)):
        there = f"the prefix has {length} samples: take --model.film {length}" if length else "there is no --prefix: add one"
        raise InputError(f"--model.film is {settings.model.film}, and {there}, or leave --model.film out")
    if settings.model.film_reader == "operators" and (data.format.codec, data.format.layers) != ("bytes", 1):
        raise InputError(
            "--model.film-reader operators needs the bytes prefix of one voice: add --prefix bytes, or take mlp"
        )
    if settings.patience and not settings.keep_best:
        raise InputError("--patience counts evaluations without a better --keep-best METRIC: name one, such as bits")
    if settings.keep_best and isinstance(data, UrlClips):
        raise InputError("--keep-best chooses by evaluations, and --reader webdataset has none: leave one of them out")
    try:
        with hold_interrupt():  # fake tensors: PyTorch calls Python from C++ for each operation
            return check_memory(
                settings.model, settings.batch // parts, count_steps(data.format), ranks.device.type, settings.precision
            )
    except TooLarge as error:
        raise InputError(
            f"{error}: raise --grad-accum, which computes a batch in parts, or lower --batch or --seconds"
        ) from None
    except ValueError as error:
        raise InputError(str(error)) from None


def check_metric(metric: str | None, sets: list[str]) -> None:
    """Raises InputError if no set of the evaluations has the metric of --keep-best."""
    if metric and (not sets or metric.rpartition("/")[0] not in ("", *sets)):
        there = f"the sets are {', '.join(sets)}" if sets else "nothing is evaluated"
        raise InputError(f"--keep-best {metric}: {there}; go on by --resume --keep-best with another METRIC, or none")
