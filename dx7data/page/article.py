"""A sample on the page: what plays it, its phrase, its clips and its patches; as HTML."""

import json
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from dx7data.audio.player import draw_waveform, encode_data_uri
from dx7data.audio.wav import encode_wav
from dx7data.errors import InputError
from dx7data.markup import html, join
from dx7data.output import format_count
from dx7data.page import algorithm, envelopes, score, spectrogram
from dx7data.patches import patch
from dx7data.phrases.phrase import REST
from dx7data.phrases.sources import find_source
from dx7data.plan.plan import Plan


class Sample(NamedTuple):
    """What a sample consists of."""

    key: str
    meta: Any  # schema.SampleDocument
    audio: dict[str, np.ndarray]  # source, target, prefix.CODEC: int16 (L,)
    layers: list[np.ndarray]  # uint8 (155,) each

    @property
    def name(self) -> str:
        return " + ".join(layer["name"] or "(no name)" for layer in self.meta["layers"])

    @property
    def properties(self) -> dict[str, list[str]]:
        """What it can be filtered by; values of each."""
        clips, silent = any(self.meta["clipped"].values()), not self.meta["peak"]["target"]
        return {
            "algorithm": list(dict.fromkeys(str(layer["algorithm"]) for layer in self.meta["layers"])),
            "split": [self.meta["split"]],
            "phrase": [self.meta["phrase"]["kind"]],
            "level": ["clipped"] * clips + ["silent"] * silent,
        }


def write_articles(units: list[list[Sample]], plan: Plan) -> Markup:
    """All samples, numbered from 1; the samples of a pair are together."""
    shown, number, written = {one.key for unit in units for one in unit}, 1, []
    for unit in units:
        articles = join(_write_article(number + i, one, plan, shown) for i, one in enumerate(unit))
        written.append(html('<div class="pair">{}</div>', articles) if plan.spec.pairs else articles)
        number += len(unit)
    return join(written)


def _write_article(number: int, one: Sample, plan: Plan, shown: set[str]) -> Markup:
    found = {"name": [f"{one.name} {one.key}".lower()], **one.properties}
    return html(
        '<article id="{key}" aria-labelledby="{key}-name"{found}><header><h3 id="{key}-name"><b>{number}</b> {names}</h3>'
        '<p>{about}</p><div class="listen">{source}{target}</div>{pair}</header>'
        '<details open><summary><span class="unseen">Notes, spectrograms and patch of {number}, {name}</span></summary>'
        "{sheets}<details><summary>All that its json says</summary><pre>{json}</pre></details></details></article>",
        key=one.key,
        found=join(html(' data-{}="{}"', name, "\n".join(values)) for name, values in found.items()),
        number=number,
        name=one.name,
        names=_names(one),
        about=_about(one),
        pair=_pair(one.meta, shown),
        source=_listen(number, one, "source"),
        target=_listen(number, one, "target"),
        sheets=_sheets(number, one, plan),
        json="\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in one.meta.items()),
    )


def _names(one: Sample) -> Markup:
    names = (html('<span class="name">{}</span>', layer["name"] or "(no name)") for layer in one.meta["layers"])
    return join(names, " + ")


def _listen(number: int, one: Sample, clip: str) -> Markup:
    """The button that plays a clip."""
    kind, _, codec = clip.partition(".")
    return html(
        '<button type="button" data-clip="{}" aria-pressed="false" aria-label="{} of {}, {}"><span>{}</span></button>',
        clip,
        f"{codec} {kind}".strip().capitalize(),
        number,
        one.name,
        codec or kind.capitalize(),
    )


def _sheets(number: int, one: Sample, plan: Plan) -> Markup:
    """The phrase and the clips on one axis of time, the patches, and the prefixes that encode these."""
    changed = _changed_operator(one.meta)
    seconds = spectrogram.fit_seconds(one.audio, plan.spec.sample_rate)
    codecs = [clip for clip in one.audio if clip.startswith("prefix")]
    prefixes = [html('<div class="timed">{}</div>', _clip(number, one, clip, plan)) for clip in codecs]
    return html(
        '<div class="sheets"><div class="timed">{score}{source}{target}'
        '<p class="time"><span>0</span><span>{seconds:g} s</span></p></div>'
        '<div class="patches">{patches}</div>{prefixes}</div>',
        score=_score(one.meta, seconds),
        source=_clip(number, one, "source", plan, seconds),
        target=_clip(number, one, "target", plan, seconds),
        seconds=seconds,
        patches=join(_patch(stored, changed if i == 0 else None) for i, stored in enumerate(one.layers)),
        prefixes=html('<div class="prefixes">{}</div>', join(prefixes)) if prefixes else "",
    )


def _about(one: Sample) -> Markup:
    meta, phrase = one.meta, one.meta["phrase"]
    count = len(meta["notes"])
    parts = [
        html("<b>{}</b> <code>{}</code>", meta["split"], one.key),
        f"{phrase['kind']} of {format_count(count, 'note')}" + ", cut short" * phrase["cut"],
    ]
    if source := find_source(phrase["kind"]):
        try:
            parts += source.describe(phrase["about"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the json of sample {one.key}, field phrase.about: {error!r}") from None
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


def _clip(number: int, one: Sample, clip: str, plan: Plan, seconds: float | None = None) -> Markup:
    """A clip to look at, or its first seconds, its audio, and the button that plays it where none is above."""
    rate = plan.spec.sample_rate
    audio, rate = spectrogram.shrink(one.audio[clip][: round(seconds * rate) if seconds else None], rate)
    kind, _, codec = clip.partition(".")
    columns = spectrogram.PREFIX_COLUMNS if codec else spectrogram.COLUMNS
    return html(
        '<div class="row clip {kind}" data-clip="{clip}">'
        '<div class="label">{button}<b>{name}</b> <span>{figure}</span></div>'
        '<div class="sheet screen">{wave}<img alt="Mel spectrogram, 0 to {top:g} kHz" src="{picture}"></div>'
        '<audio controls preload="none" aria-label="{name} of {number}, {whose}" src="{sound}"></audio></div>',
        kind=kind,
        clip=clip,
        button=_listen(number, one, clip) if codec else "",
        name=codec or kind,
        figure=_length(audio.size / rate) if codec else _level(one, clip),
        wave=draw_waveform(audio),
        top=rate / 2000,
        picture=encode_data_uri("image/png", spectrogram.draw_spectrogram(audio, rate, columns)),
        number=number,
        whose=one.name,
        sound=encode_data_uri("audio/wav", encode_wav(audio, rate)),
    )


def _length(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"


def _level(one: Sample, clip: str) -> str:
    peak = int(np.abs(one.audio[clip].astype(int)).max(initial=0))
    level = f"{20 * np.log10(peak / 32768):.1f} dB".replace("-", "−") if peak else "silent"
    return level + ", clips" * bool(one.meta["clipped"][clip])


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
