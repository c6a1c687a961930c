"""From native integers to 16-bit clips on a GPU: what resample.py and gain.py do on a CPU, to the bit."""

import numpy as np
from numba import cuda

from dx7data import cache
from dx7data.audio import gain
from dx7data.audio.resample import HALF_TAPS, PHASES, REACH, SHIFT, engine_rate
from dx7data.engine.arrays import GpuArray
from dx7data.engine.cuda import OWN, Memory
from dx7data.engine.device import use_gpu
from dx7data.engine.render import mix_on_gpu
from dx7data.engine.voice import Curves, Voices

THREADS = 256  # of a block; so many outputs of a filter are computed together
_PHASES = max(HALF_TAPS)  # the most that a filter has
_WIDTH = THREADS + REACH - 1  # inputs of a phase that so many outputs see
_pinned_buffer = np.empty(0, np.int16)  # page-locked, and kept: to lock pages takes longer than to copy to them


def render_clips(
    gpu: int,
    voices: Voices,
    row: np.ndarray,
    part: np.ndarray,
    rows: int,
    seconds: float,
    sample_rate: int,
    length: int,
    policy: str,
    volume: np.ndarray,
    curves: Curves | None,
    pinned_buffer: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As clips.render_clips, but that the volume is there. Raises InputError when the GPU fails."""
    clips = (
        np.empty((rows, length), np.int16) if pinned_buffer is None else pinned_buffer[: rows * length].reshape(rows, length)
    )
    levels = np.zeros((3, rows), np.int64)  # gain, peak, samples cut
    levels[0] = gain.parse_policy(policy)

    def finish(place: slice, native: GpuArray) -> None:
        low = decimate(native, sample_rate)
        bring_to_16_bits(low, policy == "peak", volume[place], voices.rate // sample_rate, clips[place], levels[:, place])

    mix_on_gpu(gpu, voices, row, part, rows, seconds, finish, curves)
    return clips, *levels


def get_pinned_buffer(gpu: int, size: int) -> np.ndarray:
    """See clips.get_pinned_buffer. Raises InputError when there is not so much memory to lock."""
    global _pinned_buffer
    if _pinned_buffer.size < size:
        with use_gpu(gpu):
            _pinned_buffer = cuda.pinned_array(size, np.int16)
    return _pinned_buffer[:size]


def fill(
    out: GpuArray,
    gpu: int,
    memory: Memory,
    voices: Voices,
    row: np.ndarray,
    part: np.ndarray,
    rows: int,
    seconds: float,
    sample_rate: int,
    length: int,
    policy: str,
    volume: np.ndarray,
    curves: Curves,
) -> None:
    """Put what `render_clips` gives into `out`, int16 (R, L) in GPU memory, in the order of the stream of `memory`."""

    def finish(place: slice, native: GpuArray) -> None:
        low, levels = decimate(native, sample_rate, memory), np.zeros((3, place.stop - place.start), np.int64)
        levels[0] = gain.parse_policy(policy)
        _bring_to_16_bits(low, policy == "peak", volume[place], voices.rate // sample_rate, out[place], levels, memory)

    mix_on_gpu(gpu, voices, row, part, rows, seconds, finish, curves, memory)


def decimate(native: GpuArray, sample_rate: int, memory: Memory = OWN) -> GpuArray:
    """What `decimate` gives, int32 (R, L), of integers (R, T) in GPU memory."""
    factor = engine_rate(sample_rate) // sample_rate
    if factor == 1:
        return native
    rows, samples = native.shape
    out = memory.empty((rows, -(-samples // factor)), np.int32)
    tiles = -(-out.shape[1] // THREADS)
    if out.size:
        taps = memory.put(PHASES[factor].astype(np.int32))
        _filter[rows * tiles, THREADS, memory.stream](native, taps, len(HALF_TAPS[factor]) - 1, tiles, out)
    return out


def bring_to_16_bits(
    low: GpuArray, to_peak: bool, volume: np.ndarray, factor: int, clips: np.ndarray, levels: np.ndarray
) -> None:
    """Bring int32 (R, L), in GPU memory, to 16 bits: fills `clips` and, of `levels` (3, R), what is not known beforehand."""
    if not clips.size:
        return
    out = OWN.empty(clips.shape, np.int16)
    known = _bring_to_16_bits(low, to_peak, volume, factor, out, levels, OWN)
    out.copy_to_host(clips)
    levels[:] = known.copy_to_host()


def _bring_to_16_bits(
    low: GpuArray, to_peak: bool, volume: np.ndarray, factor: int, out: GpuArray, levels: np.ndarray, memory: Memory
) -> GpuArray:
    """As `bring_to_16_bits`, but that the clips, `out`, and the levels, which are the result, stay in GPU memory."""
    known = memory.put(levels)
    _level[out.shape[0], THREADS, memory.stream](low, to_peak, memory.put(volume), factor, out, known)
    return known


def _filter_tile(native: np.ndarray, taps: np.ndarray, centre: int, tiles: int, out: np.ndarray) -> None:
    """A block of threads computes THREADS samples of a row, a thread each. taps: int32, laid out as PHASES."""
    window = cuda.shared.array((_PHASES, _WIDTH), np.int32)
    shared_taps = cuda.shared.array((_PHASES, REACH), np.int32)
    n, factor = cuda.threadIdx.x, taps.shape[0]
    r, start = cuda.blockIdx.x // tiles, cuda.blockIdx.x % tiles * THREADS
    for p in range(factor):
        for i in range(n, _WIDTH, THREADS):
            at = (start + i) * factor + p - centre
            window[p, i] = native[r, at] if 0 <= at < native.shape[1] else 0
        if n < REACH:
            shared_taps[p, n] = taps[p, n]
    cuda.syncthreads()
    if start + n < out.shape[1]:
        total = np.int64(1 << (SHIFT - 1))
        for p in range(factor):
            for k in range(REACH):
                total += np.int64(shared_taps[p, k]) * np.int64(window[p, n + k])
        out[r, start + n] = total >> SHIFT


def _level_row(
    low: np.ndarray, to_peak: bool, volume: np.ndarray, factor: int, clips: np.ndarray, levels: np.ndarray
) -> None:
    """A block of threads brings a row to 16 bits. levels: int64 (3, R); to_peak: the gain among them is to be found."""
    found = cuda.shared.array(1, np.int64)
    r, n = cuda.blockIdx.x, cuda.threadIdx.x
    if to_peak:
        if n == 0:
            found[0] = 0
        cuda.syncthreads()
        loudest = np.int64(0)
        for i in range(n, clips.shape[1], THREADS):
            loudest = max(loudest, abs(gain.apply_volume(low[r, i], volume, r, i * factor)))
        cuda.atomic.max(found, 0, loudest)
        cuda.syncthreads()
        if n == 0:
            levels[0, r] = found[0] = gain.find_peak_gain(found[0])
    elif n == 0:
        found[0] = levels[0, r]
    cuda.syncthreads()
    peak, cut = np.int64(0), np.int64(0)
    for i in range(n, clips.shape[1], THREADS):
        sample = gain.amplify(gain.apply_volume(low[r, i], volume, r, i * factor), found[0])
        clip = min(max(sample, np.int64(-32768)), np.int64(32767))
        cut += sample != clip
        peak = max(peak, abs(clip))
        clips[r, i] = clip
    cuda.atomic.max(levels, (1, r), peak)
    cuda.atomic.add(levels, (2, r), cut)


_filter = cache.keep(cuda.jit()(_filter_tile))
_level = cache.keep(cuda.jit()(_level_row))
