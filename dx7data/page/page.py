"""The page: one HTML file with samples of a data set to look at and to listen to, which needs no network.

Everything is in the file: audio as wav, pictures as PNG and SVG. Whatever is no markup of our own is escaped (markup.py).
"""

from collections import Counter
from pathlib import Path

import numpy as np
from markupsafe import Markup

from dx7data.audio.wav import decode_wav
from dx7data.dataset import contents, folders, shard
from dx7data.errors import InputError, explain_os_errors, make_printable
from dx7data.files import HTML, check_output, write_output
from dx7data.markup import html, join
from dx7data.output import format_count, format_length
from dx7data.page import choice, histograms, spectrogram
from dx7data.page.article import Sample, write_articles
from dx7data.page.head import fill_page
from dx7data.patches import sysex
from dx7data.plan import hidden, schema
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.storage import Folder, Where, open_folder

ROWS = 24  # samples on a page: less than 10 MB
_COLUMNS = sorted({*choice.COLUMNS, *histograms.COLUMNS})


def write_page(where: Where, path: Path, rows: int = ROWS) -> None:
    """Write the page of a data set in a folder or at a URL to `path`, with about `rows` samples of all splits.

    Raises InputError when there is nothing to show, what there is can't be read, or the page can't be written.
    """
    check_output(path, HTML)
    folder = open_folder(where)
    plan = Plan.load(folder)
    made = {each: stats for each, stats in folders.list_shards(folder, plan) if stats}
    if not made:
        raise InputError(
            f"nothing to show: {folder} has no whole shard of its plan; dx7data render makes them, verify says what is wrong"
        )
    with contents.explain_errors(folder):
        table = _read_columns(plan, made, folder)
        units = choice.choose_samples(list(made), table, rows, 2 if plan.spec.pairs else 1)
        shards = {each for unit in units for each, _ in unit}
        tables = {each: shard.read_rows(plan, each, folder, made[each]) for each in shards}
        samples = [[_read_sample(folder, each, tables[each][i]) for each, i in unit] for unit in units]
        summary = contents.summarize(folder, 0)
    text = _write(folder, plan, summary, table, samples)
    with explain_os_errors(f"can't write the page to {path}"):
        write_output(path, HTML, lambda file: file.write(text.encode(errors="replace")))


def _read_columns(plan: Plan, made: dict[Shard, schema.Stats], folder: Folder) -> dict[str, np.ndarray]:
    """What is counted and chosen by, of all samples."""
    tables = list(folder.map(lambda one: shard.read_table(plan, one[0], folder, one[1]).select(_COLUMNS), made.items()))
    return {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in _COLUMNS}


def _read_sample(folder: Folder, one: Shard, row: dict) -> Sample:
    """The members of a sample, read where its row in the table of its shard says they are."""
    members = shard.read_members(folder, one, row)
    audio = {name.removesuffix(".wav"): decode_wav(data)[0] for name, data in members.items() if name.endswith(".wav")}
    layers = [np.frombuffer(record.patch, np.uint8) for record in sysex.read(members["target.syx"]).voices]
    where = f"the json of sample {row['key']} in {folder.where(one.name)}.tar"
    return Sample(row["key"], schema.decode_sample(members["json"], where), audio, layers)


def _write(folder: Folder, plan: Plan, summary: dict, table: dict, units: list[list[Sample]]) -> str:
    samples = [one for unit in units for one in unit]
    patches = len({one.meta["layers"][0]["id"] for one in samples})
    count = sum(summary["samples"].values())
    seconds = spectrogram.fit_seconds(samples[0].audio, plan.spec.sample_rate)
    return fill_page(
        Path(__file__).with_name("page.html"),
        title=make_printable(folder.title),
        facts=_facts(plan, summary),
        display=_display(plan, summary),
        histograms=histograms.draw_histograms(summary, table),
        hidden=_hidden(plan.hidden),
        shown=f"{len(samples)} of {count:,}, of {format_count(patches, 'patch')}"
        + f"; the first {seconds:g} s of each" * (seconds < plan.spec.seconds),
        filters=_filters(samples),
        samples=write_articles(units, plan),
    )


# --- The summary ---


def _display(plan: Plan, summary: dict) -> str:
    """Two lines of 16 characters and more, as the instrument's own display has them."""
    count, patches = sum(summary["samples"].values()), np.unique(np.concatenate([*plan.targets.values()])).size
    return (
        f"{count:,} PAIR{'S' * (count != 1)} {summary['seconds']:g} S\n"
        f"{summary['sample_rate']} HZ {format_count(patches, 'patch').upper()}"
    )


def _facts(plan: Plan, summary: dict) -> Markup:
    made, wanted = summary["shards"]
    facts = {
        "targets": format_length(3600 * summary["hours"]),
        "shards": f"{made:,}" + (f" of {wanted:,}" if made < wanted else "") + f", {summary['bytes'] / 1e6:,.1f} MB",
        "gain": summary["gain"] + ("" if summary["gain"] in ("native", "peak") else " dB"),
        "prefixes": ", ".join(summary["prefixes"]) or "none",
        "layers": "–".join(map(str, dict.fromkeys(plan.spec.layers))),
        "clipped": format_count(summary["clipped_samples"], "sample"),
        "silent": format_count(summary["silent_samples"], "sample"),
        "fingerprint": summary["fingerprint"][:12],
    }
    return join(html("<div><dt>{}</dt><dd>{}</dd></div>", name, value) for name, value in facts.items())


def _hidden(report: dict | None) -> Markup:
    """A table of the things that hidden.measure has drawn anew."""
    if report is None:
        return html('<p class="note">What is hidden: {}</p>', hidden.describe(None)[0])
    columns = ("Drawn anew", "target changes in", "hidden in", "best SNR possible")
    head = join(html('<th scope="col">{}</th>', column) for column in columns)
    rows = []
    for thing, each in report["things"].items():
        limit = "not certain" if each["hidden"] else "no limit"
        limit = limit if each["best_snr"] is None else f"{each['best_snr']} dB"
        cells = (f"{each['changed']} of {each['samples']}", f"{each['hidden']} of {each['samples']}", limit)
        mark = html(' class="some"') if each["hidden"] else ""
        rows.append(
            html('<tr{}><th scope="row">{}</th>{}</tr>', mark, thing, join(html("<td>{}</td>", cell) for cell in cells))
        )
    return html(
        '<table class="hidden"><caption>What targets show, and sources and prefixes hide</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table>",
        head,
        join(rows),
    )


# --- What the samples can be filtered by ---


def _filters(samples: list[Sample]) -> Markup | str:
    """A choice for each property in which samples of the page differ."""
    counts = {name: Counter[str]() for name in samples[0].properties}
    for one in samples:
        for name, values in one.properties.items():
            counts[name].update(values)
    choices = [
        _filter(name, count) for name, count in counts.items() if any(times < len(samples) for times in count.values())
    ]
    return (
        html('<details class="filters"><summary>Filter</summary><div>{}</div></details>', join(choices)) if choices else ""
    )


def _filter(name: str, counts: Counter[str]) -> Markup:
    values = sorted(counts, key=lambda value: (len(value), value)) if name == "algorithm" else sorted(counts)
    options = join(html('<option value="{0}">{0} ({1})</option>', value, counts[value]) for value in values)
    return html('<label>{0} <select name="{0}"><option value="">any</option>{1}</select></label>', name, options)
