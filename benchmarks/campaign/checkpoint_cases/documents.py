"""checkpoint.json, config.json and result.json with other values in each field."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.campaign.checkpoint_cases.case import LEVELS, NEWEST, READERS, Case

DEEP = "@deep@"  # stands for them: no program writes so many from an object

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
    "nested": DEEP,
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
    path.write_text(text.replace(f'"{DEEP}"', "[" * LEVELS + "]" * LEVELS))


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
            if (place[-1], name) == ("compile", "true"):
                continue  # a setting that a run may go on with: it takes a minute, and rounds in another way
            change = partial(change_field, file=file, place=place, value=value)
            yield Case(f"{file} {'.'.join(place)} {name}", change, READERS[Path(file).name])


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
