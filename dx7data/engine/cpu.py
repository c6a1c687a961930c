"""The CPU driver: voices in, the native integers of each row out, in three stages.

1. control: every voice's gains, phases and phase increments, one value per block;
2. feedback loops, which need their own last two samples: the voices are the vector lanes;
3. the other operators and the mix: the samples of a block are the vector lanes.

The stages run over chunks of a few blocks, so that what one leaves for the next stays in the cache. Threads share the
rows; nothing depends on how many there are.
"""

import numpy as np
from numba import njit, prange

from dx7data import cache
from dx7data.cache import inner
from dx7data.engine import control, operators, polynomials
from dx7data.engine.control import CHUNK, State
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import Curves, Voices
from dx7data.patches.algorithms import CARRIERS, FEEDBACK_OPERATOR, MODULATORS, OPERATORS

GROUP = 64  # voices that share the feedback stage: enough to hide the latency of a sample
_REGISTER = 16  # lanes of the widest vector register; lanes are computed in whole registers
_SILENT, _SUM, _MIX = range(OPERATORS, OPERATORS + 3)  # rows of a voice's signals, after those of its operators

_i32 = np.int32  # see operators.py
_u64 = np.uint64  # as an index: spares numba the test for negative ones, which would keep a loop from vectorising
_SAMPLE = np.arange(BLOCK, dtype=np.int32)  # a loop's own index is 64 bits wide


@inner
def _feedback(voices: Voices, members: np.ndarray, alive: np.ndarray, state: State) -> None:
    """Stage 2: the feedback loops of the voices `alive`, which come in order of loop length, longest first."""
    gain, phase, increment, memory, loop = state.gain, state.phase, state.increment, state.memory, state.loop
    lane_phase = np.zeros((3, GROUP), np.int32)
    lane_increment = np.zeros((3, GROUP), np.int32)
    lane_gain = np.zeros((3, GROUP), np.int32)
    slope = np.zeros(GROUP, np.int32)
    shift = np.zeros(GROUP, np.int32)
    output = np.zeros((BLOCK + 2, GROUP), np.int32)  # rows 0 and 1: the two samples before the block
    voice = np.empty(GROUP, np.int64)
    lanes = np.zeros(4, np.int64)  # lanes[n]: how many have a loop of n operators or more
    for k in range(CHUNK):
        lanes[:] = 0
        for w in alive:
            v = members[w]
            length = voices.loop_length[v]
            if length == 0:
                break
            head = FEEDBACK_OPERATOR[voices.algorithm[v]]
            before, after = gain[w, head, k], gain[w, head, k + 1]
            if not operators.sounds(before, after):
                loop[w, k] = 0
                continue
            lane = lanes[1]
            for link in range(length):
                lane_phase[link, lane] = phase[w, head + link, k]
                lane_increment[link, lane] = increment[w, head + link, k]
                lane_gain[link, lane] = gain[w, head + link, k + 1]
            lane_gain[0, lane] = before
            slope[lane] = operators.slope(before, after)
            shift[lane] = voices.feedback_shift[v]
            output[0, lane], output[1, lane] = memory[w, 0], memory[w, 1]
            voice[lane] = w
            for n in range(1, length + 1):
                lanes[n] += 1
        if lanes[1] > 0:
            _loop_block(output, lane_phase, lane_increment, lane_gain, slope, shift, lanes)
        for lane in range(lanes[1]):
            w = voice[lane]
            for i in range(BLOCK):
                loop[w, k, i] = output[i + 2, lane]
            memory[w, 0], memory[w, 1] = output[BLOCK, lane], output[BLOCK + 1, lane]


