"""Prefixes: a patch as audio, which a model hears before the source; and back.

Three codecs. `bytes`: 133 samples, each a level that says seven bits. `fsk`: 133 chords of three tones out of eleven, played
by the engine with a patch of its own, modem.toml; each says seven bits too. Both carry the 128 packed bytes and a CRC-32.
`reference`: the patch itself plays a note; an example, from which nothing can be read back.
"""

import zlib
from functools import lru_cache
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from dx7data.audio import clips, gain
from dx7data.audio.resample import decimate, engine_rate
from dx7data.engine.render import render
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import voices
from dx7data.patches import bank, patch

CODECS = ("bytes", "fsk", "reference")
STEP = 64  # samples; lengths are multiples of it, as the layers of a model like them

_CRC_SYMBOLS = 5  # 35 bits, of which the CRC fills the lower 32
_SYMBOLS = patch.PACKED_BYTES + _CRC_SYMBOLS
_VALUES = 128  # of a symbol: packed bytes have seven bits

# Keys of the tones, A4 to G7: 440 to 3,136 Hz, so that a sample rate of 8 kHz still carries them (0.4 of it is 3,200), and
# 222 to 342 Hz apart: the 4 ms of a symbol tell apart what differs by 250 Hz.
_TONES = (69, 77, 82, 86, 89, 92, 95, 97, 99, 101, 103)
_CHORDS = tuple(islice(combinations(range(len(_TONES)), 3), _VALUES))  # of 165; more tones at once would mask each other
_SYMBOL_BLOCKS = 3  # 4 ms at 48 kHz, and whole samples at every sample rate; shorter, the chords could not be told apart
_SYMBOL = _SYMBOL_BLOCKS * BLOCK
_RING_SYMBOLS = 3  # after the key is up a tone falls by some 20 dB a block: its last integer is over by then
# A tone takes most of a block to rise and rings on in the next symbol, so it is looked for later than its key was struck.
_DELAY = 36  # engine samples, 0.75 ms; whole samples at every sample rate

_REFERENCE_NOTE, _REFERENCE_VELOCITY = 60, 100
_REFERENCE_SECONDS, _REFERENCE_HELD = 0.5, 0.4


class PrefixError(ValueError):
    """Audio that is no prefix, or a damaged one."""


