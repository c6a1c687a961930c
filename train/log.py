"""What a run writes as it goes: train.log, tables of its steps and evaluations (CSV), and the same for TensorBoard."""

import csv
import os
import shutil
import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dx7data.errors import InputError

STEPS = ("step", "time", "loss_bits", "lr", "grad_norm", "step_seconds", "data_seconds", "tokens_per_second")


class Log:
    """Goes on after a step of an earlier process: its tables and samples of later ones are taken out first."""

    def __init__(self, run: Path, step: int):
        self._run = run
        for path in run.glob("*.csv"):
            _cut(path, step)
        for folder in run.glob("samples/[0-9]*"):
            if int(folder.name) > step:
                shutil.rmtree(folder)
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def say(self, text: str) -> None:
        """A line for people, also in train.log, with the time."""
        tqdm.write(text)
        with open(self._run / "train.log", "a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def add(self, table: str, rows: list[dict]) -> None:
        """Rows with the same columns, of which `step` is the first; numbers go to TensorBoard too. None: not measured."""
        path = self._run / f"{table}.csv"
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            if new:
                writer.writeheader()
            writer.writerows(rows)
        for row in rows:
            name = "/".join([table, *(value for value in row.values() if isinstance(value, str))])
            for column, value in row.items():
                if column != "step" and isinstance(value, float):
                    self._board.add_scalar(f"{name}/{column}", value, row["step"])

    def close(self) -> None:
        self._board.close()


def _cut(path: Path, step: int) -> None:
    """Leave the rows of a table up to a step; a last line without an end was cut by a kill."""
    head, *rows = path.read_text().splitlines(keepends=True) or [""]
    if not head.endswith("\n"):  # not even the names of the columns are there
        path.unlink()
        return
    rows = [row for row in rows if row.endswith("\n")]
    try:
        kept = [row for row in rows if int(row.split(",")[0]) <= step]
    except ValueError:
        raise InputError(f"{path} has a row without a step: take it from a backup, or train again") from None
    partial = path.with_suffix(".partial")
    partial.write_text(head + "".join(kept))
    os.replace(partial, path)
