"""The page: one HTML file with samples of a data set to look at and to listen to, which needs no network.

Everything is in the file: audio as wav, pictures as PNG and SVG. Whatever is no markup of our own is escaped (markup.py).
"""

import json
from pathlib import Path

import numpy as np
from markupsafe import Markup

from dx7data.audio.markup import html, join
from dx7data.audio.player import draw_waveform, encode_data_uri
from dx7data.audio.wav import decode_wav, encode_wav
from dx7data.dataset import folders, shard
from dx7data.errors import InputError, make_printable
from dx7data.files import write_output
from dx7data.page import algorithm, envelopes, histograms, score, spectrogram
from dx7data.page.head import fill_page
from dx7data.patches import patch, sysex
from dx7data.phrases.phrase import REST
from dx7data.phrases.sources import find_source
from dx7data.plan import hidden, schema
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.storage import Folder, Where, open_folder

ROWS = 24  # samples on a page: six megabytes at 16 kHz


def write_page(where: Where, path: Path, rows: int = ROWS) -> None:
    """Write the page of a data set in a folder or at a URL to `path`, with about `rows` samples of all splits.

    Raises InputError when there is nothing to show, what there is can't be read, or the page can't be written.
    """
    folder = open_folder(where)
    plan = Plan.load(folder)
    made = {each: stats for each, stats in folders.list_shards(folder, plan) if stats}
    if not made:
        raise InputError(
            f"nothing to show: {folder} has no whole shard of its plan; dx7data render makes them, verify says what is wrong"
        )
    with folders.explain_errors(folder):
        units = choose_samples(list(made), rows, 2 if plan.spec.pairs else 1)
        shards = {each for unit in units for each, _ in unit}
        tables = {each: shard.read_rows(plan, each, folder, made[each]) for each in shards}
        samples = [[_read(folder, each, tables[each][i]) for each, i in unit] for unit in units]
        summary, table = folders.summarize(folder, 0), histograms.read_columns(plan, made, folder)
    text = _page(folder, plan, summary, table, samples)
    try:
        write_output(path, lambda file: file.write(text.encode(errors="replace")))
    except OSError as error:
        raise InputError(f"can't write the page to {path}: {error.strerror or error}") from None


# --- Which samples, and what is in them ---


