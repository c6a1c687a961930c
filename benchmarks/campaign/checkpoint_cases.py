"""Broken checkpoints: each case changes one thing of a run with two good ones, of steps 4 and 8, the newer one.

A change of content comes twice: with the right hash, as a person who edits files would make it, and with the old one, as a
disk does.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

NEWEST, OLDER = "checkpoints/00000008", "checkpoints/00000004"
PARTS = ("model", "ema", "optimiser", "rng")
_LEVELS = 100_000  # of nested JSON
_DEEP = "@deep@"  # stands for them: no program writes so many from an object


class Case(NamedTuple):
    name: str
    change: Callable[[Path], object]  # of the folder of a run
    commands: tuple[str, ...] = ()  # that read what is changed; none: all are tried


# --- JSON ---

MISSING = object()
VALUES = {
    "missing": MISSING,
    "null": None,
    "true": True,
    "text": "\u001b[31mx",
    "negative": -1,
    "zero": 0,
    "half": 0.5,
    "huge": 10**18,
    "list": [[], "a", 1],
    "object": {"a": {"b": 1}},
}
RARE_VALUES = {  # of the outermost fields
    "empty": "",
    "beyond all": 10**400,
    "infinite": float("inf"),
    "nan": float("nan"),
    "nested": _DEEP,
    "long": "x" * 100_000,
}


def leaves(document: dict, above: tuple = ()) -> Iterator[tuple]:
    """The place of each field, of those that hold others too."""
    for key, value in document.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))


def write_json(path: Path, document) -> None:
    text = json.dumps(document)
    path.write_text(text.replace(f'"{_DEEP}"', "[" * _LEVELS + "]" * _LEVELS))


def change_field(run: Path, file: str, place: tuple, value) -> None:
    document = inner = json.loads((run / file).read_text())
    for key in place[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    write_json(run / file, document)


def of_fields(run: Path, file: str) -> Iterator[Case]:
    for place in leaves(json.loads((run / file).read_text())):
        for name, value in (VALUES | (RARE_VALUES if len(place) == 1 else {})).items():
            change = partial(change_field, file=file, place=place, value=value)
            yield Case(f"{file} {'.'.join(place)} {name}", change, READERS[Path(file).name])


READERS = {
    "checkpoint.json": ("resume", "convert", "timescales"),
    "config.json": ("resume", "compare"),
    "result.json": ("resume", "compare"),
}
# Each is a legal value of its field, and wrong beside the others.
OTHER_VALUES = {
    f"{NEWEST}/checkpoint.json": [
        (("step",), 7),
        (("step",), 13),
        (("format",), 2),
        (("layers",), 9),
        (("fingerprint",), "0" * 64),
        (("stream",), {}),
        (("stream", "step"), 3),
        (("stream", "fingerprint"), "0" * 64),
        (("settings", "precision"), "fp64"),
        (("settings", "steps"), 7),
        (("settings", "prefix"), "morse"),
        (("settings", "sample_rate"), 12345),
        (("settings", "workers"), 10**5),
        (("settings", "model", "layers"), ["s4d", "gru"]),
        (("settings", "model", "layers"), ["s4"]),
        (("settings", "model", "n_layers"), 256),
        (("settings", "model", "d_model"), 65_536),
        (("settings", "model", "backbone"), "sashimi"),
        (("settings", "model", "pool"), [4] * 40),
        (("settings", "model", "options"), {"s4d": {"d_state": 10**6}}),
        (("settings", "model", "options"), {"s4d": {"dt_min": 0}}),
        (("settings", "model", "options"), {"s4d": {"init": "random"}}),
        (("settings", "later"), 1),
        (("layer_names",), ["blocks.0:S4"]),
        (("layer_names",), ["x"] * 20_000),
    ],
    "config.json": [
        (("settings", "precision"), "fp64"),
        (("settings", "steps"), 7),
        (("settings", "workers"), 10**5),
        (("settings", "batch"), 10**9),
        (("settings", "grad_accum"), 10**9),
        (("settings", "model", "n_layers"), 10**5),
        (("settings", "model", "d_model"), 10**6),
        (("settings", "model", "d_model"), 33),
        (("fingerprint",), "0" * 64),
    ],
}


def of_other_values() -> Iterator[Case]:
    for file, changes in OTHER_VALUES.items():
        for place, value in changes:
            name = f"{file} {'.'.join(place)} {str(value)[:40]}"
            change = partial(change_field, file=file, place=place, value=value)
            yield Case(name, change, READERS[Path(file).name])


# --- Tensors, as numpy arrays; a safetensors file is made of them here, with whatever header is wanted ---

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
    "header is nested": lambda arrays: pack(arrays, lambda header: b"[" * _LEVELS + b"]" * _LEVELS),
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
                    yield Case(what, partial(function, part=part, change=change, signed=signed), readers)


# --- What is there in the place of files and folders ---


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def move_and_link(path: Path) -> None:
    """It lies elsewhere now, outside the run; a link leads there."""
    elsewhere = next(parent for parent in path.parents if parent.name == "run").with_name("elsewhere")
    os.rename(path, elsewhere)
    path.symlink_to(elsewhere)


def place(path: Path, make: Callable[[Path], object]) -> None:
    remove(path)
    make(path)


def fill_sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


STANDINS: dict[str, Callable[[Path], None]] = {
    "missing": remove,
    "a link": move_and_link,
    "a dangling link": partial(place, make=lambda path: path.symlink_to("nowhere")),
    "a link to itself": partial(place, make=lambda path: path.symlink_to(path.name)),
    "a link to /dev/zero": partial(place, make=lambda path: path.symlink_to("/dev/zero")),
    "a pipe": partial(place, make=os.mkfifo),
    "a folder": partial(place, make=os.mkdir),
    "an empty file": partial(place, make=Path.touch),
    "a terabyte of zeros": partial(place, make=fill_sparse),
}


def copy_older(run: Path, name: str) -> None:
    shutil.copytree(run / OLDER, run / "checkpoints" / name)


FOLDERS: dict[str, Callable[[Path], object]] = {
    "both checkpoints lack a part": lambda run: [remove(path) for path in run.glob("checkpoints/*/ema.safetensors")],
    "a copy of an older one under a later step": partial(copy_older, name="00000011"),
    "a copy that a person named": partial(copy_older, name="00000004-best"),
    "a later folder, empty": lambda run: (run / "checkpoints/00000011").mkdir(),
    "a later folder with notes": lambda run: [
        (run / "checkpoints/00000012").mkdir(),
        (run / "checkpoints/00000012/notes.txt").write_text("mine"),
    ],
    "a later link": lambda run: (run / "checkpoints/00000012").symlink_to("00000004"),
    "a later file": lambda run: (run / "checkpoints/00000012").touch(),
    "a partial one that is a link": lambda run: (run / "checkpoints/.00000012.partial").symlink_to("00000004"),
    "a name of 5,000 digits": lambda run: (run / "checkpoints" / ("9" * 200)).mkdir(),
}


def of_places(run: Path) -> Iterator[Case]:
    files = [f"{NEWEST}/checkpoint.json", *(f"{NEWEST}/{part}.safetensors" for part in PARTS), "config.json"]
    for file in [*files, NEWEST, "checkpoints", "result.json", "metrics.csv", "validation.csv", "samples/00000008"]:
        if os.path.lexists(run / file):
            for name, change in STANDINS.items():
                yield Case(f"{file} is {name}", lambda run, file=file, change=change: change(run / file))
    for name, change in FOLDERS.items():
        yield Case(name, change)


def every_case(run: Path) -> list[Case]:
    """run: a good one."""
    found = [*of_other_values(), *of_tensors(), *of_places(run)]
    for file in (f"{NEWEST}/checkpoint.json", "config.json", "result.json"):
        if (run / file).exists():
            found += of_fields(run, file)
    return found
