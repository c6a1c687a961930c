"""`python -m train.compare runs/a runs/b`: runs on one HTML page, which needs no network, and whether they are comparable.

Everything is in the file: audio as wav, spectrograms as PNG, curves as SVG. Whatever comes from a run is escaped.
"""

import argparse
import base64
import sys
from collections.abc import Callable, Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np

from dx7data.errors import InputError
from dx7data.files import write_atomically
from dx7data.sample import wav
from train import history, plots
from train.chart import Curve, chart, colour, frame
from train.history import Clip, Row, Run

# What must be the same, or the bits of two runs are not those of one task: where it is recorded, and how it is called.
CONDITIONS = {
    "tokens": "tokens seen",
    "fingerprint": "data fingerprint",
    "split": "split",
    "prefix": "prefix",
    "sample_rate": "sample rate (Hz)",
    "seconds": "crop (s)",
    "batch": "batch",
    "evaluate_samples": "validation samples",
}
_UNKNOWN = "not recorded"
_CHARTED = ("bits", "snr_db", "accuracy_1", "logmel")  # of plots.MEASURES


class Column(NamedTuple):
    """Of the table of runs; cells: the exact value and what is shown of it, both empty where there is none."""

    group: str
    title: str
    cells: list[tuple[str, str]]
    best: Callable | None = None  # min, max


def main(words: list[str] | None = None) -> int:
    """Returns the exit status: 0, 2 for a person's error, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m train.compare", description="Puts runs on one page.", allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders: runs/a runs/b")
    parser.add_argument("--out", type=Path, default=Path("compare.html"), metavar="FILE", help="default: compare.html")
    options = parser.parse_args(words)
    try:
        write(options.runs, options.out)
    except InputError as error:
        print(f"train.compare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train.compare: stopped; nothing was written", file=sys.stderr)
        return 130
    print(f"Open it in a browser: {options.out}")
    return 0


def write(folders: list[Path], path: Path) -> None:
    """Write the page of some runs. Raises InputError if one of them can't be read or the page can't be written."""
    html = page(read(folders))
    try:
        write_atomically(path, lambda file: file.write(html.encode(errors="replace")))
    except OSError as error:
        raise InputError(f"can't write the page to {path}: {error.strerror or error}") from None


def read(folders: list[Path]) -> list[Run]:
    """The runs by their folders' names, or by their paths where two names are the same."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [history.read(folder, name) for folder, name in zip(folders, names, strict=True)]


# --- Are they comparable? ---


def differences(runs: list[Run]) -> dict[str, dict[str, list[str]]]:
    """What is not the same in all runs: where it is recorded, each value, and who has it; conditions come first."""
    found = {}
    for fact in dict.fromkeys([*CONDITIONS, *(fact for run in runs for fact in run.facts)]):
        have: dict[str, list[str]] = {}
        for run in runs:
            have.setdefault(run.facts.get(fact, _UNKNOWN), []).append(run.name)
        if len(have) > 1 or (fact in CONDITIONS and _UNKNOWN in have):
            found[fact] = have
    return found


def verdict(runs: list[Run]) -> str:
    """A checked statement: the same task and as many tokens for all, or what differs, by name and value."""
    found = differences(runs)
    broken = {fact: have for fact, have in found.items() if fact in CONDITIONS}
    others = {fact: have for fact, have in found.items() if fact not in CONDITIONS}
    same = {fact: runs[0].facts[fact] for fact in CONDITIONS if fact not in found}
    if broken:
        said = f"<b>Not comparable as they are.</b> These differ: {', '.join(CONDITIONS[fact] for fact in broken)}."
    elif len(runs) > 1:
        said = f"<b>Comparable.</b> All {len(runs)} runs have seen equally many tokens of the same data, in the same form."
    else:
        said = "One run: there is nothing to compare it with."
    facts = "".join(f"<div><dt>{CONDITIONS[fact]}</dt><dd>{_shown(value)}</dd></div>" for fact, value in same.items())
    more = f"<details><summary>All else that differs: {len(others)}</summary>{_who(others)}</details>" if others else ""
    return f'<p class="verdict{" broken" * bool(broken)}">{said}</p>{_who(broken)}<dl class="facts">{facts}</dl>{more}'


