"""What a run is: settings that are written beside it, and presets, functions that give them."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from dx7data.errors import InputError
from dx7data.prefix import CODECS
from models import registry as models
from models.settings import ModelSettings
from train.documents import Name, convert
from train.evaluation.decode import DECODERS

PRECISIONS = ("fp32", "bf16")
ON_A_GPU = {"evaluate_samples": 1024}  # of 64 clips the mean bits are uncertain by 0.07, as much as models differ by
INDIFFERENT = ("device", "workers", "grad_accum")  # settings on which it does not depend what a run computes
_RENAMED = {"accumulation": "grad_accum"}


Count = Annotated[int, Meta(ge=1, le=10**12)]


@dataclass(frozen=True)
class RunSettings:
    """All that decides what a run computes. A batch is of all processes together, whatever their number."""

    shards: Name  # folder or URL
    model_name: Name
    preset: Name
    model: ModelSettings
    split: Literal["train", "val", "test"] = "train"
    reader: Literal["shards", "live", "webdataset"] = "shards"
    skip_missing: bool = False  # do without shards that are not there
    prefix: Name | None = None  # codec
    sample_rate: Annotated[int, Meta(ge=1, le=10**6)] | None = None  # None: the shards' own
    seconds: Annotated[float, Meta(gt=0, le=600)] | None = None  # of a crop; None: whole clips
    steps: Count = 10_000
    batch: Count = 32  # clips that make one step of the optimiser
    grad_accum: Count = 1  # parts of a batch that are in memory one after the other
    lr: Annotated[float, Meta(gt=0, le=1000)] = 3e-3  # at the end of the warm-up
    warmup: Annotated[float, Meta(ge=0, le=1)] = 0.02  # part of the steps in which the rate rises
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = 0.01
    clip: Annotated[float, Meta(gt=0)] = 1.0  # norm of all gradients together
    ema: Annotated[float, Meta(ge=0, le=1)] = 0.999  # decay of the averaged weights, a step
    precision: Literal[PRECISIONS] = "fp32"
    compile: bool = False
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    workers: Annotated[int, Meta(ge=0, le=1024)] = 0  # processes that read; 0: the training process does
    evaluate_every: Count = 1000  # steps
    evaluate_samples: Count = 64  # of each set
    decode: Literal[DECODERS] = "mean"  # what evaluation listens to
    checkpoint_every: Count = 1000  # steps
    device: Literal["cpu", "cuda"] = "cpu"

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


def make_settings(shards: str, model: str | tuple[str, ...], preset: str, **overrides) -> RunSettings:
    """A preset, with more clips to evaluate on a GPU, and `overrides` instead. model: one of MODELS, or layers in turn.

    Raises InputError if there is no such model.
    """
    size = "tiny" if preset == "tiny" else "base"
    overrides = PRESETS[preset]() | (ON_A_GPU if overrides.get("device") == "cuda" else {}) | overrides
    try:
        if isinstance(model, str):
            return RunSettings(shards, model, preset, models.preset(model, size), **overrides)
        known = {name: models.preset(name, size).options for name in model if name in models.MODELS}
        options = {name: found[name] for name, found in known.items() if name in found}
        mixed = dataclasses.replace(models.preset("hybrid", size), layers=model, options=options)
        return RunSettings(shards, "-".join(model), preset, mixed, **overrides)
    except ValueError as error:
        raise InputError(str(error)) from None
