"""The compiled reader against one in plain Python, note for note, on a thousand random files."""

from collections import Counter

import plain_midi
import pytest
from midi_files import make_file
from performances import read

from dx7data.phrases import corpus
from dx7data.phrases.filters import NO_FILTERS, Filters
from dx7data.phrases.report import MusicReport
from dx7data.phrases.selection import Wanted

FILES = 1000
STRICT = Filters(
    notes=(2, 30), polyphony=(1, 3), pitch_range=(41, 88), velocity=(2, 127), different_notes=2, filled=0.3
)  # each refuses some


def try_to_read(reader, data):
    """What it says, or what it found."""
    try:
        found = reader(data)
    except ValueError as error:
        return str(error)
    rows = [
        (each.track, each.port, each.channel, list(map(tuple, each.notes)), list(map(tuple, each.events)))
        for each in found.performances
    ]
    return rows, found.zero_length, found.never_ending, found.warnings


def test_every_note_event_warning_and_refusal_is_the_same():
    refused = warned = 0
    for seed in range(FILES):
        data = make_file(seed)
        found = try_to_read(read, data)
        assert found == try_to_read(plain_midi.read, data), f"make_file({seed})"
        refused += isinstance(found, str)
        warned += not isinstance(found, str) and bool(found[3])
    assert FILES / 20 < refused < FILES / 2
    assert warned > FILES / 10


@pytest.mark.parametrize(("beats", "filters"), [(None, NO_FILTERS), (3, NO_FILTERS), (4, STRICT)])
def test_every_phrase_is_the_same(tmp_path, beats, filters):
    expected, left_out = {}, Counter()
    for seed in range(FILES // 4):
        data = make_file(seed)
        (tmp_path / f"{seed:04d}.mid").write_bytes(data)
        try:
            phrases, refused = plain_midi.cut(data, f"{seed:04d}.mid", 1500, beats, filters)
        except ValueError:
            continue
        left_out += refused
        for phrase in phrases:
            expected.setdefault(phrase.id, phrase)
    report = MusicReport()
    found = corpus.collect(tmp_path, beats, None, Wanted(1.5, filters), report)
    assert found.ids == sorted(expected)
    assert list(found) == [expected[key] for key in sorted(expected)]
    assert [phrase.id for phrase in found] == found.ids
    assert report.left_out == left_out
    assert report.cut == sum(phrase.cut for phrase in expected.values())
    assert len(left_out) == (7 if filters == STRICT else min(len(left_out), 1))
