"""Wav files of 16 bits and one channel (PCM): written to the byte, and read."""

import io
import struct
import wave
from typing import BinaryIO

import numpy as np

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
HEADER_BYTES = _HEADER.size  # 44; the samples come after it


def encode_header(samples: int, rate: int) -> bytes:
    """What is before so many samples."""
    size = 2 * samples
    return _HEADER.pack(b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size)


def encode_wav(audio: np.ndarray, rate: int) -> bytes:
    """A wav file of int16 mono audio (L,)."""
    data = np.ascontiguousarray(audio, "<i2").data  # no copy but the one that the sum makes
    return encode_header(audio.size, rate) + data


def decode_wav(source: bytes | BinaryIO) -> tuple[np.ndarray, int]:
    """The int16 samples (L,) of a wav file, which any program may have written, and its rate.

    Raises ValueError if it is no wav file with 16 bits and one channel.
    """
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise ValueError("a wav is not mono with 16 bits")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"no wav file: {error or 'it ends too soon'}") from None
