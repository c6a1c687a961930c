"""Samples: what is played, and what their json says of it."""

import base64
import io
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from dx7data import cli
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import voices
from dx7data.patches import patch
from dx7data.phrases.phrase import Note, Phrase
from dx7data.plan import meta, score
from dx7data.plan.plan import Plan
from dx7data.plan.sample import Sample
from dx7data.plan.spec import Choice

NOTES = st.lists(
    st.builds(Note, st.integers(0, 60_000), st.integers(1, 60_000), st.integers(0, 127), st.integers(1, 127)),
    min_size=1,
    max_size=20,
)


def test_a_sample_that_a_plan_has_not_is_refused(tmp_path):
    assert cli.main(["plan", "--patches", "example", "--samples", "20", "--seconds", "0.1", "--out", str(tmp_path)]) == 0
    plan = Plan.load(tmp_path)
    assert plan["train", 15].key == "train_00000015"
    for place, kind, sentence in (
        (("train", 16), IndexError, "there is no sample 16 in train: it has 16 samples, from 0 on"),
        (("train", -1), IndexError, "there is no sample -1 in train"),
        (("validation", 0), KeyError, "there is no split 'validation': there are train, val, test"),
        (0, KeyError, "a sample has a split and a number"),
    ):
        with pytest.raises(kind, match=sentence):
            plan[place]


@pytest.mark.parametrize(("sample_rate", "rate"), [(8000, 48000), (48000, 48000), (44100, 44100), (11025, 44100)])
@given(NOTES)
@example([Note(1000, 1, 60, 100)])
@example([Note(3, 5, 60, 100), Note(1001, 4, 60, 100)])
def test_a_key_goes_up_at_the_block_that_is_nearest_to_the_end_of_its_note(sample_rate, rate, notes):
    """Not later by the rounding of its beginning and another one of its length; and the json says what is played."""
    phrase = Phrase(tuple(sorted(notes)))
    spec = SimpleNamespace(sample_rate=sample_rate, seconds=1.0, samples=sample_rate, gain="native")
    plan = SimpleNamespace(spec=spec, patches=SimpleNamespace(stored=patch.SINE[None]))
    played = score.make_score(plan, [Choice(phrase, 0, (0,), None)])["voices"]
    start, release = (each[: len(notes)].astype(np.int64) for each in (played.start, played.release))
    assert (played.start[len(notes) :] == start).all()
    assert (played.release[len(notes) :] == release).all()

    begins, ends = (np.array([time(note) for note in phrase.notes]) * rate / 1000 for time in (begin_of, end_of))
    assert (np.abs(start * BLOCK - begins) <= BLOCK / 2).all()
    assert (release >= 1).all()
    short = release == 1  # a note has one block at least
    assert (np.abs((start + release) * BLOCK - ends)[~short] <= BLOCK / 2).all()
    assert ((ends - begins)[short] <= 2 * BLOCK).all()

    told = meta._describe_notes(phrase, rate)["notes"]
    assert [round(note["start"] * rate / BLOCK) for note in told] == start.tolist()
    assert [note["held"] for note in told] == [round(blocks * BLOCK / rate, 6) for blocks in release.tolist()]
    again = voices(patch.SINE, 60, 100, np.array([note["held"] for note in told]), rate)
    assert (again.release == release).all(), "the engine does not play what the json says"


def begin_of(note):
    return note.start


def end_of(note):
    return note.start + note.held


def test_a_notebook_shows_players():
    """Three, labelled, whose audio is the sample's own."""
    meta = {"sample_rate": 8000, "layers": [{"name": "<b> & co"}]}
    rng = np.random.default_rng(1)
    source, target, prefix = (rng.integers(-32768, 32768, size).astype(np.int16) for size in (4000, 4000, 133))
    html = Sample("train_00000007", source, target, {"bytes": prefix}, np.zeros((1, 155), np.uint8), meta)._repr_html_()
    tree = ElementTree.fromstring(html.replace("<audio controls ", '<audio controls="" '))
    assert [caption.text for caption in tree.iter("figcaption")] == [
        "source, 0.5 s",
        "prefix bytes, 0.0166 s",
        "target, 0.5 s",
    ]
    players = list(tree.iter("audio"))
    assert [player.get("aria-label") for player in players] == ["source", "prefix bytes", "target"]
    assert len(list(tree.iter("svg"))) == 3
    for player, clip in zip(players, (source, prefix, target), strict=True):
        kind, _, data = player.get("src").partition(";base64,")
        assert kind == "data:audio/wav"
        audio, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="int16")
        assert rate == 8000
        assert (audio == clip).all()
    assert "".join(tree.find("p").itertext()) == "train_00000007 <b> & co"
