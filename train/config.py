"""What a run is: settings that are written beside it, and presets, functions that give them."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from dx7data.errors import InputError
from dx7data.prefix import CODECS
from models import registry as models
from models.settings import ModelSettings, override
from train.documents import Name, convert
from train.evaluation.best import CHOICES
from train.evaluation.decode import Decoder
from train.options import setting

ON_A_GPU = {"evaluate_samples": 1024}  # of 64 clips the mean bits are uncertain by 0.07, as much as models differ by
INDIFFERENT = ("device", "workers", "grad_accum", "logger")  # settings that do not change what a run computes
# Settings that a run that goes on may have otherwise: its losses stay the same. Its data may lie elsewhere.
FREE = (
    *("shards", "reader", *INDIFFERENT, "compile", "evaluate_every", "evaluate_samples", "decode", "checkpoint_every"),
    *("keep_last", "keep_best", "patience"),
)
# Settings that a run goes on with as it began, or its losses are others. Of its steps, see `RunSettings.parts`.
DECISIVE = (
    *("split", "prefix", "sample_rate", "seconds", "model", "batch", "lr", "warmup", "schedule", "decay", "weight_decay"),
    *("clip", "ema", "precision", "seed", "init_from", "freeze"),
)
_RENAMED = {"accumulation": "grad_accum"}

Count = Annotated[int, Meta(ge=1, le=10**12)]


@dataclass(frozen=True)
class DataSettings:
    """What is read, and in which form. `--data.split` is another name of `--split`."""

    shards: Name  # folder or URL
    _: KW_ONLY
    split: Literal["train", "val", "test"] = setting("train", "split to train on")
    reader: Literal["shards", "live", "webdataset"] = setting(
        "shards", "webdataset: --shards is any address that it reads; no evaluation, no exact resume"
    )
    skip_missing: bool = setting(False, "leave out missing shards, and report how many")
    prefix: Name | None = setting(None, "codec of the prefix", choices=CODECS)
    sample_rate: Annotated[int, Meta(ge=1, le=10**6)] | None = setting(
        None, "the shards' rate, or one that divides it", metavar="HZ", shown="the shards' own"
    )
    seconds: Annotated[float, Meta(gt=0, le=600)] | None = setting(
        None, "length of a crop; none: whole clips", metavar="SECONDS", shown="none"
    )
    workers: Annotated[int, Meta(ge=0, le=1024)] = setting(
        0, "data-loading processes; 0: the training process reads", metavar="N"
    )


@dataclass(frozen=True)
class OptimSettings:
    """How weights are found. `--optim.lr` is another name of `--lr`."""

    _: KW_ONLY
    steps: Count = setting(
        10_000,
        "optimiser steps; with --resume a new end for the run, also if it was finished: see --schedule",
        metavar="N",
    )
    batch: Count = setting(32, "clips in a step, over all processes", metavar="N")
    grad_accum: Count = setting(1, "compute a batch in N parts, one after the other, to save memory", metavar="N")
    lr: Annotated[float, Meta(gt=0, le=1000)] = setting(3e-3, "peak learning rate", metavar="LR")
    warmup: Annotated[float, Meta(ge=0, le=1)] = setting(
        0.02, "part of the steps during which the learning rate rises, 0 to 1", metavar="PART"
    )
    schedule: Literal["cosine", "wsd"] = setting(
        "cosine",
        "learning rate after the warm-up. cosine: half a cosine down to a tenth at the last step; a run that is extended "
        "goes on by half a cosine from the rate at hand to a tenth at its new end, so a finished one stays at a tenth. wsd "
        "(warm-up, stable, decay): constant, then in a line down to a tenth; a run that is extended goes in a line, as "
        "steep as the warm-up, from the rate at hand up to the constant one, and down again before its new end",
    )
    decay: Annotated[float, Meta(ge=0, le=1)] = setting(
        0.2, "part of all steps during which wsd goes down at the end, 0 to 1", metavar="PART"
    )
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = setting(
        0.01, "weight decay of matrices and convolutions", metavar="DECAY"
    )
    clip: Annotated[float, Meta(gt=0, le=1e30)] = setting(1.0, "largest norm of all gradients together", metavar="NORM")
    ema: Annotated[float, Meta(ge=0, le=1)] = setting(0.999, "decay of the averaged weights, a step", metavar="DECAY")
    precision: Literal["fp32", "bf16"] = setting("fp32", "bf16: autocast, with states in fp32")
    compile: bool = setting(False, "use torch.compile")
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = setting(0, "seed of the weights and of the order of data", metavar="N")
    init_from: Name | None = setting(
        None,
        "start from the averaged weights of this run's last checkpoint, or of a checkpoint; without --model and its options "
        "the model is that run's",
        metavar="RUN",
        shown="none",
    )
    freeze: tuple[Name, ...] = setting(
        (),
        "parameters that stay as they are, by patterns of their names: embedding.* *.log_dt",
        metavar="PATTERN",
        shown="none",
        kwargs={"nargs": "+"},
    )


class Part(NamedTuple):
    """A part of the schedule, of which a run has one more each time that it is extended."""

    begin: int  # the last step before it
    end: int  # the last step of the run, as was planned then


@dataclass(frozen=True)
class RunSettings(OptimSettings, DataSettings):
    """All that decides what a run computes. A batch is of all processes together, whatever their number."""

    model_name: Name
    preset: Name
    model: ModelSettings
    _: KW_ONLY
    evaluate_every: Count = setting(1000, "steps between evaluations", metavar="N")
    evaluate_samples: Count = setting(64, "clips in each evaluation set", metavar="N")
    decode: Decoder = setting("mean", "how predicted classes become audio")
    checkpoint_every: Count = setting(1000, "steps between checkpoints", metavar="N")
    keep_last: Count = setting(2, "checkpoints that stay: the last N", metavar="N")
    keep_best: Name | None = setting(
        None,
        "let the checkpoint of the best evaluation stay too, with a link to it, checkpoints/best: bits, snr_mean_db, mel_db "
        "or another column of validation.csv, of the set by which runs are judged, or of one that you name, as unseen/bits",
        choices=CHOICES,
        metavar="METRIC",
    )
    patience: Count | None = setting(
        None, "end the run after N evaluations without a better value of --keep-best", metavar="N", shown="none"
    )
    device: Literal["cpu", "cuda"] = setting("cpu", "where it is computed", shown="cuda if there is one")
    logger: Literal["wandb", "mlflow"] | None = setting(
        None, "also log to Weights & Biases or MLflow", choices=("wandb", "mlflow")
    )
    # At which steps the run got a new end, and the end that it had until then.
    extended: tuple[tuple[Count, Count], ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the learning rate goes by, see train/loop/schedule.py."""
        begins = [0, *(at for at, _ in self.extended)]
        return tuple(map(Part, begins, [*(end for _, end in self.extended), self.steps]))

    def parts_before(self, step: int) -> tuple[Part, ...]:
        """Those that decide the learning rate up to a step."""
        return tuple(part for part in self.parts if part.begin < step)

    def extend(self, at: int, steps: int) -> "RunSettings":
        """With another end, planned when step `at` was done."""
        parts = [*self.parts_before(at), Part(at, steps)]
        extended = tuple((later.begin, part.end) for part, later in pairwise(parts))
        return dataclasses.replace(self, steps=steps, extended=extended)

    def to_json(self) -> dict:
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_json(document: dict, where: Path | str = "JSON") -> "RunSettings":
        """where: the file that has them, for the message. Raises InputError for settings that no run of this version has."""
        document = rename_settings(document)
        if unknown := document.keys() - {field.name for field in dataclasses.fields(RunSettings)}:
            raise InputError(
                f"{where}, field settings: {min(unknown)!r:.80} is a setting of another version, which can go on"
            )
        found = convert(document, RunSettings, where, "settings.")
        for part, later in pairwise(found.parts):
            if not part.begin < later.begin <= part.end or later.begin >= later.end:
                raise InputError(
                    f"{where}, field settings.extended: a run to step {part.end} that was extended at step "
                    f"{later.begin} to {later.end} can't be"
                )
        if found.prefix not in (None, *CODECS):
            raise InputError(f"{where}, field settings.prefix: {found.prefix!r:.80} is none of {', '.join(sorted(CODECS))}")
        if found.keep_best not in (None, *CHOICES):
            raise InputError(f"{where}, field settings.keep_best: there is no {found.keep_best!r:.80}")
        return found


