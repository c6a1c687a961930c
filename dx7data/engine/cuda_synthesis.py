"""The kernels of the CUDA driver that make samples, from what those of the control stage (cuda_control.py) have written.

A thread is a voice. Operators are taken in the order of their slots (algorithms.py).
"""

import numpy as np
from numba import cuda

from dx7data import cache
from dx7data.engine import operators
from dx7data.engine.cuda_control import WARP
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import Voices
from dx7data.patches.algorithms import OPERATORS, SLOT_CARRIERS, SLOT_MODULATORS

THREADS = 256  # of a block of the synthesis kernel; its tables are shared by so many voices
SPAN = 4  # samples that an operator is ahead of the next: their look-ups overlap; more of them need more registers
_WORDS = 16  # of each voice, gathered before a warp writes them: 64 bytes side by side
_PITCH = _WORDS + 1  # one more: neighbours in a column lie in different banks of shared memory
_SIGNALS = OPERATORS * SPAN
ADD, STORE, PACK = range(3)  # ways to write: add int32, set int32, set int16 saturated, two in a word

_i32 = np.int32  # see operators.py
_u32 = np.uint32
_EVERY_SLOT = np.int32(0x108421)  # times five bits: the same in each of five groups


def _clear(out: np.ndarray) -> None:
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[i] = 0


@cuda.jit(device=True, forceinline=True)
def _begin(
    slot: int,
    k: int,
    i: int,
    gains: np.ndarray,
    increments: np.ndarray,
    written: np.ndarray,
    increment: np.ndarray,
    gain: np.ndarray,
    slope: np.ndarray,
) -> np.int32:
    """Load a slot's block k; returns its bit when it sounds."""
    increment[slot], gain[slot], slope[slot] = _i32(0), _i32(0), _i32(0)
    if k >= written[slot, i]:
        return _i32(0)
    before, after = _i32(gains[k, slot, i]), _i32(gains[k + 1, slot, i])
    increment[slot] = increments[k, slot, i] << _i32(8)
    gain[slot] = before
    slope[slot] = _i32(operators.slope(before, after))
    return _i32(1 << slot) if operators.sounds(before, after) else _i32(0)


@cuda.jit(device=True, forceinline=True)
def _skip(slot: int, active: int, position: np.ndarray, increment: np.ndarray) -> None:
    """The phase of a slot that is not computed in a block goes on."""
    if not active & (1 << slot):
        position[slot] = _i32(position[slot] + _i32(increment[slot] * _i32(BLOCK)))


@cuda.jit(device=True, forceinline=True)
def _oscillate(argument: np.int32, attenuation: np.int32, sine: np.ndarray, exponential: np.ndarray) -> np.int32:
    """`argument`: a phase of which 2^32 are a period, so that it wraps by itself."""
    return operators.oscillate(_i32(_u32(argument) >> _u32(20)), attenuation, sine, exponential)


@cuda.jit(device=True, forceinline=True)
def _feedback(
    length: int,
    shift: int,
    memory: np.ndarray,
    signal: np.ndarray,
    position: np.ndarray,
    increment: np.ndarray,
    gain: np.ndarray,
    slope: np.ndarray,
    sine: np.ndarray,
    exponential: np.ndarray,
) -> None:
    """Slot 0 with feedback, SPAN samples, and the rest of its loop if that is longer."""
    for n in range(SPAN):
        back = _i32(_i32(memory[0] + memory[1]) << shift)
        gain[0] = _i32(gain[0] + slope[0])
        output = _oscillate(_i32(position[0] + back), gain[0], sine, exponential)
        position[0] = _i32(position[0] + increment[0])
        for link in range(1, 3):
            if length > link:  # Quirk: with the gain of the block's end throughout; `slope` is 0
                output = _oscillate(_i32(position[link] + _i32(output << _i32(21))), gain[link], sine, exponential)
                position[link] = _i32(position[link] + increment[link])
        memory[0], memory[1] = memory[1], output
        signal[n] = output


