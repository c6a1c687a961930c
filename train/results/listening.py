"""The fixed samples of runs for a page: source, target and what each run made of it, to be switched while they play.

All clips of a sample are played at the RMS level of its target, for the louder of two seems better. The script in
train/compare.js plays them; without it each clip has the browser's own controls, at its own level.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from dx7data.audio.player import encode_data_uri
from dx7data.audio.wav import encode_wav
from dx7data.markup import html, join
from dx7data.page.head import fill
from train.results import figures
from train.results.reader import Clip, Run

MAX_GAIN_DB = 20.0  # a clip that is nearly silent stays so


class Heard(NamedTuple):
    """One clip of a sample: its name in the page, what a person reads, and the same as markup."""

    key: str
    name: str
    label: Markup
    clip: Clip


def match_levels(clips: list[np.ndarray], target: np.ndarray) -> np.ndarray:
    """Factors float64 (N,) that give each clip, int16, the RMS of the target, up to MAX_GAIN_DB; 1 for silence.

    If one would then be over full scale, all become softer together.
    """
    levels = np.array([_measure_rms(clip) for clip in clips])
    wanted = _measure_rms(target)
    limit = 10 ** (MAX_GAIN_DB / 20)
    gains = np.where((levels > 0) & (wanted > 0), np.clip(wanted / np.maximum(levels, 1e-9), 1 / limit, limit), 1.0)
    peaks = np.array([np.abs(clip.astype(np.int64)).max(initial=0) for clip in clips])
    return gains / max(1.0, (gains * peaks).max() / 32768)


def _measure_rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(audio.astype(np.float64)))))


def fill_samples(samples: Markup, page_id: str) -> Markup:
    """The part of a page with samples, the tools to play them, and blind tests. page_id: as `identify` has it."""
    return fill(Path(__file__).with_suffix(".html"), samples=samples, page_id=page_id)


def draw_samples(runs: list[Run], labels: list[Markup]) -> Iterator[Markup]:
    """A section for each fixed sample; labels: names of the runs as markup."""
    groups: dict[tuple, dict[int, dict[str, Clip]]] = {}  # by number, source and target; then by run
    for i, run in enumerate(runs):
        for number, clips in run.samples.items():
            pair = [(clips[kind].audio.tobytes(), clips[kind].rate) for kind in ("source", "target")]
            groups.setdefault((number, *pair), {})[i] = clips
    for j, ((number, *_), found) in enumerate(groups.items()):
        first = next(iter(found.values()))
        heard = [Heard(kind, kind, html("<b>{}</b>", kind), first[kind]) for kind in ("source", "target")]
        for i, own in found.items():
            label = html('{} <span class="step">step {:,}</span>', labels[i], runs[i].samples_step)
            heard.append(Heard(f"run-{i}", runs[i].name, label, own["generated"]))
        without = [run.name for i, run in enumerate(runs) if i not in found]
        note = html(" <span>not of {}</span>", ", ".join(without)) if without else ""
        yield draw_sample(j, number, html("Sample {}{}", number, note), heard)


def draw_sample(place: int, number: str, title: Markup, heard: list[Heard]) -> Markup:
    """A section with clips, the second of which is the target.

    place: among all samples of the page; number: as blind tests call it.
    """
    return html(
        '<section class="sample" data-number="{1}" tabindex="-1" aria-labelledby="sample-{0}">'
        '<h3 id="sample-{0}">{2}</h3><div class="players">{3}</div></section>',
        *(place, number, title, join(_draw_players(f"sample {number}", heard))),
    )


def _draw_players(sample: str, heard: list[Heard]) -> Iterator[Markup]:
    levels = [figures.mel(each.clip) for each in heard]
    top = figures.loudest(levels)
    gains = match_levels([each.clip.audio for each in heard], heard[1].clip.audio)
    for (key, name, label, clip), level, gain in zip(heard, levels, gains, strict=True):
        yield html(
            '<figure data-clip="{}" data-name="{}" data-gain="{:.6g}"><figcaption>{} <span class="level">{:+z.1f} dB</span>'
            '</figcaption><div class="screen"><img alt="Mel spectrogram of {}, 0 to {:g} kHz" src="{}"></div>'
            '<audio controls preload="none" aria-label="{}, {}" src="{}"></audio></figure>',
            *(key, name, gain, label, 20 * np.log10(gain), name, clip.rate / 2000),
            encode_data_uri("image/png", figures.spectrogram(level, top)),
            *(name, sample, encode_data_uri("audio/wav", encode_wav(*clip))),
        )


def identify(runs: list[Run]) -> str:
    """By which a browser finds the answers that a person gave on this page: 16 hexadecimal digits of names and audio."""
    return identify_clips((run.name, [clip for clips in run.samples.values() for clip in clips.values()]) for run in runs)


def identify_clips(named: Iterable[tuple[str, list[Clip]]]) -> str:
    """The same of clips by the names of what has made them."""
    found = hashlib.sha256()
    for name, clips in named:
        found.update(name.encode(errors="replace") + b"\0")
        for clip in clips:
            found.update(encode_wav(*clip))
    return found.hexdigest()[:16]
