"""Clips: voices mixed in rows, brought to the sample rate and to 16 bits; on the CPU or a GPU, the same integers."""

import numpy as np

from dx7data.audio import gain
from dx7data.audio.resample import decimate
from dx7data.engine.device import choose
from dx7data.engine.render import mix
from dx7data.engine.voice import Curves, Voices


def render_clips(
    voices: Voices,
    row: np.ndarray,
    part: np.ndarray,
    rows: int,
    seconds: float,
    sample_rate: int,
    length: int,
    policy: str = "native",
    volume: np.ndarray | None = None,
    curves: Curves | None = None,
    device: str = "cpu",
    pinned_buffer: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Int16 (R, L), and of each row its gain, its peak, and how many samples were cut.

    voices, row, part, rows, seconds, curves, device: as of the engine's `mix`; length: L, samples of the result, no more
    than `seconds` has; policy, volume: as of gain.apply; pinned_buffer: int16 (R L or more,), where a GPU puts the clips.
    Raises what `mix` raises, and InputError when a GPU fails.
    """
    gpu = choose(device)
    if gpu is None:
        native = decimate(mix(voices, row, part, rows, seconds, curves=curves), sample_rate)
        return gain.apply(native[:, :length], policy, volume, voices.rate // sample_rate)
    from dx7data.audio import clips_cuda

    volume = gain.full_volume(rows) if volume is None else volume
    return clips_cuda.render_clips(
        gpu, voices, row, part, rows, seconds, sample_rate, length, policy, volume, curves, pinned_buffer
    )


def get_pinned_buffer(size: int, device: str) -> np.ndarray | None:
    """Int16 (size,) in page-locked memory, to which a GPU copies ten times as fast; None for the CPU, which needs none.

    There is one in a process, which every call gives: what a GPU has put there must be done with before it puts more there.
    """
    gpu = choose(device)
    if gpu is None:
        return None
    from dx7data.audio import clips_cuda

    return clips_cuda.get_pinned_buffer(gpu, size)