@cuda.jit(device=True, forceinline=True)
def _play(
    slot: int,
    active: int,
    links: int,
    signal: np.ndarray,
    position: np.ndarray,
    increment: np.ndarray,
    gain: np.ndarray,
    slope: np.ndarray,
    sine: np.ndarray,
    exponential: np.ndarray,
) -> None:
    """SPAN samples of an ordinary operator, if it is `active`; links: of `modulators`, those that are active."""
    if not active & (1 << slot):
        return
    argument = cuda.local.array(SPAN, np.int32)
    for n in range(SPAN):
        argument[n] = position[slot]
        position[slot] = _i32(position[slot] + increment[slot])
    for m in range(slot):
        if links & (1 << (5 * (slot - 1) + m)):
            for n in range(SPAN):
                argument[n] = _i32(argument[n] + _i32(signal[m * SPAN + n] << _i32(21)))
    for n in range(SPAN):
        gain[slot] = _i32(gain[slot] + slope[slot])
        signal[slot * SPAN + n] = _oscillate(argument[n], gain[slot], sine, exponential)


@cuda.jit(device=True, forceinline=True)
def _mix(slot: int, heard: int, signal: np.ndarray, mix: np.ndarray) -> None:
    if heard & (1 << slot):
        for n in range(SPAN):
            mix[n] = _i32(mix[n] + signal[slot * SPAN + n])


@cuda.jit(device=True, forceinline=True)
def _saturate(sample: np.int32) -> np.int32:
    return min(max(sample, _i32(-32768)), _i32(32767))


