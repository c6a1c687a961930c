"""The oracle: dexed-py, used as a black box. What our engine must equal, sample by sample."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from dexed import DexedSynth, Patch

FACTORY = sorted((Path(__file__).resolve().parents[2] / "shared" / "patches").glob("rom*.syx"))
needs_factory = pytest.mark.skipif(not FACTORY, reason="the factory banks, ../shared/patches, are not part of the project")
NATIVE = 4096  # dexed-py returns native integers divided by this


@lru_cache(maxsize=8)
def _synth(rate: int) -> DexedSynth:
    return DexedSynth(sample_rate=float(rate))


def render(patch: np.ndarray, note: int, velocity: int, held: float, seconds: float, rate: int) -> np.ndarray:
    """Native integers of one note of one legal patch, (155,) uint8."""
    synth = _synth(rate)
    synth.load_patch(Patch.from_raw(patch))
    audio = synth.render(int(note), int(velocity), float(held), float(seconds)).astype(np.float64) * NATIVE
    native = np.rint(audio).astype(np.int64)
    assert (native == audio).all(), "the oracle's samples are whole native integers"
    return native
