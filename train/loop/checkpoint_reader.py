"""Checkpoints read back: each field is compared with its type and bounds, each tensor with the model, before any is used.

`--resume`, train.convert and train.timescales read them here. A checkpoint may have been torn by a power cut, then the one
before it is taken; it may also be edited or come from anybody, so nothing that it says is believed: see train/documents.py.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict, cast

import torch
from msgspec import Meta
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dx7data.audio.resample import ENGINE_RATE
from dx7data.errors import InputError
from dx7data.files import read_regular
from dx7data.output import log
from dx7data.process import hold_interrupt
from models.model import Model, build
from models.settings import ModelSettings
from train.config import DECISIVE, Count, RunSettings
from train.documents import MAX_JSON_BYTES, Digest, Name, check_format, convert, decode
from train.loop.checkpoint import FOLDER, FORMAT, META, Tensors, find_last, layer_names, list_checkpoints
from train.loop.frozen import find_frozen
from train.loop.tensor_file import Form, Tally, TornError, check_values, compare_forms, find_form, read_tensors

MAX_VOICES = 8  # that one prefix gives, as in `dx7data render --layers`
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW, for each parameter


class Stream(TypedDict, total=False):
    """Where the data stream is, see train/data/sampler.py; nothing of a stream that can't be resumed exactly."""

    epoch: Tally
    step: Tally
    seed: Tally
    group: Tally
    batch_size: Count
    fingerprint: Digest


Hashes = TypedDict(
    "Hashes",
    {
        "model.safetensors": Digest,
        "ema.safetensors": Digest,
        "optimiser.safetensors": Digest,
        "rng.safetensors": Digest,
    },
)


class Metadata(TypedDict):
    """checkpoint.json."""

    format: int
    step: Count
    layer_names: Annotated[list[Name], Meta(min_length=1)]
    settings: dict[str, Any]  # of RunSettings
    fingerprint: Digest
    layers: Annotated[int, Meta(ge=1, le=MAX_VOICES)]  # voices that the prefix gives
    stream: Stream
    seconds: Annotated[float, Meta(ge=0, le=1e12)]  # of training
    sha256: Hashes


_CPU_GENERATOR: dict[str, Form] = {"cpu": ("U8", tuple(torch.get_rng_state().shape))}
_CUDA_GENERATORS: dict[str, Form] = {f"cuda:{i}": ("U8", (16,)) for i in range(64)}  # seed and offset


class Expected(NamedTuple):
    """What a checkpoint of a model has in it."""

    layer_names: list[str]
    weights: dict[str, Form]
    moments: dict[str, Form]


class Checkpoint(NamedTuple):
    """All of it is as the model wants it."""

    folder: Path
    metadata: Metadata
    settings: RunSettings
    tensors: dict[str, Tensors]  # by part


def load_model(path: Path, ema: bool = True, device: torch.device | str = "cpu") -> tuple[Model, RunSettings, Metadata]:
    """The model of a run's last whole checkpoint, or of this checkpoint, ready to use; its settings; checkpoint.json.

    Raises InputError, a sentence with the file and the field.
    """
    path, parts = Path(path), ("ema" if ema else "model",)
    found = read_last(path, parts) if os.path.lexists(path / FOLDER) else read(path, parts)
    if found is None:
        raise InputError(f"{path} has no checkpoint yet")
    model = build(found.settings.model)
    model.load_state_dict(found.tensors[parts[0]])
    return model.to(device).eval(), found.settings, found.metadata


def find_checkpoint(path: Path) -> Path:
    """The last checkpoint of a run, or what a path names instead of a run. Raises InputError if the run has none yet."""
    found = find_last(path) if os.path.lexists(path / FOLDER) else path
    if found is None:
        raise InputError(f"{path} has no checkpoint yet")
    return found


def load_initial(folder: Path, model: Model) -> None:
    """Put the averaged weights of a checkpoint into a model. Raises InputError if they are of another one."""
    weights = read(folder, ("ema",)).tensors["ema"]
    stored, here = ({name: find_form(each) for name, each in of.items()} for of in (weights, model.state_dict()))
    try:
        compare_forms(stored, here, folder / "ema.safetensors")
    except InputError as error:
        raise InputError(f"--init-from: {error}; without --model and its options the model is that run's") from None
    model.load_state_dict(weights)


def restore(found: Checkpoint, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer) -> Metadata:
    """Continue from a checkpoint, exactly; checkpoint.json."""
    tensors = found.tensors
    model.load_state_dict(tensors["model"])
    ema.load_state_dict(tensors["ema"])
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        moments = {key: tensors["optimiser"][f"{name}:{key}"] for key in _MOMENTS}
        optimiser.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
    torch.set_rng_state(tensors["rng"]["cpu"])
    for i in range(torch.cuda.device_count()):
        if f"cuda:{i}" in tensors["rng"]:
            torch.cuda.set_rng_state(tensors["rng"][f"cuda:{i}"], i)
    return found.metadata


