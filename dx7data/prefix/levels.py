"""The codec `bytes`: 133 samples, each a level that says seven bits and survives 8-bit mu-law."""

import numpy as np

from dx7data.audio import mulaw
from dx7data.audio.resample import engine_rate
from dx7data.prefix import symbols
from dx7data.prefix.codec import Codec, PrefixError, register

_LEVELS = mulaw.decode(2 * np.arange(symbols.VALUES)).astype(np.int16)  # every second class of mu-law is a legal level


def _length(sample_rate: int) -> int:
    engine_rate(sample_rate)  # raises for rates that no clip has
    return symbols.COUNT


def _encode(patches: np.ndarray, sample_rate: int, length: int, device: str) -> np.ndarray:
    return _LEVELS[symbols.write(patches)]


def _decode(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    classes = mulaw.encode(audio[: symbols.COUNT]).astype(np.int64)
    illegal = np.flatnonzero(classes % 2)
    if illegal.size:
        first = illegal[0]
        raise PrefixError(f"sample {first} of the bytes prefix, {audio[first]}, is none of its {symbols.VALUES} levels")
    return symbols.read(classes // 2, "bytes")


register(Codec("bytes", _length, _encode, _decode))
