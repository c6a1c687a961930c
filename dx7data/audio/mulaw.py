"""8-bit mu-law (ITU-T G.711's curve with 256 equal steps, as in torchaudio): what a model hears of a clip."""

import numpy as np

_MU = 255
_LEVELS = _MU + 1


def encode(audio: np.ndarray) -> np.ndarray:
    """The class, uint8, of each int16 sample: 128 is silence, 255 the loudest positive one."""
    return _CLASSES[np.asarray(audio).astype(np.int32) + 32768]


def decode(classes: np.ndarray) -> np.ndarray:
    """The level of each class as a whole int16 value, int32."""
    return _SAMPLES[classes]


def measure_noise(audio: np.ndarray) -> np.ndarray:
    """The energy that coding and decoding adds to clips (..., L), a sum of squared int16 values, int64 (...,)."""
    return np.square(np.subtract(decode(encode(audio)), audio, dtype=np.int64)).sum(-1)


def _curve(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.log1p(_MU * np.abs(x)) / np.log1p(_MU)


def _inverse(y: np.ndarray) -> np.ndarray:
    return np.sign(y) * np.expm1(np.abs(y) * np.log1p(_MU)) / _MU


_CLASSES = ((_curve(np.arange(-32768, 32768) / 32768) + 1) / 2 * _MU + 0.5).astype(np.uint8)
_SAMPLES = np.rint(_inverse(2 * np.arange(_LEVELS) / _MU - 1) * 32768).clip(-32768, 32767).astype(np.int32)
