"""Samples: the voice-conversion pair of a plan's (split, j), as audio and as the members of a shard."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dx7data import prefix
from dx7data.audio import clips, gain
from dx7data.audio.player import make_player
from dx7data.audio.wav import encode_wav
from dx7data.markup import html, join
from dx7data.patches import sysex
from dx7data.plan.meta import encode_json, make_key, make_meta
from dx7data.plan.recipe import Recipe
from dx7data.plan.score import make_score
from dx7data.plan.spec import Choice

_BATCH_BYTES = 16 << 20  # of native integers: what one call of the engine has in memory
BATCH_NOTES = 1 << 18  # voices of one call: about 1.6 kB each with what a sample tells of them, 0.4 GB


@dataclass(frozen=True)
class Sample:
    """One sample of a data set, as audio: two int16 mono clips of the same length, aligned sample by sample, and prefixes.

    `meta` is the content of its `json` file: notes, patches, gains. `key` is its name in a shard, as in train_00000007.
    """

    key: str
    source: np.ndarray
    target: np.ndarray
    prefixes: dict[str, np.ndarray]  # by codec; int16, one layer after the other, silence for layers that it does not have
    layers: np.ndarray  # the target's patches, uint8 (layers, 155)
    meta: dict

    def members(self) -> list[tuple[str, bytes]]:
        """Name and content of each file of the sample in a shard."""
        rate = self.meta["sample_rate"]
        return [
            (f"{self.key}.json", encode_json(self.meta).encode()),
            *((f"{self.key}.prefix.{codec}.wav", encode_wav(audio, rate)) for codec, audio in self.prefixes.items()),
            (f"{self.key}.source.wav", encode_wav(self.source, rate)),
            (f"{self.key}.target.syx", b"".join(_dump(layer.tobytes()) for layer in self.layers)),
            (f"{self.key}.target.wav", encode_wav(self.target, rate)),
        ]

    def _repr_html_(self) -> str:
        """What a notebook shows: a player for each clip."""
        clips = {f"prefix {codec}": audio for codec, audio in self.prefixes.items()}
        clips = {"source": self.source, **clips, "target": self.target}
        names = " + ".join(layer["name"] for layer in self.meta["layers"])
        players = join(make_player(label, audio, self.meta["sample_rate"]) for label, audio in clips.items())
        return str(html("<section><p><b>{}</b> {}</p>{}</section>", self.key, names, players))


class ChosenSample(NamedTuple):
    """Sample (split, j) before it is rendered."""

    split: str
    j: int
    choice: Choice


def batch_size(plan: Recipe) -> int:
    """Samples that one call of the engine makes on a CPU: source and target, four bytes a native integer at up to 48 kHz."""
    return max(1, min(64, int(_BATCH_BYTES / (2 * 4 * 48000 * plan.spec.seconds + 1))))


def count_notes(choice: Choice) -> int:
    """Voices that the engine plays for a sample: each layer of the target plays the notes of the source."""
    return len(choice.phrase.notes) * (1 + len(choice.layers))


def divide(plan: Recipe, places: Iterable[tuple[str, int]], clips: int, notes: int) -> Iterator[list[ChosenSample]]:
    """What the samples at some places are made of, in batches: so many clips at most, and so many notes or one sample."""
    batch: list[ChosenSample] = []
    in_batch = 0
    for split, j in places:
        choice = plan.choose(split, j)
        if batch and (len(batch) == clips or in_batch + count_notes(choice) > notes):
            yield batch
            batch, in_batch = [], 0
        batch.append(ChosenSample(split, j, choice))
        in_batch += count_notes(choice)
    if batch:
        yield batch


def render_samples(
    plan: Recipe, places: list[tuple[str, int]], device: str = "cpu", pinned_buffer: np.ndarray | None = None
) -> list[Sample]:
    """The samples (split, j) of a plan.Plan at some places. Raises InputError when a GPU fails.

    pinned_buffer: where a GPU puts the clips, see clips.get_pinned_buffer; the next call overwrites the samples in it.
    """
    return render_chosen(plan, [ChosenSample(split, j, plan.choose(split, j)) for split, j in places], device, pinned_buffer)


def render_chosen(
    plan: Recipe, chosen: list[ChosenSample], device: str = "cpu", pinned_buffer: np.ndarray | None = None
) -> list[Sample]:
    """As render_samples, where it is known what the samples are made of."""
    choices = [one.choice for one in chosen]
    audio, levels = _render_clips(plan, choices, device, pinned_buffer)
    prefixes, count = encode_prefixes(plan, choices, device), len(choices)
    return [
        Sample(
            key=make_key(split, j),
            source=audio[i],
            target=audio[count + i],
            prefixes={codec: of_codec[i] for codec, of_codec in prefixes.items()},
            layers=plan.patches.stored[list(choice.layers)],
            meta=make_meta(plan, split, j, choice)
            | {name: {"source": level[i], "target": level[count + i]} for name, level in levels.items()},
        )
        for i, (split, j, choice) in enumerate(chosen)
    ]


def _render_clips(
    plan: Recipe, choices: list[Choice], device: str, pinned_buffer: np.ndarray | None
) -> tuple[np.ndarray, dict[str, list]]:
    """Int16 (2 B, L), all sources, then all targets; and the gain, peak and number of clipped samples of each."""
    audio, gains, peaks, cut = clips.render_clips(**make_score(plan, choices), device=device, pinned_buffer=pinned_buffer)
    return audio, {"gain": (gains / gain.ONE).tolist(), "peak": peaks.tolist(), "clipped": cut.tolist()}


def encode_prefixes(plan: Recipe, choices: list[Choice], device: str) -> dict[str, np.ndarray]:
    """Of each codec int16 (B, prefix samples)."""
    spec = plan.spec
    sample = np.repeat(np.arange(len(choices)), [len(choice.layers) for choice in choices])
    layer = np.concatenate([np.arange(len(choice.layers)) for choice in choices])
    wanted, which = np.unique(np.concatenate([choice.layers for choice in choices]), return_inverse=True)
    place = np.full((len(choices), spec.layers[1]), -1)  # the last: silence
    place[sample, layer] = which
    prefixes = {}
    for codec in spec.prefixes:
        audio = prefix.encode(plan.patches.stored[wanted], codec, spec.sample_rate, device)
        prefixes[codec] = np.append(audio, np.zeros_like(audio[:1]), axis=0)[place].reshape(len(choices), -1)
    return prefixes


@lru_cache(maxsize=4096)
def _dump(stored: bytes) -> bytes:
    return sysex.write_voice(np.frombuffer(stored, np.uint8))
