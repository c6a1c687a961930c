"""Many voices, told as audio: layers, pairs, new patches, phrases from music, prefixes; from the command line to shards."""

import hashlib
import io
import json
import wave
from collections import Counter

import mido
import numpy as np
import oracle
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dx7data import cli, prefix
from dx7data.audio.resample import decimate
from dx7data.dataset import folders, verify
from dx7data.engine.render import mix
from dx7data.engine.render import render as play
from dx7data.engine.voice import Curves, voices
from dx7data.errors import InputError
from dx7data.patches import audible, bank, patch, sysex
from dx7data.phrases.phrase import REST
from dx7data.plan import limits
from dx7data.plan.plan import Plan
from dx7data.storage import LocalFolder

SHORT = ["--samples", "36", "--seconds", "0.5", "--shard-size", "240kB", "--seed", "7"]


def render(folder, *options, patches=("example",)):
    return cli.main(["render", "--patches", *patches, "--out", str(folder), *map(str, options)])


def tars(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


def samples(folder):
    """Every sample of a data set, with its json as a dictionary and its audio as integers."""
    for shard in Plan.load(folder).shards():
        for one in folders.read_samples(folder, shard.name):
            audio = {name: clip(data) for name, data in one.items() if name.endswith(".wav")}
            yield one | audio | {"json": json.loads(one["json"])}


def clip(data):
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def dumped(data):
    return [np.frombuffer(record.patch, np.uint8) for record in sysex.read(data).voices]


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A folder of MIDI files with everything that a phrase can hold: chords, pedal, bend, wheel, volume, expression."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(3)
    for number in range(4):
        file = mido.MidiFile(ticks_per_beat=480)
        track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=int(rng.integers(300_000, 700_000)))])
        for _ in range(60):
            kind = rng.integers(0, 7)
            if kind == 0:
                track.append(mido.Message("pitchwheel", pitch=int(rng.integers(-8192, 8192)), time=30))
            elif kind < 4:
                control = int(rng.choice([1, 7, 11, 64]))
                track.append(mido.Message("control_change", control=control, value=int(rng.integers(30, 128)), time=30))
            keys = [int(key) for key in rng.choice(np.arange(40, 90), rng.integers(1, 4), replace=False)]
            track += [mido.Message("note_on", note=key, velocity=int(rng.integers(20, 128))) for key in keys]
            track += [
                mido.Message("note_off", note=key, time=int(rng.integers(60, 300)) * (i == 0)) for i, key in enumerate(keys)
            ]
        file.tracks.append(track)
        file.save(folder / f"{number}.mid")
    return folder


EVERYTHING = [
    *("--prefix", "bytes", "fsk", "reference", "--layers", "1..3", "--pairs", "2", "--source", "random"),
    *("--perturb", "12", "--random-patches", "4"),
]


@pytest.fixture(scope="module")
def everything(music, tmp_path_factory):
    folder = tmp_path_factory.mktemp("everything")
    assert render(folder, *SHORT, "--midi", music, *EVERYTHING, "--workers", "1") == 0
    return folder


def test_the_same_bytes_with_everything_on(everything, music, tmp_path, monkeypatch):
    from dx7data.dataset import shard

    assert render(tmp_path / "two", *SHORT, "--midi", music, *EVERYTHING, "--workers", "2") == 0
    assert tars(tmp_path / "two") == tars(everything)
    monkeypatch.setattr(shard, "batch_size", lambda plan: 3)
    assert render(tmp_path / "threes", *SHORT, "--midi", music, *EVERYTHING, "--workers", "1") == 0
    assert tars(tmp_path / "threes") == tars(everything)
    assert len(tars(everything)) > 3


def test_the_largest_group_counts_made_patches_too(everything):
    families = pq.read_table(everything / "patches.parquet")["family"].to_pylist()
    report = json.loads((everything / "dataset.json").read_text())["split_report"]
    assert report["largest_family"] == max(Counter(families).values()) > 1
    assert report["families"] == len(set(families))


