"""Pictures of a run, PNG: loss, step time, validation, and the fixed samples as waveforms and mel spectrograms."""

import io
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib import image
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from dx7data.audio.mel import BANDS, compute_mel
from dx7data.files import write_atomically
from dx7data.output import format_count
from train.results import reader
from train.results.reader import Clip, Row

WIDTH = 1000  # pixels of every picture
SPANS = (2.0, 0.2, 0.02)  # seconds of a sample that are drawn: a phrase, a note, the form of its wave
_COLUMNS = 400  # of a mel spectrogram at most, about a pixel each
RANGE_DB = 80  # that its colours span, down from the loudest band of the clips that are compared
FLOOR_DB = -150  # of a full-scale sine: silence

_COLOUR = {"source": "#8d5424", "target": "#0b766f", "generated": "#6a3d9a"}
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "axes.prop_cycle": cycler(color=("#0b766f", "#c2571a", "#6a3d9a")),  # of the validation sets
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
}
# Column of validation.csv: title, unit, and what makes one of the other.
MEASURES = {
    "bits": ("Cross entropy", "bits per sample", 1),
    "snr_mean_db": ("SNR of the mean", "dB", 1),
    "snr_argmax_db": ("SNR of the likeliest class", "dB", 1),
    "mrstft": ("Multi-resolution STFT", "distance", 1),
    "mel_db": ("Log-mel distance", "dB", 1),
    "accuracy_1": ("Accuracy@1", "%", 100),
    "accuracy_3": ("Accuracy@3", "%", 100),
    "accuracy_5": ("Accuracy@5", "%", 100),
    "accuracy_10": ("Accuracy@10", "%", 100),
}


def draw(run: Path) -> None:
    """Write pictures/*.png of what the run folder holds so far. Raises InputError if a file of it can't be read."""
    (run / "pictures").mkdir(exist_ok=True)
    for file, figure in make_figures(run).items():
        with matplotlib.rc_context(STYLE):
            write_atomically(run / "pictures" / f"{file}.png", partial(figure.savefig, format="png"))


def make_figures(run: Path) -> dict[str, Figure]:
    """By name: loss, steps, validation, algorithms, sample-0 and so on, as far as there is something to draw."""
    name = os.path.basename(os.path.realpath(run))
    tables = {file: reader.read_table(run / f"{file}.csv") for file in ("metrics", "validation", "algorithms")}
    timed = [row for row in tables["metrics"] if row["step_seconds"]]
    curves = {
        "loss": (draw_loss, tables["metrics"]),
        "steps": (draw_steps, timed),
        "validation": (draw_validation, tables["validation"]),
        "algorithms": (draw_algorithms, tables["algorithms"]),
    }
    step, samples = reader.read_samples(run)
    with matplotlib.rc_context(STYLE):
        figures = {file: make(name, rows) for file, (make, rows) in curves.items() if rows}
        figures |= {
            f"sample-{i}": draw_sample(f"{name}: sample {i} at step {step:,}", clips) for i, clips in samples.items()
        }
    return figures


def make_figure(title: str, height: int) -> Figure:
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    figure.suptitle(title, x=0.01, y=1 - 8 / height, ha="left", va="top", fontsize=12, fontweight="bold")
    return figure


def add_axes(
    figure: Figure | SubFigure,
    rows: int,
    columns: int,
    top: int = 62,
    right: int = 14,
    bottom: int = 46,
    gaps: tuple[int, int] = (66, 64),
    **options: Any,
) -> np.ndarray:
    """A grid of axes (rows, columns), with so many pixels above it, at its right, below it, and between columns and rows.

    matplotlib's constrained layout finds such numbers itself, but draws everything twice for it.
    """
    height, (across, down) = figure.bbox.height, gaps
    left = 80  # for the labels of ticks and axes
    place = {"left": left / WIDTH, "right": 1 - right / WIDTH, "bottom": bottom / height, "top": 1 - top / height}
    place["wspace"] = across * columns / (WIDTH - left - right - across * (columns - 1))  # in widths of the axes
    place["hspace"] = down * rows / (height - top - bottom - down * (rows - 1))
    return figure.subplots(rows, columns, squeeze=False, gridspec_kw=place, **options)


# --- Curves ---


def _draw_curve(axes: Axes, steps: np.ndarray, values: np.ndarray, **line: Any) -> None:
    """A line, with its points marked as long as there are few; what was not measured is left out."""
    known = np.isfinite(values)
    axes.plot(steps[known], values[known], marker="o" if known.sum() <= 30 else "", markersize=3, **line)
    axes.locator_params(axis="x", nbins=5, integer=True)


