"""The codec `reference`: the patch itself plays a note; an example, from which nothing can be read back."""

import numpy as np

from dx7data.audio import clips
from dx7data.audio.resample import engine_rate
from dx7data.engine.voice import voices
from dx7data.prefix.codec import Codec, register

_NOTE, _VELOCITY = 60, 100
_SECONDS, _HELD = 0.5, 0.4


def _length(sample_rate: int) -> int:
    engine_rate(sample_rate)  # raises for rates that no clip has
    return int(_SECONDS * sample_rate)


def _encode(patches: np.ndarray, sample_rate: int, length: int, device: str) -> np.ndarray:
    played = voices(patches, _NOTE, _VELOCITY, _HELD, engine_rate(sample_rate))
    alone, seconds = np.arange(len(patches)), _SECONDS + 0.02  # longer, lest the decimator fade out within it
    return clips.render_clips(played, alone, alone, alone.size, seconds, sample_rate, length, device=device)[0]


register(Codec("reference", _length, _encode, None))
