"""Checkpoints read back: each field is compared with its type and bounds, each tensor with the model, before any is used.

`--resume`, train.convert and train.timescales read them here. A checkpoint may have been torn by a power cut, then the one
before it is taken; it may also be edited or come from anybody, so nothing that it says is believed: see train/documents.py.
"""

import hashlib
import logging
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict, cast

import msgspec
import safetensors.torch
import torch
from msgspec import Meta
from safetensors import SafetensorError
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dx7data.audio.resample import ENGINE_RATE
from dx7data.errors import InputError
from dx7data.files import open_regular, read_regular
from models.model import Model, build
from models.settings import ModelSettings
from train.config import DECISIVE, Count, RunSettings
from train.documents import MAX_JSON_BYTES, Digest, Name, convert, decode
from train.loop.checkpoint import FOLDER, FORMAT, META, Tensors, layer_names, list_checkpoints

MAX_HEADER_BYTES = 16 << 20  # of a safetensors file; 130 bytes a tensor are usual
MAX_VOICES = 8  # that one prefix gives, as in `dx7data render --layers`
_SIZES = {"F32": 4, "F64": 8, "U8": 1}  # bytes of a number, by safetensors' names of what our models and generators hold
_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.uint8: "U8"}
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW, for each parameter
_NEVER_NEGATIVE = (":step", ":exp_avg_sq")

Tally = Annotated[int, Meta(ge=0, le=2**63 - 1)]


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


class Stored(msgspec.Struct):
    """A tensor in the header of a safetensors file."""

    dtype: Annotated[str, Meta(max_length=20)]
    shape: Annotated[list[Tally], Meta(max_length=8)]
    data_offsets: tuple[Tally, Tally]


Form = tuple[str, tuple[int, ...]]  # of a tensor: safetensors' name of its dtype, and its shape
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


class TornError(InputError):
    """A checkpoint that is not as it was written."""


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


def restore(found: Checkpoint, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer) -> Metadata:
    """Continue from a checkpoint, exactly; checkpoint.json."""
    tensors = found.tensors
    model.load_state_dict(tensors["model"])
    ema.load_state_dict(tensors["ema"])
    for name, parameter in model.named_parameters():
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
            logging.getLogger(__name__).warning("%s; %s is taken, the one before", error, folders[-1])
    return None


def read(folder: Path, parts: Iterable[str], settings: RunSettings | None = None) -> Checkpoint:
    """These parts of a checkpoint. settings: as in `read_last`. Raises InputError, TornError if a file is not as written."""
    metadata, own = read_metadata(folder)
    path, names = folder / META, metadata["layer_names"]
    model = (settings or own).model
    if len(names) != model.n_blocks:  # before a model is made of them
        raise InputError(f"{path}, field layer_names: it has {len(names)} layers, the settings have {model.n_blocks}")
    expected = describe_model(model, path)
    for i, (there, here) in enumerate(zip(names, expected.layer_names, strict=True)):
        if there != here:
            raise InputError(f"{path}, field layer_names: number {i} is {there!r:.80}, and {here!r} in the run")
    if settings and metadata["step"] > settings.steps:
        raise InputError(f"{path}, field step: it is {metadata['step']:,}, and the run has {settings.steps:,} steps")
    for name in DECISIVE if settings else ():
        if (was := getattr(own, name)) != (now := getattr(settings, name)):
            raise InputError(f"{path}, field settings.{name}: {was!s:.80} here and {now!s:.80} in the run: one was edited")
    forms = {"model": expected.weights, "ema": expected.weights, "optimiser": expected.moments, "rng": _CPU_GENERATOR}
    tensors, hashes = {}, cast("dict[str, str]", metadata["sha256"])
    for part in parts:
        file, optional = folder / f"{part}.safetensors", _CUDA_GENERATORS if part == "rng" else {}
        tensors[part] = read_tensors(file, hashes[file.name], forms[part], optional)
        check_values(tensors[part], file)
    return Checkpoint(folder, metadata, own, tensors)


