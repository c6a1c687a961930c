"""Checkpoints: folders runs/NAME/checkpoints/00001000/ of safetensors and JSON, whole or not there; nothing is unpickled.

model.safetensors, ema.safetensors   the weights and their average
optimiser.safetensors                AdamW's state, by parameter
rng.safetensors                      torch's generators, on the CPU and on each GPU
checkpoint.json                      settings, step, layers, where the data stream is, and a hash of each file above
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from dx7data.errors import InputError
from models.model import Model, build
from train.config import RunSettings

FORMAT = 1
KEPT = 2  # the last ones of a run
_META = "checkpoint.json"

Tensors = dict[str, Tensor]


def save(run: Path, step: int, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer, state: dict) -> Path:
    """Write a checkpoint beside its place, then move it there, then remove those before the last two; its folder.

    state: what else goes into checkpoint.json. Raises OSError, on a full disk for example; then nothing of it is left.
    """
    folder = run / "checkpoints" / f"{step:08d}"
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        parts = {
            "model": _collect_weights(model),
            "ema": _collect_weights(ema),
            "optimiser": _collect_moments(model, optimiser),
            "rng": _collect_generators(),
        }
        hashes = {}
        for name, tensors in parts.items():
            data = safetensors.torch.save(tensors)
            hashes[f"{name}.safetensors"] = hashlib.sha256(data).hexdigest()
            _write(partial / f"{name}.safetensors", data)
        meta = {"format": FORMAT, "step": step, "layer_names": layer_names(model), **state, "sha256": hashes}
        _write(partial / _META, (json.dumps(meta, indent=1) + "\n").encode())
        _sync(partial)
        os.rename(partial, folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in _list(run)[:-KEPT]:
        shutil.rmtree(old)
    return folder


def find_last(run: Path) -> Path | None:
    """The last checkpoint of a run, if it has one yet."""
    return max(_list(run), default=None)


def read_meta(folder: Path) -> dict:
    """checkpoint.json. Raises InputError if it is damaged, or of another version."""
    try:
        found = json.loads((folder / _META).read_text())
        version = found["format"]
        if version == FORMAT and not {"step", "layer_names", "settings", "sha256"} <= found.keys():
            raise ValueError
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} is no checkpoint: it has no {_META}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise _damage_error(folder / _META) from None
    if version != FORMAT:
        raise InputError(f"{folder} has format {version}, this version reads {FORMAT}: use the version that wrote it")
    return found


def load_tensors(folder: Path, name: str, hashes: dict[str, str]) -> Tensors:
    """The tensors of NAME.safetensors, on the CPU. Raises InputError if it isn't what was written."""
    path = folder / f"{name}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != hashes.get(path.name):
        raise _damage_error(path)
    return safetensors.torch.load(data)


def load_model(path: Path, ema: bool = True, device: torch.device | str = "cpu") -> tuple[Model, RunSettings, dict]:
    """The model of a run's last checkpoint, or of this checkpoint, ready to use; its settings; checkpoint.json."""
    folder = find_last(Path(path)) or Path(path)
    about = read_meta(folder)
    settings = RunSettings.from_json(about["settings"])
    model = build(settings.model)
    fill(model, load_tensors(folder, "ema" if ema else "model", about["sha256"]), folder)
    return model.to(device).eval(), settings, about


def restore(folder: Path, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer) -> dict:
    """Continue from a checkpoint, exactly; checkpoint.json. Raises InputError, a sentence, if it doesn't fit."""
    about = read_meta(folder)
    if about["layer_names"] != (own := layer_names(model)):
        raise InputError(f"{folder} has layers {', '.join(about['layer_names'])}, the run has {', '.join(own)}")
    parts = {name: load_tensors(folder, name, about["sha256"]) for name in ("model", "ema", "optimiser", "rng")}
    fill(model, parts["model"], folder)
    fill(ema, parts["ema"], folder)
    for name, parameter in model.named_parameters():
        moments = {key: parts["optimiser"][f"{name}:{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        optimiser.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
    torch.set_rng_state(parts["rng"]["cpu"])
    for i in range(torch.cuda.device_count()):
        if f"cuda:{i}" in parts["rng"]:
            torch.cuda.set_rng_state(parts["rng"][f"cuda:{i}"], i)
    return about


def fill(model: nn.Module, tensors: Tensors, folder: Path) -> None:
    """Put weights into a model. Raises InputError that names the first tensor that is not as the model has it."""
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in own | stored:
        if own.get(name) != stored.get(name):
            there, here = (f"shape {shapes[name]}" if name in shapes else "no such tensor" for shapes in (stored, own))
            raise InputError(f"{folder} is of another model: {name} has {there} in it and {here} here")
    model.load_state_dict(tensors)


def layer_names(model: nn.Module) -> list[str]:
    """Place and class of each sequence layer."""
    return [f"{name}:{type(layer).__name__}" for name, _, layer in model.backbone.layers()]


def _collect_weights(model: nn.Module) -> Tensors:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in model.state_dict().items()}


def _collect_moments(model: nn.Module, optimiser: torch.optim.Optimizer) -> Tensors:
    return {
        f"{name}:{key}": value.contiguous().cpu()
        for name, parameter in model.named_parameters()
        for key, value in optimiser.state[parameter].items()
    }


def _collect_generators() -> Tensors:
    gpus = (
        {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())} if torch.cuda.is_available() else {}
    )
    return {"cpu": torch.get_rng_state(), **gpus}


def _list(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("[0-9]*"))


def _damage_error(path: Path) -> InputError:
    return InputError(f"{path} is damaged: remove its folder, and the checkpoint before it counts")


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make new names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
