"""Audio as 256 mu-law classes, which a model reads and predicts, and the way back. torchaudio's mu-law on both."""

from functools import cache

import torch
import torchaudio
from torch import Tensor

CLASSES = 256
SILENT_PEAK = 5  # the largest int16 value in the two classes around zero; about -76 dB


@cache  # an evaluation asks for it at each batch; on many cores it takes longer to make than a batch
def mu_law_table(device: torch.device | str = "cpu") -> Tensor:
    """The class, 0 to 255, of each int16 value v at [v + 32768], int64 as embeddings and cross entropy take it."""
    return torchaudio.functional.mu_law_encoding(torch.arange(-32768, 32768) / 32768, CLASSES).to(device)


def mu_law_encode(audio: Tensor, table: Tensor) -> Tensor:
    """Classes of int16 audio, on the device where both are: int16 travels there, a quarter of the bytes of classes."""
    return table[audio.long() + 32768]


def mu_law_decode(classes: Tensor) -> Tensor:
    """float32 audio in -1..1: steps of 1/5600 at silence, of 1/23 at full scale."""
    return torchaudio.functional.mu_law_decoding(classes, CLASSES)


def to_int16(audio: Tensor) -> Tensor:
    """Of audio in -1..1, cut at full scale."""
    return (audio * 32768).round().clamp(-32768, 32767).short()
