"""Phrases and the entries of the engine: notes that add up, LFOs that are shared, arguments that are refused."""

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data import cache
from dx7data.engine.render import Curves, mix, render
from dx7data.engine.voice import voices
from dx7data.patches import bank, scales
from dx7data.patches.patch import SINE

EXAMPLE = bank.load(["example"]).patches
LFO_SYNC, LFO_WAVE, LFO_DEPTHS = 141, 142, slice(139, 141)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 5))
def test_notes_add_up(seed, count, rows):
    """A row is the sum of its notes, each as the oracle plays it alone, moved to its block; keys may repeat."""
    rng = np.random.default_rng(seed)
    patches = EXAMPLE[rng.integers(0, 32, count)].copy()
    patches[:, LFO_DEPTHS] = 0
    notes, velocities, held = rng.integers(24, 97, count), rng.integers(1, 128, count), rng.uniform(0, 0.6, count)
    start, row = rng.integers(0, 400, count), rng.integers(0, rows, count)
    ours = mix(voices(patches, notes, velocities, held, 48000, start), row, row, rows, 0.6)
    expected = np.zeros((rows, 28800 + 400 * 64), np.int64)
    for i in range(count):
        alone = oracle.render(patches[i], notes[i], velocities[i], held[i], 0.6, 48000)
        expected[row[i], start[i] * 64 : start[i] * 64 + alone.size] += alone
    assert (ours == expected[:, :28800]).all()


def vibrato_patch(sync: int, delay: int = 0) -> np.ndarray:
    one = SINE.copy()
    one[137:143] = 40, delay, 60, 0, sync, 0
    one[143] = 7
    return one


def test_key_sync_restarts_the_lfo():
    """With key sync a later note of a part sounds as if it were alone; without, it joins an LFO that has moved on."""
    start = np.array([0, 300])
    for sync, delay, same in ((1, 0, True), (1, 70, True), (0, 0, False)):
        one = vibrato_patch(sync, delay)
        both = voices(one, (40, 60), 100, (0.0, 0.5), 48000, start)  # the first is over long before the second
        ours = mix(both, (0, 0), (0, 0), 1, 1.5)[0, 300 * 64 :]
        alone = oracle.render(one, 60, 100, 0.5, 1.5, 48000)[: ours.size]
        assert (ours == alone).all() == same


def test_a_note_on_restarts_the_fade_in_for_all_notes_of_its_part():
    """One LFO for a part: a second note takes the vibrato away from the first; in a part of its own it does not."""
    one = vibrato_patch(0, 60)
    both = voices(one, (60, 60), 100, (2.0, 0.0), 48000, np.array([0, 600]))
    shared, apart = (mix(both, (0, 0), parts, 1, 2.0)[0] for parts in ((0, 0), (0, 1)))
    assert (shared[: 600 * 64] == apart[: 600 * 64]).all()
    assert (shared[700 * 64 :] != apart[700 * 64 :]).any()


def test_threads_do_not_matter():
    import numba

    rng = np.random.default_rng(3)
    some = voices(EXAMPLE[rng.integers(0, 32, 300)], rng.integers(24, 97, 300), 100, 0.2, 48000, rng.integers(0, 90, 300))
    row = rng.integers(0, 40, 300)
    results = []
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(threads)
        results.append(mix(some, row, row, 40, 0.5))
    assert all((result == results[0]).all() for result in results)


def test_long_tails_end_with_the_clip():
    some = voices(EXAMPLE, 60, 100, 5.0, 44100, start=np.full(32, 600))
    whole = mix(some, np.arange(32), np.arange(32), 32, 1.0)
    assert whole.shape == (32, 44100)
    assert not whole[:, : 600 * 64].any()


def test_notes_after_the_end_are_not_heard():
    some = voices(SINE, 60, 100, 1.0, 48000, start=np.array([10, 749, 750, 751, 10**6]))
    each = mix(some, np.arange(5), np.arange(5), 5, 1.0)
    assert list(each.any(axis=1)) == [True, True, False, False, False]  # the sine's first sample in block 749 is heard


def test_out_is_filled_and_returned():
    some = voices(EXAMPLE[:3], 60, 100, 0.2, 48000)
    out = np.full((3, 24000), 7, np.int32)
    assert render(some, 0.5, out=out) is out
    assert (out == render(some, 0.5)).all()
    for wrong in (np.zeros((3, 23999), np.int32), np.zeros((3, 24000)), np.zeros((24000, 3), np.int32).T):
        with pytest.raises(ValueError, match="out must be"):
            render(some, 0.5, out=wrong)


def test_no_voices_and_no_time():
    assert render(voices(np.zeros((0, 155), np.uint8), 60, 100, 1.0, 48000), 1.0).shape == (0, 48000)
    assert render(voices(SINE, 60, 100, 1.0, 48000), 0.0).shape == (1, 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"patches": np.zeros((1, 155))}, "uint8"),
        ({"patches": np.zeros((1, 128), np.uint8)}, "155"),
        ({"notes": 128}, "notes must be whole numbers from 0 to 127"),
        ({"patches": np.full((1, 155), 255, np.uint8)}, "op6_eg_rate_1 is 255, out of range"),
        ({"notes": 60.5}, "notes must be whole numbers from 0 to 127"),
        ({"notes": [60, 61], "held": [1.0, 1.0, 1.0]}, "each must have one value or as many as the others"),
        ({"velocities": -1}, "velocities must be whole numbers from 0 to 127"),
        ({"held": -0.1}, "held"),
        ({"held": float("nan")}, "held"),
        ({"start": -1}, "start"),
        ({"rate": 16384}, "above 16,384"),
    ],
)
def test_refused_voices(change, sentence):
    arguments = {"patches": SINE, "notes": 60, "velocities": 100, "held": 1.0, "rate": 48000} | change
    with pytest.raises(ValueError, match=sentence):
        voices(**arguments)


