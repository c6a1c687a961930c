"""`python -m train.timescales`: how long each layer of a model remembers and at which frequencies it rings, in ms and Hz.

At initialisation or as trained; models/timescales.py says what is computed.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dx7data import process
from dx7data.errors import InputError, explain_os_errors
from dx7data.files import open_output
from dx7data.output import log, print_result
from models.model import Model, build
from models.registry import MODELS, preset
from models.timescales import modes
from train.loop.checkpoint_reader import load_model
from train.loop.mirror import read_run
from train.options import parse, setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE = 8000  # Hz, for which the layers' dt of 0.001 to 0.1 is meant
STEPS = 2048  # of random classes; 128 are left after pooling by 4 and 4
BANDS = (20, 50, 1000)  # Hz; from 50 to 1000 are most fundamentals
POINTS = 1500  # of a kind that a panel shows

_GROUPS = f"{'decay time, ms':>65}  {'frequency, Hz':>20}  {'cycles':>6}  {'% of modes at ... Hz':>32}"
_ROW = "{:>5} {:17} {:7} {:>6} {:>6}" + "  {:>6} {:>6} {:>6}" * 2 + "  {:>6}  " + "{:>5} {:>5} {:>7} {:>5} {:>6}"
_TITLES = ("Hz", "layer", "kind", "states", "modes", *("min", "median", "max") * 2, "median")
_BAND_TITLES = ("<20", "20-50", "50-1000", "1000+", "alias")

_STILL = 0.15  # Hz: where modes below _SLOW are drawn on a logarithmic axis
_SLOW, _FAST = 0.3, 20_000
_COLOUR = {"s4": "#0b766f", "s4d": "#3d8fd1", "mamba1": "#8d5424", "mamba2": "#c2571a", "mamba3": "#6a3d9a"}
_STYLE: Any = {"font.size": 9, "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.titleweight": "bold"}


@dataclass(frozen=True)
class Row:
    """One layer. `spread` and `fastest` as in models.timescales.Modes, the latter in Hz."""

    model: str
    name: str
    kind: str
    rate: float  # Hz, of its stage
    decay: np.ndarray  # ms
    frequency: np.ndarray  # Hz
    states: int
    spread: float | None
    fastest: float | None

    def summarize(self) -> dict:
        """For JSON. Cycles are those that a mode turns through in its decay time."""
        return {
            "model": self.model,
            "layer": self.name,
            "kind": self.kind,
            "rate": self.rate,
            "states": self.states,
            "modes": len(self.decay),
            "decay_ms": _spread(self.decay),
            "frequency_hz": _spread(self.frequency),
            "median_cycles": float(np.median(self.decay * self.frequency) / 1000),
            "percent": dict(zip(_BAND_TITLES, self.shares().tolist(), strict=True)),
        }

    def shares(self) -> np.ndarray:
        """Percent of the modes in each band up to half the rate, and beyond it."""
        edges = [*np.minimum(BANDS, self.rate / 2), np.nextafter(self.rate / 2, np.inf)]
        counts = np.bincount(np.searchsorted(edges, self.frequency, side="right"), minlength=len(_BAND_TITLES))
        return 100 * counts / len(self.frequency)


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}


@dataclass(frozen=True)
class TimescaleOptions:
    """Of which layers, and where they are drawn."""

    model: tuple[str, ...] = setting((), f"at initialisation: {', '.join(MODELS)}", metavar="NAME", kwargs={"nargs": "+"})
    checkpoint: Path | None = setting(
        None, "as trained: a run, or one of its checkpoints", metavar="FOLDER", kwargs={"type": read_run}
    )
    sample_rate: float | None = setting(None, "of the data", metavar="HZ", shown=f"the checkpoint's, or {RATE}")
    out: Path | None = setting(None, "draw decay time against frequency", metavar="FILE.png")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""
    what = "Decay times and frequencies of a model's layers."
    words = sys.argv[1:] if argv is None else argv
    return process.run("train.timescales", lambda: show(parse(TimescaleOptions, words, "train.timescales", what)))


def show(options: TimescaleOptions) -> None:
    """Print the table, and draw the picture if asked. Raises InputError."""
    if options.sample_rate is not None and not 0 < options.sample_rate < np.inf:
        raise InputError(f"--sample-rate {options.sample_rate:g} must be above 0: the data's rate, such as {RATE}")
    if options.out and options.out.suffix != ".png":
        raise InputError(f"--out {options.out} must end in .png")
    if options.checkpoint:
        rows = measure_trained(options.checkpoint, list(options.model), options.sample_rate)
    elif options.model:
        rows = [row for name in options.model for row in measure_initial(name, options.sample_rate or RATE)]
    else:
        raise InputError("name a --model to see it at initialisation, or a --checkpoint")
    if not rows:
        raise InputError("no layer of this model says what its time scales are: there is nothing to show")
    remarks = explain(rows)
    if not options.checkpoint and (factor := RATE / rows[0].rate) != 1:
        remarks.append(
            f"dt counts samples: for the times and frequencies of {RATE} Hz multiply dt_min and dt_max by {factor:.4g}, "
            f"as in dt_min={0.001 * factor:.4g}, dt_max={0.1 * factor:.4g}."
        )
    found = {"layers": [row.summarize() for row in rows], "remarks": remarks}
    if options.out:
        with explain_os_errors(f"--out {options.out} can't be written"), open_output(options.out, (".png",)) as file:
            draw(rows).savefig(file, format="png")
        found["picture"] = str(options.out)
    print_result(found, lambda found: [*table(found["layers"]), "", *found["remarks"]], options.out)


def measure_initial(name: str, sample_rate: float) -> list[Row]:
    """A model of MODELS, drawn with seed 0. Raises InputError."""
    torch.manual_seed(0)
    try:
        settings = preset(name)
    except ValueError as error:
        raise InputError(f"--model: {error}") from None
    return measure(name, build(settings), sample_rate)


def measure_trained(folder: Path, names: list[str], sample_rate: float | None) -> list[Row]:
    """A checkpoint, which must be of the model in `names` if there is one. Raises InputError."""
    model, settings, _ = load_model(folder)
    if names and names != [settings.model_name]:
        raise InputError(f"--model {' '.join(names)}: {folder} holds {settings.model_name}; leave --model out")
    return measure(settings.model_name, model, sample_rate or settings.sample_rate or RATE)


@torch.no_grad()
def measure(name: str, model: Model, sample_rate: float) -> list[Row]:
    """Every layer with time scales, highest rate first. Its inputs are what it gets when the model hears random classes."""
    log.debug(f"{name} hears {STEPS:,} random classes")
    layers = sorted(model.eval().backbone.layers(), key=lambda layer: layer[1])
    inputs = {}
    for place, _, layer in layers:
        layer.register_forward_pre_hook(lambda _, arguments, place=place: inputs.update({place: arguments[0]}))
    steps = STEPS + (model.reader.length if model.reader else 0)
    model(torch.randint(256, (1, steps), generator=torch.Generator().manual_seed(0)))

    rows = []
    for place, divisor, layer in layers:
        found, rate = modes(layer, inputs[place]), sample_rate / divisor
        if found is None:
            continue
        decay, frequency = 1000 / rate * found.decay.numpy(), rate * found.frequency.numpy()
        fastest = None if found.fastest is None else rate * found.fastest
        kind = type(layer).__name__.lower()
        rows.append(Row(name, place, kind, rate, decay, frequency, found.states, found.spread, fastest))
    return rows


# --- Text ---


def table(layers: list[dict]) -> list[str]:
    """A line for each layer, of what Row.summarize gives."""
    lines: list[str] = []
    for i, one in enumerate(layers):
        if i == 0 or one["model"] != layers[i - 1]["model"]:
            lines += ["", one["model"], _GROUPS, _ROW.format(*_TITLES, *_BAND_TITLES)]
        numbers = [*one["decay_ms"].values(), *one["frequency_hz"].values(), one["median_cycles"]]
        shares = (f"{share:.0f}" for share in one["percent"].values())
        about = f"{one['rate']:g}", one["layer"], one["kind"], one["states"], one["modes"]
        lines.append(_ROW.format(*about, *map(_format, numbers), *shares))
    return lines[1:]


def _format(value: float) -> str:
    return f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"


def explain(rows: list[Row]) -> list[str]:
    """What the numbers mean, for each kind of layer."""
    found = []
    for model, kind in dict.fromkeys((row.model, row.kind) for row in rows):
        own = [row for row in rows if (row.model, row.kind) == (model, kind)]
        name = model if model == kind else f"{model}, {kind}"
        if any(row.shares()[-1] for row in own):
            found.append(f"{name}: modes that alias lie above half the rate of their stage, and sound at another frequency.")
        if kind == "s4":
            found.append(
                f"{name}: the states are coupled; decay and frequency are those of each one's energy after an impulse."
            )
        if own[0].spread:
            spread = np.median([row.spread for row in own])
            found.append(
                f"{name}: decays are of the biases alone; random classes move dt |A| by x/÷ {spread:.2f} (deviation)."
            )
        if own[0].fastest:
            bound, rate = max((row.fastest, row.rate) for row in own if row.fastest)
            found.append(
                f"{name}: the input sets the frequencies; these are mean speeds on random classes. The bound is pi dt "
                f"a step, {_format(bound)} Hz where the rate is {rate:g} Hz, for the largest dt of the biases."
            )
    return found


# --- Picture ---


def draw(rows: list[Row]) -> "Figure":
    """Decay time against frequency, a matplotlib Figure: the stages of one model, or of several their fastest stages."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    several = len({row.model for row in rows}) > 1
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if not several:
            panels.setdefault(f"{row.model} at {row.rate:g} Hz", []).append(row)
        elif row.rate == rows[0].rate:
            panels.setdefault(row.model, []).append(row)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    with rc_context(_STYLE):
        figure = Figure(figsize=(8, 0.8 + 2.5 * lines), dpi=100, layout="constrained")
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (title, own) in zip(grid.flat, panels.items(), strict=False):
            _draw_panel(axes, title, own)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        figure.supxlabel("frequency, Hz", fontsize=9)
        figure.supylabel("decay time, ms", fontsize=9)
        legend = {
            label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        place: dict[str, Any] = {"loc": "outside upper left", "ncols": 4, "frameon": False, "markerscale": 4}
        figure.legend(list(legend.values()), list(legend), **place)
    return figure


def _draw_panel(axes: Any, title: str, rows: list[Row]) -> None:
    rng = np.random.default_rng(0)
    axes.axvspan(*BANDS[1:], color="#eeeeee", label="50 to 1000 Hz")
    axes.axvline(rows[0].rate / 2, color="black", linewidth=0.8, linestyle=":", label="half the rate")
    axes.plot(
        [_SLOW, _FAST],
        [1000 / _SLOW, 1000 / _FAST],
        color="black",
        linewidth=0.8,
        linestyle="--",
        label="one cycle in a decay time",
    )
    for kind in dict.fromkeys(row.kind for row in rows):
        own = [row for row in rows if row.kind == kind]
        decay, frequency = np.concatenate([row.decay for row in own]), np.concatenate([row.frequency for row in own])
        chosen = rng.permutation(len(decay))[:POINTS]
        still = _STILL * rng.uniform(0.75, 1.33, len(chosen))  # side by side, not on top of each other
        across = np.where(frequency[chosen] < _SLOW, still, frequency[chosen])
        axes.plot(across, decay[chosen], ".", color=_COLOUR.get(kind, "#555555"), markersize=2, label=kind)
    axes.set(title=title, xscale="log", yscale="log", xlim=(0.08, _FAST), ylim=(0.03, 8000))
    axes.set_xticks([_STILL, 1, 10, 100, 1000, 10000], ["<0.3", "1", "10", "100", "1k", "10k"], minor=False)
    axes.set_yticks([0.1, 1, 10, 100, 1000], ["0.1", "1", "10", "100", "1000"], minor=False)
    axes.minorticks_off()


if __name__ == "__main__":
    process.run_main("train.timescales", main)
