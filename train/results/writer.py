"""What a run writes as it goes: train.log, tables of its steps and evaluations (CSV), and the same for boards.py."""

import csv
import io
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dx7data.errors import InputError
from dx7data.files import PARTIAL, open_log, read_regular, remove_left_over, sync_file, sync_folder, write_atomically
from dx7data.output import log
from train.results import boards, figures
from train.results.boards import Board, MLflow, TensorBoard, WandB
from train.results.reader import KINDS, MAX_TABLE_BYTES, TABLES, read_samples

STEPS = ("step", "time", "loss_bits", "lr", "grad_norm", "step_seconds", "data_seconds", "tokens_per_second")
_STEP, _WAV = re.compile(r"[0-9]{8,13}"), re.compile(rf"[0-9]+-({'|'.join(KINDS)})\.wav")  # in samples/


class Log:
    """Goes on after a step of an earlier process: its tables and samples of later ones are taken out first."""

    def __init__(self, run: Path, step: int, about: dict | None = None, logger: WandB | MLflow | None = None):
        """about: what config.json says, for people who look at boards."""
        self._run = run
        for path in run.rglob(f".*{PARTIAL}"):
            remove_left_over(path)
        for path in _list_tables(run):
            _truncate(path, step)
        for folder in run.glob("samples/*"):
            if _STEP.fullmatch(folder.name) and int(folder.name) > step and _is_own(folder):
                shutil.rmtree(folder)
        self._board, self._logger = TensorBoard(run, step, about or {}), logger
        if logger:
            boards.keep_identity(run, logger.name, logger.identity)
        self._shown = False  # whether boards have the clips that are the same at each evaluation

    def say(self, text: str) -> None:
        """A note, also in train.log."""
        log.info(text)
        self.write(text)

    def write(self, text: str) -> None:
        """A line in train.log, with the time."""
        with open_log(self._run / "train.log") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def add(self, table: str, rows: list[dict]) -> None:
        """Rows with the same columns, of which `step` is the first; numbers go to TensorBoard too. None: not measured."""
        path = self._run / f"{table}.csv"
        columns = _extend_columns(path, list(rows[0]))
        with open_log(path) as file:
            writer = csv.DictWriter(file, columns)
            if not file.tell():
                writer.writeheader()
            writer.writerows(rows)
        numbers = []
        for row in rows:
            name = "/".join([table, *(str(row[key]) for key in ("set", "algorithm") if key in row)])
            floats = {f"{name}/{column}": value for column, value in row.items() if isinstance(value, float)}
            numbers.append((row["step"], floats))
        self._tell(lambda board: board.add_numbers(numbers))

    def show_samples(self) -> None:
        """The fixed samples of the last evaluation and their spectrograms, in one scale of colours each, on the boards."""
        step, samples = read_samples(self._run)
        for number, clips in samples.items():
            levels = {kind: figures.mel(clip) for kind, clip in clips.items()}
            top = figures.loudest(levels.values())
            for kind, clip in clips.items():
                if kind == "generated" or not self._shown:
                    self._tell(_add_clip(f"{number}-{kind}", clip, figures.spectrogram(levels[kind], top), step))
        self._shown = True

    def _tell(self, call: Callable[[Board], None]) -> None:
        """What goes to all boards. When a service can't be reached, training goes on without it."""
        call(self._board)
        if self._logger:
            try:
                call(self._logger)
            except Exception as error:  # whatever its library raises
                text = f"--logger {self._logger.name} is left out from here on: {boards.describe(error)}"
                log.warning(text)
                self.write(text)
                self._logger = None

    def replace(self, table: str, rows: list[dict]) -> None:
        """The rows are all that the table holds, whole or not at all."""
        _write_table(self._run / f"{table}.csv", list(rows[0]), rows)

    def sync(self) -> None:
        """Let all rows survive a power cut."""
        for path in _list_tables(self._run):
            sync_file(path)
        sync_folder(self._run)

    def close(self, done: bool = False) -> None:
        """done: whether the run has done all its steps."""
        self._tell(lambda board: board.close(done))


def _list_tables(run: Path) -> list[Path]:
    """Those that a run writes; others in its folder are a person's."""
    return [path for table in TABLES if (path := run / f"{table}.csv").exists()]


def _add_clip(*clip: Any) -> Callable[[Board], None]:
    return lambda board: board.add_clip(*clip)


def _is_own(folder: Path) -> bool:
    """Whether nothing but wavs of an evaluation is in it: a person may keep other things there."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return all(entry.is_file(follow_symlinks=False) and _WAV.fullmatch(entry.name) for entry in entries)


def _write_table(path: Path, columns: list[str], rows: list[dict]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def _extend_columns(path: Path, columns: list[str]) -> list[str]:
    """Those of a table, to which what is new is added: a run that an earlier version began has fewer."""
    if not path.exists():
        return columns
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        found = list(rows.fieldnames or [])
        more = [name for name in columns if name not in found]
        old = list(rows) if more else []
    if more:
        _write_table(path, [*found, *more], old)
    return [*found, *more]


def _truncate(path: Path, step: int) -> None:
    """Leave the rows of a table up to a step. A last line without an end was cut by a kill, NULs are of a power cut."""
    try:
        text = read_regular(path, MAX_TABLE_BYTES, links=False).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} can't be read ({error}): take it from a backup, or train again") from None
    head, *rows = text.splitlines(keepends=True) or [""]
    if not head.endswith("\n"):  # not even the names of the columns are there
        path.unlink()
        return
    rows = [row for row in rows if row.endswith("\n") and "\0" not in row]
    try:
        kept = [row for row in rows if int(row.split(",")[0]) <= step]
    except ValueError:
        raise InputError(f"{path} has a row without a step: take it from a backup, or train again") from None
    write_atomically(path, lambda file: file.write((head + "".join(kept)).encode()))