@inner
def _loop_block(
    output: np.ndarray,
    phase: np.ndarray,
    increment: np.ndarray,
    gain: np.ndarray,
    slope: np.ndarray,
    shift: np.ndarray,
    lanes: np.ndarray,
) -> None:
    polynomials.use_wide_registers()
    for i in range(BLOCK):
        older, newer, out = _u64(i), _u64(i + 1), _u64(i + 2)
        n = _i32(i)
        for lane in range((lanes[1] + _REGISTER - 1) // _REGISTER * _REGISTER):
            at = _u64(lane)
            back = _i32(_i32(output[older, at] + output[newer, at]) << _i32(shift[at] & _i32(31)))
            position = _i32(_i32(phase[0, at] + _i32(increment[0, at] * n)) + back)
            attenuation = _i32(gain[0, at] + _i32(slope[at] * _i32(n + 1)))
            output[out, at] = polynomials.oscillate(_i32(position >> _i32(12)), attenuation)
        for link in range(1, 3):  # Quirk: the later operators have the gain of the block's end throughout
            for lane in range(lanes[link + 1]):
                at = _u64(lane)
                position = _i32(phase[link, at] + _i32(increment[link, at] * n))
                index = _i32(_i32(position >> _i32(12)) + _i32(output[out, at] << _i32(1)))
                output[out, at] = polynomials.oscillate(index, gain[link, at])


@inner
def _operator(
    out: np.ndarray,
    keep: np.ndarray,
    modulation: np.ndarray,
    silent: np.ndarray,
    phase: np.ndarray,
    increment: np.ndarray,
    gain: np.ndarray,
    w: int,
    j: int,
) -> None:
    """Operator j of voice w over a chunk; `keep` is -1 to add to what `out` holds, 0 to replace it."""
    polynomials.use_wide_registers()
    level, sign = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    for k in range(CHUNK):
        if silent[k]:
            for i in range(BLOCK):
                out[k, i] &= keep
            continue
        start, step, attenuation = phase[w, j, k], increment[w, j, k], gain[w, j, k]
        slope = _i32(operators.slope(attenuation, gain[w, j, k + 1]))
        attenuation = _i32(attenuation + polynomials.BIAS)
        for i in range(BLOCK):  # two loops: together their constants do not fit into 16 registers
            n = _SAMPLE[i]
            position = _i32(start + _i32(step * n))
            index = _i32(_i32(position >> _i32(12)) + _i32(modulation[k, i] << _i32(1)))
            attenuated = _i32(attenuation + _i32(slope * _i32(n + _i32(1))))
            level[i] = _i32(polynomials.compute_log_sine(index) + attenuated)
            sign[i] = polynomials.find_sign(index)
        for i in range(BLOCK):
            out[k, i] = _i32(_i32(out[k, i] & keep) + polynomials.compute_sample(level[i], sign[i]))


@inner
def _add(out: np.ndarray, signal: np.ndarray) -> None:
    polynomials.use_wide_registers()
    for k in range(CHUNK):
        for i in range(BLOCK):
            out[k, i] += signal[k, i]


@inner
def _add_to_row(out: np.ndarray, filled: int, first: int, mix: np.ndarray) -> int:
    """Add `mix` to a row at sample `first`; of the row only `filled` samples hold something yet. Returns how many now do."""
    last = min(first + mix.size, out.size)
    begun = min(max(filled, first), last)
    for i in range(filled, first):
        out[i] = 0
    for i in range(first, begun):
        out[i] += mix[i - first]
    for i in range(begun, last):
        out[i] = mix[i - first]
    return max(filled, last)


@inner
def _operators(
    voices: Voices,
    members: np.ndarray,
    alive: np.ndarray,
    state: State,
    begin: int,
    signal: np.ndarray,
    row: np.ndarray,
    out: np.ndarray,
    filled: np.ndarray,
) -> None:
    """Stage 3 for one chunk: every voice is added to its row of `out`."""
    gain, phase, increment, loop = state.gain, state.phase, state.increment, state.loop
    silent = np.zeros(CHUNK, np.bool_)
    for w in alive:
        v = members[w]
        algorithm, loop_length = voices.algorithm[v], voices.loop_length[v]
        head = FEEDBACK_OPERATOR[algorithm]
        needed = CARRIERS[algorithm] & state.sounding[w]
        for j in range(OPERATORS - 1, 0, -1):
            if needed >> j & 1:
                needed |= MODULATORS[algorithm, j] & state.sounding[w]
        if needed == 0:
            continue
        r, first = row[v], (voices.start[v] + begin) * BLOCK
        fresh = filled[r] <= first and first + CHUNK * BLOCK <= out.shape[1]  # nothing there yet: no need to add
        mix = out[r, first : first + CHUNK * BLOCK].reshape(CHUNK, BLOCK) if fresh else signal[_MIX]
        keep = _i32(0)  # what the mix holds: at first nothing of this voice, then -1, all of it
        if loop_length > 1 or (loop_length == 1 and CARRIERS[algorithm] >> head & 1):
            mix[:] = 0
            _add(mix, loop[w])
            keep = _i32(-1)

        for j in range(OPERATORS):
            if not needed >> j & 1 or (loop_length == 1 and j == head):
                continue
            modulators = MODULATORS[algorithm, j] & needed
            modulation = signal[_SILENT]
            if modulators & (modulators - 1):
                modulation = signal[_SUM]
                modulation[:] = 0
            for m in range(j):
                if modulators >> m & 1:
                    source = loop[w] if loop_length == 1 and m == head else signal[m]
                    if modulators & (modulators - 1):
                        _add(modulation, source)
                    else:
                        modulation = source
            for k in range(CHUNK):
                silent[k] = not operators.sounds(gain[w, j, k], gain[w, j, k + 1])
                if 1 < loop_length > j and operators.sounds(gain[w, head, k], gain[w, head, k + 1]):
                    silent[k] = True  # part of a running loop, which stage 2 has played
            if CARRIERS[algorithm] >> j & 1:
                _operator(mix, keep, modulation, silent, phase, increment, gain, w, j)
                keep = _i32(-1)
            else:
                _operator(signal[j], _i32(0), modulation, silent, phase, increment, gain, w, j)
        if fresh:
            out[r, filled[r] : first] = 0
            filled[r] = first + CHUNK * BLOCK
        else:
            filled[r] = _add_to_row(out[r], filled[r], first, mix.reshape(CHUNK * BLOCK))


@inner
def _render_group(
    voices: Voices,
    curves: Curves,
    members: np.ndarray,
    notes: np.ndarray,
    row: np.ndarray,
    out: np.ndarray,
    filled: np.ndarray,
    table: np.ndarray,
) -> None:
    state = control.note_on(voices, members, notes)
    signal = np.zeros((OPERATORS + 3, CHUNK, BLOCK), np.int32)
    alive = np.arange(members.size)  # the first `count` are those that still sound
    count, begin = members.size, np.int64(0)  # a plain 0 would have numba compile everything below twice
    while count > 0:
        goes_on = control.advance(voices, curves, members, alive[:count], notes, state, begin, table)
        _feedback(voices, members, alive[:count], state)
        _operators(voices, members, alive[:count], state, begin, signal, row, out, filled)
        begin += CHUNK
        still = 0
        for a in range(count):
            if goes_on[a] and (voices.start[members[alive[a]]] + begin) * BLOCK < out.shape[1]:
                alive[still] = alive[a]
                still += 1
        count = still


def _render(
    voices: Voices,
    curves: Curves,
    notes: np.ndarray,
    row: np.ndarray,
    order: np.ndarray,
    bounds: np.ndarray,
    out: np.ndarray,
    filled: np.ndarray,
    table: np.ndarray,
) -> None:
    """Add V voices to the rows of `out`, int32 (R, T), of which the first `filled` samples (R,) hold something.

    curves: Curves, `of` each voice; notes: (V, 2) range of the voices that share an LFO; row: (V,);
    order[bounds[i]:bounds[i + 1]]: the voices of one task, in order of loop length, longest first; tasks share no row.
    """
    for task in prange(bounds.size - 1):
        for begin in range(bounds[task], bounds[task + 1], GROUP):
            members = order[begin : min(begin + GROUP, bounds[task + 1])]
            _render_group(voices, curves, members, notes, row, out, filled, table)


render = cache.keep(njit(parallel=True, nogil=True)(_render))