def read_last(run: Path, parts: Iterable[str], settings: RunSettings | None = None) -> Checkpoint | None:
    """The last whole checkpoint of a run, or None if it has none yet; a torn one after it is named in a line.

    settings: of the run that goes on, which the checkpoint must fit. Raises InputError.
    """
    folders = list_checkpoints(run)
    while folders:
        folder = folders.pop()
        try:
            found = read(folder, parts, settings)
            if found.metadata["step"] != int(folder.name):
                raise TornError(f"{folder / META}, field step: it is {found.metadata['step']}, not that of the folder")
            return found
        except TornError as error:
            if not folders:
                raise InputError(f"{error}; no checkpoint before it is whole: take one from a backup") from None
            log.warning(f"{error}; {folders[-1]} is taken, the one before")
    return None


def read(folder: Path, parts: Iterable[str], settings: RunSettings | None = None) -> Checkpoint:
    """These parts of a checkpoint. settings: as in `read_last`. Raises InputError, TornError if a file is not as written."""
    metadata, own = read_metadata(folder)
    path = folder / META
    expected = expect_model(settings or own, metadata["layer_names"], path)
    if settings and metadata["step"] > settings.steps:
        raise InputError(f"{path}, field step: it is {metadata['step']:,}, and the run has {settings.steps:,} steps")
    if settings:
        _check_decisive(own, settings, metadata["step"], path)
    forms = {"model": expected.weights, "ema": expected.weights, "optimiser": expected.moments, "rng": _CPU_GENERATOR}
    tensors, hashes = {}, cast("dict[str, str]", metadata["sha256"])
    for part in parts:
        file, optional = folder / f"{part}.safetensors", _CUDA_GENERATORS if part == "rng" else {}
        tensors[part] = read_tensors(file, hashes[file.name], forms[part], optional)
        check_values(tensors[part], file)
    return Checkpoint(folder, metadata, own, tensors)


def expect_model(settings: RunSettings, names: list[str], where: Path) -> Expected:
    """What a model of these settings has in it. names: of its layers, as a file has them. Raises InputError."""
    model = settings.model
    if len(names) != model.n_blocks:  # before a model is made of them
        raise InputError(f"{where}, field layer_names: it has {len(names)} layers, the settings have {model.n_blocks}")
    expected = describe_model(model, where, settings.freeze)
    for i, (there, here) in enumerate(zip(names, expected.layer_names, strict=True)):
        if there != here:
            raise InputError(f"{where}, field layer_names: number {i} is {there!r:.80}, and {here!r} in the run")
    return expected


def _check_decisive(own: RunSettings, settings: RunSettings, step: int, path: Path) -> None:
    """Raises InputError if a run, which may have been extended since, has other settings than its checkpoint."""
    names = [name for name in DECISIVE if getattr(own, name) != getattr(settings, name)]
    if own.parts_before(step) != settings.parts_before(step):
        names.append("steps" if own.extended == settings.extended else "extended")
    for name in names:
        was, now = getattr(own, name), getattr(settings, name)
        raise InputError(f"{path}, field settings.{name}: {was!s:.80} here and {now!s:.80} in the run: one was edited")


def read_metadata(folder: Path) -> tuple[Metadata, RunSettings]:
    """checkpoint.json, and the settings in it. Raises InputError, TornError if it is no JSON."""
    path = folder / META
    try:
        found = decode(read_regular(path, MAX_JSON_BYTES, links=False))
    except FileNotFoundError:
        raise TornError(f"{folder} is no checkpoint: it has no {META}") from None
    except ValueError as error:
        raise TornError(f"{path} is damaged: {error}") from None
    check_format(found, FORMAT, path)
    metadata = convert(found, Metadata, path)
    settings = read_settings(metadata["settings"], metadata["step"], path)
    stream = metadata["stream"]
    if stream and (missing := sorted(Stream.__annotations__.keys() - stream.keys())):
        raise InputError(f"{path}, field stream: it has no {missing[0]}")
    if stream and stream["fingerprint"] != metadata["fingerprint"]:
        raise InputError(f"{path}, field stream.fingerprint: it is of other data than the checkpoint")
    return metadata, settings


def read_settings(document: dict[str, Any], step: int, where: Path) -> RunSettings:
    """Those of a run that has come to a step, from JSON. Raises InputError."""
    settings, fault = RunSettings.from_json(document, where), None
    if step > settings.steps:
        fault = f"step: it is {step:,}, and the run has {settings.steps:,} steps"
    elif settings.sample_rate is None:
        fault = "settings.sample_rate: it is null"
    elif settings.prefix and settings.sample_rate not in ENGINE_RATE:
        fault = f"settings.sample_rate: there is no prefix at {settings.sample_rate} Hz"
    if fault:
        raise InputError(f"{where}, field {fault}")
    return settings


def describe_model(settings: ModelSettings, where: Path, frozen: Iterable[str]) -> Expected:
    """What a checkpoint of such a model has in it; nothing is allocated. frozen: patterns of parameters without moments.

    Raises InputError if there can be no such model.
    """
    try:
        with hold_interrupt(), FakeTensorMode():
            model = build(settings)
    except Exception as error:  # a layer may raise anything for options that it can't have, and these came from a file
        raise InputError(f"{where}, field settings.model: {error}") from None
    weights = {name: find_form(tensor) for name, tensor in model.state_dict().items()}
    moments: dict[str, Form] = {}
    named = dict(model.named_parameters())
    for name in named.keys() - find_frozen(named, frozen):
        moments |= {f"{name}:{key}": ("F32", ()) if key == "step" else find_form(named[name]) for key in _MOMENTS}
    return Expected(layer_names(model), weights, moments)