@pytest.mark.parametrize(
    ("seconds", "device", "word"), [(-1.0, "cpu", "seconds"), (float("inf"), "cpu", "seconds"), (1.0, "abacus", "device")]
)
def test_refused_renders(seconds, device, word):
    with pytest.raises(ValueError, match=word):
        render(voices(SINE, 60, 100, 1.0, 48000), seconds, device)


@pytest.mark.parametrize("named", [True, False])
def test_the_cache_of_a_user_without_a_home(tmp_path, monkeypatch, named):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache.Path, "home", home)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "named") if named else "")
    found = cache.folder.__wrapped__()
    assert found.parent == tmp_path / "named" if named else found is None


def test_a_change_in_any_source_changes_the_cache(tmp_path):
    """A stale compile cache must never change the sound: its folder is named after all sources of compiled code."""
    copies = [tmp_path / source.name for source in cache.SOURCES]
    for copy, source in zip(copies, cache.SOURCES, strict=True):
        copy.write_bytes(source.read_bytes())
    digests = {cache.compute_digest(copies)}
    assert digests == {cache.compute_digest()}
    for i, copy in enumerate(copies):
        copy.write_bytes(copy.read_bytes() + b"\n")
        digests.add(cache.compute_digest(copies))
        assert len(digests) == i + 2, f"a change in {copy.name} went unnoticed"
    names = {source.name for source in cache.SOURCES}
    assert {
        "tables.py",
        "envelope.py",
        "lfo.py",
        "pitch.py",
        "algorithms.py",
        "operators.py",
        "cpu.py",
        "resample.py",
    } <= names


# --- Controllers: what the oracle can be made to play with its own means ---


def with_curves(one, bend=0, wheel=0, note=60):
    """A second of a held note under constant controllers."""
    constant = [np.full((1, 750), value, np.int32) for value in (bend, wheel)]
    curves = Curves(np.zeros(1, np.int64), *constant)
    return mix(voices(one, note, 100, 0.5, 48000), [0], [0], 1, 1.0, curves=curves)[0]


@pytest.mark.parametrize("level", [0, 30, 49, 51, 70, 99])
def test_a_constant_bend_is_a_flat_pitch_envelope(level):
    """Four equal pitch-EG levels move the oracle's pitch as a bend of the same height moves ours; fixed operators stay."""
    for one in EXAMPLE:
        shifted, plain = one.copy(), one.copy()
        shifted[126:130], shifted[130:134] = 99, level
        plain[126:130], plain[130:134] = 99, 50
        bend = int(scales.PITCH_EG_LEVEL[level]) << 19
        assert (with_curves(plain, bend) == oracle.render(shifted, 60, 100, 0.5, 1.0, 48000)).all()


@pytest.mark.parametrize("wave", range(6))
@pytest.mark.parametrize("wheel", [5, 50, 125])
def test_the_wheel_is_pitch_modulation_without_delay(wave, wheel):
    """A wheel of w does what a pitch-mod depth of 2 w of 255 does; however long the patch's delay."""
    depth = next(depth for depth in range(100) if depth * 165 >> 6 == 2 * wheel)
    shaken = EXAMPLE[0].copy()
    shaken[137:144] = 35, 0, depth, 0, 1, wave, 5
    still = shaken.copy()
    still[[138, 139]] = 0, 0
    expected = oracle.render(shaken, 60, 100, 0.5, 1.0, 48000)
    assert (with_curves(still, wheel=wheel) == expected).all()
    still[138] = 99
    assert (with_curves(still, wheel=wheel) == expected).all()


def test_wheel_and_depth_do_not_add_up():
    one = vibrato_patch(sync=1)
    alone = with_curves(one)
    assert (with_curves(one, wheel=1) == alone).all()
    assert (with_curves(one, wheel=125) != alone).any()
    one[143] = 0  # no sensitivity
    assert (with_curves(one, wheel=125) == with_curves(one)).all()


def test_curves_move_their_own_rows_at_their_own_time():
    """A bend of an octave from block 300 on; the row without a curve stays as it is."""
    bend = np.zeros((1, 750), np.int32)
    bend[0, 300:] = 1 << 24
    both = voices(np.stack([SINE, SINE]), 60, 100, 2.0, 48000)
    curves = Curves(np.array([-1, 0]), bend, np.zeros((1, 750), np.int32))
    still, bent = mix(both, (0, 1), (0, 1), 2, 1.0, curves=curves)
    assert (still == oracle.render(SINE, 60, 100, 2.0, 1.0, 48000)).all()
    assert (bent[: 300 * 64] == still[: 300 * 64]).all()
    spectrum = np.abs(np.fft.rfft(bent[-24000:] * np.hanning(24000)))
    assert abs(spectrum.argmax() * 2 - 523.25) <= 2
