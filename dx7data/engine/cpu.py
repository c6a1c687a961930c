"""The CPU driver: voices in, the native integers of each row out, in three stages.

1. control: every voice's gains, phases and phase increments, one value per block;
2. feedback loops, which need their own last two samples: the voices are the vector lanes;
3. the other operators and the mix: the samples of a block are the vector lanes.

The stages run over chunks of a few blocks, so that what one leaves for the next stays in the cache. Threads share the
rows; nothing depends on how many there are.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from dx7data.engine import cache, envelope, lfo, operators, pitch
from dx7data.engine.algorithms import CARRIERS, FEEDBACK_OPERATOR, MODULATORS, OPERATORS
from dx7data.engine.tables import BLOCK, EXPONENTIAL, SINE

CHUNK = 64  # blocks: enough that what is done once for a chunk does not count
GROUP = 64  # voices that share the feedback stage: enough to hide the latency of the look-ups
_REGISTER = 16  # lanes of the widest vector register; lanes are computed in whole registers
_SILENT, _SUM = OPERATORS, OPERATORS + 1  # rows of a voice's signals, after the operators': nothing, and room for a sum

_i32 = np.int32  # see operators.py
_u64 = np.uint64  # as an index: spares numba the test for negative ones, which would keep a loop from vectorising
_SAMPLE = np.arange(BLOCK, dtype=np.int32)  # a loop's own index is 64 bits wide


class State(NamedTuple):
    """What a group of W voices carries from chunk to chunk, and from stage to stage."""

    lfo: np.ndarray  # (W, 4) phase, random number, delay counter, next note-on
    stage: np.ndarray  # (W, 7) of the EGs: six operators, then pitch
    level: np.ndarray  # (W, 7) likewise
    countdown: np.ndarray  # (W, 6)
    memory: np.ndarray  # (W, 2) last two outputs of the feedback loop
    gain: np.ndarray  # (W, 6, CHUNK + 1) attenuations at block boundaries; the first is the last of the chunk before
    phase: np.ndarray  # (W, 6, CHUNK + 1) likewise
    increment: np.ndarray  # (W, 6, CHUNK)
    sounding: np.ndarray  # (W,) bit j: operator j sounds in some block of the chunk
    loop: np.ndarray  # (W, CHUNK, BLOCK) output of the feedback loop


@njit
def _note_on(voices, members, notes):
    count = members.size
    state = State(
        np.zeros((count, 4), np.int64),
        np.zeros((count, 7), np.int64),
        np.zeros((count, 7), np.int64),
        np.zeros((count, 6), np.int64),
        np.zeros((count, 2), np.int32),
        np.full((count, 6, CHUNK + 1), 16383, np.int32),  # Quirk: not 16384, which would be level 0
        np.zeros((count, 6, CHUNK + 1), np.int32),
        np.empty((count, 6, CHUNK), np.int32),
        np.zeros(count, np.int64),
        np.empty((count, CHUNK, BLOCK), np.int32),
    )
    nowhere = np.empty(CHUNK, np.int64)
    for w in range(count):
        v = members[w]
        state.level[w, OPERATORS] = voices.pitch_target[v, 3]
        for j in range(OPERATORS):
            state.countdown[w, j] = voices.eg_plateau[v, j, 0]
        state.lfo[w, 0] = lfo.SYNC_PHASE if voices.lfo_sync[v] else 0
        state.lfo[w, 3] = notes[v, 0]
        for now in range(0, voices.start[v], CHUNK):  # the LFO runs from the beginning of the row
            _modulation(voices, v, notes, state.lfo, w, np.int64(now), np.int64(min(CHUNK, voices.start[v] - now)), nowhere, nowhere)
    return state


@njit
def _modulation(voices, v, notes, state, w, now, blocks, vibrato, tremolo):
    """The LFO's block values; the notes notes[v, 0] to notes[v, 1] - 1, in order of time, share it and restart it."""
    phase, random, counter, note = state[w]
    for k in range(blocks):
        while note < notes[v, 1] and voices.start[note] <= now + k:
            counter = 0
            if voices.lfo_sync[v]:
                phase = lfo.SYNC_PHASE
            note += 1
        phase, random = lfo.step(phase, random, voices.lfo_increment[v])
        value = lfo.value(phase, random, voices.lfo_wave[v])
        counter, factor = lfo.fade_in(counter, voices.lfo_delay[v, 0], voices.lfo_delay[v, 1])
        vibrato[k] = lfo.vibrato(value, factor, voices.pitch_mod_depth[v], voices.pitch_mod_sensitivity[v])
        tremolo[k] = lfo.tremolo(value, factor, voices.amp_mod_depth[v])
    state[w, 0], state[w, 1], state[w, 2], state[w, 3] = phase, random, counter, note


