"""What a run is: settings that are written beside it, and presets, functions that give them."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass

from dx7data.errors import InputError
from models import registry as models
from models.settings import ModelSettings

PRECISIONS = ("fp32", "bf16")
ON_A_GPU = {"evaluate_samples": 1024}  # of 64 clips the mean bits are uncertain by 0.07, as much as models differ by
INDIFFERENT = ("device", "workers", "grad_accum")  # settings on which it does not depend what a run computes
_RENAMED = {"accumulation": "grad_accum"}


@dataclass(frozen=True)
class RunSettings:
    """All that decides what a run computes. A batch is of all processes together, whatever their number."""

    shards: str  # folder or URL
    model_name: str
    preset: str
    model: ModelSettings
    split: str = "train"
    reader: str = "shards"  # of stream.READERS
    skip_missing: bool = False  # do without shards that are not there
    prefix: str | None = None  # codec
    sample_rate: int | None = None  # None: the shards' own
    seconds: float | None = None  # of a crop; None: whole clips
    steps: int = 10_000
    batch: int = 32  # clips that make one step of the optimiser
    grad_accum: int = 1  # parts of a batch that are in memory one after the other
    lr: float = 3e-3  # at the end of the warm-up
    warmup: float = 0.02  # part of the steps in which the rate rises
    weight_decay: float = 0.01
    clip: float = 1.0  # norm of all gradients together
    ema: float = 0.999  # decay of the averaged weights, a step
    precision: str = "fp32"
    compile: bool = False
    seed: int = 0
    workers: int = 0  # processes that read; 0: the training process does
    evaluate_every: int = 1000  # steps
    evaluate_samples: int = 64  # of each set
    decode: str = "mean"  # of decode.DECODERS: what evaluation listens to
    checkpoint_every: int = 1000  # steps
    device: str = "cpu"

    def to_json(self) -> dict:
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_json(document: dict) -> "RunSettings":
        """Raises InputError for settings of another version."""
        document = rename_settings(document)
        try:
            return RunSettings(**document | {"model": ModelSettings(**document["model"])})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"these settings are of another version of this program, which can go on with them: {error}"
            ) from None


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