def samples(codec: str, sample_rate: int) -> int:
    """Length of a prefix, a multiple of STEP. Raises ValueError on an unknown codec or rate."""
    factor = engine_rate(sample_rate) // sample_rate
    if codec == "bytes":
        least = _SYMBOLS
    elif codec == "fsk":
        least = -(-(_SYMBOLS * _SYMBOL + BLOCK) // factor)
    elif codec == "reference":
        least = int(_REFERENCE_SECONDS * sample_rate)
    else:
        raise ValueError(f"the prefix codec must be one of {', '.join(CODECS)}, not {codec!r}")
    return -(-least // STEP) * STEP


def encode(patches: np.ndarray, codec: str, sample_rate: int, device: str = "cpu") -> np.ndarray:
    """Legal patches uint8 (..., 155) as audio, int16 (..., L). Raises ValueError on an unknown codec or rate.

    device: what plays the references, as of the engine.
    """
    length = samples(codec, sample_rate)
    flat = patches.reshape(-1, patch.STORED_BYTES)
    if codec == "bytes":
        audio = np.zeros((len(flat), length), np.int16)
        audio[:, :_SYMBOLS] = _LEVELS[_symbols(flat)]
    elif codec == "fsk":
        native = decimate(_play_symbols(flat, engine_rate(sample_rate)), sample_rate)
        audio = gain.apply(native[:, :length], "native")[0]
    else:
        audio = _play_reference(flat, sample_rate, length, device)
    return audio.reshape(*patches.shape[:-1], length)


def decode(audio: np.ndarray, codec: str, sample_rate: int) -> np.ndarray:
    """The patch uint8 (155,) of a prefix, int16 (L,), of the codec `bytes` or `fsk`.

    `bytes` bears 8-bit mu-law and back, `fsk` also noise 20 dB below it and any gain that does not cut it. When a level or
    the checksum is wrong, raises PrefixError: never returns another patch.
    """
    if codec == "reference":
        raise PrefixError("a reference is an example: no patch can be read from it")
    length = samples(codec, sample_rate)
    if audio.shape != (length,):
        raise PrefixError(f"a {codec} prefix at {sample_rate} Hz has {length} samples, not {audio.shape}")
    symbols = _read_levels(audio) if codec == "bytes" else _read_chords(audio, sample_rate)
    packed = symbols[: patch.PACKED_BYTES].astype(np.uint8)
    if (_symbols_of_packed(packed) != symbols).any():
        raise PrefixError(f"the checksum of the {codec} prefix is wrong: it was damaged, or is none")
    return patch.unpack(packed)


def _symbols(patches: np.ndarray) -> np.ndarray:
    return np.stack([_symbols_of_packed(packed) for packed in patch.pack(patches)])


def _symbols_of_packed(packed: np.ndarray) -> np.ndarray:
    crc = zlib.crc32(packed.tobytes())
    return np.append(packed, [crc >> 7 * i & (_VALUES - 1) for i in range(_CRC_SYMBOLS)]).astype(np.int64)


# --- bytes: every second class of 8-bit mu-law is a legal level ---


def _mu_law_class(audio: np.ndarray) -> np.ndarray:
    """ITU-T G.711's curve in its continuous form, as in torchaudio's mu_law_encoding with 256 channels."""
    x = audio / 32768
    return np.floor((np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256) + 1) / 2 * 255 + 0.5).astype(np.int64)


def _mu_law_level(classes: np.ndarray) -> np.ndarray:
    y = classes / 255 * 2 - 1
    return np.rint(np.sign(y) * (256 ** np.abs(y) - 1) / 255 * 32768).astype(np.int16)


_LEVELS = _mu_law_level(2 * np.arange(_VALUES))


def _read_levels(audio: np.ndarray) -> np.ndarray:
    classes = _mu_law_class(audio[:_SYMBOLS])
    illegal = np.flatnonzero(classes % 2 | (classes > 2 * _VALUES - 2))
    if illegal.size:
        first = illegal[0]
        raise PrefixError(f"sample {first} of the bytes prefix, {audio[first]}, is none of its {_VALUES} levels")
    return classes // 2


# --- fsk: chords of the modem patch ---


@lru_cache
def _chords(rate: int) -> np.ndarray:
    """Native integers of each chord, int32 (_VALUES, _RING_SYMBOLS * _SYMBOL)."""
    modem = bank.read_table(Path(__file__).with_name("modem.toml"))
    played = voices(modem, _TONES, 100, _SYMBOL / rate, rate)
    tones = render(played, _RING_SYMBOLS * _SYMBOL / rate)
    return tones[np.array(_CHORDS)].sum(axis=1, dtype=np.int32)


def _play_symbols(patches: np.ndarray, rate: int) -> np.ndarray:
    """What the engine's `mix` gives for all the notes: native integers add up, so that a chord is played only once."""
    chords = _chords(rate)[_symbols(patches)].reshape(len(patches), _SYMBOLS, _RING_SYMBOLS, _SYMBOL)
    native = np.zeros((len(patches), _SYMBOLS + _RING_SYMBOLS, _SYMBOL), np.int32)
    for late in range(_RING_SYMBOLS):
        native[:, late : late + _SYMBOLS] += chords[:, :, late]
    return native.reshape(len(patches), -1)


@lru_cache
def _templates(sample_rate: int) -> np.ndarray:
    """The chords as a receiver hears them, float64 (_VALUES, samples of a symbol), each of length 1."""
    rate = engine_rate(sample_rate)
    heard = decimate(_chords(rate), sample_rate)
    delay, size = _DELAY * sample_rate // rate, _SYMBOL * sample_rate // rate
    heard = heard[:, delay : delay + size].astype(np.float64)
    return heard / np.linalg.norm(heard, axis=1, keepdims=True)


def _read_chords(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """The most similar chord at each symbol, whatever its loudness and polarity."""
    templates = _templates(sample_rate)
    delay, size = _DELAY * sample_rate // engine_rate(sample_rate), templates.shape[1]
    windows = audio[delay : delay + _SYMBOLS * size].reshape(_SYMBOLS, size)
    return np.abs(windows @ templates.T).argmax(axis=1)


# --- reference ---


def _play_reference(patches: np.ndarray, sample_rate: int, length: int, device: str) -> np.ndarray:
    played = voices(patches, _REFERENCE_NOTE, _REFERENCE_VELOCITY, _REFERENCE_HELD, engine_rate(sample_rate))
    alone, seconds = np.arange(len(patches)), _REFERENCE_SECONDS + 0.02  # longer, lest the decimator fade out within it
    return clips.render(played, alone, alone, alone.size, seconds, sample_rate, length, device=device)[0]
