"""What a run has left in its folder so far, read back: its config, the tables of its progress, its fixed samples."""

import csv
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple, TypedDict

import numpy as np
from msgspec import Meta

from dx7data.audio.wav import decode_wav
from dx7data.errors import InputError
from dx7data.files import read_regular
from train.config import rename_settings
from train.documents import MAX_JSON_BYTES, Name, convert, decode

MAX_TABLE_BYTES = 1 << 28  # two million steps
KINDS = ("source", "target", "generated")
TEXTS = ("set", "split", "decode")  # columns that are no numbers
COUNTS = ("step", "samples", "sample", "algorithm")  # integers, never empty
_MEASURED = ("step", "loss_bits", "bits", "sample", "algorithm")  # columns in which no cell is empty
_COSTS, _MAX_COST = ("time", "step_seconds", "data_seconds", "tokens_per_second"), 1e15
TABLES = {  # that all versions have written
    "metrics": ("step", "loss_bits", "step_seconds", "tokens_per_second"),
    "validation": ("step", "set", "bits"),
    "algorithms": ("step", "set", "algorithm", "bits"),
    "clips": ("step", "set", "split", "sample", "bits"),
}
_ADVICE = "take it from a backup, or train again"
_MAX_STEP = 10**12
_MAX_CLIP_BYTES = 1 << 27  # ten minutes at 48 kHz are half of it
_STEP_FOLDER, _GENERATED = re.compile(r"[0-9]{8,13}"), re.compile(r"([0-9]{1,6})-generated\.wav")


class Clip(NamedTuple):
    """int16 mono audio (L,) and its sample rate in Hz."""

    audio: np.ndarray
    rate: int


Row = dict[str, str]  # of a table, by column; an empty text where nothing was measured
Samples = dict[str, dict[str, Clip]]  # by number, by kind


Amount = Annotated[float, Meta(ge=0, le=1e18)]


class Used(TypedDict, total=False):
    """What is used of settings as more than a text: a run of any version is compared, so they need not be RunSettings."""

    steps: Annotated[int, Meta(ge=1, le=_MAX_STEP)]


class Config(TypedDict, total=False):
    """What is used of config.json."""

    settings: Used
    fingerprint: Name
    patches: Annotated[int, Meta(ge=1, le=10**9)]  # targets of training, and their near-duplicate groups
    groups: Annotated[int, Meta(ge=1, le=10**9)]
    unseen_fingerprint: Name
    parameters: Annotated[int, Meta(ge=0, le=10**15)]
    versions: dict[Name, Name]


class Result(TypedDict, total=False):
    """What is used of result.json."""

    verdict: Name
    step_seconds: Amount | None
    peak_memory_bytes: Amount
    first_steps_seconds: Amount


class Run(NamedTuple):
    """All of a run that others can be compared with."""

    name: str
    facts: dict[str, str]  # the leaves of config.json by dotted name, without "settings."; and the tokens seen
    metrics: list[Row]
    validation: dict[str, list[Row]]  # by set
    clips: dict[str, list[Row]]  # by set: bits of each clip in the last evaluation
    result: dict
    samples_step: int
    samples: Samples

    @property
    def steps(self) -> int:
        return int(self.metrics[-1]["step"])

    def find_clips(self, which: str) -> tuple[str | None, ...]:
        """What decides which clips a set has: those of runs for which this is the same are the same."""
        data = "unseen_fingerprint" if which == "unseen" and "unseen_fingerprint" in self.facts else "fingerprint"
        return tuple(self.facts.get(fact) for fact in (data, "sample_rate", "seconds"))

    @property
    def tokens_a_step(self) -> int | None:
        """Of a whole batch, with its prefixes; None until the first steps are over, for their time is not recorded."""
        timed = next((row for row in reversed(self.metrics) if row["step_seconds"] and row["tokens_per_second"]), None)
        return round(float(timed["tokens_per_second"]) * float(timed["step_seconds"])) if timed else None


def read(folder: Path, name: str) -> Run:
    """Raises InputError if the folder is no run, or one that has not logged a step, or if a file can't be read."""
    settings = read_config(folder)
    metrics = read_table(folder / "metrics.csv")
    if not metrics:
        raise InputError(f"{folder} has no step in its metrics.csv: wait until it has, or leave it out")
    facts = flatten(rename_settings(settings.pop("settings"))) | flatten(settings)
    validation, clips = (group_by_set(read_table(folder / f"{each}.csv")) for each in ("validation", "clips"))
    run = Run(name, facts, metrics, validation, clips, read_result(folder), *read_samples(folder))
    if run.tokens_a_step:
        facts["tokens"] = str(run.tokens_a_step * run.steps)
    return run


def flatten(document: dict, above: str = "") -> dict[str, str]:
    """Each value of nested JSON as text, by its dotted name."""
    found: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{above}{key}.")
        else:
            found[above + key] = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    return found


def read_config(run: Path) -> dict:
    """config.json: what was set. Raises InputError if the folder is no run, or the file is damaged."""
    path = run / "config.json"
    if not os.path.lexists(path):
        raise InputError(f"{run} is no run: it has no config.json, which python -m train --out {run} writes")
    found = _read_json(path, Config)
    if "settings" not in found:
        raise InputError(f'{path} has no "settings": take it from a backup, or train again')
    return found


