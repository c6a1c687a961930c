"""A released model: a folder with config.json and its weights, the averaged ones of a run, as numbers of 16 bits.

config.json                         settings, layers, how it is best decoded, what was measured, a hash of each piece
model-00001-of-00002.safetensors    a piece of the weights; each is small enough for any host of repositories
README.md                           the card, see card.py

The folder may come from anybody. As of a checkpoint, nothing that it says is believed: each field is compared with its type,
each piece with its hash, each tensor with the model, before any is used.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import torch
from msgspec import Meta

from dx7data.errors import InputError, suggest_name
from dx7data.files import read_regular
from models.model import Model, build
from train.config import Count, RunSettings
from train.documents import MAX_JSON_BYTES, Digest, Name, check_format, convert, decode
from train.evaluation.decode import Decoder
from train.loop.checkpoint import Tensors
from train.loop.checkpoint_reader import MAX_VOICES, expect_model, load_model, read_settings
from train.loop.tensor_file import TornError, check_values, read_tensors

FORMAT = 1
CONFIG, CARD = "config.json", "README.md"
DTYPE = "F16"  # safetensors' name of torch.float16
RELEASES = Path(__file__).resolve().parents[2] / "releases"  # of a checkout; an installed package has none


class Piece(TypedDict):
    """A file of weights; the place in the list gives its name."""

    sha256: Digest
    tensors: Annotated[list[Name], Meta(min_length=1)]


class Config(TypedDict):
    """What is used of config.json."""

    format: int
    step: Count
    decode: Decoder
    layer_names: Annotated[list[Name], Meta(min_length=1)]
    layers: Annotated[int, Meta(ge=1, le=MAX_VOICES)]  # voices that the prefix gives
    settings: dict[str, Any]  # of RunSettings
    fingerprint: Digest  # of the clips that it was trained on
    pieces: Annotated[list[Piece], Meta(min_length=1, max_length=1000)]


class Pretrained(NamedTuple):
    """A trained model, ready to use, and what a program that converts with it has to know."""

    model: Model  # in evaluation mode
    settings: RunSettings  # .sample_rate in Hz; .prefix: the codec in which it hears patches, None: it hears none
    layers: int  # patches that the prefix gives
    decode: Decoder  # how it sounds best
    step: int
    fingerprint: str  # of the clips that it was trained on


def from_pretrained(name: str, device: torch.device | str = "cpu") -> Pretrained:
    """A model of the folder releases/ by its name, such as "one-voice", or the one in a folder, such as "./mine".

    Raises InputError, a sentence: if there is none, with the names that there are; or for what is damaged.
    """
    return load(find_folder(name), device)


def from_run(path: Path, device: torch.device | str = "cpu") -> Pretrained:
    """The model of a run's last checkpoint, or of this checkpoint. Raises InputError."""
    model, settings, metadata = load_model(path, device=device)
    return Pretrained(model, settings, metadata["layers"], "mean", metadata["step"], metadata["fingerprint"])


def load_one(checkpoint: Path | None, pretrained: str | None, device: torch.device | str = "cpu") -> Pretrained:
    """What --checkpoint or --pretrained names. Raises InputError, also for both or neither."""
    if checkpoint is not None and pretrained is None:
        return from_run(checkpoint, device)
    if pretrained is not None and checkpoint is None:
        return from_pretrained(pretrained, device)
    names = " or ".join(list_names()) or "a released model"
    raise InputError(f"name the model: --checkpoint with a run, or --pretrained with {names}, not both")


def find_folder(name: str) -> Path:
    """Of a model by its name, or a folder, in whose path there is a slash. Raises InputError if there is no such name."""
    if os.sep in name:
        return Path(name)
    names = list_names()
    if name in names:
        return RELEASES / name
    if not names:
        raise InputError(
            f"--pretrained {name}: trained models are in the folder releases/ of the project's repository, and none is in "
            f"{RELEASES}: use a checkout that has them, or name another folder, as in ./{name}"
        )
    known = f"the models are {', '.join(names)}; a folder elsewhere is named as in ./{name}"
    raise InputError(f"--pretrained {name}: there is no such model: {suggest_name(name, names)}{known}")


def list_names() -> list[str]:
    """Of the models in releases/, sorted."""
    return sorted(path.parent.name for path in RELEASES.glob(f"*/{CONFIG}"))


def load(folder: Path, device: torch.device | str = "cpu") -> Pretrained:
    """Raises InputError, a sentence with the file and the field, before any weight is in a model."""
    try:
        config, settings = read_config(folder)
        weights = _read_weights(folder, config, settings)
    except TornError as error:
        again = f"git restore {folder}" if folder.parent == RELEASES else "copy the folder again from where it came"
        raise InputError(f"{error}; {again}") from None
    chosen = config["layers"], config["decode"], config["step"], config["fingerprint"]
    return Pretrained(build_rounded(settings, weights, device), settings, *chosen)


def build_rounded(settings: RunSettings, weights: Tensors, device: torch.device | str) -> Model:
    """The model with weights of 16 bits, which computes in float32."""
    model = build(settings.model)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model.to(device).eval()


def read_config(folder: Path) -> tuple[Config, RunSettings]:
    """config.json, and the settings in it. Raises InputError."""
    path = folder / CONFIG
    try:
        found = decode(read_regular(path, MAX_JSON_BYTES, links=False))
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no released model: it has no {CONFIG}, which python -m train.release writes"
        ) from None
    except ValueError as error:
        raise TornError(f"{path} is damaged: {error}") from None
    if isinstance(found, dict) and "settings" in found and "format" not in found:
        raise InputError(f"{folder} is a run: name it by --checkpoint, or make a model of it by python -m train.release")
    check_format(found, FORMAT, path)
    config = convert(found, Config, path)
    return config, read_settings(config["settings"], config["step"], path)


def name_piece(number: int, count: int) -> str:
    """number: from 0."""
    return f"model-{number + 1:05d}-of-{count:05d}.safetensors"


def _read_weights(folder: Path, config: Config, settings: RunSettings) -> Tensors:
    path, pieces = folder / CONFIG, config["pieces"]
    shapes = {name: shape for name, (_, shape) in expect_model(settings, config["layer_names"], path).weights.items()}
    held = Counter(name for piece in pieces for name in piece["tensors"])
    for name in shapes | held:
        if held[name] != 1 or name not in shapes:
            wrong = "the model has no such tensor" if name not in shapes else f"it is in {held[name]} pieces, not in one"
            raise InputError(f"{path}, field pieces: {name!r:.200}: {wrong}")
    weights: Tensors = {}
    for i, piece in enumerate(pieces):
        file = folder / name_piece(i, len(pieces))
        found = read_tensors(file, piece["sha256"], {name: (DTYPE, shapes[name]) for name in piece["tensors"]})
        check_values(found, file)
        weights |= found
    return weights
