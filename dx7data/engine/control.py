"""Stage 1 of the CPU driver: the state of a group of voices, and its gains, phases and increments, one value per block."""

from typing import NamedTuple

import numpy as np
from numba import njit

from dx7data.cache import inner
from dx7data.engine import envelope, lfo, operators, pitch
from dx7data.engine.arrays import Integer, Truth
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import Curves, Voices
from dx7data.patches.algorithms import CARRIERS, OPERATORS

CHUNK = 64  # blocks: enough that what is done once for a chunk does not count

_i32 = np.int32  # see operators.py


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


@njit(inline="always")
def modulation(
    voices: Voices,
    v: Integer,
    notes: np.ndarray,
    now: Integer,
    wheel: Integer,
    phase: Integer,
    random: Integer,
    counter: Integer,
    note: Integer,
) -> tuple[Integer, Integer, Integer, Integer, Integer, Integer]:
    """One block of the LFO of voice v: its state after block `now` of the row, then vibrato and tremolo.

    The notes notes[v, 0] to notes[v, 1] - 1, in order of time, share it and restart it; `note` is the next one.
    """
    while note < notes[v, 1] and voices.start[note] <= now:
        counter = 0
        if voices.lfo_sync[v]:
            phase = lfo.SYNC_PHASE
        note += 1
    phase, random = lfo.step(phase, random, voices.lfo_increment[v])
    value = lfo.value(phase, random, voices.lfo_wave[v])
    counter, factor = lfo.fade_in(counter, voices.lfo_delay[v, 0], voices.lfo_delay[v, 1])
    vibrato = lfo.vibrato(value, factor, voices.pitch_mod_depth[v], wheel, voices.pitch_mod_sensitivity[v])
    return phase, random, counter, note, vibrato, lfo.tremolo(value, factor, voices.amp_mod_depth[v])


@njit(inline="always")
def envelope_block(
    stage: Integer,
    level: Integer,
    countdown: Integer,
    k: Integer,
    release: Integer,
    target: np.ndarray,
    steps: np.ndarray,
    plateau: np.ndarray,
    tremolo: Integer,
    sensitivity: Integer,
) -> tuple[Integer, Integer, Integer, Integer]:
    """One block of an operator's envelope: its state after block k of the voice, then the attenuation."""
    if k == release:
        stage = envelope.RELEASE
        countdown = envelope.enter(stage, level, target, plateau)
    stage, level, countdown = envelope.step(stage, level, countdown, k < release, target, steps, plateau)
    attenuated = lfo.attenuate(level, tremolo, sensitivity) if sensitivity > 0 else level
    return stage, level, countdown, operators.gain(attenuated)


@njit(inline="always")
def pitch_block(
    stage: Integer, level: Integer, k: Integer, release: Integer, target: np.ndarray, steps: np.ndarray
) -> tuple[Integer, Integer]:
    """One block of the pitch envelope: its state after block k of the voice."""
    if k == release:
        stage = envelope.RELEASE
    return pitch.step(stage, level, k < release, target, steps)


@inner
def note_on(voices: Voices, members: np.ndarray, notes: np.ndarray) -> State:
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
    nowhere, no_wheel = np.empty(CHUNK, np.int64), np.zeros(CHUNK, np.int64)
    for w in range(count):
        v = members[w]
        state.level[w, OPERATORS] = voices.pitch_target[v, 3]
        for j in range(OPERATORS):
            state.countdown[w, j] = voices.eg_plateau[v, j, 0]
        state.lfo[w, 0] = lfo.SYNC_PHASE if voices.lfo_sync[v] else 0
        state.lfo[w, 3] = notes[v, 0]
        for now in range(0, voices.start[v], CHUNK):  # the LFO runs from the beginning of the row
            blocks = np.int64(min(CHUNK, voices.start[v] - now))
            _modulation(voices, v, notes, state.lfo, w, np.int64(now), blocks, no_wheel, nowhere, nowhere)
    return state


@inner
def _modulation(
    voices: Voices,
    v: int,
    notes: np.ndarray,
    state: np.ndarray,
    w: int,
    now: int,
    blocks: int,
    wheel: np.ndarray,
    vibrato: np.ndarray,
    tremolo: np.ndarray,
) -> None:
    """The LFO's block values in a chunk."""
    phase, random, counter, note = state[w]
    for k in range(blocks):
        phase, random, counter, note, vibrato[k], tremolo[k] = modulation(
            voices, v, notes, now + k, wheel[k], phase, random, counter, note
        )
    state[w, 0], state[w, 1], state[w, 2], state[w, 3] = phase, random, counter, note


@inner
def _follow(curve: np.ndarray, c: int, first: int, out: np.ndarray) -> None:
    """The values of controller curve c in a chunk whose first block is `first`; what lies beyond the row does not matter."""
    for k in range(CHUNK):
        out[k] = curve[c, min(first + k, curve.shape[1] - 1)]


@inner
def _four(row: np.ndarray) -> tuple[int, int, int, int]:
    return row[0], row[1], row[2], row[3]


