"""The page: one HTML file with samples of a data set to look at and to listen to, which needs no network.

Everything is in the file: audio as wav, pictures as PNG and SVG. Whatever comes from the data set is escaped.
"""

import json
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from dx7data.audio.player import draw_waveform, encode_data_uri
from dx7data.audio.wav import decode_wav, encode_wav
from dx7data.dataset import folders, shard
from dx7data.errors import InputError
from dx7data.files import write_output
from dx7data.page import drawing, histograms, spectrogram
from dx7data.page.head import make_head
from dx7data.patches import patch, sysex
from dx7data.phrases.phrase import REST
from dx7data.phrases.sources import find_source
from dx7data.plan import hidden
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard

_OF_ALL = ("id", "kind", "cut")  # what is known of all phrases, wherever they come from
ROWS = 24  # samples on a page: six megabytes at 16 kHz


def write_page(folder: Path, path: Path, rows: int = ROWS) -> None:
    """Write the page of a data set's folder to `path`, with about `rows` samples of all splits.

    Raises InputError when there is nothing to show, what there is can't be read, or the page can't be written.
    """
    plan = Plan.load(folder)
    made = [each for each, stats in folders.list_shards(folder, plan) if stats]
    if not made:
        raise InputError(f"nothing to show: {folder} has no whole shard of its plan yet; dx7data render makes them")
    with folders.explain_errors(folder):
        units = choose_samples(made, rows, 2 if plan.spec.pairs else 1)
        tables = {each: shard.read_rows(folder, each) for each in {each for unit in units for each, _ in unit}}
        samples = [[_read(folder, each, tables[each][i]) for each, i in unit] for unit in units]
        summary, table = folders.summarize(folder, 0), histograms.read_columns(folder, made)
    html = _page(folder, plan, summary, table, samples)
    try:
        write_output(path, lambda file: file.write(html.encode(errors="replace")))
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


def _read(folder: Path, one: Shard, row: dict) -> dict:
    """The members of a sample, read where its row in the table of its shard says they are."""
    members = shard.read_members(folder, one, row)
    audio = {name.removesuffix(".wav"): decode_wav(data)[0] for name, data in members.items() if name.endswith(".wav")}
    dumped = [np.frombuffer(record.patch, np.uint8) for record in sysex.read(members["target.syx"]).voices]
    return {"key": row["key"], "meta": json.loads(members["json"]), "audio": audio, "layers": dumped}


# --- The page ---


def _page(folder: Path, plan: Plan, summary: dict, table: dict, samples: list[list[dict]]) -> str:
    numbered, number = [], 1
    for unit in samples:
        numbered.append([(number + i, one) for i, one in enumerate(unit)])
        number += len(unit)
    shown = {one["key"] for unit in samples for one in unit}
    template = Template(Path(__file__).with_name("template.html").read_text(encoding="utf-8"))
    return template.substitute(
        head=make_head(folder.resolve().name, scripts=True),
        title=escape(folder.resolve().name),
        facts=_facts(plan, summary),
        display=escape(_display(summary)),
        histograms=histograms.draw_histograms(summary, table),
        hidden=_hidden(plan.hidden),
        shown=f"{len(shown)} of {sum(summary['samples'].values()):,} samples, evenly spread"
        + f"; the first {spectrogram.SECONDS} s of each" * (plan.spec.seconds > spectrogram.SECONDS),
        contents="".join(_link(i, one) for unit in numbered for i, one in unit),
        samples="".join(_unit(unit, plan, shown) for unit in numbered),
    )


def _display(summary: dict) -> str:
    """Two lines of 16 characters and more, as the instrument's own display has them."""
    count = sum(summary["samples"].values())
    return (
        f"{count:,} PAIRS {summary['seconds']:g} S\n{summary['sample_rate']} HZ {sum(summary['patches'].values())} PATCHES"
    )


def _facts(plan: Plan, summary: dict) -> str:
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
    return "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())


def _hidden(report: dict | None) -> str:
    """A table of the things that hidden.measure has drawn anew."""
    if report is None:
        return f'<p class="note">What is hidden: {escape(hidden.describe(None)[0])}</p>'
    columns = ("Drawn anew", "target changes in", "hidden in", "best SNR possible")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = ""
    for thing, each in report["things"].items():
        limit = "not certain" if each["hidden"] else "no limit"
        limit = limit if each["best_snr"] is None else f"{each['best_snr']} dB"
        cells = (f"{each['changed']} of {each['samples']}", f"{each['hidden']} of {each['samples']}", limit)
        mark = ' class="some"' if each["hidden"] else ""
        rows += f'<tr{mark}><th scope="row">{escape(thing)}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    caption = "What targets show, and sources and prefixes hide"
    return f'<table class="hidden"><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _link(number: int, one: dict) -> str:
    return f'<li><a href="#{escape(one["key"])}"><b>{number}</b> {_names(one)}</a></li>'


def _names(one: dict) -> str:
    return " + ".join(f'<span class="name">{escape(layer["name"]) or "(no name)"}</span>' for layer in one["meta"]["layers"])


# --- A sample, or a pair of them ---


def _unit(unit: list[tuple[int, dict]], plan: Plan, shown: set[str]) -> str:
    articles = "".join(_sample(number, one, plan, shown) for number, one in unit)
    return f'<div class="pair">{articles}</div>' if len(unit) > 1 else articles


