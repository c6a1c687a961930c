"""hidden.py and variation.py: what the target shows and neither source nor prefix tells is found, and nothing else."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from dx7data import cli
from dx7data.audio import mulaw
from dx7data.dataset import card
from dx7data.files import add_hash, check_hash
from dx7data.patches import bank, patch, sysex
from dx7data.phrases.columns import Phrases
from dx7data.phrases.phrase import Event, Note, Phrase
from dx7data.plan import builder, hidden
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Spec
from dx7data.plan.variation import Pool, shorten


def changed(stored=patch.INIT, **fields):
    """The patch with some fields, such as op1_frequency_coarse, set."""
    stored = stored.copy()
    for name, value in fields.items():
        stored[patch.FIELDS.index(name)] = value
    return stored


FIXED = changed(op1_oscillator_mode=1, op1_frequency_coarse=2, op1_frequency_fine=60)  # 398 Hz, whatever the key
SENSITIVE = changed(op1_key_velocity_sensitivity=7)


@pytest.fixture
def plan(tmp_path):
    """Makes a plan of hand-made patches."""

    def make(patches, phrases=None, source=patch.SINE, samples=32, **options):
        path = tmp_path / "bank.syx"
        path.write_bytes(b"".join(sysex.write_voice(each) for each in patches))
        source = source if isinstance(source, str) else patch.pack(source).tobytes().hex()
        asked = {"seconds": 0.5, "sample_rate": 8000, "seed": 0, "split": (1, 0, 0), "gain": "native", "keep_silent": False}
        spec = Spec(**asked | {"source": source, "shard_bytes": 1 << 20} | options)
        table = None if phrases is None else Phrases.of(sorted(phrases, key=lambda phrase: phrase.id))
        return builder.make_plan(bank.load([str(path)]), spec, samples, phrases=table)

    return make


def test_of_a_dense_phrase_the_beginning_is_enough():
    """Else what is hidden in it would take minutes to measure: each note is varied and rendered dozens of times."""
    chords = Phrase(tuple(Note(i // 4, 2000, 36 + i % 60, 64) for i in range(1000)))
    assert shorten(chords, 2.0).notes == chords.notes[:8]
    assert shorten(Phrase(chords.notes[:8]), 2.0).notes == chords.notes[:8]
    runs = Phrase(tuple(Note(10 * i, 5, 36 + i % 60, 64) for i in range(300)))  # 250 ms more each, for their releases
    assert shorten(runs, 2.0).notes == runs.notes[:62]
    assert shorten(Phrase((Note(3000, 100, 60, 64),)), 2.0).notes == (Note(3000, 100, 60, 64),)


def single_notes(count=40, events=lambda i: ()):
    """Phrases of one note, all of them different."""
    rng = np.random.default_rng(0)
    keys, velocities = rng.integers(40, 90, count).tolist(), rng.integers(10, 127, count).tolist()
    return [
        Phrase((Note(50, 200, key, velocity),), tuple(events(i)))
        for i, (key, velocity) in enumerate(zip(keys, velocities, strict=True))
    ]


def counts(made):
    return {thing: each["hidden"] for thing, each in made.hidden["things"].items()}


# --- What is hidden, by theory ---


def test_velocity_that_the_source_does_not_follow(plan):
    made = plan([SENSITIVE], source=patch.SINE_FLAT)
    assert counts(made) | {"velocity": 0} == {"velocity": 0, "key": 0, "start": 0, "length": 0}
    velocity = made.hidden["things"]["velocity"]
    assert velocity["hidden"] == velocity["changed"] >= 30
    assert velocity["samples"] == 32
    assert 0 < velocity["best_snr"] < 12
    assert hidden.list_warnings(made) == [
        "Warning: the target changes with velocity, but the source, PURE SINE, does not: use --source sine"
    ]


def test_velocity_that_the_target_does_not_follow(plan):
    velocity = plan([patch.INIT], source=patch.SINE_FLAT).hidden["things"]["velocity"]
    assert velocity == {"samples": 32, "changed": 0, "hidden": 0, "best_snr": None}


def test_nothing_is_hidden_by_the_default_source(plan):
    made = plan([SENSITIVE])
    assert made.hidden["things"]["velocity"]["changed"] >= 30
    assert not any(counts(made).values())
    assert hidden.list_warnings(made) == []


def test_gain_peak_levels_single_notes(plan):
    velocity_of_timbre = changed(algorithm=0, op2_output_level=85, op2_key_velocity_sensitivity=7)
    assert counts(plan([velocity_of_timbre], single_notes()))["velocity"] == 0
    made = plan([velocity_of_timbre], single_notes(), gain="peak")
    assert made.hidden["things"]["velocity"]["changed"] >= 30
    assert made.hidden["things"]["velocity"]["hidden"] >= 28
    assert [warning for warning in hidden.list_warnings(made) if "velocity" in warning and "--gain native" in warning]


def test_gain_peak_levels_phrases_of_one_velocity(plan):
    """Between notes of one clip levels still differ, so that it takes all of them to see it."""
    timbre = changed(algorithm=0, op2_output_level=85, op2_key_velocity_sensitivity=7)
    phrases = [
        Phrase(tuple(Note(80 * i, 60, 50 + 5 * i + number % 5, 20 + 2 * number) for i in range(4))) for number in range(40)
    ]
    made = plan([timbre], phrases, gain="peak")
    assert 12 <= counts(made)["velocity"] <= 16  # half of the samples
    assert counts(plan([timbre], phrases))["velocity"] == 0


def test_a_random_source_that_does_not_follow_velocity(plan):
    """The source is always the other patch."""
    made = plan([SENSITIVE, patch.INIT], source="random", prefixes=("bytes",))
    velocity = made.hidden["things"]["velocity"]
    assert velocity["hidden"] == velocity["changed"] in (15, 16)
    assert velocity["best_snr"] is not None
    assert counts(made) | {"velocity": 0} == dict.fromkeys(("velocity", "key", "start", "length", "patch"), 0)
    assert [warning for warning in hidden.list_warnings(made) if "--source sine" in warning]


def test_a_source_of_fixed_frequency_hides_the_key(plan):
    made = plan([patch.INIT], source=FIXED)
    assert counts(made)["key"] == made.hidden["things"]["key"]["changed"] >= 30
    assert made.hidden["things"]["key"]["best_snr"] < 10
    assert [warning for warning in hidden.list_warnings(made) if "key" in warning and "--source sine" in warning]


def test_a_target_of_fixed_frequency_has_no_key_to_hide(plan):
    key = plan([FIXED], source=FIXED).hidden["things"]["key"]
    assert (key["changed"], key["hidden"]) == (0, 0)


def test_several_patches_without_a_prefix(plan):
    octaves = [changed(op1_frequency_coarse=coarse) for coarse in (1, 2, 3, 4)]
    made = plan(octaves)
    assert counts(made)["patch"] == 32
    # At each moment the mean of four sines of other frequencies is what a model can give: a quarter of the energy, 1.2 dB;
    # of eight draws, the same patch comes up more than once.
    assert 1 < made.hidden["things"]["patch"]["best_snr"] < 2.5
    assert [warning for warning in hidden.list_warnings(made) if "patch" in warning and "--prefix bytes" in warning]
    for codec in ("bytes", "fsk", "reference"):
        assert counts(plan(octaves, samples=8, prefixes=(codec,)))["patch"] == 0


def test_patches_that_a_reference_does_not_tell_apart(plan):
    """They differ above the break point, C4, only, and the reference plays that key."""
    alike = [changed(op1_break_point=43, op1_right_depth=depth) for depth in (0, 99)]
    assert counts(plan(alike, single_notes(), prefixes=("reference",)))["patch"] > 8
    assert counts(plan(alike, single_notes(), prefixes=("bytes", "reference")))["patch"] == 0


def test_one_patch_cannot_be_hidden(plan):
    assert "patch" not in plan([patch.INIT]).hidden["things"]


def test_layers(plan):
    octaves = [changed(op1_frequency_coarse=coarse) for coarse in (1, 2, 3, 4)]
    found = plan(octaves, layers=(1, 2)).hidden["things"]
    assert found["layer 1"]["hidden"] == found["layer 1"]["samples"] == 32
    assert found["layer 2"]["hidden"] == found["layer 2"]["samples"] < 32
    told = counts(plan(octaves, layers=(1, 2), prefixes=("bytes",)))
    assert (told["layer 1"], told["layer 2"]) == (0, 0)


def test_controllers(plan):
    """Those that occur, and no others; a source that ignores the wheel hides it."""
    phrases = single_notes(events=lambda i: [Event(0, 2, 127 - i % 8 * 8), Event(0, 1, 3 * i)])
    made = plan([changed(pitch_mod_sensitivity=7, lfo_speed=35)], phrases)
    assert list(made.hidden["things"]) == ["velocity", "key", "start", "length", "wheel", "volume"]
    assert made.hidden["things"]["wheel"]["changed"] > 25
    assert counts(made)["wheel"] == counts(made)["volume"] == 0
    deaf = plan([changed(pitch_mod_sensitivity=7, lfo_speed=35)], phrases, source=changed(pitch_mod_sensitivity=0))
    assert deaf.hidden["things"]["wheel"]["hidden"] > 25


def test_no_false_alarm(plan):
    spec = replace(plan([patch.INIT], samples=1).spec, seconds=2.5, split=(0.8, 0.1, 0.1), prefixes=("bytes",))
    made = builder.make_plan(bank.load_example(), spec, 3200)
    assert not any(counts(made).values())
    assert hidden.list_warnings(made) == []
    assert hidden.describe(made.hidden) == ["not hidden in any of 32 samples: velocity, key, start, length, patch"]


# --- The figures ---


def test_best_snr_against_floats(plan, monkeypatch):
    rendered, render = [], hidden._render

    def spy(*arguments):
        for each in render(*arguments):
            rendered.append(each)
            yield each

    monkeypatch.setattr(hidden, "_render", spy)
    made = plan([SENSITIVE], source=patch.SINE_FLAT)
    limits = []
    for all_notes in (False, True):
        energy = missed = 0.0
        for sample in range(all_notes, 32, 2):  # of each itself, seven with other velocities, and three other things
            own = rendered[sample * 29 : sample * 29 + 8]
            targets = np.array([target for _, target in own], float)
            classes = [mulaw.encode(heard) for heard, _ in own]
            energy += (targets**2).sum()
            for mine, target in zip(classes, targets, strict=True):
                same = [(mine == other).all() for other in classes]
                missed += ((target - targets[same].mean(axis=0)) ** 2).sum()
        limits.append(10 * math.log10(energy / missed))
    assert len(rendered) == 32 * 29
    assert made.hidden["things"]["velocity"]["best_snr"] == pytest.approx(min(limits), abs=0.051)
    assert limits[1] < limits[0]  # all velocities hide more than one


def test_always_the_same(plan, monkeypatch):
    made = plan([SENSITIVE, patch.INIT], source=patch.SINE_FLAT, split=(0.5, 0.25, 0.25), samples=9)
    monkeypatch.setattr(hidden.sample, "batch_size", lambda plan: 1)
    assert hidden.measure(made) == made.hidden
    assert json.loads(json.dumps(made.hidden)) == made.hidden


def test_of_long_clips_the_beginning(plan, monkeypatch):
    monkeypatch.setattr(hidden, "_MAX_SECONDS", 0.5)
    made = plan([SENSITIVE], seconds=60.0, source=patch.SINE_FLAT)
    assert (made.hidden["seconds"], made.hidden["samples"]) == (0.5, 32)
    assert counts(made)["velocity"] > 28


@pytest.mark.parametrize(("seconds", "samples"), [(0.1, 32), (0.5, 20), (2.0, 8)])
def test_longer_clips_are_fewer(plan, monkeypatch, seconds, samples):
    monkeypatch.setattr(hidden, "_SECONDS", 10)
    assert plan([SENSITIVE], seconds=seconds).hidden["samples"] == samples


def test_a_data_set_of_one_sample(plan):
    made = plan([SENSITIVE], [Phrase((Note(0, 100, 60, 100),))], samples=1)
    assert made.hidden["samples"] == 1
    assert hidden.describe(made.hidden) == ["no target of 1 sample changes with velocity, key, start, length"]


def test_variations_can_be_played(plan):
    made = plan([patch.INIT], samples=40, seconds=2.0)
    choices = [made.choose("train", j) for j in range(40)]
    pool, dice = Pool(made.spec, choices, made.targets["train"]), hidden.KeyedRng("test")
    moved = 0
    for choice in choices:
        for thing in pool.list_things(choice):
            new = pool.vary(choice, thing, list(range(len(choice.phrase.notes))), dice).phrase
            moved += new.notes != choice.phrase.notes
            assert len(new.notes) == len(choice.phrase.notes)
            assert list(new.notes) == sorted(new.notes, key=lambda note: (note.start, note.note))
            until = {}
            for note in new.notes:
                assert 0 <= note.start < 2000
                assert until.get(note.note, 0) <= note.start, f"{thing}: key {note.note} is struck while it is held"
                until[note.note] = note.start + note.held
    assert moved > 120


# --- Where it is said ---


def test_everyone_says_it(tmp_path, capsys):
    options = ["--samples", "40", "--seconds", "0.5", "--source", "sine-flat"]
    assert cli.main(["render", "--patches", "example", "--out", str(tmp_path), *options]) == 0
    said = capsys.readouterr()
    line = re.search(
        r"^Velocity is hidden in \d+ of 32 samples: no model can reach an SNR above about .* dB$", said.err, re.M
    )[0]
    assert "--source sine" in said.err
    assert "--prefix bytes" in said.err
    line = line.replace("Velocity", "velocity")
    assert line in (tmp_path / "README.md").read_text()
    assert cli.main(["inspect", str(tmp_path)]) == 0
    assert line in capsys.readouterr().out
    assert cli.main(["inspect", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["hidden"]
    assert found == Plan.load(tmp_path).hidden
    assert found["things"]["velocity"]["hidden"] > 28
    assert cli.main(["inspect", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    row = re.search(r"<tr[^>]*><th[^>]*>velocity</th>(.*?)</tr>", (tmp_path / "page.html").read_text())[1]
    assert f"{found['things']['velocity']['best_snr']} dB" in row


def test_plans_that_were_not_measured(tmp_path, capsys):
    options = ["--samples", "20", "--seconds", "0.1"]
    assert cli.main(["render", "--patches", "example", "--out", str(tmp_path), *options]) == 0
    document = check_hash((tmp_path / "dataset.json").read_bytes())
    del document["hidden"]
    (tmp_path / "dataset.json").write_bytes(add_hash(document))
    (tmp_path / "README.md").write_bytes(card.format_card(Plan.load(tmp_path)))
    capsys.readouterr()
    for more in ([], ["--json"], ["--html", str(tmp_path / "page.html")]):
        assert cli.main(["inspect", str(tmp_path), *more]) == 0
    assert "not measured" in capsys.readouterr().out
    assert "not measured" in (tmp_path / "page.html").read_text()
    assert cli.main(["verify", str(tmp_path)]) == 0
    assert cli.main(["extend", str(tmp_path), "--samples", "30"]) == 0
    assert Plan.load(tmp_path).hidden["samples"] == 30
