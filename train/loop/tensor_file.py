"""Safetensors files read back: names and shapes are compared before more than a header is read, numbers before use."""

import hashlib
import math
import os
from pathlib import Path
from typing import Annotated

import msgspec
import safetensors.torch
import torch
from msgspec import Meta
from safetensors import SafetensorError
from torch import Tensor

from dx7data.errors import InputError
from dx7data.files import open_regular
from train.documents import convert, decode
from train.loop.checkpoint import Tensors

MAX_HEADER_BYTES = 16 << 20  # of a safetensors file; 130 bytes a tensor are usual
# Bytes of a number, by safetensors' names of what our models and generators hold. F16: of released models alone.
_SIZES = {"F16": 2, "F32": 4, "F64": 8, "U8": 1}
_DTYPES = {torch.float16: "F16", torch.float32: "F32", torch.float64: "F64", torch.uint8: "U8"}
_NEVER_NEGATIVE = (":step", ":exp_avg_sq")

Tally = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Stored(msgspec.Struct):
    """A tensor in the header of a safetensors file."""

    dtype: Annotated[str, Meta(max_length=20)]
    shape: Annotated[list[Tally], Meta(max_length=8)]
    data_offsets: tuple[Tally, Tally]


Form = tuple[str, tuple[int, ...]]  # of a tensor: safetensors' name of its dtype, and its shape


class TornError(InputError):
    """A file that is not as it was written."""


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
            compare_forms(header, expected, path)
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


def compare_forms(stored: dict[str, Form], expected: dict[str, Form], path: Path) -> None:
    """Raises InputError with the first tensor that is not as the model has it."""
    for name in expected | stored:
        if expected.get(name) != stored.get(name):
            there, here = (
                f"{forms[name][0]} of shape {forms[name][1]}" if name in forms else "no such tensor"
                for forms in (stored, expected)
            )
            raise InputError(f"{path} is of another model: {name!r:.200} is {there} in it and {here} here")


def find_form(tensor: Tensor) -> Form:
    return _DTYPES[tensor.dtype], tuple(tensor.shape)