def _sample(number: int, one: dict, plan: Plan, shown: set[str]) -> str:
    meta, key = one["meta"], escape(one["key"])
    changed = _changed_operator(meta)
    seconds = min(plan.spec.seconds, spectrogram.SECONDS)
    prefixes = "".join(
        f'<div class="timed">{_clip(one, clip, plan.spec.sample_rate)}</div>'
        for clip in one["audio"]
        if clip.startswith("prefix")
    )
    patches = "".join(_patch(stored, changed if i == 0 else None) for i, stored in enumerate(one["layers"]))
    about = "\n".join(f"{escape(name)}: {escape(json.dumps(value, ensure_ascii=False))}" for name, value in meta.items())
    return (
        f'<article id="{key}" aria-labelledby="{key}-name"><header><h3 id="{key}-name"><b>{number}</b> {_names(one)}</h3>'
        f"<p>{_about(one)}</p>{_pair(meta, shown)}</header>"
        f'<div class="sheets"><div class="sound"><div class="timed">{_score(meta, seconds)}'
        f"{_clip(one, 'source', plan.spec.sample_rate)}{_clip(one, 'target', plan.spec.sample_rate)}"
        f'<p class="time"><span>0</span><span>{seconds:g} s</span></p></div>'
        f'</div><div class="patches">{patches}<div class="prefixes">{prefixes}</div></div></div>'
        f"<details><summary>All that its json says</summary><pre>{about}</pre></details></article>"
    )


def _about(one: dict) -> str:
    meta, phrase = one["meta"], one["meta"]["phrase"]
    # Format 2 has what is known of a phrase in the phrase itself.
    about = json.loads(phrase["about"]) if "about" in phrase else {k: v for k, v in phrase.items() if k not in _OF_ALL}
    count = len(meta["notes"])
    parts = [
        f"<b>{escape(meta['split'])}</b> <code>{escape(one['key'])}</code>",
        f"{escape(phrase['kind'])} of {count} note{'s' * (count != 1)}" + ", cut short" * phrase["cut"],
    ]
    if source := find_source(phrase["kind"]):
        parts += map(escape, source.describe(about))
    return " · ".join([*parts, f'source <span class="name">{escape(meta["source"]["name"])}</span>'])


def _pair(meta: dict, shown: set[str]) -> str:
    """What the other sample of its pair has that this one has not."""
    if "pair" not in meta:
        return ""
    pair = meta["pair"]
    other = escape(pair["with"])
    link = f'<a href="#{other}">{other}</a>' if pair["with"] in shown else other
    return (
        f'<p class="changed">{escape(_in_words(pair["parameter"]))} is stored as <b>{int(pair["value"])}</b> here, '
        f"<b>{int(pair['value_there'])}</b> in {link}; all else is the same</p>"
    )


def _in_words(parameter: str) -> str:
    """A field of a patch in words: op3_eg_rate_1 is operator 3's EG rate 1."""
    start, _, rest = parameter.partition("_")
    words = f"operator {start[2:]}: {rest}" if start[:2] == "op" and start[2:].isdigit() else parameter
    words = words.replace("_", " ").replace("eg ", "EG ").replace("lfo ", "LFO ")
    return words[0].upper() + words[1:]


def _changed_operator(meta: dict) -> int | None:
    start = meta.get("pair", {}).get("parameter", "").partition("_")[0]
    return int(start[2:]) if start[:2] == "op" and start[2:].isdigit() else None


def _score(meta: dict, seconds: float) -> str:
    """The phrase and its controllers, on the same axis of time as source and target."""
    sheets = {"phrase": drawing.draw_roll(meta["notes"], seconds)}
    for name, values in meta["controllers"].items():
        if values == [[0.0, REST[name]]]:
            continue
        reach = max(1, int(np.ceil(max(abs(value) for _, value in values)))) if name == "bend" else 127
        label, low = (f"bend ±{reach}", -reach) if name == "bend" else (name, 0)
        sheets[label] = drawing.draw_controller(values, REST[name], low, reach, seconds)
    return "".join(
        f'<div class="row"><span class="label">{escape(label)}</span><div class="sheet">{sheet}</div></div>'
        for label, sheet in sheets.items()
    )


def _clip(one: dict, clip: str, rate: int) -> str:
    """A player: a button, the wave and the spectrogram, and the audio itself."""
    audio, rate = spectrogram.shrink(one["audio"][clip], rate)
    kind, _, codec = clip.partition(".")
    seconds = audio.size / rate
    peak = int(np.abs(one["audio"][clip].astype(int)).max(initial=0))
    level = f"{20 * np.log10(peak / 32768):.1f} dB".replace("-", "−") if peak else "silent"
    level += ", clips" * bool(one["meta"]["clipped"].get(clip))
    length = f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
    words = f"{kind} {codec}".strip()
    return (
        f'<div class="row clip {kind}"><div class="label"><button type="button" aria-pressed="false" '
        f'aria-label="Play {words} of {escape(one["key"])}"></button><b>{codec or kind}</b> '
        f"<span>{length if codec else level}</span></div>"
        f'<div class="sheet screen">{draw_waveform(audio)}<img alt="Mel spectrogram, 0 to {rate / 2000:g} kHz" '
        f'src="{encode_data_uri("image/png", spectrogram.draw_spectrogram(audio, rate))}"></div>'
        f'<audio controls preload="none" src="{encode_data_uri("audio/wav", encode_wav(audio, rate))}"></audio></div>'
    )


def _patch(stored: np.ndarray, changed: int | None) -> str:
    fields = patch.to_dict(stored)
    off = {operator["operator"] for operator in fields["operators"] if operator["output_level"] == 0}
    number, feedback = fields["algorithm"] + 1, fields["feedback"]
    return (
        f'<section class="patch"><figure class="panel"><figcaption><span class="name">{escape(fields["name"])}</span>'
        f"<span>algorithm <b>{number}</b></span><span>feedback <b>{feedback}</b></span></figcaption>"
        f"{drawing.draw_algorithm(number, off, changed, feedback)}</figure>"
        f"{drawing.draw_envelopes(stored, changed)}</section>"
    )
