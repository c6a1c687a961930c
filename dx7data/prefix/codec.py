"""What a codec is, the list of them, and how patches pass through one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dx7data.patches import patch

STEP = 64  # samples; lengths are multiples of it, as the layers of a model like them


class PrefixError(ValueError):
    """The audio is not a prefix, or a damaged one."""


@dataclass(frozen=True)
class Codec:
    """A way to write a patch as audio.

    length: sample rate -> how many samples it takes; they are filled up with silence to a multiple of STEP.
    encode: legal patches uint8 (V, 155), sample rate, the filled length L, and the engine's device -> int16 (V, L or less).
    decode: a prefix int16 (L,) and its sample rate -> the patch uint8 (155,), or raises PrefixError; None: it can't be read.
    Raises ValueError, as all of audio/ does, for a sample rate that is none of resample.ENGINE_RATE.
    """

    name: str
    length: Callable[[int], int]
    encode: Callable[[np.ndarray, int, int, str], np.ndarray]
    decode: Callable[[np.ndarray, int], np.ndarray] | None


CODECS: dict[str, Codec] = {}


def register(codec: Codec) -> None:
    """Add a codec to those that can be asked for by name."""
    CODECS[codec.name] = codec


def samples(codec: str, sample_rate: int) -> int:
    """Length of a prefix in samples, a multiple of 64. Raises ValueError on an unknown codec or rate."""
    return -(-_find(codec).length(sample_rate) // STEP) * STEP


def encode(patches: np.ndarray, codec: str, sample_rate: int, device: str = "cpu") -> np.ndarray:
    """Encode legal patches, uint8 (..., 155), as audio, int16 (..., L). Raises ValueError on an unknown codec or rate.

    device: what renders the prefixes that the engine plays, as in `render`; the audio is the same.
    """
    length = samples(codec, sample_rate)
    flat = patches.reshape(-1, patch.STORED_BYTES)
    audio = np.zeros((len(flat), length), np.int16)
    sounding = _find(codec).encode(flat, sample_rate, length, device)
    audio[:, : sounding.shape[1]] = sounding
    return audio.reshape(*patches.shape[:-1], length)


def decode(audio: np.ndarray, codec: str, sample_rate: int) -> np.ndarray:
    """Decode a prefix, int16 (L,), to its patch, uint8 (155,). Raises PrefixError when that fails; never another patch.

    `bytes` survives 8-bit mu-law, `fsk` also noise 20 dB below it and any gain that does not clip it. `reference` is an
    example, from which no patch can be decoded.
    """
    read, length = _find(codec).decode, samples(codec, sample_rate)
    if read is None:
        raise PrefixError(f"a {codec} prefix is an example: no patch can be read from it")
    if audio.shape != (length,):
        raise PrefixError(f"a {codec} prefix at {sample_rate} Hz has {length} samples, not {audio.shape}")
    return read(audio, sample_rate)


def _find(name: str) -> Codec:
    if name not in CODECS:
        raise ValueError(f"the prefix codec must be one of {', '.join(sorted(CODECS))}, not {name!r}")
    return CODECS[name]
