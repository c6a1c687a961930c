"""The decimator against its definition, its specification in the frequency domain, and its alignment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data.audio.resample import ENGINE_RATE, HALF_TAPS, REACH, SHIFT, decimate, engine_rate

RATES = sorted(ENGINE_RATE)
FILTERED = [rate for rate in RATES if ENGINE_RATE[rate] != rate]


def whole(factor):
    """All the taps of one filter, int64."""
    half = HALF_TAPS[factor]
    return np.array(half + half[-2::-1], np.int64)


def defined(row, factor):
    """The definition: convolve at the engine rate, take off the delay, keep every `factor`th, round half up."""
    if row.size == 0:
        return row
    taps = whole(factor)
    sums = np.convolve(row.astype(np.int64), taps)[taps.size // 2 :][: row.size : factor]
    return ((sums + (1 << (SHIFT - 1))) >> SHIFT).astype(np.int32)


@settings(max_examples=150, deadline=None)
@given(
    rate=st.sampled_from(FILTERED),
    rows=st.integers(0, 3),
    length=st.one_of(st.integers(0, 120), st.integers(0, 4000)),  # shorter than the filter; across tiles of 256 outputs
    bits=st.sampled_from([1, 13, 23, 30]),
    extremes=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_definition(rate, rows, length, bits, extremes, seed):
    rng = np.random.default_rng(seed)
    native = rng.integers(-(2**bits), 2**bits, (rows, length), np.int32, endpoint=True)
    if extremes:
        native = np.where(native < 0, -(2**bits), 2**bits).astype(np.int32)
    factor = engine_rate(rate) // rate
    out = decimate(native, rate)
    assert out.dtype == np.int32
    assert out.shape == (rows, -(-length // factor))
    for row, got in zip(native, out, strict=True):
        np.testing.assert_array_equal(got, defined(row, factor))


@pytest.mark.parametrize("factor", HALF_TAPS)
def test_worst_input_is_exact_in_python_integers(factor):
    taps = whole(factor).tolist()
    worst = [2**30 if tap > 0 else -(2**30) for tap in taps]  # every product positive: the largest sum there is
    late = -(len(taps) // 2) % factor  # zeros in front, so that some output is centred on the middle of it
    native = np.array([[0] * late + worst], np.int32)
    expected = (sum(a * b for a, b in zip(taps, worst, strict=True)) + 2**16) >> 17
    rate = 48000 // factor
    assert decimate(native, rate)[0, (late + len(taps) // 2) // factor] == expected < 2**31


@pytest.mark.parametrize("factor", HALF_TAPS)
def test_specification(factor):
    taps = whole(factor)
    assert taps.sum() == 2**17
    assert np.abs(taps).max() < 2**17  # 18 bits, signed
    assert taps.size == {2: 35, 3: 53, 4: 69, 6: 105}[factor] <= REACH * factor
    # Peak output per peak input, in units of 2^17: below 2, so an input within 2^30 stays inside int32.
    assert np.abs(taps).sum() < 1.75 * 2**17
    response = np.abs(np.fft.rfft(taps / 2**17, 1 << 18))
    frequency = np.arange(response.size) / (1 << 18) * factor  # in units of the sample rate
    with np.errstate(divide="ignore"):
        decibels = 20 * np.log10(response)
    assert np.abs(decibels[frequency <= 0.4]).max() < 0.1
    assert decibels[frequency >= 0.6].max() < -80


@pytest.mark.parametrize("rate", RATES)
def test_a_sine_stays_in_phase(rate):
    native_rate = engine_rate(rate)
    factor = native_rate // rate
    amplitude, hertz = 2.0**23, 0.01 * rate
    native = np.rint(amplitude * np.sin(2 * np.pi * hertz * np.arange(native_rate // 4) / native_rate)).astype(np.int32)
    out = decimate(native[None], rate)[0].astype(float)
    inner = slice(REACH, -REACH)  # away from the ends, where half of the filter sees zeros
    source = native[::factor][inner].astype(float)
    carrier = np.exp(2j * np.pi * hertz * np.arange(out.size)[inner] / rate)
    periods = slice(0, source.size // 100 * 100)  # whole ones
    gain = np.vdot(carrier[periods], out[inner][periods]) / np.vdot(carrier[periods], source[periods])
    assert abs(np.angle(gain)) < 1e-7
    assert abs(20 * np.log10(abs(gain))) < 0.1
    # Scaled by the pass band's own ripple, the two differ by their roundings alone: one half each.
    np.testing.assert_allclose(out[inner], source * abs(gain), atol=1.6)


def test_impulse_lands_on_its_own_sample():
    native = np.zeros((1, 601), np.int32)
    native[0, 300] = 2**17  # a multiple of every factor
    for rate in FILTERED:
        factor = engine_rate(rate) // rate
        assert decimate(native, rate)[0].argmax() == 300 // factor
        assert decimate(native, rate)[0, 300 // factor] == HALF_TAPS[factor][-1]


@pytest.mark.parametrize("rate", [44100, 48000])
def test_factor_one_is_a_copy(rate):
    native = np.random.default_rng(0).integers(-(2**31), 2**31 - 1, (2, 77), np.int32)
    out = decimate(native, rate)
    np.testing.assert_array_equal(out, native)
    assert not np.shares_memory(out, native)


def test_leading_axes_and_strides():
    native = np.random.default_rng(1).integers(-(2**15), 2**15, (2, 3, 1000), np.int32)
    out = decimate(native, 16000)
    assert out.shape == (2, 3, 334)
    np.testing.assert_array_equal(out[1, 2], decimate(native[1, 2], 16000))
    np.testing.assert_array_equal(decimate(native[..., ::2], 16000)[1, 2], defined(native[1, 2, ::2], 3))


@pytest.mark.parametrize("rate", RATES)
def test_every_legal_rate(rate):
    assert engine_rate(rate) % rate == 0
    ones = np.full((1, 2000), 1000, np.int32)
    assert decimate(ones, rate)[0, ones.shape[1] * rate // engine_rate(rate) // 2] == 1000  # unity at DC


@pytest.mark.parametrize("rate", [0, 32000, 44101, -8000, None])
def test_illegal_rate_names_the_legal_ones(rate):
    sentence = f"one of 8000, 11025, 12000, 16000, 22050, 24000, 44100, 48000 Hz, not {rate}"
    with pytest.raises(ValueError, match=sentence):
        engine_rate(rate)
    with pytest.raises(ValueError, match=sentence):
        decimate(np.zeros((1, 1), np.int32), rate)


@pytest.mark.parametrize("native", [np.zeros((1, 5)), np.zeros((1, 5), np.int64), np.int32(3)])
def test_only_int32_rows(native):
    with pytest.raises(TypeError, match="native must be int32"):
        decimate(native, 8000)