def rename_settings(document: dict) -> dict:
    """Settings from JSON by the names that they have today: runs of earlier versions go on."""
    return {_RENAMED.get(name, name): value for name, value in document.items()}


def tiny() -> dict:
    """Everything to be seen once, on a CPU, in a minute or two."""
    schedule = {"steps": 150, "batch": 4, "lr": 1e-2, "warmup": 0.1, "ema": 0.98}
    return {"seconds": 0.25, **schedule, "evaluate_every": 50, "evaluate_samples": 16, "checkpoint_every": 50}


def seed() -> dict:
    """The predecessor's task: one voice to one voice, half seconds at 8 kHz, no prefix.

    Nintorac/s4_dx7 took 2 batches of 14 a step, and lr 1e-3. It had neither warm-up nor clipping, which all runs have here.
    """
    optimiser = {"batch": 28, "grad_accum": 2, "lr": 1e-3, "weight_decay": 0.0}
    return {"sample_rate": 8000, "seconds": 0.5, "steps": 20_000, "workers": 2, **optimiser}


def base() -> dict:
    """Any voice, given by its prefix, on one GPU."""
    return {"prefix": "fsk", "seconds": 1.0, "steps": 50_000, "precision": "bf16", "workers": 4}


PRESETS: dict[str, Callable[[], dict]] = {"tiny": tiny, "seed": seed, "base": base}


def find_defaults(preset: str, device: str) -> dict:
    """What a preset sets, with more clips to evaluate on a GPU."""
    return PRESETS[preset]() | (ON_A_GPU if device == "cuda" else {})


def name_model(model: str | tuple[str, ...] | RunSettings) -> str:
    """One of MODELS, any layers that alternate, or that of another run."""
    if isinstance(model, RunSettings):
        return model.model_name
    return model if isinstance(model, str) else "-".join(model)


def make_settings(
    shards: str,
    model: str | tuple[str, ...] | RunSettings,
    preset: str,
    of_model: dict[str, str] | None = None,
    **overrides: Any,
) -> RunSettings:
    """A preset, and `overrides` instead. model: as in `name_model`; of_model: what `override` takes.

    Raises InputError if there is no such model.
    """
    size = "tiny" if preset == "tiny" else "base"
    overrides = find_defaults(preset, overrides.get("device", "cpu")) | overrides
    try:
        if isinstance(model, RunSettings):
            found = model.model
        else:
            found = models.preset(model, size) if isinstance(model, str) else models.interleave(model, size)
        return RunSettings(shards, name_model(model), preset, override(found, of_model or {}), **overrides)
    except ValueError as error:
        raise InputError(str(error)) from None
