"""The CUDA driver: voices in, the native integers of each row out, in GPU memory; the same integers as the CPU driver's.

Control stage: every voice's gains and phase increments, one value per block. Synthesis: the samples. Both run over batches
of voices whose control values fit the memory; integers add up to the same whatever the batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import cuda

from dx7data.engine import cuda_control, cuda_synthesis
from dx7data.engine.arrays import GpuArray
from dx7data.engine.tables import BLOCK, EXPONENTIAL, SINE
from dx7data.engine.voice import Voices
from dx7data.patches.algorithms import OPERATORS
from dx7data.patches.scales import SILENCE

if TYPE_CHECKING:
    from dx7data.engine.voice import Curves

warnings.filterwarnings("ignore", ".*Grid size .* under-utilization")  # a small job has a small grid, by right

_CONTROL_THREADS = 128
_CLEAR_BLOCKS = 4096
_BLOCK_BYTES = 4 + 4 + OPERATORS * (2 + 4)  # control values of a voice in a block: bend, tremolo, gains, increments
_VOICE_BYTES = 512  # of its parameters, its row and its range of notes, rounded up
_SHARE = 0.8  # of the free memory: the rest is for the driver, and for what it cannot give in one piece


class Memory:
    """Where the arrays of kernels lie, and the stream on which the kernels run: numba's own of the current GPU.

    A stand-in has the same four (train/data/live.py: torch's memory, beside a training step).
    """

    stream = 0

    def free(self) -> float:
        """Bytes that this process may take now."""
        context = cuda.current_context()
        context.deallocations.clear()  # numba frees late
        return context.get_memory_info().free * _SHARE

    def put(self, array: np.ndarray) -> GpuArray:
        """A copy of a host's array."""
        return cuda.to_device(np.ascontiguousarray(array))

    def empty(self, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> GpuArray:
        return cuda.device_array(shape, dtype)


OWN = Memory()


@lru_cache(maxsize=8)
def is_usable(number: int) -> bool:
    """Whether GPU `number` runs what we compile; raises what CUDA raises if not."""
    with cuda.gpus[number]:
        out = cuda.to_device(np.ones(1, np.int32))
        cuda_synthesis.clear[1, 1](out)
        return int(out.copy_to_host()[0]) == 0


def count_rows(samples: int, memory: Memory = OWN) -> int:
    """How many rows of so many samples fit the free memory and leave room for control values."""
    return int(min(max(1, memory.free() / 2 / (4 * samples + 1)), 1 << 30))


def count_voices(memory: Memory = OWN) -> int:
    """How many voices of a mix fit an eighth of the free memory, before their control values, which it divides itself."""
    return int(min(max(1, memory.free() / 8 / _VOICE_BYTES), 1 << 30))


def zeros(shape: tuple[int, int], dtype: np.typing.DTypeLike = np.int32, memory: Memory = OWN) -> GpuArray:
    """Zeros in the memory of the current GPU."""
    out = memory.empty(shape, dtype)
    if out.size:
        cuda_synthesis.clear[_CLEAR_BLOCKS, _CONTROL_THREADS, memory.stream](out.reshape(out.size))
    return out


def mix(
    voices: Voices,
    curves: Curves,
    notes: np.ndarray,
    row: np.ndarray,
    out: GpuArray,
    table: np.ndarray,
    alone: bool = False,
    memory: Memory = OWN,
) -> None:
    """Add V voices to `out`, in the order of the memory's stream: nothing waits here. Arguments as of `Mix`."""
    work = Mix(voices, curves, notes, row, out, table, alone, memory)
    for batch in work.batches():
        work.control(batch)
        work.synthesize(batch)


class Batch(NamedTuple):
    """What the kernels need to know of some voices, in GPU memory."""

    order: GpuArray  # (V,) int64: which voices
    blocks: GpuArray  # (V,) int32: blocks from the note-on to the end of the row
    first: GpuArray  # (V,) int64: word of the output at which a voice begins
    words_left: GpuArray  # (V,) int32: words from there to the end of the row
    spans: GpuArray  # (warps,) int32, zeros: see cuda_control.py


class Mix:
    """Voices and their control values in GPU memory, and the rows that they are added to."""

    def __init__(
        self,
        voices: Voices,
        curves: Curves,
        notes: np.ndarray,
        row: np.ndarray,
        out: GpuArray,
        table: np.ndarray,
        alone: bool = False,
        memory: Memory = OWN,
    ) -> None:
        """
        curves: Curves, `of` each voice; notes: (V, 2) range of the voices that share an LFO; row: (V,); out: zeros in GPU
        memory, int32 (R, T), or, for rows with one voice, int16 (R, T), T even; table: increments of the engine's rate;
        alone: every voice has a row of its own, so that nothing needs adding.
        """
        self._memory = memory
        packed = out.dtype == np.int16
        self.mode = cuda_synthesis.PACK if packed else cuda_synthesis.STORE if alone else cuda_synthesis.ADD
        self.out = out.reshape(out.size).view(np.int32)
        one = np.zeros((1, 1), np.int32)
        curves = curves if curves.bend.size else curves._replace(bend=one, wheel=one)
        self.curves = [memory.put(each) for each in curves]
        there: dict[str, Any] = {name: memory.put(getattr(voices, name)) for name in voices._fields[1:]}
        self.voices = voices._replace(**there)
        self.notes, self.table = memory.put(notes), memory.put(table)
        self.sine, self.exponential = memory.put(SINE), memory.put(EXPONENTIAL)

        begin = voices.start.astype(np.int64) * BLOCK
        word = 2 if packed else 1  # samples in a word
        self._samples = out.shape[1] - begin
        self._first, self._words_left = (row * out.shape[1] + begin) // word, self._samples // word
        self._order = _order(voices)

        longest = -(-int(self._samples.max()) // BLOCK)
        fitting = int(min(memory.free() / (_BLOCK_BYTES * (longest + 1)), self._order.size))
        # Whole warps, rounded up: a batch takes as long as its longest voice, so a last one of a few voices would cost much.
        self._size = size = -(-max(fitting, 1) // cuda_control.WARP) * cuda_control.WARP
        self.bend = memory.empty((longest, size), np.int32)
        self.tremolo = memory.empty((longest, size), np.int32)
        self.gain = memory.empty((longest + 1, OPERATORS, size), np.int16)
        self.increment = memory.empty((longest, OPERATORS, size), np.int32)
        self.written = memory.empty((OPERATORS, size), np.int32)

    def batches(self) -> Iterator[Batch]:
        """The voices in batches whose control values fit; these are overwritten by those of the next."""
        for begin in range(0, self._order.size, self._size):
            chosen = self._order[begin : begin + self._size]
            blocks = -(-self._samples[chosen] // BLOCK)
            spans = np.zeros(-(-chosen.size // cuda_control.WARP), np.int32)
            places = self._first[chosen], self._words_left[chosen].astype(np.int32)
            yield Batch(*map(self._memory.put, (chosen, blocks.astype(np.int32), *places, spans)))

    def control(self, batch: Batch) -> None:
        grid = -(-batch.order.size // _CONTROL_THREADS)
        cuda_control.modulation[grid, _CONTROL_THREADS, self._memory.stream](
            self.voices, *self.curves, self.notes, batch.order, batch.blocks, self.bend, self.tremolo
        )
        control = self.bend, self.tremolo, self.gain, self.increment, self.written
        cuda_control.envelopes[(grid, OPERATORS), _CONTROL_THREADS, self._memory.stream](
            self.voices, batch.order, batch.blocks, self.table, *control, batch.spans
        )

    def synthesize(self, batch: Batch) -> None:
        control = self.gain, self.increment, self.written, batch.spans
        places = batch.first, batch.words_left, self.mode, self.out
        cuda_synthesis.synthesis[
            -(-batch.order.size // cuda_synthesis.THREADS), cuda_synthesis.THREADS, self._memory.stream
        ](self.voices, batch.order, *control, self.sine, self.exponential, *places)


def _order(voices: Voices) -> np.ndarray:
    """Voices that do the same side by side, so that the 32 of a warp do."""
    loudest = 16384 - (voices.eg_target.max(axis=2) >> 14)  # the least attenuation of each operator
    sounding = ((loudest <= SILENCE) << np.arange(OPERATORS)).sum(axis=1)
    return np.lexsort((voices.release, sounding, voices.algorithm, voices.loop_length))
