"""The one entry to the engine: voices in, native integers out, whatever the device.

A native integer is the DX7's own: `mix >> 13` of engine-spec.md. A carrier at output level 99 peaks at 4,093; notes add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numba
import numpy as np

from dx7data.engine import cpu, pool
from dx7data.engine.arrays import GpuArray
from dx7data.engine.device import choose, hold_gpu_lock, use_gpu
from dx7data.engine.tables import BLOCK, count_samples, make_increment_table
from dx7data.engine.voice import Curves, Voices

if TYPE_CHECKING:
    from dx7data.engine.cuda import Memory

_SORTED_TOGETHER = 512  # voices in a task, where there are many: long feedback loops then meet in few groups


def render(voices: Voices, seconds: float, device: str = "cpu", out: np.ndarray | None = None) -> np.ndarray:
    """Render each voice by itself: native integers, int32 `(V, T)`. One carrier at full level peaks at 4,093.

    - voices: what `voices` returned
    - seconds: length of the result
    - device: "cpu", "cuda", "cuda:1" or "auto" (a GPU that can run the engine, else the CPU); the integers are the same
    - out: an int32 array `(V, T)` to write into, so that repeated calls need no new memory

    Raises ValueError on other arguments, and on a device that cannot be used; InputError when a GPU fails.
    """
    alone = np.arange(voices.start.size)
    return mix(voices, alone, alone, alone.size, seconds, device, out)


def mix(
    voices: Voices,
    row: np.ndarray,
    part: np.ndarray,
    rows: int,
    seconds: float,
    device: str = "cpu",
    out: np.ndarray | None = None,
    curves: Curves | None = None,
) -> np.ndarray:
    """Voices added up in rows: native integers, int32 `(rows, T)`.

    row: (V,) where each voice goes; part: (V,) whose LFO it shares: a part, numbered from 0, is the notes of one patch in
    one row; out: as in `render`; curves: pitch bend and modulation wheel of the rows (engine-spec.md, Controllers).
    Raises ValueError on a device that cannot be used, a length that is no number of seconds, or an `out` that does not fit;
    InputError when a GPU fails.
    """
    gpu = choose(device)
    shape = rows, _count_samples(seconds, voices.rate)
    if out is None:
        out = pool.make_array(shape)
    elif out.shape != shape or out.dtype != np.int32 or not out.flags.c_contiguous:
        raise ValueError(f"out must be contiguous int32 of shape {shape}, not {out.dtype} of shape {out.shape}")
    if gpu is not None:
        mix_on_gpu(gpu, voices, row, part, rows, seconds, lambda place, mixed: mixed.copy_to_host(out[place]), curves)
        return out
    filled = np.zeros(rows, np.int64)
    voices, row, notes = _sort_by_row(voices, row, part, shape[1])
    if row.size:
        _add(voices, curves or _rest_curves(rows), notes, row, out, filled)
    for r in range(rows):
        out[r, filled[r] :] = 0
    return out


def mix_on_gpu(
    gpu: int,
    voices: Voices,
    row: np.ndarray,
    part: np.ndarray,
    rows: int,
    seconds: float,
    take: Callable,
    curves: Curves | None = None,
    memory: Memory | None = None,
) -> None:
    """What `mix` gives, in the memory of a GPU, as many rows at a time as that has room for, with their voices.

    take: is called for each of these with their place, a slice, and the mix, int32 in GPU memory, which is there when the
    stream of `memory` has come so far; memory: an engine.cuda.Memory; None: the engine's own. Raises InputError, a sentence,
    when the GPU fails.
    """
    from dx7data.engine.cuda import OWN, count_rows, count_voices

    memory = memory or OWN
    samples, curves = _count_samples(seconds, voices.rate), curves or _rest_curves(rows)
    voices, row, notes = _sort_by_row(voices, row, part, samples)
    with use_gpu(gpu), hold_gpu_lock():
        for place in divide_rows(row, rows, count_rows(samples, memory), count_voices(memory)):
            take(place, _mix_rows(voices, curves, notes, row, place.start, (place.stop - place.start, samples), memory))


def divide_rows(row: np.ndarray, rows: int, max_rows: int, max_voices: int) -> Iterator[slice]:
    """Ranges of rows with so many voices at most, or of one row. row: (V,) of each voice, in order."""
    begin = 0
    while begin < rows:
        end = min(begin + max_rows, rows)
        first = int(np.searchsorted(row, begin))
        if first + max_voices < row.size:  # the row of the first voice that is too many is for the next range
            end = min(end, max(begin + 1, int(row[first + max_voices])))
        yield slice(begin, end)
        begin = end


def _count_samples(seconds: float, rate: int) -> int:
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"seconds must be a number, 0 or more, not {seconds}")
    return int(count_samples(seconds, rate))


def _rest_curves(rows: int) -> Curves:
    return Curves(np.full(rows, -1), np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32))


def _sort_by_row(voices: Voices, row: np.ndarray, part: np.ndarray, samples: int) -> tuple[Voices, np.ndarray, np.ndarray]:
    """The voices that begin within so many samples, in order of row, part and time; their rows; and of each the range,
    (V, 2), that shares its LFO.
    """
    begun = np.flatnonzero(voices.start * BLOCK < samples)
    row, part = (np.asarray(each, np.int64)[begun] for each in (row, part))
    by_row = np.lexsort((voices.start[begun], part, row))
    voices, row, part = voices.take(begun[by_row]), row[by_row], part[by_row]
    bounds = np.flatnonzero(np.diff(part, prepend=-1, append=-1))  # of the parts
    notes = np.stack([bounds[:-1], bounds[1:]], axis=1)[np.cumsum(np.diff(part, prepend=-1) != 0) - 1]
    return voices, row, notes


def _add(voices: Voices, curves: Curves, notes: np.ndarray, row: np.ndarray, out: np.ndarray, filled: np.ndarray) -> None:
    """Sort the voices as the CPU driver wants them, and let it add them to `out`; `filled`: how far each row then goes."""
    bounds = _divide_tasks(row)
    task = np.searchsorted(bounds, np.arange(row.size), "right")
    order = np.lexsort((-voices.loop_length.astype(np.int64), task))
    cpu.render(
        voices, curves._replace(of=curves.of[row]), notes, row, order, bounds, out, filled, make_increment_table(voices.rate)
    )


def _mix_rows(
    voices: Voices, curves: Curves, notes: np.ndarray, row: np.ndarray, begin: int, shape: tuple[int, int], memory: Memory
) -> GpuArray:
    """The mix of the rows from `begin` on, int32 `shape`, in the memory of the current GPU."""
    from dx7data.engine import cuda

    out = cuda.zeros(shape, memory=memory)
    low, high = np.searchsorted(row, [begin, begin + shape[0]])
    if high > low:
        voices, row, notes = voices.take(slice(low, high)), row[low:high], notes[low:high] - low
        alone = bool((np.diff(row) > 0).all())
        curves, table = curves._replace(of=curves.of[row]), make_increment_table(voices.rate)
        cuda.mix(voices, curves, notes, row - begin, out, table, alone, memory)
    return out


def _divide_tasks(row: np.ndarray) -> np.ndarray:
    """Bounds of about equal ranges of the voices, sorted by row, that share no row: work for numba's threads."""
    threads = numba.get_num_threads()
    wanted = threads * max(1, min(4, row.size // (threads * _SORTED_TOGETHER)))
    inner = np.searchsorted(row, row[np.linspace(0, row.size, wanted, endpoint=False).astype(np.int64)])
    return np.unique(np.append(inner, row.size)).astype(np.int64)
