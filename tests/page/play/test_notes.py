"""What the keyboard hears, piece by piece, is what `dx7data wav` writes."""

import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data import cli
from dx7data.engine.tables import BLOCK
from dx7data.page.play.notes import RATE, Note, render_stretch, render_take
from dx7data.patches import bank, patch, sysex

PATCHES = bank.load_example().patches
SECONDS = 1.5


def write_wav(folder, stored, key, velocity, held, seconds=SECONDS):
    """The samples that the command writes for this note, int16."""
    (folder / "one.syx").write_bytes(sysex.write_voice(stored))
    options = ["--note", key, "--velocity", velocity, "--held", held, "--seconds", seconds, "--gain", "native"]
    command = ["wav", "--patch", folder / "one.syx", "--out", folder / "one.wav", *options]
    assert cli.main([str(each) for each in command]) == 0
    with wave.open(str(folder / "one.wav")) as file:
        assert file.getframerate() == RATE
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@settings(max_examples=25, deadline=None)
@given(
    which=st.integers(0, len(PATCHES) - 1),
    key=st.integers(0, 127),
    velocity=st.integers(1, 127),
    release=st.integers(8, 700),  # the command takes 0.01 s and more
    pieces=st.lists(st.integers(1, 30000), max_size=4),
)
def test_pieces_join_to_the_wav(tmp_path_factory, which, key, velocity, release, pieces):
    """As the page asks: pieces of the held note, then, from any block on, the note with its release."""
    folder = tmp_path_factory.mktemp("wav")
    expected = write_wav(folder, PATCHES[which], key, velocity, release * BLOCK / RATE)
    heard, first = [], 0
    for length in pieces:
        stop = min(first + length, release * BLOCK)
        heard.append(render_stretch(PATCHES[which], key, velocity, None, first, stop))
        first = stop
    heard.append(render_stretch(PATCHES[which], key, velocity, release, first, expected.size))
    assert (np.concatenate(heard) == expected).all()


def test_every_block_of_a_minute_is_its_own():
    """Seconds are of single precision on their way to the engine: no block is rounded to its neighbour."""
    from dx7data.engine.voice import voices

    blocks = np.arange(60 * RATE // BLOCK)
    assert (voices(patch.INIT, 60, 100, blocks * BLOCK / RATE, RATE).release == blocks).all()


@pytest.mark.parametrize("sample_rate", [8000, 22050, 48000])
def test_a_take_is_its_notes(sample_rate):
    """Both clips begin with the first key and hold what was played; a note alone is what the keyboard hears."""
    stored = PATCHES[4]
    notes = [Note(60, 100, 0, 500), Note(64, 80, 250, 600)]
    source, target = render_take(stored, notes, sample_rate)
    assert source.dtype == target.dtype == np.int16
    assert source.size == target.size == round((600 * BLOCK / RATE + 1) * sample_rate)
    assert source[: sample_rate // 8].any()
    assert not (source == target).all()
    silent_until = int(0.95 * 250 * BLOCK / RATE * sample_rate)
    first = render_take(stored, notes[:1], sample_rate)
    for clip, alone in zip((source, target), first, strict=True):
        assert (clip[:silent_until] == alone[:silent_until]).all()
    if sample_rate == RATE:
        assert (first[1] == render_stretch(stored, 60, 100, 500, 0, first[1].size)).all()