def _who(found: dict[str, dict[str, list[str]]]) -> str:
    rows = ""
    for fact, have in found.items():
        known = {value: names for value, names in have.items() if value != _UNKNOWN or fact in CONDITIONS}
        who = "".join(f"<dd><code>{_shown(value)}</code> {escape(', '.join(names))}</dd>" for value, names in known.items())
        rows += f"<div><dt>{escape(CONDITIONS.get(fact, fact))}</dt>{who}</div>"
    return f'<dl class="differences">{rows}</dl>' if rows else ""


def _shown(value: str) -> str:
    if value.isdecimal():
        return f"{int(value):,}"
    return escape(value[:12] if len(value) == 64 else value)  # 64: a fingerprint


# --- The page ---


def page(runs: list[Run]) -> str:
    template = Template(Path(__file__).with_name("compare.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(", ".join(run.name for run in runs)),
        count=f"{len(runs)} run{'s' * (len(runs) != 1)}",
        verdict=verdict(runs),
        table=_table(runs),
        key=" ".join(f"<span>{_name(i, run)}</span>" for i, run in enumerate(runs)),
        charts="".join(_charts(runs)),
        samples="".join(_samples(runs)) or "<p>No run has left samples yet.</p>",
    )


def _name(number: int, run: Run) -> str:
    line = f'<svg class="{colour(number)}" viewBox="0 0 24 6" aria-hidden="true"><path d="M0 3H24"/></svg>'
    return f'<span class="name">{line}{escape(run.name)}</span>'


def columns(runs: list[Run]) -> list[Column]:
    """The table of runs, but for their names."""

    def seconds(run: Run, name: str) -> str:
        measured = [row[name] for row in run.metrics if row[name]]
        return repr(float(np.median([float(each) for each in measured]))) if measured else ""

    found = [
        Column("", "model", [(name := run.facts.get("model_name", ""), name) for run in runs]),
        Column("", "parameters", [_cell(run.facts.get("parameters", ""), "{:,.0f}") for run in runs]),
        Column("", "steps", [(str(run.steps), _progress(run)) for run in runs]),
    ]
    for which in _sets(runs):
        rows = [run.validation.get(which, []) for run in runs]
        best = [min((row["bits"] for row in own), key=float, default="") for own in rows]
        last = [{name: own[-1][name] if own else "" for name in ("bits", "snr_db")} for own in rows]
        found += [
            Column(which, "bits, best", [_cell(each, "{:.4f}") for each in best], min),
            Column(which, "bits, last", [_cell(each["bits"], "{:.4f}") for each in last], min),
            Column(which, "SNR, last, dB", [_cell(each["snr_db"], "{:.2f}") for each in last], max),
        ]
    cost = [("ms a step", "{:,.1f}", "step_seconds", 1000, min), ("tokens/s", "{:,.0f}", "tokens_per_second", 1, max)]
    for title, form, name, scale, better in cost:
        found.append(Column("cost, medians", title, [_cell(seconds(run, name), form, scale) for run in runs], better))
    ended = [("peak GB", "{:,.2f}", "peak_memory_bytes", 1e-9), ("first steps, s", "{:,.1f}", "first_steps_seconds", 1)]
    for title, form, name, scale in ended:
        found.append(Column("cost, in all", title, [_cell(str(run.result.get(name, "")), form, scale) for run in runs], min))
    return found


def _cell(exact: str, form: str, scale: float = 1) -> tuple[str, str]:
    return (exact, form.format(scale * float(exact))) if exact not in ("", "nan") else ("", "")


def _progress(run: Run) -> str:
    return f"{run.steps:,}" + f" of {int(run.facts['steps']):,}" * (run.facts.get("steps", str(run.steps)) != str(run.steps))


def _sets(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(which for run in runs for which in run.validation))


def _table(runs: list[Run]) -> str:
    table = columns(runs)
    groups = [(name, len(list(own))) for name, own in groupby(table, lambda column: column.group)]
    head = "".join(f'<th colspan="{count}" scope="colgroup">{escape(name)}</th>' for name, count in groups)
    titles = "".join(f'<th scope="col">{escape(column.title)}</th>' for column in table)
    rows = "".join(
        f'<tr><th scope="row">{_name(i, run)}</th>' + "".join(_td(column, i) for column in table) + "</tr>"
        for i, run in enumerate(runs)
    )
    head = f'<tr><td></td>{head}</tr><tr><th scope="col">run</th>{titles}</tr>'
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _td(column: Column, i: int) -> str:
    exact, shown = column.cells[i]
    known = [float(each) for each, _ in column.cells if each] if column.best else []
    best = len(set(known)) > 1 and exact and float(exact) == column.best(known)
    return f'<td{" class=best" * bool(best)}><data value="{escape(exact)}">{escape(shown) or "–"}</data></td>'


def _charts(runs: list[Run]) -> Iterator[str]:
    """Figures of the training loss and of what validation has measured."""
    tokens = [run.tokens_a_step for run in runs]
    across, each = ("tokens seen", tokens) if all(tokens) else ("steps", [1] * len(runs))
    last = max(run.steps * size for run, size in zip(runs, each, strict=True))

    def curves(rows: list[list[Row]], name: str, scale: float = 1) -> list[Curve]:
        found = []
        for i, (run, own, size) in enumerate(zip(runs, rows, each, strict=True)):
            values = scale * history.column(own, name)
            known = np.isfinite(values)
            if known.any():
                found.append(Curve(i, run.name, size * history.column(own, "step")[known], values[known]))
        return found

    raw = curves([run.metrics for run in runs], "loss_bits")
    loss = [curve._replace(values=history.smoothed(curve.values)) for curve in raw]
    yield chart("Training loss", "bits per sample", across, loss, frame(loss, 0, last))
    yield chart("Training loss, second half", "bits per sample", across, loss, frame(loss, last / 2, last))
    for name in _CHARTED:
        title, unit, scale = plots.MEASURES[name]
        of_sets = {which: curves([run.validation.get(which, []) for run in runs], name, scale) for which in _sets(runs)}
        every = [curve for found in of_sets.values() for curve in found]
        for which, found in of_sets.items():
            if found:
                yield chart(f"{title}, {which}", unit, across, found, frame(every, 0, last))


# --- Samples ---


def _samples(runs: list[Run]) -> Iterator[str]:
    """Each fixed sample: source, target, and what every run that has it made of it."""
    groups: dict[tuple, dict[int, dict[str, Clip]]] = {}  # by number, source and target; then by run
    for i, run in enumerate(runs):
        for number, clips in run.samples.items():
            pair = [(clips[kind].audio.tobytes(), clips[kind].rate) for kind in ("source", "target")]
            groups.setdefault((number, *pair), {})[i] = clips
    for (number, *_), found in groups.items():
        clips = {f"<b>{kind}</b>": next(iter(found.values()))[kind] for kind in ("source", "target")}
        clips |= {f"{_name(i, runs[i])} step {runs[i].samples_step:,}": own["generated"] for i, own in found.items()}
        levels = {label: plots.mel(clip) for label, clip in clips.items()}
        top = plots.loudest(levels.values())
        players = "".join(_player(label, clip, levels[label], top) for label, clip in clips.items())
        without = [escape(run.name) for i, run in enumerate(runs) if i not in found]
        note = f" <span>not of {', '.join(without)}</span>" * bool(without)
        yield f'<h3>Sample {number}{note}</h3><div class="players">{players}</div>'


def _player(label: str, clip: Clip, levels: np.ndarray, top: float) -> str:
    picture = _data("image/png", plots.spectrogram(levels, top))
    return (
        f'<figure><figcaption>{label}</figcaption><img alt="Mel spectrogram, 0 to {clip.rate / 2000:g} kHz" src="{picture}">'
        f'<audio controls preload="none" src="{_data("audio/wav", wav(*clip))}"></audio></figure>'
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


if __name__ == "__main__":
    sys.exit(main())
