"""Gain and volume, against the rule in Python's own integers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data.audio import gain


def expected(native, factor_of_gain, volume, decimation):
    """(native * volume * gain + 2^29) >> 30, the volume linear between block boundaries, cut to 16 bits."""
    out = []
    for i, x in enumerate(native.tolist()):
        block, inside = divmod(i * decimation, 64)
        level = volume[block] + ((volume[block + 1] - volume[block]) * inside >> 6)
        out.append(min(max((x * level * factor_of_gain + (1 << 29)) >> 30, -32768), 32767))
    return np.array(out)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 4, 6]), st.sampled_from(["native", "-7.5", "60.0"]))
def test_the_rule(seed, decimation, policy):
    rng = np.random.default_rng(seed)
    native = rng.integers(-(2**21), 2**21, (3, 200)) >> rng.integers(0, 16, (3, 1))
    volume = rng.integers(0, gain.FULL + 1, (3, 200 * decimation // 64 + 2)).astype(np.int32)
    clips, gains, peaks, _ = gain.apply(native.astype(np.int32), policy, volume, decimation)
    factor = 65536 if policy == "native" else int(10 ** (float(policy) / 20) * 65536 + 0.5)
    assert set(gains.tolist()) == {factor}
    for row in range(3):
        assert (clips[row] == expected(native[row], factor, volume[row].tolist(), decimation)).all()
        assert peaks[row] == np.abs(clips[row].astype(int)).max()


def test_no_volume_is_full_volume():
    native = np.random.default_rng(0).integers(-40000, 40000, (4, 500)).astype(np.int32)
    for policy in ("native", "peak", "-3"):
        full = gain.apply(native, policy, np.full((4, 9), gain.FULL, np.int32))
        for ours, theirs in zip(gain.apply(native, policy), full, strict=True):
            assert (ours == theirs).all()
    assert (gain.apply(native, "native")[0] == np.clip(native, -32768, 32767)).all()


def test_peak_comes_after_volume():
    native = np.full((1, 640), 1000, np.int32)
    volume = np.full((1, 11), gain.FULL // 4, np.int32)
    clips, _, peaks, cut = gain.apply(native, "peak", volume)
    assert abs(int(clips.max()) - 29204) <= 1
    assert peaks[0] == clips.max()
    assert cut[0] == 0
