"""A released model: made of a run, the same to 16 bits when it is read back, converted with and heard; or refused."""

import dataclasses
import hashlib
import json
import re
import shlex
import shutil
from base64 import b64decode
from pathlib import Path

import documented
import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import SMALL

from dx7data.audio.wav import decode_wav
from dx7data.errors import InputError
from dx7data.page.play import conversion
from dx7data.plan.plan import Plan
from models.settings import ModelSettings
from train import __main__ as command
from train import arguments, convert, describe, listen, release
from train.config import RunSettings
from train.evaluation.evaluate import generate
from train.loop import checkpoint
from train.releases import from_pretrained, measure, reader, writer
from train.releases.card import format_card
from train.releases.recipe import list_words
from train.results.reader import read_table

CPU = ["--device", "cpu"]
PIECE = "model-00001-of-00001.safetensors"


@pytest.fixture(scope="module")
def released(whole, tmp_path_factory):
    """Of a run without a prefix, 12 steps of s4d."""
    folder = tmp_path_factory.mktemp("released") / "one-voice"
    assert release.main([str(whole), "--out", str(folder), *CPU]) == 0
    return folder


@pytest.fixture(scope="module")
def steered(shards, tmp_path_factory):
    """Of a run whose prefix an MLP reads, in several pieces."""
    folder = tmp_path_factory.mktemp("steered")
    argv = ["--live", str(shards), "--out", str(folder / "run"), *SMALL, "--steps", "2", "--prefix", "bytes"]
    assert command.main([*argv, "--model.film", "192"]) == 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer.pack, "__defaults__", (200_000,))
        assert release.main([str(folder / "run"), "--out", str(folder / "any-voice"), *CPU]) == 0
    return folder / "any-voice"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "in.wav"
    soundfile.write(path, (8000 * np.sin(np.arange(800) / 5)).astype(np.int16), 8000)
    return path


@pytest.fixture
def copy(released, tmp_path):
    """That may be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in released.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def config(folder):
    return json.loads((folder / "config.json").read_text())


def stored(folder):
    """All weights, by safetensors alone."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= safetensors.torch.load_file(path)
    return found


def play(source, out, *argv):
    status = convert.main(["--source", str(source), "--out", str(out), *CPU, *map(str, argv)])
    return status, soundfile.read(out, dtype="int16")[0].astype(int) if out.exists() else None


# --- Made and read back ---


@pytest.mark.parametrize("name", ["released", "steered"])
def test_the_averaged_weights_come_back_rounded(request, whole, name):
    folder = request.getfixturevalue(name)
    run = whole if name == "released" else folder.parent / "run"
    averaged = safetensors.torch.load_file(checkpoint.find_last(run) / "ema.safetensors")
    found = from_pretrained(str(folder))
    weights = found.model.state_dict()
    assert weights.keys() == averaged.keys() == stored(folder).keys()
    for key, tensor in averaged.items():
        assert stored(folder)[key].dtype == torch.float16
        assert torch.equal(weights[key], tensor.half().float())
    assert not found.model.training
    assert found.settings.prefix == (None if name == "released" else "bytes")
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (name == "steered")


def test_convert(released, whole, source, tmp_path, capsys):
    """As the run does, but for rounding; decoded as the card says, if nothing else is asked for."""
    _, exact = play(source, tmp_path / "a.wav", "--checkpoint", whole)
    _, rounded = play(source, tmp_path / "b.wav", "--pretrained", released, "--decode", "mean")
    assert np.abs(exact - rounded).max() <= 0.02 * np.abs(exact).max()
    capsys.readouterr()
    _, default = play(source, tmp_path / "c.wav", "--pretrained", released, "--json")
    decoder = config(released)["decode"]
    assert json.loads(capsys.readouterr().out)["decode"] == decoder
    _, chosen = play(source, tmp_path / "d.wav", "--pretrained", released, "--decode", decoder)
    assert (default == chosen).all()


def test_convert_with_a_patch(steered, source, tmp_path, capsys):
    heard = [play(source, tmp_path / f"{i}.wav", "--pretrained", steered, "--patch", f"example:{i}")[1] for i in (1, 2)]
    assert (heard[0] != heard[1]).any()
    assert play(source, tmp_path / "none.wav", "--pretrained", steered)[0] == 2
    assert "add --patch with one" in capsys.readouterr().err