def read_result(run: Path) -> dict:
    """result.json: what the run cost; empty until it has ended. Raises InputError if the file is damaged."""
    path = run / "result.json"
    return _read_json(path, Result, "remove it: --resume writes it again") if os.path.lexists(path) else {}


def _read_json(path: Path, kind: type, advice: str = _ADVICE) -> dict:
    """A document with at least what is used of it, of the right types. advice: what to do about a damaged one."""
    try:
        found = decode(read_regular(path, MAX_JSON_BYTES, links=False))
    except (OSError, ValueError) as error:
        raise _read_error(path, error, advice) from None
    convert(found, kind, path)
    return found


def _read_error(path: Path, error: Exception, advice: str = _ADVICE) -> InputError:
    return InputError(f"{path} can't be read ({error}): {advice}")


def read_table(path: Path) -> list[Row]:
    """The rows of metrics.csv, validation.csv, algorithms.csv or clips.csv, none if there is no such file yet.

    A last line that has no end is still being written and left out. Raises InputError if the file is damaged. What earlier
    versions called `snr_db` was the likeliest class's. Their `logmel` counts mu-law's noise and has no new name.
    """
    if not os.path.lexists(path):
        return []
    try:
        text = read_regular(path, MAX_TABLE_BYTES, links=False).decode()
        rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
        for row in rows:
            if missing := [name for name in TABLES[path.stem] if name not in row]:
                raise ValueError(f"it has no column {missing[0]}")
            if None in row or None in row.values():
                raise ValueError(f"a row of step {row['step']} has not as many columns as the first line")
            if not 0 <= int(row["step"]) <= _MAX_STEP:
                raise ValueError(f"a row is of step {row['step']}")
            for name, value in row.items():
                _check_cell(name, value)
            if "snr_db" in row:
                row["snr_argmax_db"] = row.get("snr_argmax_db") or row["snr_db"]
    except (OSError, ValueError, csv.Error) as error:
        raise _read_error(path, error) from None
    return rows


def _check_cell(name: str, value: str) -> None:
    """Raises ValueError. Of a run that diverged, what was measured may be infinite or no number; what it cost is not."""
    if name in TEXTS:
        return
    if not value and name in _MEASURED:
        raise ValueError(f"a row has no {name}")
    if value and name in _COSTS and not 0 <= float(value) <= _MAX_COST:
        raise ValueError(f"a row has {name} {value[:40]}")
    float(value or 0)


def column(rows: list[Row], name: str) -> np.ndarray:
    """float64 (rows,); NaN where nothing was measured, as in a table from before there was such a column."""
    return np.array([float(row.get(name) or "nan") for row in rows])


def group_by_set(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each validation set, in the order in which the sets appear."""
    return {name: [row for row in rows if row["set"] == name] for name in dict.fromkeys(row["set"] for row in rows)}


def choose_set(sets: Iterable[str]) -> str:
    """The validation set by which runs are judged: seen patches, if there are any.

    Of a few near-duplicate groups a model learns what holds for no other: the more it has learned of them, the worse it is
    on unseen ones.
    """
    names = list(sets)
    return "seen" if "seen" in names else names[0]


def read_metric(run: Path, metric: str) -> dict[int, float]:
    """A column of validation.csv by step, as "bits" of the set by which runs are judged, or "unseen/bits"."""
    place, _, name = metric.rpartition("/")
    sets = group_by_set(read_table(run / "validation.csv"))
    rows = sets.get(place or choose_set(sets), []) if sets else []
    return {int(row["step"]): float(row.get(name) or "nan") for row in rows}


def smooth(values: np.ndarray) -> np.ndarray:
    """The mean of a twenty-fifth of the curve around each value, of less at the ends."""
    reach, i = len(values) // 50, np.arange(len(values))
    first, end = np.maximum(0, i - reach), np.minimum(len(values), i + reach + 1)
    total = np.concatenate([[0], np.cumsum(values)])
    return (total[end] - total[first]) / (end - first)


def read_samples(run: Path) -> tuple[int, Samples]:
    """The last step that has left fixed samples, and these; (0, {}) if none has. Raises InputError if one can't be read."""
    for folder in sorted((run / "samples").glob("[0-9]*"), reverse=True):
        if _STEP_FOLDER.fullmatch(folder.name) and not folder.is_symlink():
            found = (_GENERATED.fullmatch(path.name) for path in folder.glob("*-generated.wav"))
            if numbers := sorted((each[1] for each in found if each), key=int):
                clips = {i: {kind: read_clip(folder / f"{i}-{kind}.wav") for kind in KINDS} for i in numbers}
                return int(folder.name), clips
    return 0, {}


def read_clip(path: Path) -> Clip:
    """A PCM wav file of 16 bits and one channel. Raises InputError."""
    try:
        clip = Clip(*decode_wav(read_regular(path, _MAX_CLIP_BYTES, links=False)))
        if not clip.audio.size:
            raise ValueError("it has no samples")
        return clip
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}): remove {path.parent}, older samples are shown then") from None
