"""The codec `fsk`: 133 chords of three tones out of eleven, played by the engine with a patch of its own, modem.toml."""

from functools import lru_cache
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from dx7data.audio import gain
from dx7data.audio.resample import decimate, engine_rate
from dx7data.engine.render import render
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import voices
from dx7data.patches import bank
from dx7data.prefix import symbols
from dx7data.prefix.codec import Codec, register

# Keys of the tones, A4 to G7: 440 to 3,136 Hz, so that a sample rate of 8 kHz still carries them (0.4 of it is 3,200), and
# 222 to 342 Hz apart: the 4 ms of a symbol distinguish what differs by 250 Hz.
_TONES = (69, 77, 82, 86, 89, 92, 95, 97, 99, 101, 103)
# The first of 165; more tones at once would mask each other.
_CHORDS = tuple(islice(combinations(range(len(_TONES)), 3), symbols.VALUES))
_SYMBOL_BLOCKS = 3  # 4 ms at 48 kHz, and whole samples at every sample rate; shorter, the chords could not be distinguished
_SYMBOL = _SYMBOL_BLOCKS * BLOCK
_RING_SYMBOLS = 3  # after the key is up a tone falls by some 20 dB a block: its last integer is over by then
# A tone takes most of a block to rise and rings on in the next symbol, so it is looked for later than its key was struck.
_DELAY = 36  # engine samples, 0.75 ms; whole samples at every sample rate


def _length(sample_rate: int) -> int:
    factor = engine_rate(sample_rate) // sample_rate
    return -(-(symbols.COUNT * _SYMBOL + BLOCK) // factor)


def _encode(patches: np.ndarray, sample_rate: int, length: int, device: str) -> np.ndarray:
    native = decimate(_play_symbols(patches, engine_rate(sample_rate)), sample_rate)
    return gain.apply(native[:, :length], "native")[0]


def _decode(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    return symbols.read(_read_chords(audio, sample_rate), "fsk")


@lru_cache
def _chords(rate: int) -> np.ndarray:
    """Native integers of each chord, int32 (symbols.VALUES, _RING_SYMBOLS * _SYMBOL)."""
    modem = bank.read_table(Path(__file__).with_name("modem.toml"))
    played = voices(modem, _TONES, 100, _SYMBOL / rate, rate)
    tones = render(played, _RING_SYMBOLS * _SYMBOL / rate)
    return tones[np.array(_CHORDS)].sum(axis=1, dtype=np.int32)


def _play_symbols(patches: np.ndarray, rate: int) -> np.ndarray:
    """What the engine's `mix` gives for all the notes: native integers add up, so that a chord is played only once."""
    chords = _chords(rate)[symbols.write(patches)].reshape(len(patches), symbols.COUNT, _RING_SYMBOLS, _SYMBOL)
    native = np.zeros((len(patches), symbols.COUNT + _RING_SYMBOLS, _SYMBOL), np.int32)
    for late in range(_RING_SYMBOLS):
        native[:, late : late + symbols.COUNT] += chords[:, :, late]
    return native.reshape(len(patches), -1)


@lru_cache
def _templates(sample_rate: int) -> np.ndarray:
    """The chords as a receiver hears them, float64 (symbols.VALUES, samples of a symbol), each of length 1."""
    rate = engine_rate(sample_rate)
    heard = decimate(_chords(rate), sample_rate)
    delay, size = _DELAY * sample_rate // rate, _SYMBOL * sample_rate // rate
    heard = heard[:, delay : delay + size].astype(np.float64)
    return heard / np.linalg.norm(heard, axis=1, keepdims=True)


def _read_chords(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """The most similar chord at each symbol, whatever its loudness and polarity."""
    templates = _templates(sample_rate)
    delay, size = _DELAY * sample_rate // engine_rate(sample_rate), templates.shape[1]
    windows = audio[delay : delay + symbols.COUNT * size].reshape(symbols.COUNT, size)
    return np.abs(windows @ templates.T).argmax(axis=1)


register(Codec("fsk", _length, _encode, _decode))
