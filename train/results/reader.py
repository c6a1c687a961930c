"""What a run has left in its folder so far, read back: its config, the tables of its progress, its fixed samples."""

import csv
import json
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dx7data.errors import InputError
from train.config import rename_settings

KINDS = ("source", "target", "generated")
_TEXTS = ("set", "split", "decode")  # columns that are no numbers


class Clip(NamedTuple):
    """int16 mono audio (L,) and its sample rate in Hz."""

    audio: np.ndarray
    rate: int


Row = dict[str, str]  # of a table, by column; an empty text where nothing was measured
Samples = dict[str, dict[str, Clip]]  # by number, by kind


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

    @property
    def tokens_a_step(self) -> int | None:
        """Of a whole batch, with its prefixes; None until the first steps are over, for their time is not recorded."""
        timed = next((row for row in reversed(self.metrics) if row["step_seconds"]), None)
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
    found = {}
    for key, value in document.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{above}{key}.")
        else:
            found[above + key] = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    return found


def read_config(run: Path) -> dict:
    """config.json: what was set. Raises InputError if the folder is no run, or the file is damaged."""
    path = run / "config.json"
    if not path.exists():
        raise InputError(f"{run} is no run: it has no config.json, which python -m train --out {run} writes")
    found = _read_json(path)
    if not isinstance(found.get("settings"), dict):
        raise InputError(f'{path} has no "settings": take it from a backup, or train again')
    return found


def read_result(run: Path) -> dict:
    """result.json: what the run cost; empty until it has ended. Raises InputError if the file is damaged."""
    path = run / "result.json"
    return _read_json(path) if path.exists() else {}


def _read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise _read_error(path, error) from None
    return found


def _read_error(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} can't be read ({error}): take it from a backup, or train again")


def read_table(path: Path) -> list[Row]:
    """The rows of metrics.csv, validation.csv, algorithms.csv or clips.csv, none if there is no such file yet.

    A last line that has no end is still being written and left out. Raises InputError if the file is damaged. What earlier
    versions called `snr_db` was the likeliest class's. Their `logmel` counts mu-law's noise and has no new name.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
        for row in rows:
            if None in row or None in row.values():
                raise ValueError(f"a row of step {row['step']} has not as many columns as the first line")
            for name, value in row.items():
                if name not in _TEXTS and value:
                    float(value)
            if "snr_db" in row:
                row["snr_argmax_db"] = row.get("snr_argmax_db") or row["snr_db"]
    except (OSError, ValueError, KeyError) as error:
        raise _read_error(path, error) from None
    return rows


def column(rows: list[Row], name: str) -> np.ndarray:
    """float64 (rows,); NaN where nothing was measured, as in a table from before there was such a column."""
    return np.array([float(row.get(name) or "nan") for row in rows])


def group_by_set(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each validation set, in the order in which the sets appear."""
    return {name: [row for row in rows if row["set"] == name] for name in dict.fromkeys(row["set"] for row in rows)}


def choose_set(sets: Iterable[str]) -> str:
    """The validation set by which runs are judged: seen patches, if there are any.

    Of a few families a model learns what holds for no other: for unseen ones it gets worse, the more it has learned.
    """
    names = list(sets)
    return "seen" if "seen" in names else names[0]


def smooth(values: np.ndarray) -> np.ndarray:
    """The mean of a twenty-fifth of the curve around each value, of less at the ends."""
    reach, i = len(values) // 50, np.arange(len(values))
    first, end = np.maximum(0, i - reach), np.minimum(len(values), i + reach + 1)
    total = np.concatenate([[0], np.cumsum(values)])
    return (total[end] - total[first]) / (end - first)


def read_samples(run: Path) -> tuple[int, Samples]:
    """The last step that has left fixed samples, and these; (0, {}) if none has. Raises InputError if one can't be read."""
    for folder in sorted((run / "samples").glob("[0-9]*"), reverse=True):
        numbers = sorted((path.name.partition("-")[0] for path in folder.glob("*-generated.wav")), key=int)
        if numbers:
            return int(folder.name), {i: {kind: read_clip(folder / f"{i}-{kind}.wav") for kind in KINDS} for i in numbers}
    return 0, {}


def read_clip(path: Path) -> Clip:
    """A PCM wav file of 16 bits and one channel. Raises InputError."""
    try:
        with wave.open(str(path)) as file:
            if file.getsampwidth() != 2 or file.getnchannels() != 1 or not file.getnframes():
                raise wave.Error("it must have 16 bits, one channel and at least one sample")
            return Clip(np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate())
    except (OSError, EOFError, wave.Error, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}): remove {path.parent}, older samples are shown then") from None