def test_describe(steered, capsys):
    assert describe.main(["--pretrained", str(steered), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"sample_rate": 8000, "prefix": "bytes", "patches": 1}
    documented.check("python -m train.describe", found)


def test_play(released):
    """What dx7data play asks of a model before it begins, in a process of its own."""
    model = conversion.open_model("--pretrained", str(released))
    assert model == conversion.Model(("--pretrained", str(released)), 8000, False)


def test_the_card(released, whole, shards):
    """Its figures are the run's and those of config.json; it names no place of this machine."""
    text, found = (released / "README.md").read_text(), config(released)
    assert text == format_card(found)
    last = {row["set"]: float(row["bits"]) for row in read_table(whole / "validation.csv")}
    assert len(last) == 2
    for row in found["record"]["sets"]:
        assert row["bits"] - row["change"] == pytest.approx(last[row["set"]], abs=1e-4)
        assert row["recorded_bits"] == last[row["set"]]
        assert abs(row["change"]) <= measure.MAX_LOSS
        assert f"| {row['set']} | 2 | {row['bits']:.3f} ± " in text
    trained = json.loads((checkpoint.find_last(whole) / "checkpoint.json").read_text())
    assert found["record"]["training_seconds"] == pytest.approx(trained["seconds"])
    assert "| 12 of 12, each of 4 clips |" in text
    for path in released.iterdir():
        assert str(shards).encode() not in path.read_bytes()
        assert str(whole).encode() not in path.read_bytes()


@pytest.mark.parametrize(("patches", "voice"), [(1, "TINE GLOW"), (320, "one of 320 patches")])
def test_the_card_says_of_how_many_voices(released, patches, voice):
    found = config(released)
    found["record"]["plan"] |= {"patches": patches, "voices": ["TINE GLOW"]}  # of several, the first one
    found["settings"]["prefix"] = None
    assert f"in the voice of {voice}." in format_card(found).replace("\n", " ")


def test_the_card_counts_what_training_has(steered, shards):
    """Not the patches that are held out; and phrases of music, of which the plan has no kinds."""
    plan, found = Plan.load(shards), config(steered)
    trained = sum(split == "train" for split in plan.patches.splits)
    assert 0 < trained < len(plan.patches)
    assert f"{trained} patches and {plan.counts['train']} samples for training, " in format_card(found)
    found["record"]["plan"] |= {"kinds": [], "phrases": 1234}
    assert "samples for training, 1,234 phrases from music |" in format_card(found)


def test_the_best_decoder_is_the_nearest_spectrogram():
    row = {"set": "unseen", "heard": {"mean": {"mel_db": 3.0}, "argmax": {"mel_db": 2.0}}}
    other = {"set": "seen", "heard": {"mean": {"mel_db": 1.0}, "argmax": {"mel_db": 2.0}}}
    assert measure.choose_decoder([row]) == "argmax"
    assert measure.choose_decoder([row, other]) == "mean"  # runs are judged by seen patches


def test_json(whole, tmp_path, capsys):
    assert release.main([str(checkpoint.find_last(whole)), "--out", str(tmp_path / "a"), *CPU, "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    documented.check("python -m train.release", found)
    assert found["files"] == {path.name: path.stat().st_size for path in (tmp_path / "a").iterdir()}


def test_of_one_silent_clip_less_is_known(whole, tmp_path, monkeypatch):
    """There is no standard error, and no SNR."""
    open_sets = release.open_sets

    def open_one(*argv):
        plan, sets = open_sets(*argv)
        return plan, [
            dataclasses.replace(
                one,
                places=one.places[:1],
                algorithms=one.algorithms[:1],
                examples=one.examples._make(part[:1] * (part is not one.examples.target) for part in one.examples),
            )
            for one in sets
        ]

    monkeypatch.setattr(release, "open_sets", open_one)
    assert release.main([str(whole), "--out", str(tmp_path / "a"), *CPU]) == 0
    row = config(tmp_path / "a")["record"]["sets"][0]
    assert [row[name] for name in ("samples", "bits_se", "snr_mean_db")] == [1, None, None]
    assert f"| 1 | {row['bits']:.3f} | {row['order0_bits']:.3f} |  |  |" in (tmp_path / "a" / "README.md").read_text()


@pytest.mark.parametrize("line", ["", "time"])
def test_a_run_without_its_times_is_refused_before_it_is_measured(whole, tmp_path, capsys, monkeypatch, line):
    shutil.copytree(whole, tmp_path / "run")
    rows = read_table(tmp_path / "run" / "metrics.csv")
    rows[-1]["time"] = ""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)] if line else [list(rows[0])]
    (tmp_path / "run" / "metrics.csv").write_text("".join(",".join(each) + "\n" for each in lines))
    monkeypatch.setattr(measure, "measure", None)
    assert "metrics.csv has no time of step 12" in refuse(capsys, tmp_path / "run", tmp_path / "a")


@pytest.mark.parametrize(
    "argv",
    [
        ["--model", "s4", "--preset", "seed", "--lr", "3e-3", "--precision", "bf16", "--grad-accum", "1", "--compile"],
        ["--model", "hybrid", "--preset", "seed", "--prefix", "bytes", "--model.film", "192", "--model.n-layers", "5"],
        ["--layers", "s4d,mamba2", "--preset", "base", "--prefix", "none", "--model.s4d.d_state", "16", "--split", "val"],
        ["--model", "s4", "--preset", "tiny", "--seconds", "none", "--freeze", "embedding.*", "*.log_dt", "--patience", "3"],
    ],
)
def test_the_command_trains_with_the_same_settings(argv):
    def read(words):
        return arguments.choose_run(arguments.read(["--device", "cpu", *words]))[1]

    own = read(["--live", "plan", *argv])
    assert read(list_words(own, "plan")) == own


@given(st.lists(st.integers(0, 60), min_size=1, max_size=30))
@settings(deadline=None)
def test_pieces_are_filled_one_after_the_other(sizes):
    weights = {str(i): torch.zeros(size, dtype=torch.float16) for i, size in enumerate(sizes)}
    pieces = writer.pack(weights, limit=120)
    bytes_of = [sum(2 * len(tensor) for tensor in piece.values()) for piece in pieces]
    assert [name for piece in pieces for name in piece] == list(weights)
    assert max(bytes_of) <= 120
    assert all(a + 2 * len(next(iter(after.values()))) > 120 for a, after in zip(bytes_of, pieces[1:], strict=False))


# --- Refused: a sentence, exit status 2, nothing written ---


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_config(folder, **changes):
    (folder / "config.json").write_text(json.dumps(config(folder) | changes))


def replace_weights(folder, change):
    """With the right hash."""
    weights = stored(folder)
    change(weights)
    data = safetensors.torch.save(weights)
    (folder / PIECE).write_bytes(data)
    change_config(folder, pieces=[{"sha256": hashlib.sha256(data).hexdigest(), "tensors": list(weights)}])


def enlarge(weights):
    weights["head.bias"] = torch.zeros(300, dtype=torch.float16)


def widen(weights):
    weights["head.bias"] = weights["head.bias"].float()


def spoil(weights):
    weights["head.bias"][7] = torch.nan


def name_twice(folder):
    (piece,) = config(folder)["pieces"]
    change_config(folder, pieces=[piece, piece])


def change_model(folder):
    found = config(folder)["settings"]
    change_config(folder, settings=found | {"model": found["model"] | {"d_model": 16}})


DAMAGES = {
    "missing": (lambda folder: (folder / PIECE).unlink(), f"{PIECE} is damaged: it is not there"),
    "truncated": (lambda folder: truncate(folder / PIECE), f"{PIECE} is damaged: it has "),
    "one bit": (
        lambda folder: flip(folder / PIECE),
        f"{PIECE} is damaged: it is not as it was written; copy the folder again",
    ),
    "a link": (lambda folder: (folder / PIECE).rename(folder / "x") and (folder / PIECE).symlink_to("x"), "is a link"),
    "shape": (
        lambda folder: replace_weights(folder, enlarge),
        "'head.bias' is F16 of shape (300,) in it and F16 of shape (256",
    ),
    "dtype": (
        lambda folder: replace_weights(folder, widen),
        "'head.bias' is F32 of shape (256,) in it and F16 of shape (256",
    ),
    "NaN": (lambda folder: replace_weights(folder, spoil), "head.bias is not finite"),
    "lacking": (
        lambda folder: replace_weights(folder, lambda found: found.pop("head.bias")),
        "'head.bias': it is in 0 pieces",
    ),
    "twice": (name_twice, ": it is in 2 pieces, not in one"),
    "strange": (
        lambda folder: replace_weights(folder, lambda found: found.update(x=torch.zeros(1).half())),
        "field pieces: 'x': the model has no such tensor",
    ),
    "another model": (change_model, f"{PIECE} is of another model"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "is no released model: it has no config.json"),
    "no JSON": (lambda folder: truncate(folder / "config.json"), "config.json is damaged"),
    "a list": (lambda folder: (folder / "config.json").write_text("[1]"), "config.json: expected object, got array"),
    "newer": (lambda folder: change_config(folder, format=2), "has format 2, this version reads 1"),
    "hash": (lambda folder: change_config(folder, fingerprint="x"), "field fingerprint: expected 64 hexadecimal digits"),
    "decoder": (lambda folder: change_config(folder, decode="loud"), "field decode: invalid enum value 'loud'"),
    "step": (lambda folder: change_config(folder, step=13), "field step: it is 13, and the run has 12 steps"),
    "layers": (
        lambda folder: change_config(folder, layer_names=["a"]),
        "field layer_names: it has 1 layers, the settings have 2",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_refused(copy, source, tmp_path, capsys, name):
    damage, sentence = DAMAGES[name]
    damage(copy)
    assert play(source, tmp_path / "out.wav", "--pretrained", copy) == (2, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train.convert: ")
    assert sentence in line


def test_a_damaged_model_of_the_checkout(copy, monkeypatch, capsys, source, tmp_path):
    flip(copy / PIECE)
    monkeypatch.setattr(reader, "RELEASES", copy.parent)
    assert play(source, tmp_path / "out.wav", "--pretrained", copy.name) == (2, None)
    assert f"is damaged: it is not as it was written; git restore {copy}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "one-voise",
            "--pretrained one-voise: there is no such model: did you mean one-voice? the models are any-voice, one-voice",
        ),
        ("xyz", "--pretrained xyz: there is no such model: the models are any-voice, one-voice"),
    ],
)
def test_an_unknown_name(released, steered, tmp_path, monkeypatch, capsys, source, name, sentence):
    for folder in (released, steered):
        (tmp_path / folder.name).mkdir()
        for path in folder.iterdir():
            (tmp_path / folder.name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(reader, "RELEASES", tmp_path)
    assert from_pretrained("one-voice").step == 12
    assert play(source, tmp_path / "out.wav", "--pretrained", name) == (2, None)
    assert sentence in capsys.readouterr().err


def test_a_package_without_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "RELEASES", tmp_path / "releases")
    with pytest.raises(
        InputError, match=r"trained models are in the folder releases/ of the project's repository, and none"
    ):
        from_pretrained("one-voice")


def test_a_run_is_no_released_model(whole, source, tmp_path, capsys):
    assert play(source, tmp_path / "out.wav", "--pretrained", whole) == (2, None)
    assert f"train.convert: {whole} is a run: name it by --checkpoint, or make a model of it by " in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["--pretrained", "one-voice", "--checkpoint", "run"]])
