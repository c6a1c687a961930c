"""Samples: the voice-conversion pair of a plan's (split, j), as audio and as the members of a shard."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np

from dx7data import prefix
from dx7data.audio import clips, gain
from dx7data.audio.markup import html, join
from dx7data.audio.player import make_player
from dx7data.audio.resample import engine_rate
from dx7data.audio.wav import encode_wav
from dx7data.engine.tables import BLOCK, ONE_Q24, count_samples
from dx7data.engine.voice import Curves, voices
from dx7data.patches import patch, sysex
from dx7data.phrases.phrase import CONTROLLERS, REST, Note, Phrase
from dx7data.plan.recipe import FORMAT_3, Recipe
from dx7data.plan.schema import NO_PAIR
from dx7data.plan.spec import Choice

_BATCH_BYTES = 16 << 20  # of native integers: what one call of the engine has in memory
BATCH_NOTES = 1 << 18  # voices of one call: about 1.6 kB each with what a sample tells of them, 0.4 GB
Times = TypeVar("Times", int, np.ndarray)
_json = json.JSONEncoder(separators=(",", ":"))


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
            (f"{self.key}.json", _json.encode(self.meta).encode()),
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
            meta=_make_meta(plan, split, j, choice)
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


def make_score(plan: Recipe, choices: list[Choice]) -> dict:
    """What is played in 2 B rows, all sources, then all targets, and how it becomes clips: arguments of render_clips."""
    spec, count = plan.spec, len(choices)
    rate = engine_rate(spec.sample_rate)
    # A part is what one patch plays in one row: it has an LFO of its own.
    sources = [get_source_patch(plan) if choice.source is None else plan.patches.stored[choice.source] for choice in choices]
    parts = [(i, choice.phrase, patched) for i, (choice, patched) in enumerate(zip(choices, sources, strict=True))]
    parts += [
        (count + i, choice.phrase, plan.patches.stored[layer]) for i, choice in enumerate(choices) for layer in choice.layers
    ]
    notes = np.fromiter(chain.from_iterable(chain.from_iterable(phrase.notes for _, phrase, _ in parts)), np.int64)
    part = np.repeat(np.arange(len(parts)), [len(phrase.notes) for _, phrase, _ in parts])
    row = np.array([row for row, _, _ in parts])[part]
    stored = np.array([patched for _, _, patched in parts])[part]
    start_ms, held_ms, key, velocity = notes.reshape(-1, 4).T
    start, blocks = _span(start_ms, held_ms, rate)
    curves, volume = _make_curves(plan, choices, rate)
    return {
        # Half a block less: seconds are of single precision, and the engine rounds them up to whole blocks.
        "voices": voices(stored, key, velocity, (blocks - 0.5) * BLOCK / rate, rate, start),
        "row": row,
        "part": part,
        "rows": 2 * count,
        "seconds": spec.seconds,
        "sample_rate": spec.sample_rate,
        "length": spec.samples,
        "policy": spec.gain,
        "volume": volume,
        "curves": curves,
    }


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


def _make_curves(plan: Recipe, choices: list[Choice], rate: int) -> tuple[Curves | None, np.ndarray]:
    """Bend and wheel of the rows, None if nothing moves; and their volume at block boundaries, (2 B, K + 1)."""
    moved = [i for i, choice in enumerate(choices) if choice.phrase.events]
    if not moved:
        return None, gain.full_volume(2 * len(choices))
    blocks = -(-int(count_samples(plan.spec.seconds, rate)) // BLOCK)
    values = {name: np.full((len(moved), blocks + 1), rest, np.int64) for name, rest in REST.items()}
    for c, i in enumerate(moved):
        for event in choices[i].phrase.events:  # in order of time: the later ones overwrite
            values[CONTROLLERS[event.controller]][c, _block(event.time, rate) :] = event.value

    of = np.full(2 * len(choices), -1)
    of[moved] = of[np.array(moved) + len(choices)] = np.arange(len(moved))
    volume = np.full((2 * len(choices), blocks + 1), gain.FULL, np.int32)
    loudness = values["volume"] * values["expression"]
    # The square law that General MIDI recommends: 40 dB a decade, so that 64 is 12 dB below 127.
    volume[of >= 0] = ((loudness * loudness * gain.FULL + 127**4 // 2) // 127**4)[of[of >= 0]]
    wheel = values["wheel"] * plan.spec.wheel_range // 100
    return Curves(of, values["bend"].astype(np.int32), wheel.astype(np.int32)), volume


def _make_meta(plan: Recipe, split: str, j: int, choice: Choice) -> dict:
    """The `json` of a sample, but for the levels of its clips.

    All samples of all data sets have the same keys with values of the same types, none of them empty, for readers that infer
    a schema from the first few. So what is known of a phrase, which depends on where it comes from, is one text.
    """
    spec, phrase = plan.spec, choice.phrase
    source = get_source_patch(plan) if choice.source is None else plan.patches.stored[choice.source]
    meta = {
        "split": split,
        "index": j,
        "seed": spec.seed,
        "sample_rate": spec.sample_rate,
        "layers": [_describe_patch(plan, layer) for layer in choice.layers],
        "source": {"id": patch.patch_id(source), "name": patch.patch_name(source)},
        "phrase": {"id": phrase.id, "kind": phrase.kind, "cut": phrase.cut, "about": _json.encode(phrase.about)},
        **_describe_notes(phrase, engine_rate(spec.sample_rate)),
    }
    if plan.format == FORMAT_3 and spec.prefixes:
        meta["prefix_samples"] = {codec: spec.prefix_samples(codec) for codec in spec.prefixes}
    if choice.other:
        meta["pair"] = _describe_pair(plan, split, choice.layers[0], choice.other)
    elif plan.format != FORMAT_3:
        meta["pair"] = NO_PAIR
    return meta


def _describe_patch(plan: Recipe, i: int) -> dict:
    stored, patches = plan.patches.stored[i], plan.patches
    about = {"id": patches.ids[i], "name": patch.patch_name(stored), "algorithm": int(stored[patch.ALGORITHM]) + 1}
    return about | {"kind": patches.kinds[i], "parents": ",".join(patches.parents[i])}


def _describe_pair(plan: Recipe, split: str, own_layer: int, there: tuple[int, int]) -> dict:
    """What a sample has that the other of its pair has not; there: that one's j and first layer."""
    j, layer = there
    own, other = plan.patches.stored[own_layer], plan.patches.stored[layer]
    changed = int(np.flatnonzero(own[: patch.PARAMETERS] != other[: patch.PARAMETERS])[0])
    return {
        "with": make_key(split, j),
        "parameter": patch.FIELDS[changed],
        "value": int(own[changed]),
        "value_there": int(other[changed]),
    }