@njit
def _four(row):
    return row[0], row[1], row[2], row[3]


@njit
def _control(voices, members, alive, notes, state, begin, table):
    """Stage 1 for one chunk; returns which of the voices `alive` go on after it."""
    stage, level, countdown = state.stage, state.level, state.countdown
    gain, phase, increment = state.gain, state.phase, state.increment
    eg_target, eg_increment, eg_plateau = voices.eg_target, voices.eg_increment, voices.eg_plateau
    log_frequency, fixed, amp_mod_sensitivity = voices.log_frequency, voices.fixed, voices.amp_mod_sensitivity

    vibrato, tremolo = np.zeros(CHUNK, np.int64), np.zeros(CHUNK, np.int64)
    bend = np.empty(CHUNK, np.int64)
    goes_on = np.zeros(alive.size, np.bool_)
    for a in range(alive.size):
        w = alive[a]
        v = members[w]
        release = voices.release[v] - begin
        if voices.pitch_mod_depth[v] > 0 or voices.amp_mod_depth[v] > 0:
            _modulation(voices, v, notes, state.lfo, w, np.int64(voices.start[v] + begin), np.int64(CHUNK), vibrato, tremolo)
        else:
            vibrato[:], tremolo[:] = 0, 0

        s, x = stage[w, OPERATORS], level[w, OPERATORS]
        target, steps = _four(voices.pitch_target[v]), _four(voices.pitch_increment[v])
        for k in range(CHUNK):
            if k == release:
                s = envelope.RELEASE
            s, x = pitch.step(s, x, k < release, target, steps)
            bend[k] = x + vibrato[k]
        stage[w, OPERATORS], level[w, OPERATORS] = s, x

        heard = CARRIERS[voices.algorithm[v]]
        if voices.loop_length[v] > 1:
            heard |= 1  # while op 6 sounds, so does the carrier at the end of its loop
        goes_on[a] = release >= 0
        sounding = 0
        for j in range(OPERATORS):
            target, steps, plateau = _four(eg_target[v, j]), _four(eg_increment[v, j]), _four(eg_plateau[v, j])
            sensitivity = amp_mod_sensitivity[v, j]
            gain[w, j, 0] = gain[w, j, CHUNK]
            s, x, c = stage[w, j], level[w, j], countdown[w, j]
            for k in range(CHUNK):
                if k == release:
                    s = envelope.RELEASE
                    c = envelope.enter(s, x, target, plateau)
                s, x, c = envelope.step(s, x, c, k < release, target, steps, plateau)
                attenuated = lfo.attenuate(x, tremolo[k], sensitivity) if sensitivity > 0 else x
                gain[w, j, k + 1] = operators.gain(attenuated)
                if operators.sounds(gain[w, j, k], gain[w, j, k + 1]):
                    sounding |= 1 << j
            stage[w, j], level[w, j], countdown[w, j] = s, x, c
            if heard >> j & 1 and (s <= envelope.RELEASE or operators.gain(x) <= operators.SILENCE):
                goes_on[a] = True

            frequency, deaf = log_frequency[v, j], fixed[v, j]
            position, advance = phase[w, j, CHUNK], _i32(0)
            phase[w, j, 0] = position
            for k in range(CHUNK):
                if k == 0 or (bend[k] != bend[k - 1] and not deaf):
                    advance = _i32(pitch.phase_increment(frequency if deaf else frequency + bend[k], table))
                increment[w, j, k] = advance
                position = _i32(position + _i32(advance * BLOCK))
                phase[w, j, k + 1] = position
        state.sounding[w] = sounding
    return goes_on


@njit
def _feedback(voices, members, alive, state):
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