def test_one_of_checkpoint_and_pretrained(argv, source, tmp_path, capsys):
    assert play(source, tmp_path / "out.wav", *argv) == (2, None)
    assert "name the model: --checkpoint with a run, or --pretrained with " in capsys.readouterr().err


def refuse(capsys, run, out, *argv):
    """The sentence of train.release, which has written nothing."""
    before = sorted(out.parent.iterdir())
    assert release.main([str(run), "--out", str(out), *CPU, "-q", *map(str, argv)]) == 2
    assert sorted(out.parent.iterdir()) == before
    return capsys.readouterr().err


def test_rounding_that_costs_too_much_is_refused(whole, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "MAX_LOSS", 0)
    assert "weights of 16 bits change the bits of " in refuse(capsys, whole, tmp_path / "a")


def test_what_is_there_stays(whole, released, capsys):
    assert f"{released} is there already: remove it, or name another --out" in refuse(capsys, whole, released)


@pytest.mark.parametrize("out", ["file/model", "name" * 62])
def test_where_no_folder_can_be_is_said_before_it_is_measured(whole, tmp_path, capsys, monkeypatch, out):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(measure, "measure", None)
    assert release.main([str(whole), "--out", str(tmp_path / out), *CPU]) == 2
    assert f"can't write {tmp_path / out}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("path", ["/", "/etc", "{}/none", "{}/checkpoints", "{}/config.json"])
