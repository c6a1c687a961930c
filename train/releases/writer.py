"""Writes the folder of a released model, whole or not at all; reader.py says what is in it."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from dx7data.errors import InputError, explain_os_errors
from dx7data.files import sync_file, sync_folder
from dx7data.output import drop_nan
from models.model import Model
from train.loop.checkpoint import Tensors, layer_names
from train.releases.card import format_card
from train.releases.reader import CARD, CONFIG, FORMAT, Pretrained, load, name_piece

PIECE_BYTES = 16_000_000  # at most, of the weights in a file
MAX_BYTES = 40_000_000  # of all weights: a repository keeps each version of them for ever


def round_weights(model: Model) -> Tensors:
    """The weights as float16, on the CPU. Raises InputError for a number that is too large for it, or too many of them."""
    found = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    for name, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} has a number that float16 can't hold: it is not finite, or beyond 65,504")
    if (size := sum(map(_count_bytes, found.values()))) > MAX_BYTES:
        raise InputError(f"the weights take {size:,} bytes, and a release has {MAX_BYTES:,} at most: train a smaller model")
    return found


def pack(weights: Tensors, limit: int = PIECE_BYTES) -> list[Tensors]:
    """The weights in their order, in as few pieces as there are when each is filled before the next one begins."""
    pieces: list[Tensors] = [{}]
    for name, tensor in weights.items():
        if pieces[-1] and sum(map(_count_bytes, pieces[-1].values())) + _count_bytes(tensor) > limit:
            pieces.append({})
        pieces[-1][name] = tensor
    return pieces


def _count_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def check_place(out: Path) -> None:
    """Raises InputError where no folder `out` can be made: asked before the model is measured."""
    with explain_os_errors(f"can't write {out}"):
        os.rmdir(_make_partial(out))


def _make_partial(out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))


def write(out: Path, found: Pretrained, weights: Tensors, record: dict[str, Any]) -> dict[str, int]:
    """The folder `out`, and how many bytes each of its files has. record: what the card says, see card.py.

    It is read back before it gets its name. Raises InputError, and OSError.
    """
    pieces = pack(weights)
    files = {name_piece(i, len(pieces)): safetensors.torch.save(piece) for i, piece in enumerate(pieces)}
    held = [
        {"sha256": hashlib.sha256(data).hexdigest(), "tensors": list(piece)}
        for data, piece in zip(files.values(), pieces, strict=True)
    ]
    config: dict[str, Any] = {"format": FORMAT, "step": found.step, "decode": found.decode, "layers": found.layers}
    config |= {"layer_names": layer_names(found.model), "settings": found.settings.to_json()}
    config |= {"fingerprint": found.fingerprint, "record": drop_nan(record), "pieces": held}
    files[CONFIG] = (json.dumps(config, indent=1) + "\n").encode()
    files[CARD] = format_card(config).encode()
    partial = _make_partial(out)
    try:
        for name, data in files.items():
            (partial / name).write_bytes(data)
            sync_file(partial / name)
        partial.chmod(0o755)  # mkdtemp's is for its owner alone
        load(partial)
        sync_folder(partial)
        os.rename(partial, out)
        sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return {name: len(data) for name, data in files.items()}
