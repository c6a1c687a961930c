"""The json of a sample: what it is made of, at the times at which the engine plays it."""

import json
from functools import lru_cache

import numpy as np

from dx7data.audio.resample import engine_rate
from dx7data.engine.tables import BLOCK, ONE_Q24
from dx7data.patches import patch
from dx7data.phrases.phrase import CONTROLLERS, REST, Note, Phrase
from dx7data.plan.recipe import FORMAT_3, Recipe
from dx7data.plan.schema import NO_PAIR
from dx7data.plan.score import find_block, find_span, get_source_patch
from dx7data.plan.spec import Choice

encode_json = json.JSONEncoder(separators=(",", ":")).encode


def make_meta(plan: Recipe, split: str, j: int, choice: Choice) -> dict:
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
        "phrase": {"id": phrase.id, "kind": phrase.kind, "cut": phrase.cut, "about": encode_json(phrase.about)},
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
    start, blocks = find_span(note.start, note.held, rate)
    times = {"start": round(start * BLOCK / rate, 6), "held": round(int(blocks) * BLOCK / rate, 6)}
    return times | {"note": note.note, "velocity": note.velocity}


@lru_cache(maxsize=1 << 14)
def _seconds(ms: int, rate: int) -> float:
    return round(find_block(ms, rate) * BLOCK / rate, 6)


def make_key(split: str, j: int) -> str:
    """The name of sample (split, j), which its members begin with."""
    return f"{split}_{j:08d}"
