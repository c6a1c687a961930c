"""Checkpoints: folders runs/NAME/checkpoints/00001000/ of safetensors and JSON, whole or not there; nothing is unpickled.

model.safetensors, ema.safetensors   the weights and their average
optimiser.safetensors                AdamW's state, by parameter
rng.safetensors                      torch's generators, on the CPU and on each GPU
checkpoint.json                      settings, step, layers, where the data stream is, and a hash of each file above

A person may keep other things beside them, or rename one: only what has a name and files as `write` makes them is removed.
checkpoint_reader.py reads them.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from dx7data.errors import InputError
from dx7data.files import sync_folder
from models.model import Model

FORMAT = 1
KEPT = 2  # the last ones of a run
FOLDER, META, BEST = "checkpoints", "checkpoint.json", "best"
PARTS = ("model", "ema", "optimiser", "rng")
FILES = {META, *(f"{part}.safetensors" for part in PARTS)}
_NAME = re.compile(r"[0-9]{8}|[1-9][0-9]{8,12}")  # a step, in eight digits or as many as it needs
_PARTIAL = re.compile(rf"\.({_NAME.pattern})\.partial")

Tensors = dict[str, Tensor]


class Snapshot(NamedTuple):
    """All of a checkpoint, in memory that training does not change."""

    step: int
    parts: dict[str, Tensors]
    about: dict[str, Any]  # of checkpoint.json


def save(
    run: Path, step: int, model: Model, ema: nn.Module, optimiser: torch.optim.Optimizer, state: dict, **kept: Any
) -> None:
    """`take_snapshot` and `write`, one after the other."""
    write(run, take_snapshot(step, model, ema, optimiser, state), **kept)


def take_snapshot(step: int, model: Model, ema: nn.Module, optimiser: torch.optim.Optimizer, state: dict) -> Snapshot:
    """Copy what a checkpoint holds to memory of the host. state: what else goes into checkpoint.json."""
    parts = {
        "model": _copy_weights(model),
        "ema": _copy_weights(ema),
        "optimiser": _copy_moments(model, optimiser),
        "rng": _copy_generators(),
    }
    return Snapshot(step, parts, {"format": FORMAT, "step": step, "layer_names": layer_names(model), **state})


def write(run: Path, snapshot: Snapshot, last: int = KEPT, best: int | None = None) -> None:
    """Write a checkpoint beside its place, then move it there, then remove those that are not kept.

    last, best: as in `choose_kept`; the best one gets a link. Raises OSError, on a full disk for example; then nothing of it
    is left.
    """
    folder = run / FOLDER / f"{snapshot.step:08d}"
    partial = folder.with_name(f".{folder.name}.partial")
    for left in _list(run, _PARTIAL):  # by a process that was killed
        _remove(left)
    try:
        partial.mkdir(parents=True)
        hashes = {}
        for name, tensors in snapshot.parts.items():
            data = safetensors.torch.save(tensors)
            hashes[f"{name}.safetensors"] = hashlib.sha256(data).hexdigest()
            _write(partial / f"{name}.safetensors", data)
        _write(partial / META, (json.dumps(snapshot.about | {"sha256": hashes}, indent=1) + "\n").encode())
        sync_folder(partial)
        _remove(folder)  # a torn one, when the run has gone on from an earlier one
        os.rename(partial, folder)
        sync_folder(folder.parent)
    except BaseException:
        _remove(partial)
        raise
    if best is not None:
        _link_best(run, best)
    kept = choose_kept(run, last, best)
    for other in list_checkpoints(run):
        if int(other.name) < snapshot.step and other not in kept and _names(other):
            _remove(other)


def choose_kept(run: Path, last: int, best: int | None) -> list[Path]:
    """The checkpoints that stay when others are removed: so many of the last ones, and that of a step."""
    found = list_whole(run)
    return [*found[-last:], *(folder for folder in found if int(folder.name) == best)]


def list_whole(run: Path) -> list[Path]:
    """The checkpoints that have all their files, oldest first."""
    return [folder for folder in list_checkpoints(run) if _names(folder) >= FILES]


def list_checkpoints(run: Path) -> list[Path]:
    """Folders that are named like checkpoints, oldest first; a power cut may have torn one. Links are not followed."""
    return sorted(_list(run, _NAME), key=lambda folder: int(folder.name))


def find_steps(names: Iterable[str]) -> list[int]:
    """Of the checkpoints among the files of a run, by their paths in it."""
    found = (re.fullmatch(rf"{FOLDER}/({_NAME.pattern})/{META}", name) for name in names)
    return [int(match[1]) for match in found if match]


def find_last(run: Path) -> Path | None:
    """The last checkpoint of a run that has all its files, if there is one yet."""
    return next(reversed(list_whole(run)), None)


def check_places(run: Path, step: int, best: bool = False) -> None:
    """Raises InputError if checkpoints after a step could not be written, or the link to the best one: what is not of this
    program is in their places.
    """
    folder = run / FOLDER
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        what = "a link" if folder.is_symlink() else "no folder"
        raise InputError(f"{folder} is {what}: move it away, or put a link in the place of the whole run")
    for path in folder.iterdir():
        name = _PARTIAL.sub(r"\1", path.name)
        if best and name == BEST and not (path.is_symlink() and _NAME.fullmatch(os.readlink(path))):
            raise InputError(f"{path} is in the place of the link to the best checkpoint: move it away")
        if _NAME.fullmatch(name) and (int(name) > step or name != path.name) and not _is_own(path):
            raise InputError(f"{path} is in the place of a checkpoint, and not all of it was made by training: move it away")


def layer_names(model: Model) -> list[str]:
    """Place and class of each sequence layer."""
    return [f"{name}:{type(layer).__name__}" for name, _, layer in model.backbone.layers()]


def _list(run: Path, names: re.Pattern) -> list[Path]:
    folder = run / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if names.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]


def _names(folder: Path) -> set[str]:
    """Of the regular files in a folder, and, so that it counts as a person's, "" for anything else."""
    with os.scandir(folder) as entries:
        return {entry.name if entry.is_file(follow_symlinks=False) else "" for entry in entries}


def _is_own(folder: Path) -> bool:
    """Whether it is a folder that holds files of a checkpoint, or nothing, and nothing else."""
    return folder.is_dir() and not folder.is_symlink() and _names(folder) <= FILES


def _remove(folder: Path) -> None:
    """Remove a checkpoint, whole or partial, if there is nothing else in it."""
    if _is_own(folder):
        shutil.rmtree(folder)


def _link_best(run: Path, step: int) -> None:
    link = run / FOLDER / BEST
    partial = link.with_name(f".{BEST}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(f"{step:08d}")
    os.replace(partial, link)


def _copy_weights(model: nn.Module) -> Tensors:
    return {name: _copy(tensor) for name, tensor in model.state_dict().items()}


def _copy_moments(model: nn.Module, optimiser: torch.optim.Optimizer) -> Tensors:
    return {
        f"{name}:{key}": _copy(value)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        for key, value in optimiser.state[parameter].items()
    }


def _copy_generators() -> Tensors:
    gpus = (
        {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())} if torch.cuda.is_available() else {}
    )
    return {"cpu": torch.get_rng_state(), **gpus}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().to("cpu", copy=True)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        os.fsync(file.fileno())