@njit
def _loop_block(output, phase, increment, gain, slope, shift, lanes):
    for i in range(BLOCK):
        older, newer, out = _u64(i), _u64(i + 1), _u64(i + 2)
        i = _i32(i)
        for lane in range((lanes[1] + _REGISTER - 1) // _REGISTER * _REGISTER):
            lane = _u64(lane)
            back = _i32(_i32(output[older, lane] + output[newer, lane]) << _i32(shift[lane] & _i32(31)))
            position = _i32(_i32(phase[0, lane] + _i32(increment[0, lane] * i)) + back)
            attenuation = _i32(gain[0, lane] + _i32(slope[lane] * _i32(i + 1)))
            output[out, lane] = operators.oscillate(_i32(position >> _i32(12)), attenuation, SINE, EXPONENTIAL)
        for link in range(1, 3):  # Quirk: the later operators have the gain of the block's end throughout
            for lane in range(lanes[link + 1]):
                lane = _u64(lane)
                position = _i32(phase[link, lane] + _i32(increment[link, lane] * i))
                index = _i32(_i32(position >> _i32(12)) + _i32(output[out, lane] << _i32(1)))
                output[out, lane] = operators.oscillate(index, gain[link, lane], SINE, EXPONENTIAL)


@njit
def _operator(out, keep, modulation, silent, phase, increment, gain, w, j):
    """Operator j of voice w over a chunk; `keep` is -1 to add to what `out` holds, 0 to replace it."""
    for k in range(CHUNK):
        if silent[k]:
            for i in range(BLOCK):
                out[k, i] &= keep
            continue
        start, step, attenuation = phase[w, j, k], increment[w, j, k], gain[w, j, k]
        slope = _i32(operators.slope(attenuation, gain[w, j, k + 1]))
        for i in range(BLOCK):
            n = _SAMPLE[i]
            position = _i32(start + _i32(step * n))
            index = _i32(_i32(position >> _i32(12)) + _i32(modulation[k, i] << _i32(1)))
            level = _i32(attenuation + _i32(slope * _i32(n + _i32(1))))
            out[k, i] = _i32(_i32(out[k, i] & keep) + operators.oscillate(index, level, SINE, EXPONENTIAL))


@njit
def _add(out, signal):
    for k in range(CHUNK):
        for i in range(BLOCK):
            out[k, i] += signal[k, i]


@njit
def _operators(voices, members, alive, state, begin, signal, row, out):
    """Stage 3 for one chunk: every voice is added to its row of `out`."""
    gain, phase, increment, loop = state.gain, state.phase, state.increment, state.loop
    silent = np.zeros(CHUNK, np.bool_)
    for w in alive:
        v = members[w]
        algorithm, loop_length = voices.algorithm[v], voices.loop_length[v]
        head = FEEDBACK_OPERATOR[algorithm]
        now = voices.start[v] + begin
        mix = out[row[v], now : now + CHUNK]

        needed = CARRIERS[algorithm] & state.sounding[w]
        for j in range(OPERATORS - 1, 0, -1):
            if needed >> j & 1:
                needed |= MODULATORS[algorithm, j] & state.sounding[w]
        if loop_length > 1 or (loop_length == 1 and CARRIERS[algorithm] >> head & 1):
            _add(mix, loop[w])

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
            carrier = CARRIERS[algorithm] >> j & 1
            _operator(
                mix if carrier else signal[j], _i32(-carrier), modulation, silent, phase, increment, gain, w, j
            )


@njit
def _render_group(voices, members, notes, row, out, table):
    blocks = out.shape[1] - CHUNK
    state = _note_on(voices, members, notes)
    signal = np.zeros((OPERATORS + 2, CHUNK, BLOCK), np.int32)
    alive = np.arange(members.size)  # the first `count` are those that still sound
    count, begin = members.size, 0
    while count > 0:
        goes_on = _control(voices, members, alive[:count], notes, state, begin, table)
        _feedback(voices, members, alive[:count], state)
        _operators(voices, members, alive[:count], state, begin, signal, row, out)
        begin += CHUNK
        still = 0
        for a in range(count):
            if goes_on[a] and voices.start[members[alive[a]]] + begin < blocks:
                alive[still] = alive[a]
                still += 1
        count = still


def _render(voices, notes, row, order, bounds, out, table):
    """Add V voices to the rows of `out`, int32 (R, K + CHUNK, 64), of which the last CHUNK blocks are room to overrun.

    notes: (V, 2) range of the voices that share an LFO; row: (V,); order[bounds[i]:bounds[i + 1]]: the voices of one task,
    in order of loop length, longest first; tasks share no row.
    """
    for task in prange(bounds.size - 1):
        for begin in range(bounds[task], bounds[task + 1], GROUP):
            _render_group(voices, order[begin : min(begin + GROUP, bounds[task + 1])], notes, row, out, table)


with cache.keyed():
    render = njit(parallel=True, nogil=True, cache=True)(_render)