def choose_samples(made: list[Shard], rows: int, together: int) -> list[list[tuple[Shard, int]]]:
    """Of every split its share, at least one, evenly spread: shard and row of each sample, `together` in a list."""
    places: dict[str, list] = {}
    for each in made:
        places.setdefault(each.split, []).extend((each, i) for i in range(0, each.count, together))
    wanted, available = max(1, rows // together), sum(map(len, places.values()))
    share = {split: min(len(own), max(1, round(wanted * len(own) / available))) for split, own in places.items()}
    largest = max(share, key=lambda split: share[split])
    share[largest] = min(len(places[largest]), max(1, share[largest] + wanted - sum(share.values())))
    picked = [own[i * len(own) // share[split]] for split, own in places.items() for i in range(share[split])]
    return [[(each, i) for i in range(first, min(first + together, each.count))] for each, first in picked]


def _read(folder: Folder, one: Shard, row: dict) -> dict:
    """The members of a sample, read where its row in the table of its shard says they are."""
    members = shard.read_members(folder, one, row)
    audio = {name.removesuffix(".wav"): decode_wav(data)[0] for name, data in members.items() if name.endswith(".wav")}
    dumped = [np.frombuffer(record.patch, np.uint8) for record in sysex.read(members["target.syx"]).voices]
    where = f"the json of sample {row['key']} in {folder.where(one.name)}.tar"
    return {"key": row["key"], "meta": schema.decode_sample(members["json"], where), "audio": audio, "layers": dumped}


# --- The page ---


def _page(folder: Folder, plan: Plan, summary: dict, table: dict, samples: list[list[dict]]) -> str:
    numbered, number = [], 1
    for unit in samples:
        numbered.append([(number + i, one) for i, one in enumerate(unit)])
        number += len(unit)
    shown = {one["key"] for unit in samples for one in unit}
    count = sum(summary["samples"].values())
    return fill_page(
        Path(__file__).with_name("template.html"),
        title=make_printable(folder.title),
        facts=_facts(plan, summary),
        display=_display(summary),
        histograms=histograms.draw_histograms(summary, table),
        hidden=_hidden(plan.hidden),
        shown=f"{len(shown)} of {count:,} samples, evenly spread"
        + f"; the first {spectrogram.SECONDS} s of each" * (plan.spec.seconds > spectrogram.SECONDS),
        contents=join(_link(i, one) for unit in numbered for i, one in unit),
        samples=join(_unit(unit, plan, shown) for unit in numbered),
    )


def _display(summary: dict) -> str:
    """Two lines of 16 characters and more, as the instrument's own display has them."""
    count = sum(summary["samples"].values())
    return (
        f"{count:,} PAIRS {summary['seconds']:g} S\n{summary['sample_rate']} HZ {sum(summary['patches'].values())} PATCHES"
    )


def _facts(plan: Plan, summary: dict) -> Markup:
    made, wanted = summary["shards"]
    facts = {
        "audio": f"{summary['hours']:.2f} hours of targets",
        "shards": f"{made:,}" + (f" of {wanted:,}" if made < wanted else "") + f", {summary['bytes'] / 1e6:,.1f} MB",
        "gain": summary["gain"] + ("" if summary["gain"] in ("native", "peak") else " dB"),
        "prefixes": ", ".join(summary["prefixes"]) or "none",
        "layers": "–".join(map(str, dict.fromkeys(plan.spec.layers))),
        "clipped": f"{summary['clipped_samples']:,} samples",
        "silent": f"{summary['silent_samples']:,} samples",
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


def _link(number: int, one: dict) -> Markup:
    return html('<li><a href="#{}"><b>{}</b> {}</a></li>', one["key"], number, _names(one))


def _names(one: dict) -> Markup:
    names = [html('<span class="name">{}</span>', layer["name"] or "(no name)") for layer in one["meta"]["layers"]]
    return join(names, " + ")


# --- A sample, or a pair of them ---


def _unit(unit: list[tuple[int, dict]], plan: Plan, shown: set[str]) -> Markup:
    articles = join(_sample(number, one, plan, shown) for number, one in unit)
    return html('<div class="pair">{}</div>', articles) if len(unit) > 1 else articles


def _sample(number: int, one: dict, plan: Plan, shown: set[str]) -> Markup:
    meta, rate = one["meta"], plan.spec.sample_rate
    changed = _changed_operator(meta)
    seconds = min(plan.spec.seconds, spectrogram.SECONDS)
    prefixes = [clip for clip in one["audio"] if clip.startswith("prefix")]
    return html(
        '<article id="{key}" aria-labelledby="{key}-name"><header><h3 id="{key}-name"><b>{number}</b> {names}</h3>'
        '<p>{about}</p>{pair}</header><div class="sheets"><div class="sound"><div class="timed">{score}{source}{target}'
        '<p class="time"><span>0</span><span>{seconds:g} s</span></p></div></div>'
        '<div class="patches">{patches}<div class="prefixes">{prefixes}</div></div></div>'
        "<details><summary>All that its json says</summary><pre>{json}</pre></details></article>",
        key=one["key"],
        number=number,
        names=_names(one),
        about=_about(one),
        pair=_pair(meta, shown),
        score=_score(meta, seconds),
        source=_clip(one, "source", rate),
        target=_clip(one, "target", rate),
        seconds=seconds,
        patches=join(_patch(stored, changed if i == 0 else None) for i, stored in enumerate(one["layers"])),
        prefixes=join(html('<div class="timed">{}</div>', _clip(one, clip, rate)) for clip in prefixes),
        json="\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in meta.items()),
    )


def _about(one: dict) -> Markup:
    meta, phrase = one["meta"], one["meta"]["phrase"]
    count = len(meta["notes"])
    parts = [
        html("<b>{}</b> <code>{}</code>", meta["split"], one["key"]),
        f"{phrase['kind']} of {count} note{'s' * (count != 1)}" + ", cut short" * phrase["cut"],
    ]
    if source := find_source(phrase["kind"]):
        try:
            parts += source.describe(phrase["about"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the json of sample {one['key']}, field phrase.about: {error!r}") from None
    return join([*parts, html('source <span class="name">{}</span>', meta["source"]["name"])], " · ")


def _pair(meta: dict, shown: set[str]) -> Markup | str:
    """What the other sample of its pair has that this one has not."""
    pair = meta["pair"]
    if not pair["with"]:
        return ""
    other = html('<a href="#{0}">{0}</a>', pair["with"]) if pair["with"] in shown else pair["with"]
    return html(
        '<p class="changed">{} is stored as <b>{}</b> here, <b>{}</b> in {}; all else is the same</p>',
        _in_words(pair["parameter"]),
        pair["value"],
        pair["value_there"],
        other,
    )


def _in_words(parameter: str) -> str:
    """A field of a patch in words: op3_eg_rate_1 is operator 3's EG rate 1."""
    start, _, rest = parameter.partition("_")
    words = f"operator {start[2:]}: {rest}" if start[:2] == "op" and start[2:].isdigit() else parameter
    words = words.replace("_", " ").replace("eg ", "EG ").replace("lfo ", "LFO ")
    return words[0].upper() + words[1:]


def _changed_operator(meta: dict) -> int | None:
    start = meta["pair"]["parameter"].partition("_")[0]
    return int(start[2:]) if start[:2] == "op" and start[2:].isdigit() else None


def _score(meta: dict, seconds: float) -> Markup:
    """The phrase and its controllers, on the same axis of time as source and target."""
    sheets = {"phrase": score.draw_roll(meta["notes"], seconds)}
    for name, values in meta["controllers"].items():
        if values == [[0.0, REST[name]]]:
            continue
        reach = max(1, int(np.ceil(max(abs(value) for _, value in values)))) if name == "bend" else 127
        label, low = (f"bend ±{reach}", -reach) if name == "bend" else (name, 0)
        sheets[label] = score.draw_controller(values, REST[name], low, reach, seconds)
    row = '<div class="row"><span class="label">{}</span><div class="sheet">{}</div></div>'
    return join(html(row, label, sheet) for label, sheet in sheets.items())


def _clip(one: dict, clip: str, rate: int) -> Markup:
    """A player: a button, the wave and the spectrogram, and the audio itself."""
    audio, rate = spectrogram.shrink(one["audio"][clip], rate)
    kind, _, codec = clip.partition(".")
    seconds = audio.size / rate
    peak = int(np.abs(one["audio"][clip].astype(int)).max(initial=0))
    level = f"{20 * np.log10(peak / 32768):.1f} dB".replace("-", "−") if peak else "silent"
    level += ", clips" * bool(one["meta"]["clipped"].get(clip))
    length = f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
    return html(
        '<div class="row clip {kind}"><div class="label"><button type="button" aria-pressed="false" '
        'aria-label="Play {words} of {key}"></button><b>{name}</b> <span>{figure}</span></div>'
        '<div class="sheet screen">{wave}<img alt="Mel spectrogram, 0 to {top:g} kHz" src="{picture}"></div>'
        '<audio controls preload="none" src="{sound}"></audio></div>',
        kind=kind,
        words=f"{kind} {codec}".strip(),
        key=one["key"],
        name=codec or kind,
        figure=length if codec else level,
        wave=draw_waveform(audio),
        top=rate / 2000,
        picture=encode_data_uri("image/png", spectrogram.draw_spectrogram(audio, rate)),
        sound=encode_data_uri("audio/wav", encode_wav(audio, rate)),
    )


def _patch(stored: np.ndarray, changed: int | None) -> Markup:
    fields = patch.to_dict(stored)
    off = {operator["operator"] for operator in fields["operators"] if operator["output_level"] == 0}
    number, feedback = fields["algorithm"] + 1, fields["feedback"]
    return html(
        '<section class="patch"><figure class="panel"><figcaption><span class="name">{}</span>'
        "<span>algorithm <b>{}</b></span><span>feedback <b>{}</b></span></figcaption>{}</figure>{}</section>",
        fields["name"],
        number,
        feedback,
        algorithm.draw_algorithm(number, off, changed, feedback),
        envelopes.draw_envelopes(stored, changed),
    )
