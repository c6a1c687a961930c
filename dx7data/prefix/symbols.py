"""A patch as symbols of seven bits, with a checksum: what the codecs `bytes` and `fsk` carry."""

import zlib

import numpy as np

from dx7data.patches import patch
from dx7data.prefix.codec import PrefixError

_CRC_SYMBOLS = 5  # 35 bits, of which the CRC-32 fills the lower 32
COUNT = patch.PACKED_BYTES + _CRC_SYMBOLS  # of a patch
VALUES = 128  # of a symbol: packed bytes have seven bits


def write(patches: np.ndarray) -> np.ndarray:
    """Legal patches uint8 (V, 155) as symbols, int64 (V, COUNT)."""
    return np.stack([_append_checksum(packed) for packed in patch.pack(patches)])


def read(symbols: np.ndarray, codec: str) -> np.ndarray:
    """The patch uint8 (155,) of symbols (COUNT,). Raises PrefixError, with the name of the codec, on a wrong checksum."""
    packed = symbols[: patch.PACKED_BYTES].astype(np.uint8)
    if (_append_checksum(packed) != symbols).any():
        raise PrefixError(f"the checksum of the {codec} prefix is wrong: it was damaged, or is none")
    return patch.unpack(packed)


def _append_checksum(packed: np.ndarray) -> np.ndarray:
    """Packed bytes with their checksum behind them."""
    crc = zlib.crc32(packed.tobytes())
    return np.append(packed, [crc >> 7 * i & (VALUES - 1) for i in range(_CRC_SYMBOLS)]).astype(np.int64)