@cuda.jit(device=True, forceinline=True)
def _write(
    tile: np.ndarray, first: np.ndarray, limit: np.ndarray, base: np.ndarray, word: int, mode: int, out: np.ndarray
) -> None:
    """A warp writes _WORDS words of each of its voices, the first of which is word `word` of the voice."""
    lane = cuda.threadIdx.x % WARP
    column = lane % _WORDS
    for r in range(lane // _WORDS, WARP, WARP // _WORDS):
        at = word + column
        if at < limit[base + r]:
            value = tile[base + r, column]
            if mode != ADD:
                out[first[base + r] + at] = value
            elif value != 0:
                cuda.atomic.add(out, first[base + r] + at, value)


def _synthesis(
    voices: Voices,
    order: np.ndarray,
    gains: np.ndarray,
    increments: np.ndarray,
    written: np.ndarray,
    spans: np.ndarray,
    sine_table: np.ndarray,
    exponential_table: np.ndarray,
    first_word: np.ndarray,
    words_left: np.ndarray,
    mode: int,
    out: np.ndarray,
) -> None:
    """The voices' samples, one thread a voice, from what the control stage has written.

    first_word: (V,) where in `out`, flat int32, each voice's sample 0 goes; words_left: (V,) from there on.
    """
    sine = cuda.shared.array(4096, np.int32)
    exponential = cuda.shared.array(2048, np.int32)
    tile = cuda.shared.array((THREADS, _PITCH), np.int32)
    first = cuda.shared.array(THREADS, np.int64)
    limit = cuda.shared.array(THREADS, np.int32)
    thread, i = cuda.threadIdx.x, cuda.grid(1)
    for n in range(thread, 4096, cuda.blockDim.x):
        sine[n] = sine_table[n]
    for n in range(thread, 2048, cuda.blockDim.x):
        exponential[n] = exponential_table[n]
    inside = i < order.size
    first[thread] = first_word[i] if inside else 0
    limit[thread] = words_left[i] if inside else 0
    cuda.syncthreads()
    warp = i // WARP
    if warp >= spans.size:
        return
    base = thread - thread % WARP

    i = min(i, order.size - 1)  # lanes beyond the last voice double it, and write nothing
    v = order[i]
    algorithm, loop_length = voices.algorithm[v], _i32(voices.loop_length[v])
    modulators, carriers = SLOT_MODULATORS[algorithm], SLOT_CARRIERS[algorithm]
    shift = _i32((voices.feedback_shift[v] + 8) & 31)
    loop_slots = (_i32(1) << loop_length) - _i32(2) if loop_length > 1 else _i32(0)

    position = cuda.local.array(OPERATORS, np.int32)
    increment = cuda.local.array(OPERATORS, np.int32)
    gain = cuda.local.array(OPERATORS, np.int32)
    slope = cuda.local.array(OPERATORS, np.int32)
    memory = cuda.local.array(2, np.int32)
    signal = cuda.local.array(_SIGNALS, np.int32)
    mix = cuda.local.array(SPAN, np.int32)
    for j in range(OPERATORS):
        position[j] = 0
    memory[0], memory[1] = _i32(0), _i32(0)

    for k in range(spans[warp]):
        sounding = _begin(0, k, i, gains, increments, written, increment, gain, slope)
        sounding |= _begin(1, k, i, gains, increments, written, increment, gain, slope)
        sounding |= _begin(2, k, i, gains, increments, written, increment, gain, slope)
        sounding |= _begin(3, k, i, gains, increments, written, increment, gain, slope)
        sounding |= _begin(4, k, i, gains, increments, written, increment, gain, slope)
        sounding |= _begin(5, k, i, gains, increments, written, increment, gain, slope)

        looped = loop_length > 0 and sounding & 1
        linked = loop_slots if looped else _i32(0)
        heard = carriers
        if linked:  # Quirk: while op 6 sounds, so does the rest of its loop
            heard = (carriers & ~linked) | _i32(1)
            sounding &= ~linked
            for link in range(1, 3):
                if loop_length > link:
                    gain[link], slope[link] = _i32(gains[k + 1, link, i]), _i32(0)
        active = heard & sounding
        for slot in range(OPERATORS - 1, 0, -1):
            if (active >> slot) & 1:
                active |= (modulators >> (5 * (slot - 1))) & 31 & sounding
        heard = _i32(heard & active)
        active = _i32(active | _i32(1 if looped else 0))  # heard or not, its memory moves
        links = _i32(modulators & _i32(_i32(active & _i32(31)) * _EVERY_SLOT))
        for slot in range(OPERATORS):
            _skip(slot, active | linked, position, increment)

        column = _i32(0)
        word = k * (BLOCK // 2 if mode == PACK else BLOCK)
        for _ in range(BLOCK // SPAN):
            if looped:
                _feedback(loop_length, shift, memory, signal, position, increment, gain, slope, sine, exponential)
            else:
                _play(0, active, links, signal, position, increment, gain, slope, sine, exponential)
            _play(1, active, links, signal, position, increment, gain, slope, sine, exponential)
            _play(2, active, links, signal, position, increment, gain, slope, sine, exponential)
            _play(3, active, links, signal, position, increment, gain, slope, sine, exponential)
            _play(4, active, links, signal, position, increment, gain, slope, sine, exponential)
            _play(5, active, links, signal, position, increment, gain, slope, sine, exponential)
            for n in range(SPAN):
                mix[n] = 0
            for slot in range(OPERATORS):
                _mix(slot, heard, signal, mix)
            if mode == PACK:
                for n in range(0, SPAN, 2):
                    tile[thread, column] = (_saturate(mix[n]) & _i32(0xFFFF)) | (_saturate(mix[n + 1]) << _i32(16))
                    column += _i32(1)
            else:
                for n in range(SPAN):
                    tile[thread, column] = mix[n]
                    column += _i32(1)
            if column == _WORDS:
                cuda.syncwarp()
                _write(tile, first, limit, base, word, mode, out)
                cuda.syncwarp()
                column = _i32(0)
                word += _WORDS


clear = cache.keep(cuda.jit()(_clear))
synthesis = cache.keep(cuda.jit(launch_bounds=(THREADS, 2))(_synthesis))
