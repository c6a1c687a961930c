"""Samples: the voice-conversion pair of a plan's (split, j), as audio and as the members of a shard."""

import json
import struct
from dataclasses import dataclass

import numpy as np

from dx7data import gain, patch, sysex
from dx7data.decimate import decimate, engine_rate
from dx7data.engine.render import mix
from dx7data.engine.tables import BLOCK
from dx7data.plan import Plan
from dx7data.voice import voices


@dataclass(frozen=True)
class Sample:
    """One pair: int16 mono clips of the same length, aligned sample by sample, and what is known of them."""

    key: str
    source: np.ndarray
    target: np.ndarray
    patch: np.ndarray  # the target's, uint8 (155,)
    meta: dict

    def members(self) -> list[tuple[str, bytes]]:
        """File name and content of each member of the sample in a shard."""
        rate = self.meta["sample_rate"]
        return [
            (f"{self.key}.json", json.dumps(self.meta, separators=(",", ":")).encode()),
            (f"{self.key}.source.wav", wav(self.source, rate)),
            (f"{self.key}.target.syx", sysex.write_voice(self.patch)),
            (f"{self.key}.target.wav", wav(self.target, rate)),
        ]


def render(plan: Plan, split: str, first: int, count: int) -> list[Sample]:
    """The samples (split, first) to (split, first + count - 1)."""
    spec = plan.spec
    rate = engine_rate(spec.sample_rate)
    numbers = range(first, first + count)
    phrases = [plan.phrase(split, j) for j in numbers]
    chosen = [plan.target(split, j) for j in numbers]
    targets = plan.patches[chosen]
    source = source_patch(plan)

    # Rows: all sources, then all targets. A row is one patch here, and so is a part, which shares an LFO.
    row = np.repeat(np.arange(count), [len(notes) for notes in phrases])
    start_ms, held_ms, note, velocity = np.array([event for notes in phrases for event in notes]).T
    start = _block(start_ms, rate)
    by_source, by_target = (
        voices(patches, note, velocity, held_ms / 1000, rate, start) for patches in (source, targets[row])
    )
    rows = np.concatenate([row, row + count])
    native = decimate(mix(by_source.join(by_target), rows, rows, 2 * count, spec.seconds), spec.sample_rate)[
        :, : spec.samples
    ]

    clips, gains, peaks, cut = gain.apply(native, spec.gain)
    return [
        Sample(
            key=f"{split}_{j:08d}",
            source=clips[i],
            target=clips[count + i],
            patch=targets[i],
            meta={
                "split": split,
                "index": j,
                "seed": spec.seed,
                "sample_rate": spec.sample_rate,
                "patch": {
                    "id": plan.ids[chosen[i]],
                    "name": patch.patch_name(targets[i]),
                    "algorithm": int(targets[i][134]) + 1,
                },
                "source": {"id": patch.patch_id(source), "name": patch.patch_name(source)},
                "gain": {"source": int(gains[i]) / gain.ONE, "target": int(gains[count + i]) / gain.ONE},
                "peak": {"source": int(peaks[i]), "target": int(peaks[count + i])},
                "clipped": {"source": int(cut[i]), "target": int(cut[count + i])},
                "notes": [
                    {
                        "start": round(_block(event.start, rate) * BLOCK / rate, 6),
                        "held": event.held / 1000,
                        "note": event.note,
                        "velocity": event.velocity,
                    }
                    for event in phrases[i]
                ],
            },
        )
        for i, j in enumerate(numbers)
    ]


def source_patch(plan: Plan) -> np.ndarray:
    """The patch that plays the sources, uint8 (155,)."""
    return patch.unpack(np.frombuffer(bytes.fromhex(plan.spec.source), np.uint8))


def wav(audio: np.ndarray, rate: int) -> bytes:
    """A PCM wav file of int16 mono audio."""
    data = audio.astype("<i2", copy=False).tobytes()
    layout = "<4sI4s4sIHHIIHH4sI"
    return (
        struct.pack(layout, b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", len(data))
        + data
    )


def _block(start_ms, rate: int):
    """The block, counted from 0, at which a note begins: the nearest one."""
    return (start_ms * rate + 500 * BLOCK) // (1000 * BLOCK)