def set_labels(axes: Axes, title: str, unit: str, across: str = "step") -> None:
    axes.set(title=title, xlabel=across, ylabel=unit)


def add_legend(figure: Figure, axes: Axes) -> None:
    """At the upper right, beside the figure's title."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels))


def draw_loss(name: str, rows: list[Row]) -> Figure:
    at, bits = reader.column(rows, "step"), reader.column(rows, "loss_bits")
    mean = reader.smooth(bits)
    figure = make_figure(f"{name}: training loss to step {int(at[-1]):,}", 380)
    for axes, first, title in zip(add_axes(figure, 1, 2)[0], (0, len(bits) // 2), ("All steps", "Second half"), strict=True):
        axes.plot(at[first:], bits[first:], color=_COLOUR["target"], linewidth=0.5, alpha=0.6, label="each step")
        _draw_curve(axes, at[first:], mean[first:], color=_COLOUR["target"], label="running mean")
        set_labels(axes, title, "bits per sample")
    add_legend(figure, axes)
    return figure


def draw_steps(name: str, rows: list[Row]) -> Figure:
    """Of steps whose time was measured."""
    at = reader.column(rows, "step")
    figure = make_figure(f"{name}: time of a step, to step {int(at[-1]):,}", 320)
    columns = {"step_seconds": "Whole step", "data_seconds": "Waiting for data"}
    for axes, (column, title) in zip(add_axes(figure, 1, 2)[0], columns.items(), strict=True):
        ms = 1000 * reader.column(rows, column)
        _draw_curve(axes, at, ms, color=_COLOUR["source"], linewidth=0.9)
        axes.axhline(np.median(ms), color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        # One that stalls for seconds must not flatten all others: it leaves the picture at the top.
        axes.set_ylim(0, 1.1 * max(0.01, min(ms.max(), 5 * np.percentile(ms, 90, method="lower"))))
        set_labels(axes, f"{title}: median {_round(np.median(ms))} ms, longest {_round(ms.max())} ms", "ms")
    return figure


def _round(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"


def draw_validation(name: str, rows: list[Row]) -> Figure:
    figure = make_figure(f"{name}: validation to step {int(rows[-1]['step']):,}", 760)
    for axes, (column, (title, unit, scale)) in zip(add_axes(figure, 3, 3).flat, MEASURES.items(), strict=True):
        for which, own in reader.group_by_set(rows).items():
            values = scale * reader.column(own, column)
            _draw_curve(
                axes, reader.column(own, "step"), values, label=f"{which}: {format_count(int(own[-1]['samples']), 'sample')}"
            )
        set_labels(axes, title, unit)
    add_legend(figure, axes)
    return figure


def draw_algorithms(name: str, rows: list[Row]) -> Figure:
    last = rows[-1]["step"]
    figure = make_figure(f"{name}: validation by the target's algorithm, at step {int(last):,}", 320)
    axes = add_axes(figure, 1, 1)[0, 0]
    for which, own in reader.group_by_set([row for row in rows if row["step"] == last]).items():
        axes.plot(reader.column(own, "algorithm"), reader.column(own, "bits"), "o", label=which)
    axes.set(xlim=(0, 33), xticks=range(1, 33))
    set_labels(axes, "Cross entropy", "bits per sample", "algorithm")
    add_legend(figure, axes)
    return figure


# --- A sample ---


def windows(audio: np.ndarray, rate: int) -> list[tuple[int, int]]:
    """First sample and end of the loudest 2 s of a clip, of the loudest 200 ms in these, and of the loudest 20 ms in those.

    The loudest window is the first one with the most energy; it is the whole clip if that is shorter. int16 audio (L,).
    """
    found, start, stop = [], 0, len(audio)
    for seconds in SPANS:
        length = min(round(seconds * rate), stop - start)
        energy = np.concatenate([[0], np.cumsum(audio[start:stop].astype(np.int64) ** 2)])
        start += int(np.argmax(energy[length:] - energy[: len(energy) - length]))
        stop = start + length
        found.append((start, stop))
    return found


def mel(clip: Clip) -> np.ndarray:
    """Decibels relative to a full-scale sine, float64 (BANDS, columns), lowest band first."""
    return compute_mel(clip.audio, clip.rate, _COLUMNS, FLOOR_DB)


def loudest(levels: Iterable[np.ndarray]) -> float:
    """Where the colours of some mel spectrograms begin; silence stays dark."""
    return max(FLOOR_DB + RANGE_DB, *(level.max() for level in levels))


def spectrogram(levels: np.ndarray, top: float) -> bytes:
    """A PNG of a mel spectrogram, a pixel for each band and column; its colours span RANGE_DB down from `top`."""
    file = io.BytesIO()
    image.imsave(file, levels, vmin=top - RANGE_DB, vmax=top, cmap="magma", origin="lower", format="png")
    return file.getvalue()


def draw_sample(title: str, clips: dict[str, Clip]) -> Figure:
    figure = make_figure(title, 820)
    parts: Any = figure.subfigures(2, 1, height_ratios=(7, 4))  # an array of two
    _draw_waves(parts[0], clips)
    _draw_spectrograms(parts[1], clips)
    return figure


def _draw_waves(figure: SubFigure, clips: dict[str, Clip]) -> None:
    """Rows source, target and generated; columns the windows of the target, each shaded in the one before."""
    chosen = windows(*clips["target"])
    grid = add_axes(figure, len(clips), len(chosen), gaps=(30, 18), sharex="col")
    peaks = {kind: max(1, np.abs(audio.astype(int)).max()) / 32768 for kind, (audio, _) in clips.items()}
    peaks["target"] = peaks["generated"] = max(peaks["target"], peaks["generated"])  # in one scale, to be compared
    for row, (kind, (audio, rate)) in zip(grid, clips.items(), strict=True):
        amplitude = audio / 32768
        for i, (axes, (start, stop)) in enumerate(zip(row, chosen, strict=True)):
            unit = 1 if i == 0 else 1000
            time = np.arange(start, stop) / rate * unit
            if kind == "generated" and i == len(chosen) - 1:
                axes.plot(time, clips["target"].audio[start:stop] / 32768, color="#999999", linewidth=1)
            axes.plot(time, amplitude[start:stop], color=_COLOUR[kind], linewidth=(0.4, 0.7, 1)[i])
            for first, end in chosen[i + 1 : i + 2]:
                axes.axvspan(first / rate * unit, end / rate * unit, color="#f2c94c", alpha=0.45, linewidth=0)
            axes.set(xlim=(start / rate * unit, stop / rate * unit), ylim=(-1.05 * peaks[kind], 1.05 * peaks[kind]))
            axes.tick_params(labelleft=i == 0)
        row[0].set_ylabel(f"{kind}\nfull scale = 1")
    whole = chosen[0] == (0, len(clips["target"].audio))
    titles = ("Whole clip" if whole else "Loudest 2 s of the target", "Loudest 200 ms", "Loudest 20 ms")
    for above, below, title, name in zip(grid[0], grid[-1], titles, ("s", "ms", "ms"), strict=True):
        above.set_title(title)
        below.set_xlabel(name)
    grid[-1, -1].set_title("target in grey", fontsize=8, fontweight="normal", color="#666666", pad=2)


def _draw_spectrograms(figure: SubFigure, clips: dict[str, Clip]) -> None:
    """The mel spectrograms of the whole clips, side by side, in one scale of colours."""
    levels = {kind: mel(clip) for kind, clip in clips.items()}
    top = loudest(levels.values())
    row = add_axes(figure, 1, len(clips), top=24, right=84, gaps=(24, 0), sharey=True)[0]
    for axes, (kind, (audio, rate)) in zip(row, clips.items(), strict=True):
        extent = (0, len(audio) / rate, 0.5, BANDS + 0.5)  # band 1 is centred on 1
        scale = {"vmin": top - RANGE_DB, "vmax": top, "cmap": "magma"}
        picture = axes.imshow(levels[kind], origin="lower", aspect="auto", extent=extent, **scale)
        hertz = [f for f in (100, 500, 1000, 2000, 4000, 8000, 16000) if f < rate / 2]
        places = [(BANDS + 1) * np.log1p(f / 700) / np.log1p(rate / 1400) for f in hertz]
        axes.set_yticks(places, [f"{f / 1000:g}" for f in hertz])
        axes.grid(visible=False)
        set_labels(axes, f"Mel spectrogram: {kind}", "kHz" if axes is row[0] else "", "s")
    box = row[-1].get_position()
    figure.colorbar(picture, cax=figure.add_axes((1 - 72 / WIDTH, box.y0, 10 / WIDTH, box.height)), label="dB")
