"""What the engine plays for the samples of a plan: notes and controllers at blocks, and how they become clips."""

from functools import lru_cache
from itertools import chain
from typing import TypeVar

import numpy as np

from dx7data.audio import gain
from dx7data.audio.resample import engine_rate
from dx7data.engine.tables import BLOCK, count_samples
from dx7data.engine.voice import Curves, voices
from dx7data.patches import patch
from dx7data.phrases.phrase import CONTROLLERS, REST
from dx7data.plan.recipe import Recipe
from dx7data.plan.spec import Choice

Times = TypeVar("Times", int, np.ndarray)


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
    start, blocks = find_span(start_ms, held_ms, rate)
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


def _make_curves(plan: Recipe, choices: list[Choice], rate: int) -> tuple[Curves | None, np.ndarray]:
    """Bend and wheel of the rows, None if nothing moves; and their volume at block boundaries, (2 B, K + 1)."""
    moved = [i for i, choice in enumerate(choices) if choice.phrase.events]
    if not moved:
        return None, gain.full_volume(2 * len(choices))
    blocks = -(-int(count_samples(plan.spec.seconds, rate)) // BLOCK)
    values = {name: np.full((len(moved), blocks + 1), rest, np.int64) for name, rest in REST.items()}
    for c, i in enumerate(moved):
        for event in choices[i].phrase.events:  # in order of time: the later ones overwrite
            values[CONTROLLERS[event.controller]][c, find_block(event.time, rate) :] = event.value

    of = np.full(2 * len(choices), -1)
    of[moved] = of[np.array(moved) + len(choices)] = np.arange(len(moved))
    volume = np.full((2 * len(choices), blocks + 1), gain.FULL, np.int32)
    loudness = values["volume"] * values["expression"]
    # The square law that General MIDI recommends: 40 dB a decade, so that 64 is 12 dB below 127.
    volume[of >= 0] = ((loudness * loudness * gain.FULL + 127**4 // 2) // 127**4)[of[of >= 0]]
    wheel = values["wheel"] * plan.spec.wheel_range // 100
    return Curves(of, values["bend"].astype(np.int32), wheel.astype(np.int32)), volume


def get_source_patch(plan: Recipe) -> np.ndarray:
    """The patch that plays the sources, uint8 (155,); not for random ones."""
    return _unpack(plan.spec.source)


@lru_cache(maxsize=8)
def _unpack(packed: str) -> np.ndarray:
    return patch.unpack(np.frombuffer(bytes.fromhex(packed), np.uint8))


def find_span(start_ms: Times, held_ms: Times, rate: int) -> tuple[Times, Times]:
    """The block at which a note begins, and for how many it is held: until the nearest one to its end, and one at least."""
    start = find_block(start_ms, rate)
    return start, np.maximum(find_block(start_ms + held_ms, rate) - start, 1)


def find_block(ms: Times, rate: int) -> Times:
    """The block, counted from 0, at which something begins: the nearest one."""
    return (ms * rate + 500 * BLOCK) // (1000 * BLOCK)