@inner
def _bend(
    stage: np.ndarray,
    level: np.ndarray,
    w: int,
    release: int,
    target: np.ndarray,
    steps: np.ndarray,
    vibrato: np.ndarray,
    bend: np.ndarray,
) -> None:
    """Add pitch EG and vibrato to the pitch modulation of a chunk, Q24 octaves."""
    s, x = stage[w, OPERATORS], level[w, OPERATORS]
    for k in range(CHUNK):
        s, x = pitch_block(s, x, k, release, target, steps)
        bend[k] += x + vibrato[k]
    stage[w, OPERATORS], level[w, OPERATORS] = s, x


@inner
def _gains(
    gain: np.ndarray,
    stage: np.ndarray,
    level: np.ndarray,
    countdown: np.ndarray,
    w: int,
    j: int,
    release: int,
    target: np.ndarray,
    steps: np.ndarray,
    plateau: np.ndarray,
    sensitivity: int,
    tremolo: np.ndarray,
) -> Truth:
    """The attenuations of operator j at the block boundaries of a chunk. True when it sounds in one of the blocks."""
    gain[w, j, 0] = gain[w, j, CHUNK]
    s, x, c = stage[w, j], level[w, j], countdown[w, j]
    if sensitivity == 0 and c <= 0 and not 0 <= release < CHUNK and envelope.is_at_rest(s, release > 0):
        gain[w, j, 1:] = operators.gain(x)  # most chunks: the note is held, or has ended
        return operators.sounds(gain[w, j, 0], gain[w, j, 1])
    sounds: Truth = False
    for k in range(CHUNK):
        s, x, c, gain[w, j, k + 1] = envelope_block(s, x, c, k, release, target, steps, plateau, tremolo[k], sensitivity)
        sounds = sounds or operators.sounds(gain[w, j, k], gain[w, j, k + 1])
    stage[w, j], level[w, j], countdown[w, j] = s, x, c
    return sounds


@inner
def _phases(
    phase: np.ndarray,
    increment: np.ndarray,
    w: int,
    j: int,
    frequency: Integer,
    fixed: bool,
    bend: np.ndarray,
    table: np.ndarray,
) -> None:
    """The phase at each block of a chunk and the increment within it; fixed frequencies are deaf to `bend`."""
    position, step = phase[w, j, CHUNK], _i32(0)
    phase[w, j, 0] = position
    for k in range(CHUNK):
        if k == 0 or (bend[k] != bend[k - 1] and not fixed):
            step = _i32(pitch.phase_increment(frequency if fixed else frequency + bend[k], table))
        increment[w, j, k] = step
        position = _i32(position + _i32(step * BLOCK))
        phase[w, j, k + 1] = position


@inner
def advance(
    voices: Voices,
    curves: Curves,
    members: np.ndarray,
    alive: np.ndarray,
    notes: np.ndarray,
    state: State,
    begin: int,
    table: np.ndarray,
) -> np.ndarray:
    """Stage 1 for one chunk; returns which of the voices `alive` go on after it."""
    stage, level, countdown, gain = state.stage, state.level, state.countdown, state.gain
    eg_target, eg_increment, eg_plateau = voices.eg_target, voices.eg_increment, voices.eg_plateau
    of_voice, bend_curve, wheel_curve = curves.of, curves.bend, curves.wheel
    vibrato, tremolo = np.zeros(CHUNK, np.int64), np.zeros(CHUNK, np.int64)
    bend, wheel = np.zeros(CHUNK, np.int64), np.zeros(CHUNK, np.int64)
    goes_on = np.zeros(alive.size, np.bool_)
    for a in range(alive.size):
        w = alive[a]
        v = members[w]
        release = voices.release[v] - begin
        now, c = np.int64(voices.start[v] + begin), of_voice[v]
        if c >= 0:
            _follow(bend_curve, c, now, bend)
            _follow(wheel_curve, c, now, wheel)
        else:
            bend[:], wheel[:] = 0, 0
        if voices.pitch_mod_depth[v] > 0 or voices.amp_mod_depth[v] > 0 or c >= 0:
            _modulation(voices, v, notes, state.lfo, w, now, np.int64(CHUNK), wheel, vibrato, tremolo)
        else:
            vibrato[:], tremolo[:] = 0, 0
        _bend(stage, level, w, release, _four(voices.pitch_target[v]), _four(voices.pitch_increment[v]), vibrato, bend)

        heard = CARRIERS[voices.algorithm[v]]
        if voices.loop_length[v] > 1:
            heard |= 1  # while op 6 sounds, so does the carrier at the end of its loop
        goes_on[a] = release >= 0
        sounding = 0
        for j in range(OPERATORS):
            target, steps, plateau = _four(eg_target[v, j]), _four(eg_increment[v, j]), _four(eg_plateau[v, j])
            sensitivity = voices.amp_mod_sensitivity[v, j]
            if _gains(gain, stage, level, countdown, w, j, release, target, steps, plateau, sensitivity, tremolo):
                sounding |= 1 << j
            if heard >> j & 1 and (stage[w, j] <= envelope.RELEASE or operators.gain(level[w, j]) <= operators.SILENCE):
                goes_on[a] = True
            _phases(state.phase, state.increment, w, j, voices.log_frequency[v, j], voices.fixed[v, j], bend, table)
        if voices.loop_length[v] > 1 and sounding & 1:
            sounding |= (1 << voices.loop_length[v]) - 1  # Quirk: while op 6 sounds, so does the rest of its loop
        state.sounding[w] = sounding
    return goes_on
