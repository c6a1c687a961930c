"""Tensors with other names, shapes, types and numbers, and files of them with other bytes.

A change of content comes twice: with the right hash, as a person who edits files would make it, and with the old one, as a
disk does. The arrays are of numpy, and a safetensors file is made of them here, with whatever header is wanted.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.campaign.checkpoint_cases.case import LEVELS, NEWEST, PARTS, READERS, Case
from benchmarks.campaign.checkpoint_cases.documents import change_field

_NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "int32": "I32", "uint8": "U8", "bool": "BOOL"}


def read_tensors(path: Path) -> tuple[dict, dict]:
    """The header of a safetensors file, and its arrays."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    kinds = {name: kind for kind, name in _NAMES.items()}
    arrays = {}
    for name, about in header.items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            array = np.frombuffer(data[8 + size + begin : 8 + size + end], kinds[about["dtype"]])
            arrays[name] = array.reshape(about["shape"]).copy()
    return header, arrays


def pack(arrays: dict, change: Callable[[dict], object] | None = None) -> bytes:
    """A safetensors file; change: of its header, or another one in its place."""
    header, data = {}, b""
    for name, array in arrays.items():
        about = {"dtype": _NAMES[str(array.dtype)], "shape": list(array.shape)}
        header[name] = about | {"data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    if change:
        header = change(header) or header
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def first(arrays: dict) -> str:
    """The name of a tensor with numbers in it, of the moments one that may be negative."""
    return next((name for name in arrays if name.endswith(("exp_avg", ".weight"))), next(iter(arrays)))


def set_array(arrays: dict, make: Callable[[np.ndarray], np.ndarray]) -> bytes:
    name = first(arrays)
    return pack(arrays | {name: make(arrays[name])})


def fill(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def make(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flat[-1] = value
        return array

    return make


def rename(arrays: dict, name: str) -> dict:
    return {name if each == first(arrays) else each: array for each, array in arrays.items()}


def without(arrays: dict, name: str) -> dict:
    return {each: array for each, array in arrays.items() if each != name}


def set_about(field: str, value) -> Callable[[dict], None]:
    """Of the first tensor in a header."""

    def change(header: dict) -> None:
        header[next(iter(header))][field] = value

    return change


def twice(header: dict) -> bytes:
    """A name that is there two times."""
    name = json.dumps(next(iter(header)))
    return (
        json.dumps(header).encode()[:-1]
        + b", "
        + name.encode()
        + b': {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}'
    )


CONTENTS: dict[str, Callable[[dict], bytes]] = {
    "a tensor is missing": lambda arrays: pack(without(arrays, first(arrays))),
    "no tensor": lambda arrays: pack({}),
    "one more": lambda arrays: pack(arrays | {"other": np.zeros(3, np.float32)}),
    "another name": lambda arrays: pack(rename(arrays, "other")),
    "a name of a terminal": lambda arrays: pack(rename(arrays, "\x1b[31m\x07")),
    "a long name": lambda arrays: pack(rename(arrays, "x" * 100_000)),
    "longer": lambda arrays: set_array(arrays, lambda array: np.zeros(array.size + 1, array.dtype)),
    "a scalar": lambda arrays: set_array(arrays, lambda array: array.reshape(-1)[0].reshape(())),
    "flat": lambda arrays: set_array(arrays, lambda array: array.reshape(-1, 1, 1)),
    "transposed": lambda arrays: set_array(arrays, lambda array: np.ascontiguousarray(array.T.reshape((*array.T.shape, 1)))),
    "empty": lambda arrays: set_array(arrays, lambda array: np.zeros((0, *array.shape), array.dtype)),
    "all double": lambda arrays: pack({name: array.astype(np.float64) for name, array in arrays.items()}),
    "one half": lambda arrays: set_array(arrays, lambda array: array.astype(np.float16)),
    "one whole": lambda arrays: set_array(arrays, lambda array: array.astype(np.int32)),
    "one boolean": lambda arrays: set_array(arrays, lambda array: array.astype(np.bool_)),
    "header is a list": lambda arrays: pack(arrays, lambda header: b"[1, 2]"),
    "header is text": lambda arrays: pack(arrays, lambda header: b"no JSON at all"),
    "header is nested": lambda arrays: pack(arrays, lambda header: b"[" * LEVELS + b"]" * LEVELS),
    "header is null": lambda arrays: pack(arrays, lambda header: b"null"),
    "header is no text": lambda arrays: pack(arrays, lambda header: b"\xff" * 64),
    "header has a name twice": lambda arrays: pack(arrays, twice),
    "header has 10,000 metadata": lambda arrays: pack(
        arrays, lambda header: header | {"__metadata__": {str(i): "x" for i in range(10_000)}}
    ),
    "metadata is a list": lambda arrays: pack(arrays, lambda header: header | {"__metadata__": [1]}),
    "dtype is unknown": lambda arrays: pack(arrays, set_about("dtype", "F128")),
    "dtype is a number": lambda arrays: pack(arrays, set_about("dtype", 7)),
    "shape is negative": lambda arrays: pack(arrays, set_about("shape", [-1])),
    "shape is huge": lambda arrays: pack(arrays, set_about("shape", [2**62, 2**62])),
    "shape is text": lambda arrays: pack(arrays, set_about("shape", "all")),
    "offsets are huge": lambda arrays: pack(arrays, set_about("data_offsets", [0, 2**63])),
    "offsets overlap": lambda arrays: pack(arrays, set_about("data_offsets", [4, 8])),
    "offsets are negative": lambda arrays: pack(arrays, set_about("data_offsets", [-8, 8])),
    "offsets are missing": lambda arrays: pack(
        arrays, lambda header: header[next(iter(header))].pop("data_offsets") and None
    ),
}
NUMBERS: dict[str, Callable[[dict], bytes]] = {  # of parts that hold floats
    "nan": lambda arrays: set_array(arrays, fill(np.nan)),
    "infinite": lambda arrays: set_array(arrays, fill(-np.inf)),
    "all nan": lambda arrays: pack({name: np.full_like(array, np.nan) for name, array in arrays.items()}),
}
MOMENTS: dict[str, Callable[[dict], bytes]] = {
    "squares below 0": lambda arrays: pack(
        {name: -1 - array if name.endswith("exp_avg_sq") else array for name, array in arrays.items()}
    ),
    "steps below 0": lambda arrays: pack(
        {name: -array if name.endswith(":step") else array for name, array in arrays.items()}
    ),
}
GENERATORS: dict[str, Callable[[dict], bytes]] = {
    "all 255": lambda arrays: set_array(arrays, lambda array: np.full_like(array, 255)),
    "a GPU of 3 bytes": lambda arrays: pack(arrays | {"cuda:0": np.zeros(3, np.uint8)}),
    "no GPU": lambda arrays: pack(arrays | {"cuda:-1": np.zeros(16, np.uint8)}),
}
BYTES: dict[str, Callable[[bytes], bytes]] = {  # as disks do, mostly
    "no byte": lambda data: b"",
    "3 bytes": lambda data: data[:3],
    "half of the header": lambda data: data[:60],
    "one byte less": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "one byte more": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "zeros from the middle on": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "a bit": lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    "a header of 2^64 bytes": lambda data: b"\xff" * 8 + data[8:],
    "a header of 2^40 bytes": lambda data: (1 << 40).to_bytes(8, "little") + data[8:],
    "a header of 0 bytes": lambda data: bytes(8) + data[8:],
}
OTHER_NUMBERS = ("a bit", "zeros from the middle on")  # of BYTES: the header and the size stay


def change_bytes(run: Path, part: str, change: Callable[[bytes], bytes], signed: bool) -> None:
    path = run / NEWEST / f"{part}.safetensors"
    data = change(path.read_bytes())
    path.write_bytes(data)
    if signed:
        change_field(run, f"{NEWEST}/checkpoint.json", ("sha256", path.name), hashlib.sha256(data).hexdigest())


def change_tensors(run: Path, part: str, change: Callable[[dict], bytes], signed: bool) -> None:
    arrays = read_tensors(run / NEWEST / f"{part}.safetensors")[1]
    change_bytes(run, part, lambda data: change(arrays), signed)


def of_tensors() -> Iterator[Case]:
    for part in PARTS:
        more = GENERATORS if part == "rng" else NUMBERS | (MOMENTS if part == "optimiser" else {})
        for changes, function in ((CONTENTS | more, change_tensors), (BYTES, change_bytes)):
            for name, change in changes.items():
                for signed in (True, False):
                    what = f"{part}.safetensors {name}{', hash right' * signed}"
                    readers = READERS["checkpoint.json"] if part == "ema" else ("resume",)
                    whole = signed and name in OTHER_NUMBERS
                    yield Case(what, partial(function, part=part, change=change, signed=signed), readers, whole)