def test_what_is_no_run_is_named_as_it_was_given(whole, tmp_path, capsys, path):
    path = path.format(whole)
    said = refuse(capsys, path, tmp_path / "a")
    assert f"train.release: {path} is no run" in said


def test_a_run_may_lie_in_a_folder_of_checkpoints(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "checkpoints" / "run")
    assert release.find_run(tmp_path / "checkpoints" / "run") == tmp_path / "checkpoints" / "run"
    best = checkpoint.find_last(whole)
    assert release.find_run(best) == whole


def test_another_plan_is_refused(whole, tmp_path, capsys, shards):
    assert "--live names a folder with the plan" in refuse(capsys, whole, tmp_path / "a", "--live", tmp_path)
    document = shards / "dataset.json"
    (tmp_path / "plan").mkdir()
    for path in (document, *shards.glob("p*.parquet")):
        (tmp_path / "plan" / path.name).write_bytes(path.read_bytes())
    assert release.main([str(whole), "--out", str(tmp_path / "moved"), *CPU, "--live", str(tmp_path / "plan")]) == 0


def test_a_number_beyond_16_bits_is_refused(released):
    model = from_pretrained(str(released)).model
    with torch.no_grad():
        model.head.bias[0] = 70_000
    with pytest.raises(InputError, match=r"head.bias has a number that float16 can't hold"):
        writer.round_weights(model)