def test_everything_verifies_and_is_shown(everything, capsys):
    assert cli.main(["verify", str(everything)]) == 0
    assert cli.main(["inspect", str(everything), "--rows", "9"]) == 0
    text = capsys.readouterr().out
    first = next(samples(everything))
    assert "prefix.fsk: " + " + ".join(layer["name"] for layer in first["json"]["layers"]) in text


@oracle.needs_factory
def test_the_same_bytes_from_the_factory_banks(music, tmp_path):
    factory = tuple(str(path) for path in oracle.FACTORY)
    for workers in "12":
        options = [*SHORT, "--midi", music, "--prefix", "fsk", "--layers", "1..2", "--workers", workers]
        assert render(tmp_path / workers, *options, patches=factory) == 0
    assert tars(tmp_path / "1") == tars(tmp_path / "2")


def test_every_json_has_the_same_keys_and_types(tmp_path, music):
    """In all data sets, so that a reader that infers a schema from one sample can read them all, and write Parquet."""
    more, metas = ("--layers", "1..2", "--prefix", "bytes", "--pairs", "--perturb", "5"), []
    for name, options in {"plain": (), "midi": ("--midi", music), "more": more, "both": (*more, "--midi", music)}.items():
        assert render(tmp_path / name, *SHORT, *options) == 0
        metas += [one["json"] for one in samples(tmp_path / name)]
        rows = [row for path in (tmp_path / name).glob("t*.parquet") for row in pq.read_table(path).to_pylist()]
        assert {row.get("prefix_bytes_samples") for row in rows} == {384 if "--prefix" in options else None}
    (schema,) = {str(pa.infer_type([meta])) for meta in metas}
    assert "null" not in schema  # the type of a list that is always empty
    assert "struct<>" not in schema
    assert len({tuple(meta) for meta in metas}) == 1  # also in one order, for readers that take columns by their place
    pq.write_table(pa.Table.from_pylist(metas), tmp_path / "metas.parquet")


def test_prefixes_are_those_of_the_dump(everything):
    counts = Counter()
    for one in samples(everything):
        patches = dumped(one["target.syx"])
        counts[len(patches)] += 1
        assert [patch.patch_id(each) for each in patches] == [layer["id"] for layer in one["json"]["layers"]]
        for codec in prefix.CODECS:
            places = one[f"prefix.{codec}.wav"].reshape(3, prefix.samples(codec, 8000))
            assert not places[len(patches) :].any()
            for stored, audio in zip(patches, places, strict=False):
                if codec == "reference":
                    native = play(voices(stored, 60, 100, 0.4, 48000), 0.6)
                    assert (np.clip(decimate(native, 8000)[0, : audio.size], -32768, 32767) == audio).all()
                else:
                    assert (prefix.decode(audio, codec, 8000) == stored).all()
    assert set(counts) == {1, 2, 3}


def test_a_wrong_prefix_is_found(everything, tmp_path):
    """The dump of another patch beside the prefix, with all hashes in order: only decoding can find it."""
    of = Plan.load(everything)
    one = next(folders.read_samples(everything, "train-000000"))
    assert not list(verify.check_prefixes(of, one))
    other = bank.load("example").patches[9]
    assert len(list(verify.check_prefixes(of, one | {"target.syx": sysex.write_voice(other)}))) == 3
    broken = bytearray(one["prefix.bytes.wav"])
    broken[44 + 2 * 5] ^= 0x40
    assert "bytes" in next(verify.check_prefixes(of, one | {"prefix.bytes.wav": bytes(broken)}))


