"""What a run is: settings that are written beside it, and presets, functions that give them."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from dx7data.errors import InputError
from dx7data.prefix import CODECS
from models import registry as models
from models.settings import ModelSettings, override
from train.documents import Name, convert
from train.evaluation.decode import Decoder
from train.options import setting

ON_A_GPU = {"evaluate_samples": 1024}  # of 64 clips the mean bits are uncertain by 0.07, as much as models differ by
INDIFFERENT = ("device", "workers", "grad_accum")  # settings on which it does not depend what a run computes
# Settings that a run goes on with as it began, or its losses are others.
DECISIVE = (
    *("split", "prefix", "sample_rate", "seconds", "model", "steps", "batch", "lr", "warmup", "weight_decay", "clip", "ema"),
    *("precision", "seed"),
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
        None, "length of a crop; none: whole clips", metavar="SECONDS"
    )
    workers: Annotated[int, Meta(ge=0, le=1024)] = setting(
        0, "data-loading processes; 0: the training process reads", metavar="N"
    )


@dataclass(frozen=True)
class OptimSettings:
    """How weights are found. `--optim.lr` is another name of `--lr`."""

    _: KW_ONLY
    steps: Count = setting(10_000, "optimiser steps", metavar="N")
    batch: Count = setting(32, "clips in a step, over all processes", metavar="N")
    grad_accum: Count = setting(1, "compute a batch in N parts, one after the other, to save memory", metavar="N")
    lr: Annotated[float, Meta(gt=0, le=1000)] = setting(3e-3, "peak learning rate", metavar="LR")
    warmup: Annotated[float, Meta(ge=0, le=1)] = setting(
        0.02, "part of the steps during which the learning rate rises, 0 to 1", metavar="PART"
    )
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = setting(
        0.01, "weight decay of matrices and convolutions", metavar="DECAY"
    )
    clip: Annotated[float, Meta(gt=0)] = setting(1.0, "largest norm of all gradients together", metavar="NORM")
    ema: Annotated[float, Meta(ge=0, le=1)] = setting(0.999, "decay of the averaged weights, a step", metavar="DECAY")
    precision: Literal["fp32", "bf16"] = setting("fp32", "bf16: autocast, with states in fp32")
    compile: bool = setting(False, "use torch.compile")
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = setting(0, "seed of the weights and of the order of data", metavar="N")


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
    device: Literal["cpu", "cuda"] = setting("cpu", "where it is computed", shown="cuda if there is one")

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
        if found.prefix not in (None, *CODECS):
            raise InputError(f"{where}, field settings.prefix: {found.prefix!r:.80} is none of {', '.join(sorted(CODECS))}")
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


def make_settings(
    shards: str, model: str | tuple[str, ...], preset: str, of_model: dict[str, str] | None = None, **overrides: Any
) -> RunSettings:
    """A preset, and `overrides` instead. model: one of MODELS, or any layers in turn; of_model: what `override` takes.

    Raises InputError if there is no such model.
    """
    size = "tiny" if preset == "tiny" else "base"
    overrides = find_defaults(preset, overrides.get("device", "cpu")) | overrides
    try:
        found = models.preset(model, size) if isinstance(model, str) else models.interleave(model, size)
        name = model if isinstance(model, str) else "-".join(model)
        return RunSettings(shards, name, preset, override(found, of_model or {}), **overrides)
    except ValueError as error:
        raise InputError(str(error)) from None