def test_too_many_weights_are_refused(released, monkeypatch):
    monkeypatch.setattr(writer, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match=r"and a release has 1,000 at most"):
        writer.round_weights(from_pretrained(str(released)).model)


def test_places_are_forgotten():
    own = RunSettings("/home/a/plan", "s4", "tiny", ModelSettings(), init_from="/home/a/runs/b/checkpoints/00000012")

    class Plan:
        fingerprint = "0" * 64

    found = release.forget_places(own, Plan)
    assert found == dataclasses.replace(own, shards="plan", init_from="b/checkpoints/00000012")


# --- Heard ---


def test_the_page(steered, shards, tmp_path, capsys):
    """Of each set its clips, in order, as the data set has them and as the model plays them."""
    out = tmp_path / "page.html"
    assert listen.main(["--pretrained", str(steered), "--live", str(shards), "--out", str(out), *CPU, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    documented.check("python -m train.listen", found)
    text = out.read_text()
    audio = [decode_wav(b64decode(data))[0] for data in re.findall(r"data:audio/wav;base64,([\w+/=]+)", text)]
    pretrained = from_pretrained(str(steered))
    _, sets = release.open_sets(pretrained, str(shards), listen.CLIPS)
    assert [one.name for one in sets] == list(found["sets"]) == ["unseen", "seen"]
    expected = []
    for one in sets:
        made = generate(pretrained.model, one.examples, "cpu", how=pretrained.decode)
        for i in range(len(one)):
            expected += [one.examples.source[i], one.examples.target[i], made[i]]
            assert one.voices[i] in text
    assert len(audio) == len(expected) > 30
    assert all((a == b.numpy()).all() for a, b in zip(audio, expected, strict=True))
    assert "near-duplicate groups that are in no training sample" in text


@pytest.mark.parametrize("out", ["missing/page.html", "folder", "mine.txt"])
def test_where_no_page_can_be_is_said_at_once(steered, shards, tmp_path, capsys, monkeypatch, out):
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr(listen, "from_pretrained", None)
    assert listen.main(["--pretrained", str(steered), "--live", str(shards), "--out", str(tmp_path / out), *CPU]) == 2
    assert str(tmp_path / out) in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "mine.txt"]


# --- Those of the repository ---


@pytest.mark.parametrize("name", reader.list_names())
def test_what_is_released(name):
    folder = reader.RELEASES / name
    from_pretrained(name)
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert max(sizes) < 16.5e6
    assert sum(sizes) < 40e6
    assert (folder / "README.md").read_text() == format_card(config(folder))
    for words in config(folder)["record"]["commands"]:
        assert shlex.join(words) in (folder / "README.md").read_text()
    assert not re.search(r"/(home|root|tmp|work)/", "".join(path.read_text() for path in Path(folder).glob("*.[jm]*")))