def _describe_notes(phrase: Phrase, rate: int) -> dict:
    """Notes and controllers, at the times, in seconds, at which the engine plays them; bend in semitones.

    Of each controller [time, value] from the beginning on, with its value at rest if it has no event there.
    """
    controllers: dict[str, list] = {name: [[0.0, float(rest)]] for name, rest in REST.items()}
    for event in phrase.events:
        name, time = CONTROLLERS[event.controller], _seconds(event.time, rate)
        value = round(event.value * 12 / ONE_Q24, 7) if name == "bend" else float(event.value)  # 7 decimals are exact
        if not time:
            controllers[name].clear()
        controllers[name].append([time, value])
    return {
        "notes": [_describe_note(note, rate) for note in phrase.notes],
        "controllers": controllers,
    }


def _describe_note(note: Note, rate: int) -> dict:
    start, blocks = _span(note.start, note.held, rate)
    times = {"start": round(start * BLOCK / rate, 6), "held": round(int(blocks) * BLOCK / rate, 6)}
    return times | {"note": note.note, "velocity": note.velocity}


@lru_cache(maxsize=1 << 14)
def _seconds(ms: int, rate: int) -> float:
    return round(_block(ms, rate) * BLOCK / rate, 6)


def get_source_patch(plan: Recipe) -> np.ndarray:
    """The patch that plays the sources, uint8 (155,); not for random ones."""
    return _unpack(plan.spec.source)


@lru_cache(maxsize=8)
def _unpack(packed: str) -> np.ndarray:
    return patch.unpack(np.frombuffer(bytes.fromhex(packed), np.uint8))


@lru_cache(maxsize=4096)
def _dump(stored: bytes) -> bytes:
    return sysex.write_voice(np.frombuffer(stored, np.uint8))


def make_key(split: str, j: int) -> str:
    """The name of sample (split, j), which its members begin with."""
    return f"{split}_{j:08d}"


def _span(start_ms: Times, held_ms: Times, rate: int) -> tuple[Times, Times]:
    """The block at which a note begins, and for how many it is held: until the nearest one to its end, and one at least."""
    start = _block(start_ms, rate)
    return start, np.maximum(_block(start_ms + held_ms, rate) - start, 1)


def _block(ms: Times, rate: int) -> Times:
    """The block, counted from 0, at which something begins: the nearest one."""
    return (ms * rate + 500 * BLOCK) // (1000 * BLOCK)