def test_nothing_derived_crosses_a_split(everything):
    patches = Plan.load(everything).patches
    split = dict(zip(patches.ids, patches.splits, strict=True))
    kinds = Counter(patches.kinds)
    assert kinds == {"bank": 32, "random": 4, "counterfactual": 96, **{k: kinds[k] for k in ("mutation", "crossover")}}
    assert kinds["mutation"] + kinds["crossover"] == 12
    for own, kind, parents in zip(patches.splits, patches.kinds, patches.parents, strict=True):
        assert len(parents) == {"bank": 0, "random": 0, "crossover": 2}.get(kind, 1)
        assert all(split[parent] == own for parent in parents)
    for one in samples(everything):
        meta = one["json"]
        assert {split[layer["id"]] for layer in meta["layers"]} == {meta["split"]}
        assert split[meta["source"]["id"]] == meta["split"]


def test_pairs_differ_in_one_parameter(everything):
    found = {one["__key__"]: one for one in samples(everything)}
    heard = 0
    for one in found.values():
        pair = one["json"]["pair"]
        other = found[pair["with"]]
        assert other["json"]["pair"]["with"] == one["__key__"]
        ours, theirs = dumped(one["target.syx"]), dumped(other["target.syx"])
        changed = np.flatnonzero(ours[0] != theirs[0])
        assert [patch.FIELDS[i] for i in changed] == [pair["parameter"]]
        assert (ours[0][changed[0]], theirs[0][changed[0]]) == (pair["value"], pair["value_there"])
        assert audible.find_differences(ours[0], theirs[0]).tolist() == changed.tolist()
        assert all((a == b).all() for a, b in zip(ours[1:], theirs[1:], strict=True))
        assert (one["source.wav"] == other["source.wav"]).all()
        assert one["json"]["notes"] == other["json"]["notes"]
        heard += (one["target.wav"] != other["target.wav"]).any()
    assert heard > len(found) / 2  # not every change can be heard on every phrase


def test_a_phrase_from_midi_is_what_its_json_says(everything):
    """Notes, layers and controllers of the json and the dump alone, put together here, make the clips."""
    of, checked = Plan.load(everything), Counter()
    by_id = dict(zip(of.patches.ids, of.patches.stored, strict=True))
    for one in samples(everything):
        meta = one["json"]
        assert meta["phrase"]["kind"] == "midi"
        checked.update(name for name, values in meta["controllers"].items() if values != [[0.0, REST[name]]])
        curves = {name: curve(meta["controllers"], name) for name in REST}
        bend = np.rint(curves["bend"] * 2**24 / 12).astype(np.int32)
        wheel = (curves["wheel"] * 0.99 + 1e-9).astype(np.int32)
        loudness = np.interp(
            np.arange(4000) * 6 / 64, np.arange(376), (curves["volume"] * curves["expression"] / 127**2) ** 2
        )
        for name, patches in (("source", [by_id[meta["source"]["id"]]]), ("target", dumped(one["target.syx"]))):
            played = [note(stored, each) for stored in patches for each in meta["notes"]]
            together = played[0]
            for other in played[1:]:
                together = together.join(other)
            part = np.repeat(np.arange(len(patches)), len(meta["notes"]))
            native = mix(together, 0 * part, part, 1, 0.5, curves=Curves(np.zeros(1, np.int64), bend[None], wheel[None]))
            native = decimate(native, 8000)[0]
            expected = np.clip(native * loudness, -32768, 32767)
            assert (np.abs(expected - one[f"{name}.wav"]) <= 0.51 + np.abs(native) / 10000).all()  # volumes are of 1/16384
    assert checked.keys() == set(REST)


def note(stored, each):
    return voices(stored, each["note"], each["velocity"], each["held"], 48000, round(each["start"] * 750))


def curve(controllers, name):
    """A value for each block boundary of half a second; events fall on blocks of 64 samples at 48 kHz."""
    values = np.full(376, REST[name], np.float64)
    for time, value in controllers.get(name, []):
        values[round(time * 750) :] = value
    return values


