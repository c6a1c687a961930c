"""The one entry to the engine: voices in, native integers out, whatever the device.

A native integer is the DX7's own: `mix >> 13` of engine-spec.md. A carrier at output level 99 peaks at 4,093; notes add up.
"""

from typing import NamedTuple

import numba
import numpy as np

from dx7data.engine import cpu
from dx7data.engine.device import choose
from dx7data.engine.tables import BLOCK, increment_table, sample_count

_SORTED_TOGETHER = 512  # voices in a task, where there are many: long feedback loops then meet in few groups


class Curves(NamedTuple):
    """Controller curves, one value per block of a row. A row without one is at rest."""

    of: np.ndarray  # int64 (rows,): which curve is whose; -1: none
    bend: np.ndarray  # int32 (C, K), Q24 octaves
    wheel: np.ndarray  # int32 (C, K), 0-127: modulation wheel, range already taken off


def render(voices, seconds: float, device: str = "cpu", out: np.ndarray | None = None) -> np.ndarray:
    """Every voice by itself: native integers, int32 `(V, T)`.

    voices: `dx7data.voice.Voices`; seconds: length of the result; device: "cpu", "cuda", "cuda:1" or "auto" (a GPU if there
    is one that can): the same integers everywhere; out: where to put them, as in NumPy, which spares the system new memory
    for every call. Raises ValueError on other arguments, and on a device that cannot be used.
    """
    alone = np.arange(voices.start.size)
    return mix(voices, alone, alone, alone.size, seconds, device, out)


def mix(
    voices,
    row,
    part,
    rows: int,
    seconds: float,
    device: str = "cpu",
    out: np.ndarray | None = None,
    curves: Curves | None = None,
) -> np.ndarray:
    """Voices added up in rows: native integers, int32 `(rows, T)`.

    row: (V,) where each voice goes; part: (V,) whose LFO it shares: a part, numbered from 0, is the notes of one patch in
    one row; out: as in `render`; curves: pitch bend and modulation wheel of the rows (engine-spec.md, Controllers).
    Raises ValueError on a device that cannot be used, a length that is no number of seconds, or an `out` that does not fit.
    """
    gpu = choose(device)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"seconds must be a number, 0 or more, not {seconds}")
    shape = rows, int(sample_count(seconds, voices.rate))
    if out is None:
        out = np.empty(shape, np.int32)
    elif out.shape != shape or out.dtype != np.int32 or not out.flags.c_contiguous:
        raise ValueError(f"out must be contiguous int32 of shape {shape}, not {out.dtype} of shape {out.shape}")
    filled = np.zeros(rows, np.int64)
    begun = np.flatnonzero(voices.start * BLOCK < shape[1])
    if begun.size:
        row, part = (np.asarray(each, np.int64)[begun] for each in (row, part))
        voices, row, notes = _by_row(voices.take(begun), row, part)
        curves = curves or _at_rest(rows)
        if gpu is None:
            _add(voices, curves, notes, row, out, filled)
        else:
            _copy(voices, curves, notes, row, out, gpu)
            filled[:] = shape[1]
    for r in range(rows):
        out[r, filled[r] :] = 0
    return out


def _at_rest(rows: int) -> Curves:
    return Curves(np.full(rows, -1), np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32))


def _by_row(voices, row: np.ndarray, part: np.ndarray):
    """The voices in order of row, part and time, their rows, and of each the range, (V, 2), that shares its LFO."""
    by_row = np.lexsort((voices.start, part, row))
    voices, row, part = voices.take(by_row), row[by_row], part[by_row]
    first = np.flatnonzero(np.diff(part, prepend=-1))  # of each part
    notes = np.stack([first, np.append(first[1:], part.size)], axis=1)[np.cumsum(np.diff(part, prepend=-1) != 0) - 1]
    return voices, row, notes


def _add(voices, curves: Curves, notes, row: np.ndarray, out: np.ndarray, filled: np.ndarray) -> None:
    """Sort the voices as the CPU driver wants them, and let it add them to `out`; `filled`: how far each row then goes."""
    bounds = _tasks(row)
    task = np.searchsorted(bounds, np.arange(row.size), "right")
    order = np.lexsort((-voices.loop_length.astype(np.int64), task))
    cpu.render(
        voices, curves._replace(of=curves.of[row]), notes, row, order, bounds, out, filled, increment_table(voices.rate)
    )


def _copy(voices, curves: Curves, notes, row: np.ndarray, out: np.ndarray, gpu: int) -> None:
    """Let a GPU mix the rows, as many at once as it has memory for, and copy them to `out`."""
    from numba import cuda

    from dx7data.engine.cuda import rows_at_once

    with cuda.gpus[gpu]:
        at_once = rows_at_once(out.shape[1])
        for begin in range(0, len(out), at_once):
            some = out[begin : begin + at_once]
            _on_gpu(voices, curves, notes, row, begin, some.shape).copy_to_host(some)


def _on_gpu(voices, curves: Curves, notes, row: np.ndarray, begin: int, shape: tuple[int, int]):
    """The mix of the rows from `begin` on, int32 `shape`, in the memory of the current GPU."""
    from dx7data.engine import cuda

    out = cuda.zeros(shape)
    low, high = np.searchsorted(row, [begin, begin + shape[0]])
    if high > low:
        voices, row, notes = voices.take(slice(low, high)), row[low:high], notes[low:high] - low
        alone = bool((np.diff(row) > 0).all())
        cuda.mix(voices, curves._replace(of=curves.of[row]), notes, row - begin, out, increment_table(voices.rate), alone)
    return out


def _tasks(row: np.ndarray) -> np.ndarray:
    """Bounds of about equal ranges of the voices, sorted by row, that share no row: work for numba's threads."""
    threads = numba.get_num_threads()
    wanted = threads * max(1, min(4, row.size // (threads * _SORTED_TOGETHER)))
    inner = np.searchsorted(row, row[np.linspace(0, row.size, wanted, endpoint=False).astype(np.int64)])
    return np.unique(np.append(inner, row.size)).astype(np.int64)