def read_metadata(folder: Path) -> tuple[Metadata, RunSettings]:
    """checkpoint.json, and the settings in it. Raises InputError, TornError if it is no JSON."""
    path = folder / META
    try:
        found = decode(read_regular(path, MAX_JSON_BYTES, links=False))
    except FileNotFoundError:
        raise TornError(f"{folder} is no checkpoint: it has no {META}") from None
    except ValueError as error:
        raise TornError(f"{path} is damaged: {error}") from None
    version = found.get("format") if isinstance(found, dict) else None
    if type(version) is int and version != FORMAT:
        raise InputError(f"{path} has format {version}, this version reads {FORMAT}: use the version that wrote it")
    metadata = convert(found, Metadata, path)
    settings = RunSettings.from_json(metadata["settings"], path)
    stream, fault = metadata["stream"], None
    if metadata["step"] > settings.steps:
        fault = f"step: it is {metadata['step']:,}, and the run has {settings.steps:,} steps"
    elif settings.sample_rate is None:
        fault = "settings.sample_rate: it is null"
    elif settings.prefix and settings.sample_rate not in ENGINE_RATE:
        fault = f"settings.sample_rate: there is no prefix at {settings.sample_rate} Hz"
    elif stream and (missing := sorted(Stream.__annotations__.keys() - stream.keys())):
        fault = f"stream: it has no {missing[0]}"
    elif stream and stream["fingerprint"] != metadata["fingerprint"]:
        fault = "stream.fingerprint: it is of other data than the checkpoint"
    if fault:
        raise InputError(f"{path}, field {fault}")
    return metadata, settings


def describe_model(settings: ModelSettings, where: Path) -> Expected:
    """What a checkpoint of such a model has in it; nothing is allocated. Raises InputError if there can be no such model."""
    try:
        with FakeTensorMode():
            model = build(settings)
    except Exception as error:  # a layer may raise anything for options that it can't have, and these came from a file
        raise InputError(f"{where}, field settings.model: {error}") from None
    weights = {name: _form(tensor) for name, tensor in model.state_dict().items()}
    moments: dict[str, Form] = {}
    for name, parameter in model.named_parameters():
        moments |= {f"{name}:{key}": ("F32", ()) if key == "step" else _form(parameter) for key in _MOMENTS}
    return Expected(layer_names(model), weights, moments)


def read_tensors(path: Path, digest: str, expected: dict[str, Form], optional: dict[str, Form] | None = None) -> Tensors:
    """The tensors of a safetensors file, on the CPU, if they are those that are expected; of the optional ones, any.

    Names and shapes are compared before more than the header is read. Raises InputError, TornError if it isn't as written.
    """
    try:
        with open_regular(path, links=False) as file:
            size, length = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(size - 8, MAX_HEADER_BYTES):
                raise TornError(f"{path} is damaged: {size:,} bytes, and a header of {length:,}")
            header = _read_header(file.read(length), path)
            expected = expected | {name: form for name, form in (optional or {}).items() if name in header}
            _compare(header, expected, path)
            numbers = sum(_SIZES[dtype] * math.prod(shape) for dtype, shape in expected.values())
            if size != 8 + length + numbers:
                raise TornError(f"{path} is damaged: it has {size:,} bytes, not {8 + length + numbers:,}")
            file.seek(0)
            data = file.read(size)
    except FileNotFoundError:
        raise TornError(f"{path} is damaged: it is not there") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise TornError(f"{path} is damaged: it is not as it was written")
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise InputError(f"{path} is no safetensors file: {error}") from None


def check_values(tensors: Tensors, path: Path) -> None:
    """Raises InputError for a number that no training leaves: one that is not finite, or a moment below 0."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: {name} is not finite: it has NaN or infinity in it")
        if name.endswith(_NEVER_NEGATIVE) and (tensor < 0).any():
            raise InputError(f"{path}: {name} has a number below 0")
    if "cpu" in tensors:
        try:
            torch.Generator().set_state(tensors["cpu"])
        except RuntimeError:
            raise InputError(f"{path}: cpu is no state of torch's generator") from None


def _read_header(data: bytes, path: Path) -> dict[str, Form]:
    """Dtype and shape of each tensor."""
    try:
        header = decode(data)
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
    except ValueError as error:
        raise TornError(f"{path} is damaged: {error}") from None
    header.pop("__metadata__", None)
    stored = convert(header, dict[str, Stored], path)
    return {name: (each.dtype, tuple(each.shape)) for name, each in stored.items()}


def _compare(stored: dict[str, Form], expected: dict[str, Form], path: Path) -> None:
    """Raises InputError with the first tensor that is not as the model has it."""
    for name in expected | stored:
        if expected.get(name) != stored.get(name):
            there, here = (
                f"{forms[name][0]} of shape {forms[name][1]}" if name in forms else "no such tensor"
                for forms in (stored, expected)
            )
            raise InputError(f"{path} is of another model: {name!r:.200} is {there} in it and {here} here")


def _form(tensor: Tensor) -> Form:
    return _DTYPES[tensor.dtype], tuple(tensor.shape)