def test_phrases_take_turns_and_stay_in_a_split(everything):
    of = Plan.load(everything)
    split = dict(zip(of.phrases.ids, of.phrases.splits, strict=True))
    used = {name: Counter() for name in of.counts}
    for one in samples(everything):
        used[one["json"]["split"]][one["json"]["phrase"]["id"]] += 1
    for name, phrases in used.items():
        assert {split[phrase] for phrase in phrases} == {name}
        assert max(phrases.values()) - min(phrases.values()) <= 2  # a pair plays one phrase twice


@pytest.mark.parametrize(("wanted", "names"), [(["ROUND BASS"], {"ROUND BASS"}), (["example:3", "moon pad"], None)])
def test_targets(tmp_path, wanted, names):
    assert render(tmp_path, "--samples", 12, "--seconds", 0.25, "--targets", *wanted) == 0
    example = bank.load("example")
    found = {one["json"]["layers"][0]["name"] for one in samples(tmp_path)}
    assert found == (names or {example.names[2], "MOON PAD"})


def test_targets_by_the_labels_of_a_list(tmp_path, capsys):
    """As `patches ls` prints them, of a folder. Where two files have the name, it says nothing."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.syx").write_bytes(sysex.write_voice(bank.load("example").patches["ab".index(name)]))
    command = ["--patches", tmp_path / "a", tmp_path / "b", "--samples", 4, "--seconds", 0.25]
    assert cli.main(["render", *map(str, command), "--out", str(tmp_path / "out"), "--targets", "b.syx:1"]) == 0
    assert {one["json"]["layers"][0]["name"] for one in samples(tmp_path / "out")} == {bank.load("example").names[1]}
    (tmp_path / "b" / "b.syx").rename(tmp_path / "b" / "a.syx")
    assert cli.main(["render", *map(str, command), "--out", str(tmp_path / "no"), "--targets", "a.syx:1"]) == 2
    assert "a.syx: cannot be read: No such file or directory" in capsys.readouterr().err


def test_one_target_with_any_source(tmp_path):
    options = ["--samples", 30, "--seconds", 0.25, "--targets", "ROUND BASS", "--source", "random"]
    assert render(tmp_path, *options) == 0
    found = [one["json"] for one in samples(tmp_path)]
    assert {meta["layers"][0]["name"] for meta in found} == {"ROUND BASS"}
    sources = {meta["source"]["name"] for meta in found}
    assert len(sources) > 5
    assert "ROUND BASS" not in sources


def test_per_patch(tmp_path):
    assert render(tmp_path, "--per-patch", 3, "--seconds", 0.1) == 0
    counts = Counter(one["json"]["layers"][0]["id"] for one in samples(tmp_path))
    assert set(counts.values()) == {3}
    assert len(counts) == 32


def test_random_patches_alone(tmp_path):
    options = ["--random-patches", "12", "--out", str(tmp_path), "--samples", "12", "--seconds", "0.25"]
    assert cli.main(["render", *options]) == 0
    patches = Plan.load(tmp_path).patches
    assert set(patches.kinds) == {"random"}
    assert len(patches) == 12


def test_a_table_of_phrases_in_beats(tmp_path):
    table = pa.table(
        {
            "phrase_id": [f"p{i}" for i in range(12) for _ in range(2)],
            "start_time": [0.0, 0.5] * 12,
            "duration": [0.5, 0.25] * 12,
            "note": [note for i in range(12) for note in (50 + i, 55 + i)],
            "velocity": [100, 90] * 12,
        }
    )
    pq.write_table(table, tmp_path / "table.parquet")
    options = ["--phrases", tmp_path / "table.parquet", "--bpm", 120, "--samples", 24, "--seconds", 0.3]
    assert render(tmp_path / "out", *options) == 0
    for one in samples(tmp_path / "out"):
        first, second = one["json"]["notes"]
        assert (first["start"], first["held"]) == (0, second["start"])  # notes that touch do so in whole blocks too
        assert abs(second["start"] - 0.25) < 0.001
        assert abs(second["start"] + second["held"] - 0.375) < 0.001
        assert second["note"] == first["note"] + 5
        assert one["json"]["phrase"]["cut"]


def test_velocity_filters_music_and_the_folder_says_so(tmp_path, capsys):
    velocities = {f"p{i}": 20 + 4 * i for i in range(20)}
    table = pa.table(
        {
            "phrase_id": list(velocities),
            "start_time": [0.0] * 20,
            "duration": [0.2] * 20,
            "note": [60] * 20,
            "velocity": list(velocities.values()),
        }
    )
    pq.write_table(table, tmp_path / "table.parquet")
    options = ["--phrases", tmp_path / "table.parquet", "--samples", 60, "--seconds", 0.3, "--velocity", "40..80"]
    assert render(tmp_path / "out", *options) == 0
    assert "velocity left out 9" in capsys.readouterr().err
    played = {note["velocity"] for one in samples(tmp_path / "out") for note in one["json"]["notes"]}
    assert played == {velocity for velocity in velocities.values() if 40 <= velocity <= 80}
    assert "11 from music, none in two splits; velocity 40 to 80" in (tmp_path / "out" / "README.md").read_text()
    assert Plan.load(tmp_path / "out").spec.filters.velocity == (40, 80)


def test_the_plan_stands_for_its_inputs(everything, tmp_path, monkeypatch):
    """Loaded from the folder alone, the plan is the same and renders the same bytes."""
    from dx7data.dataset import shard

    of = Plan.load(everything)
    one = of.shards()[-1]
    shard.write_shards(of, [one], LocalFolder(tmp_path))
    assert tars(tmp_path) == {f"{one.name}.tar": tars(everything)[f"{one.name}.tar"]}


@pytest.mark.parametrize("table", ["patches.parquet", "phrases.arrow"])
def test_an_edited_table_is_refused(everything, tmp_path, capsys, table):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(everything, copy)
    data = bytearray((copy / table).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / table).write_bytes(data)
    assert cli.main(["verify", str(copy)]) == 2
    assert str(copy) in capsys.readouterr().err
    (copy / table).unlink()
    assert cli.main(["verify", str(copy)]) == 2


# --- What a person can get wrong ---


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layers", "9"], ["--layers"]),
        (["--layers", "3..2"], ["--layers"]),
        (["--layers", "8", "--targets", "ROUND BASS"], ["8 layers", "fewer --layers"]),
        (["--prefix", "morse"], ["--prefix", "fsk"]),
        (["--prefix", "none", "fsk"], ["--prefix", "none"]),
        (["--prefix", "fsk", "fsk"], ["--prefix", "once"]),
        (["--targets", "ROUND BAS"], ["ROUND BAS", "ROUND BASS"]),
        (["--targets", "example:99"], ["99"]),
        (["--targets", "nowhere.syx:1"], ["nowhere.syx"]),
        (["--pairs", "--samples", "61"], ["--pairs", "even"]),
        (["--samples", "5", "--per-patch", "5"], ["--per-patch", "--samples"]),
        (["--pairs", "--keep-silent", "--samples", "60"], ["--pairs", "--keep-silent"]),
        (["--notes", "400"], ["no drawn phrase is left", "--notes", "--kinds"]),
        (["--kinds", "chords", "--polyphony", "1"], ["no drawn phrase is left", "--polyphony", "--kinds"]),
        (["--kinds", "melodie"], ["--kinds: must be some of walk, scale, ", "'melodie'"]),
        (["--kinds", "melody,"], ["--kinds: must be some of", "''"]),
        (["--kinds", "melody", "--midi", "a.mid"], ["--kinds chooses among drawn phrases: leave out --midi"]),
        (["--kinds", "melody", "--phrases", "a.parquet"], ["--kinds", "leave out --phrases"]),
        (["--velocity", "90..30"], ["--velocity: 90..30 is empty", "30..90"]),
        (["--velocity", "0..30"], ["--velocity: must be A..B, from 1 up to 127"]),
        (["--velocity", "1..128"], ["--velocity: must be A..B, from 1 up to 127"]),
        (["--velocity", "loud"], ["--velocity"]),
        (["--filled", "1.5"], ["--filled"]),
        (["--beats", "4"], ["--beats", "--midi"]),
        (["--bpm", "120"], ["--bpm", "--phrases"]),
        (["--midi", "nowhere.mid"], ["nowhere.mid"]),
        (["--phrases", "nowhere.parquet"], ["nowhere.parquet"]),
        (["--midi", "a.mid", "--phrases", "b.parquet"], ["--midi", "--phrases"]),
        (["--source", "anything"], ["anything"]),
    ],
)
def test_refused_options(tmp_path, capsys, options, words):
    try:
        status = render(tmp_path / "out", "--seconds", "0.25", *options)
    except SystemExit as left:  # argparse
        status = left.code
    message = capsys.readouterr().err
    assert status == 2
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_a_name_that_two_patches_have(tmp_path, capsys):
    one, two = bank.load("example").patches[:2].copy()
    two[145:155] = one[145:155]
    (tmp_path / "twins.syx").write_bytes(sysex.write_voice(one) + sysex.write_voice(two))
    name = patch.patch_name(one)
    assert render(tmp_path / "out", "--targets", name, patches=(str(tmp_path / "twins.syx"),)) == 2
    message = capsys.readouterr().err
    assert "twins.syx:1" in message
    assert "twins.syx:2" in message


def test_no_phrase_left(music, tmp_path, capsys):
    assert render(tmp_path / "out", *SHORT, "--midi", music, "--polyphony", 1, "--different-notes", 40) == 2
    message = capsys.readouterr().err
    assert "polyphony left out" in message
    assert "different notes left out" in message


def test_too_few_phrases_to_divide(tmp_path, capsys):
    file = mido.MidiFile()
    file.tracks.append(
        mido.MidiTrack([mido.Message("note_on", note=60, velocity=90), mido.Message("note_off", note=60, time=99)])
    )
    file.save(tmp_path / "one.mid")
    assert render(tmp_path / "out", *SHORT, "--midi", tmp_path / "one.mid") == 2
    assert "--split 1,0,0" in capsys.readouterr().err
    assert render(tmp_path / "out", *SHORT, "--midi", tmp_path / "one.mid", "--split", "1,0,0") == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["list.txt", "No such file"]),
        ("NO SUCH PATCH\n", ["list.txt", "NO SUCH PATCH"]),
        (b"\xff", ["list.txt"]),
        ("# none yet\n\n", ["list.txt", "there is no patch in this list"]),
    ],
)
def test_a_wrong_hold_out_list(tmp_path, capsys, content, words):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert render(tmp_path / "out", *SHORT, "--hold-out", path) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


@pytest.mark.parametrize("report", ["bank.json", "banks/bank.json"])
def test_a_report_in_the_place_of_patches(tmp_path, capsys, report):
    """Also where the music is refused before the patches are read."""
    (tmp_path / "banks").mkdir()
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    assert cli.main(["patches", "export", "example", "--out", str(tmp_path / report)]) == 0
    before = (tmp_path / report).read_bytes()
    paths = tmp_path / ("banks" if "/" in report else report)
    options = "--patches", paths, "--midi", tmp_path / "broken.mid", "--report", tmp_path / report
    assert render(tmp_path / "out", *options) == 2
    assert f"--report {tmp_path / report} is one of the files that are read" in capsys.readouterr().err
    assert (tmp_path / report).read_bytes() == before


def test_a_small_gain_is_read_again(tmp_path):
    assert render(tmp_path / "out", *SHORT, "--gain", "0.00001") == 0
    assert Plan.load(tmp_path / "out").spec.gain == "1e-05"


def test_too_many_samples_for_a_split():
    with pytest.raises(InputError, match=r"1,000,000,001 samples in train, more than 1,000,000,000: lower --samples"):
        limits.check_shards(1000, {"train": 10**9 + 1, "val": 1})


def test_an_endless_hold_out_list(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bank, "_MAX_LIST_BYTES", 1000)
    assert render(tmp_path / "out", *SHORT, "--hold-out", "/dev/zero") == 2
    assert "/dev/zero: it has more than the 1,000 bytes that are read" in capsys.readouterr().err


def test_a_hold_out_list(tmp_path):
    (tmp_path / "list.txt").write_text(
        "\ufeffMOON PAD  # by name; Windows begins such a file so\nexample:3\n\n# by id\n"
        + patch.patch_id(bank.load("example").patches[7])
    )
    assert render(tmp_path / "out", *SHORT, "--hold-out", tmp_path / "list.txt") == 0
    patches = Plan.load(tmp_path / "out").patches
    split_of = dict(zip(patches.ids, patches.splits, strict=True))
    example = bank.load("example")
    for i in (2, 7, example.names.index("MOON PAD")):
        assert split_of[example.ids[i]] == "test"


@pytest.mark.parametrize("silent", [False, True])
def test_near_duplicates_of_what_is_held_out_and_plays_no_part(tmp_path, silent):
    """They are held out as well: of a patch that is silent, or no target."""
    stored = bank.load("example").patches.copy()
    variant = stored[0].copy()
    stored[0, [16 + 21 * i for i in range(6)]] = 0 if silent else variant[[16 + 21 * i for i in range(6)]]
    variant[16 + 21 * 5] -= 1  # the level of operator 1
    if silent:
        variant = stored[0].copy()
        variant[16 + 21 * 5] = 70
    (tmp_path / "bank.syx").write_bytes(b"".join(map(sysex.write_voice, (*stored, variant))))
    (tmp_path / "list.txt").write_text(patch.patch_id(stored[0]))
    targets = [*map(patch.patch_id, stored[1:]), patch.patch_id(variant)]
    options = [*SHORT, "--hold-out", tmp_path / "list.txt", *([] if silent else ["--targets", *targets])]
    assert render(tmp_path / "out", *options, patches=(str(tmp_path / "bank.syx"),)) == 0
    patches = Plan.load(tmp_path / "out").patches
    assert patch.patch_id(stored[0]) not in patches.ids
    assert patches.splits[patches.ids.index(patch.patch_id(variant))] == "test"


@pytest.mark.parametrize("drawn", [False, True])
def test_what_is_held_out_for_no_split(music, tmp_path, drawn):
    """There are no phrases for it either."""
    (tmp_path / "list.txt").write_text("example:3\n")
    options = ["--hold-out", tmp_path / "list.txt", "--split", "0.9,0.1,0", *([] if drawn else ["--midi", music])]
    assert render(tmp_path / "out", "--per-patch", 2, "--seconds", 0.1, *options) == 0
    assert set(Plan.load(tmp_path / "out").counts) == {"train", "val"}


@pytest.mark.parametrize(("dedupe", "count"), [("none", 34), ("bytes", 33), ("audible", 32)])
def test_dedupe(tmp_path, dedupe, count):
    """The example bank, one of its patches again, and one with another value where nobody hears it."""
    stored = bank.load("example").patches
    silent = stored[0].copy()
    silent[136] ^= 1  # oscillator sync
    (tmp_path / "bank.syx").write_bytes(b"".join(map(sysex.write_voice, (*stored, stored[5], silent))))
    options = [*SHORT, "--dedupe", dedupe]
    assert render(tmp_path / "out", *options, patches=(str(tmp_path / "bank.syx"),)) == 0
    assert len(Plan.load(tmp_path / "out").patches) == count
    assert cli.main(["verify", str(tmp_path / "out")]) == 0
