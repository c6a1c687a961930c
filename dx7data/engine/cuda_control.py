"""The kernels of the CUDA driver's control stage, from the scalar functions of the CPU driver: one value per block.

A thread is a voice, or an operator of one. Values lie with the voices side by side, so that a warp, 32 voices, reads them at
once. Operators are taken in the order of their slots (algorithms.py).
"""

import numpy as np
from numba import cuda

from dx7data import cache
from dx7data.engine import control, envelope, lfo, operators, pitch
from dx7data.engine.arrays import Integer
from dx7data.engine.voice import Voices
from dx7data.patches.algorithms import SLOT_CARRIERS, SLOT_OPERATOR

WARP = 32

_i32 = np.int32  # see operators.py


def _modulation(
    voices: Voices,
    curve: np.ndarray,
    bends: np.ndarray,
    wheels: np.ndarray,
    notes: np.ndarray,
    order: np.ndarray,
    blocks: np.ndarray,
    bend: np.ndarray,
    tremolo: np.ndarray,
) -> None:
    """Control stage, one thread a voice: pitch modulation (Q24 octaves) and tremolo of each block, int32 (K, V)."""
    i = cuda.grid(1)
    if i >= order.size:
        return
    v = order[i]
    phase: Integer
    random: Integer
    counter: Integer
    note: Integer
    vibrato: Integer
    shake: Integer
    stage: Integer
    level: Integer
    start, c = np.int64(voices.start[v]), curve[v]
    shaken = voices.pitch_mod_depth[v] > 0 or voices.amp_mod_depth[v] > 0 or c >= 0
    phase = np.int64(lfo.SYNC_PHASE if voices.lfo_sync[v] else 0)
    random, counter, note = np.int64(0), np.int64(0), np.int64(notes[v, 0])
    wheel, vibrato, shake = np.int64(0), np.int64(0), np.int64(0)
    if shaken:
        for now in range(start):  # the LFO runs from the beginning of the row
            phase, random, counter, note, vibrato, shake = control.modulation(
                voices, v, notes, now, wheel, phase, random, counter, note
            )
    vibrato, shake = np.int64(0), np.int64(0)
    stage, level = np.int64(0), np.int64(voices.pitch_target[v, 3])
    target, steps, release = voices.pitch_target[v], voices.pitch_increment[v], voices.release[v]
    for k in range(blocks[i]):
        moved = np.int64(0)
        if c >= 0:
            moved, wheel = np.int64(bends[c, start + k]), np.int64(wheels[c, start + k])
        if shaken:
            phase, random, counter, note, vibrato, shake = control.modulation(
                voices, v, notes, start + k, wheel, phase, random, counter, note
            )
        stage, level = control.pitch_block(stage, level, k, release, target, steps)
        bend[k, i] = _i32(moved + level + vibrato)
        tremolo[k, i] = _i32(shake)


def _envelopes(
    voices: Voices,
    order: np.ndarray,
    blocks: np.ndarray,
    table: np.ndarray,
    bend: np.ndarray,
    tremolo: np.ndarray,
    gain: np.ndarray,
    increment: np.ndarray,
    written: np.ndarray,
    spans: np.ndarray,
) -> None:
    """Control stage, one thread an operator of a voice: its slot's attenuation and phase increment of each block.

    gain: int16 (K + 1, 6, V), attenuations at block boundaries; increment: int32 (K, 6, V); written: (6, V), the blocks from
    which on the slot is silent and nothing is written; spans: (warps,), blocks that some voice of a warp sounds.
    """
    i, slot = cuda.grid(1), cuda.blockIdx.y
    if i >= order.size:
        return
    v = order[i]
    algorithm, loop_length = voices.algorithm[v], voices.loop_length[v]
    j = SLOT_OPERATOR[algorithm, slot]
    target, steps, plateau = voices.eg_target[v, j], voices.eg_increment[v, j], voices.eg_plateau[v, j]
    release, sensitivity = voices.release[v], voices.amp_mod_sensitivity[v, j]
    frequency, fixed = voices.log_frequency[v, j], voices.fixed[v, j]
    linked = 0 < slot < loop_length  # part of a feedback loop: its gain is needed for as long as the loop's first operator
    stage, level, countdown = _i32(0), _i32(0), _i32(plateau[0])
    attenuation, last = _i32(16383), _i32(0)  # Quirk: not 16384, which would be level 0
    step, at, k = _i32(0), _i32(0), _i32(0)
    gain[0, slot, i] = attenuation
    while k < blocks[i]:
        s, x, c, g = control.envelope_block(
            stage, np.int64(level), countdown, k, release, target, steps, plateau, tremolo[k, i], sensitivity
        )
        stage, level, countdown, before, attenuation = _i32(s), _i32(x), _i32(c), attenuation, _i32(g)
        gain[k + 1, slot, i] = attenuation
        if k == 0 or (bend[k, i] != at and not fixed):
            at = bend[k, i]
            step = _i32(pitch.phase_increment(np.int64(frequency) + (0 if fixed else at), table))
        increment[k, slot, i] = step
        k += _i32(1)
        if operators.sounds(before, attenuation):
            last = k
        elif stage > envelope.RELEASE and operators.gain(level) > operators.SILENCE and not linked:
            break  # for ever
    written[slot, i] = k if linked else last
    if (SLOT_CARRIERS[algorithm] >> slot) & 1 or (slot == 0 and loop_length > 1):
        cuda.atomic.max(spans, i // WARP, last)


modulation = cache.keep(cuda.jit()(_modulation))
envelopes = cache.keep(cuda.jit()(_envelopes))
