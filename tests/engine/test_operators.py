"""The oscillator's look-ups, against their defining formulas, over every phase and every gain."""

import math

import numpy as np
import pytest
from numba import njit

from dx7data.engine import operators, polynomials, tables


def reference(index: int, attenuation: int) -> int:
    """engine-spec.md, Oscillator, in its own words: a quarter sine, mirrored, and two logarithmic tables."""
    quarter = 1023 - (index & 1023) if index & 1024 else index & 1023
    sinlog = math.floor(-1024 * math.log2(np.float32(math.sin((quarter + 0.5) / 1024 * math.pi / 2))) + 0.5)
    e = sinlog + attenuation
    sinexp = math.floor(np.float32((2 ** ((1023 - (e & 1023)) / 1024) - 1) * 4096) + 0.5)
    r = (4096 + sinexp) >> (e >> 10)
    return -r - 1 if index & 2048 else r


@njit
def look_up_all(gain, out):
    for index in range(4096):
        out[index] = operators.oscillate(np.int32(index), np.int32(gain), tables.SINE, tables.EXPONENTIAL)


@njit
def compute_all(gain, out):
    for index in range(4096):
        out[index] = polynomials.oscillate(np.int32(index), np.int32(gain))


@pytest.mark.parametrize("oscillate_all", [look_up_all, compute_all])
def test_all_phases_and_gains(oscillate_all):
    """Every phase with every gain that tremolo and velocity can make, against the formula: looked up and computed."""
    index = np.arange(4096)
    quarter = np.where(index & 1024, 1023 - (index & 1023), index & 1023)
    sinlog = np.floor(-1024 * np.log2(np.float32(np.sin((quarter + 0.5) / 1024 * np.pi / 2))) + 0.5).astype(np.int64)
    sinexp = np.floor(np.float32((2 ** (np.arange(1024) / 1024) - 1) * 4096) + 0.5).astype(np.int64)
    ours = np.empty(4096, np.int32)
    for gain in range(17500):
        oscillate_all(gain, ours)
        magnitude = (4096 + sinexp[1023 - (sinlog + gain & 1023)]) >> (sinlog + gain >> 10)
        assert (ours == np.where(index & 2048, -magnitude - 1, magnitude)).all(), gain


@njit
def compute_one(index):
    return polynomials.oscillate(np.int32(index), np.int32(100))


def test_phase_wraps():
    """A phase beyond a period, and one below zero, sound like the phase within it."""
    for index in (-1, -4096, 4096, 2**30, -(2**31)):
        looked_up = operators.oscillate(np.int32(index), np.int32(100), tables.SINE, tables.EXPONENTIAL)
        assert looked_up == compute_one(index) == reference(index & 4095, 100)


def test_no_table_entry_lies_near_a_rounding_edge():
    """The floats of tables.py and voice.py decide integers; a last bit that differs between machines must not."""
    quarter = (np.arange(1024) + 0.5) / 1024 * math.pi / 2
    exact = -1024 * np.log2(np.sin(quarter).astype(np.float32).astype(np.float64)) + 0.5
    assert np.abs(exact - np.rint(exact)).min() > 1e-6
    exact = (2 ** (np.arange(1024) / 1024) - 1) * 4096 + 0.5
    assert np.abs(exact[1:] - np.rint(exact[1:])).min() > 1e-5
    fine = 24204406.323123 * np.log(1 + 0.01 * np.arange(1, 100)) + 0.5
    assert np.abs(fine - np.rint(fine)).min() > 1e-4
    steps = 2.0**44 / np.array([[44100], [48000]]) * 2 ** (np.arange(1, 1025) / 1024) + 0.5
    assert np.abs(steps - np.rint(steps)).min() > 1e-6


def test_tremolo_never_lands_near_a_rounding_edge():
    """The inner engine's one float, exp in double, over every amount of tremolo; a good exp errs by less than a step."""
    amounts = np.arange(0, (1 << 24) + 1, dtype=np.int64)
    exact = np.exp(amounts / 262144 * 0.07 + 12.2)
    assert np.abs(exact - np.rint(exact)).min() > 2 * np.spacing(exact.max())
