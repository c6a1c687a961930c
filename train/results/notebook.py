"""A run in a notebook: its tables as data frames, its figures, its sounds.

from train.results import load_run
run = load_run("runs/s4-tiny")
run.metrics.plot(x="step", y="loss_bits")
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dx7data.errors import InputError, suggest_install
from train.results import figures, reader
from train.results.reader import Row, Samples

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class LoadedRun:
    """What a run has left in its folder so far. Each use reads it anew, so it follows a training that goes on.

    Raises InputError if a file can't be read. Tables need pandas, all else does not.
    """

    folder: Path

    @property
    def config(self) -> dict[str, Any]:
        """config.json: "settings", "fingerprint", "patches", "groups", "parameters", "versions"."""
        return reader.read_config(self.folder)

    @property
    def result(self) -> dict[str, Any]:
        """result.json: how the run ended; empty until then."""
        return reader.read_result(self.folder)

    @property
    def metrics(self) -> "DataFrame":
        """A row for each step: loss_bits, lr, grad_norm, step_seconds, data_seconds, tokens_per_second."""
        return self._read_frame("metrics")

    @property
    def validation(self) -> "DataFrame":
        """A row for each evaluation and set: bits, accuracies, signal-to-noise ratios in dB, distances."""
        return self._read_frame("validation")

    @property
    def algorithms(self) -> "DataFrame":
        """A row for each evaluation, set and DX7 algorithm, 1-32: bits."""
        return self._read_frame("algorithms")

    @property
    def clips(self) -> "DataFrame":
        """A row for each clip of the last evaluation: bits."""
        return self._read_frame("clips")

    @property
    def samples(self) -> Samples:
        """The last fixed samples: int16 audio (L,) and rate in Hz, as in run.samples["0"]["generated"]."""
        return reader.read_samples(self.folder)[1]

    def make_figures(self) -> dict[str, Figure]:
        """What pictures/ has, as figures of matplotlib: "loss", "steps", "validation", "algorithms", "sample-0", ..."""
        found = figures.make_figures(self.folder)
        with matplotlib.rc_context(figures.STYLE):  # which ticks take from here when they are first drawn
            for figure in found.values():
                figure.draw_without_rendering()
        return found

    def _read_frame(self, table: str) -> "DataFrame":
        try:
            import pandas
        except ModuleNotFoundError:
            raise InputError(f"a table as a data frame needs pandas: {suggest_install('notebook')}") from None
        rows = reader.read_table(self.folder / f"{table}.csv")
        return pandas.DataFrame({name: _convert(name, rows) for name in (rows[0] if rows else ())})


def _convert(name: str, rows: list[Row]) -> list[str] | np.ndarray:
    """A column: texts, int64, or float64 with NaN where nothing was measured."""
    if name in reader.TEXTS:
        return [row[name] for row in rows]
    values = reader.column(rows, name)
    return values.astype(np.int64) if name in reader.COUNTS else values


def load_run(folder: Path | str) -> LoadedRun:
    """Raises InputError if the folder is no run."""
    run = LoadedRun(Path(folder))
    reader.read_config(run.folder)
    return run
