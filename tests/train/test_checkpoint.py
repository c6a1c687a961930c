"""Checkpoints: what is kept and what is never touched; what is wrong with one is a sentence, before it is used."""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.campaign.checkpoint_cases import documents, tensors
from benchmarks.campaign.checkpoint_cases.collection import every_case
from dx7data.errors import InputError
from models.model import build
from models.settings import ModelSettings
from train import convert
from train.config import RunSettings
from train.loop import checkpoint, checkpoint_reader, optim

ROOT = Path(__file__).resolve().parents[2]
MODEL = ModelSettings(("s4d",), "stack", d_model=8, n_layers=2, options={"s4d": {"d_state": 4}})
FINGERPRINT = "5" * 64
STREAM = {"epoch": 1, "step": 2, "seed": 0, "group": 3, "batch_size": 4, "fingerprint": FINGERPRINT}


def save(run, *steps, **kept):
    torch.manual_seed(0)
    chosen = RunSettings("shards", "s4d", "tiny", MODEL, sample_rate=8000, steps=100)
    model = build(MODEL)
    optimiser = optim.make_adamw(optim.group_parameters(model, 1e-3, 0.0))
    model(torch.arange(64)[None]).square().mean().backward()
    optimiser.step()
    state = {"settings": chosen.to_json(), "fingerprint": FINGERPRINT, "layers": 1, "stream": STREAM, "seconds": 1.5}
    for step in steps:
        checkpoint.save(run, step, model, model, optimiser, state, **kept)
    return model


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    run = tmp_path_factory.mktemp("good") / "run"
    save(run, 4, 8)
    settings = RunSettings("shards", "s4d", "tiny", MODEL).to_json()
    (run / "config.json").write_text(json.dumps({"fingerprint": FINGERPRINT, "settings": settings}))
    return run


@pytest.fixture
def run(good, tmp_path):
    return Path(shutil.copytree(good, tmp_path / "run"))


def read(run):
    return checkpoint_reader.read_last(run, checkpoint.PARTS)


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


# --- What is kept ---


def test_the_last_two_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 99_999_999, 100_000_000)
    assert names(tmp_path) == ["100000000", "99999999"]
    assert checkpoint.find_last(tmp_path).name == "100000000"


def test_the_best_one_is_kept_too(tmp_path):
    """Until there is a better one; and as many of the last ones as is asked for."""
    for step, best in ((1, 1), (2, 1), (3, 1), (4, 4), (5, 4), (6, 4), (7, 4), (8, 4)):
        save(tmp_path, step, last=3, best=best)
        expected = {f"{each:08d}" for each in range(max(1, step - 2), step + 1)} | {f"{best:08d}", "best"}
        assert set(names(tmp_path)) == expected
        assert os.readlink(tmp_path / "checkpoints" / "best") == f"{best:08d}"


def test_what_others_made_is_never_removed_nor_taken_for_a_checkpoint(run, tmp_path):
    folder, elsewhere = run / "checkpoints", tmp_path / "elsewhere"
    shutil.copytree(folder / "00000004", elsewhere)
    for name in ("00000004-best", "00000009-mine", "0004", "000000005", "٠٠٠٠٠٠٠١"):
        shutil.copytree(elsewhere, folder / name)
    for name in ("00000001", "00000099"):
        (folder / name).mkdir()
        (folder / name / "notes.txt").write_text("mine")
    shutil.copytree(elsewhere, folder / "00000003")
    (folder / "00000003" / "notes.txt").write_text("mine")
    (folder / "00000002").symlink_to(elsewhere)
    (folder / "best").symlink_to("00000004")
    (folder / "00000005").touch()
    shutil.copytree(elsewhere, folder / ".00000012.partial-mine")
    before = set(names(run))
    assert checkpoint.find_last(run).name == "00000008"
    save(run, 12, 16, 20)
    assert set(names(run)) == before - {"00000004", "00000008"} | {"00000016", "00000020"}
    assert (folder / "00000003" / "notes.txt").read_text() == "mine"
    assert {path.name for path in elsewhere.iterdir()} == checkpoint.FILES


def test_what_a_killed_save_left_is_removed(run):
    shutil.copytree(run / "checkpoints" / "00000008", run / "checkpoints" / ".00000010.partial")
    (run / "checkpoints" / ".00000010.partial" / "rng.safetensors").unlink()
    (run / "checkpoints" / ".00000012.partial").mkdir()
    save(run, 12)
    assert names(run) == ["00000008", "00000012"]


@pytest.mark.parametrize("name", ["00000012", ".00000012.partial"])
@pytest.mark.parametrize(
    "make", [Path.touch, lambda path: path.symlink_to("00000004"), lambda path: (path / "a").mkdir(parents=True)]
)
def test_a_place_that_is_taken_is_found_before_training(run, name, make):
    checkpoint.check_places(run, 8)
    make(run / "checkpoints" / name)
    with pytest.raises(InputError, match=f"{name} is in the place of a checkpoint"):
        checkpoint.check_places(run, 8)


def test_checkpoints_are_not_written_through_a_link(run, tmp_path):
    os.rename(run / "checkpoints", tmp_path / "elsewhere")
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    assert checkpoint.find_last(run) is None
    with pytest.raises(InputError, match="checkpoints is a link"):
        checkpoint.check_places(run, 0)


# --- A checkpoint that a power cut tore ---


TEARS = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("file", sorted(checkpoint.FILES))
@pytest.mark.parametrize("tear", TEARS)
def test_the_one_before_is_taken(run, caplog, file, tear):
    path = run / "checkpoints" / "00000008" / file
    torn = TEARS[tear](path.read_bytes())
    path.unlink() if torn is None else path.write_bytes(torn)
    found = read(run)
    assert found.folder.name == "00000004"
    (line,) = [record.getMessage() for record in caplog.records]
    assert file in line
    assert f"{run / 'checkpoints' / '00000004'} is taken, the one before" in line
    save(run, 8)  # in its place
    assert read(run).folder.name == "00000008"


def test_none_before_it(run):
    for folder in (run / "checkpoints").iterdir():
        os.truncate(folder / "ema.safetensors", 100)
    with pytest.raises(InputError, match=r"00000004/ema.safetensors is damaged.*no checkpoint before it is whole"):
        read(run)


def test_a_copy_under_a_later_step_is_not_the_last(run, caplog):
    shutil.copytree(run / "checkpoints" / "00000004", run / "checkpoints" / "00000011")
    assert read(run).folder.name == "00000008"
    assert "it is 4, not that of the folder" in caplog.text


# --- One schema ---


def refusal(run):
    """The sentence; nothing else is raised, and the checkpoint before it is not taken."""
    with pytest.raises(InputError) as raised:
        read(run)
    return str(raised.value)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("settings.precision", "fp64", "settings.precision: invalid enum value 'fp64'"),
        ("settings.prefix", "morse", "settings.prefix: 'morse' is none of"),
        ("settings.sample_rate", None, "settings.sample_rate: it is null"),
        ("settings.sample_rate", "8000", "settings.sample_rate: expected int | null, got str"),
        ("settings.shards", "\x1b[2J", "settings.shards: expected text without control characters"),
        ("settings.model.d_model", -8, "settings.model: d_model is -8: it must be a whole number from 1 to 65536"),
        ("settings.model.options", {"s4d": {"d_state": "4"}}, "settings.model: option d_state of s4d is '4': Expected int"),
        (
            "settings.model.options",
            {"s4d": {"d_state": 3}},
            "settings.model: s4d of width 8 can't be made with {'d_state': 3}",
        ),
        ("settings.later", 1, "'later' is a setting of another version"),
        ("settings.steps", 7, "step: it is 8, and the run has 7 steps"),
        ("step", 101, "step: it is 101, and the run has 100 steps"),
        ("step", -1, "step: expected int >= 1"),
        ("seconds", -1, "seconds: expected float >= 0.0"),
        ("stream", None, "stream: expected object, got null"),
        ("stream.group", None, "stream.group: expected int, got null"),
        ("stream.fingerprint", "6" * 64, "stream.fingerprint: it is of other data"),
        ("fingerprint", "../..", "fingerprint: expected 64 hexadecimal digits"),
        ("layers", 9, "layers: expected int <= 8"),
        ("layer_names", ["blocks.0:S4D"], "layer_names: it has 1 layers, the settings have 2"),
        (
            "layer_names",
            ["blocks.0:S4D", "blocks.1:S4"],
            "layer_names: number 1 is 'blocks.1:S4', and 'blocks.1:S4D' in the run",
        ),
        ("sha256", {}, "sha256: object missing required field model.safetensors"),
        ("format", 2, "format 2, this version reads 1"),
        ("format", "1", "format: expected int, got str"),
    ],
)
def test_fields(run, place, value, sentence):
    file = "checkpoints/00000008/checkpoint.json"
    documents.change_field(run, file, place.split("."), value)
    said = refusal(run)
    assert sentence in said
    assert file in said


def change(run, part, make):
    tensors.change_tensors(run, part, make, signed=True)


def test_moments_of_another_shape(run):
    """These crashed the process."""
    change(run, "optimiser", tensors.CONTENTS["longer"])
    name = "backbone.blocks.0.feed_forward.0.bias:exp_avg"
    said = refusal(run)
    assert (
        f"optimiser.safetensors is of another model: '{name}' is F32 of shape (9,) in it and F32 of shape (8,) here" in said
    )


def test_dtypes(run):
    change(run, "model", tensors.CONTENTS["one half"])
    assert ".weight' is F16 of shape (8,) in it and F32 of shape (8,) here" in refusal(run)


@pytest.mark.parametrize("part", ["model", "ema", "optimiser"])
@pytest.mark.parametrize("name", tensors.NUMBERS)
def test_numbers_that_are_none(run, part, name):
    change(run, part, tensors.NUMBERS[name])
    said = refusal(run)
    assert f"{part}.safetensors: " in said
    assert "is not finite" in said


def test_convert_refuses_weights_that_are_none(run, tmp_path, capsys):
    """It wrote noise at full scale, with exit status 0."""
    change(run, "ema", tensors.NUMBERS["all nan"])
    source = tmp_path / "in.wav"
    source.write_bytes(b"")
    assert convert.main(["--checkpoint", str(run), "--source", str(source), "--out", str(tmp_path / "out.wav")]) == 2
    assert "is not finite: it has NaN or infinity in it" in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


def test_generators(run):
    change(run, "rng", tensors.GENERATORS["all 255"])
    assert "rng.safetensors: cpu is no state of torch's generator" in refusal(run)


def test_another_model(run):
    """What its tensors do not show is seen too."""
    _, own = checkpoint_reader.read_metadata(run / "checkpoints" / "00000008")
    assert checkpoint_reader.read_last(run, checkpoint.PARTS, own)
    drops = dataclasses.replace(own, model=dataclasses.replace(own.model, dropout=0.5))
    with pytest.raises(InputError, match=r"checkpoint.json, field settings.model: .* in the run: one was edited"):
        checkpoint_reader.read_last(run, checkpoint.PARTS, drops)


def test_a_run_without_checkpoints(run):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    assert read(run) is None
    with pytest.raises(InputError, match="has no checkpoint yet"):
        checkpoint_reader.load_model(run)


@given(st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=200, deadline=None)
def test_whatever_bytes_a_safetensors_file_has(tmp_path_factory, junk, length):
    """Their hash is right."""
    path = tmp_path_factory.getbasetemp() / "junk.safetensors"
    data = length.to_bytes(8, "little") + junk
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"junk\.safetensors"):
        checkpoint_reader.read_tensors(path, hashlib.sha256(data).hexdigest(), {"a": ("F32", (3,))})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_a_field_holds(good, tmp_path_factory, data):
    """Metadata is a sentence, or it is legal."""
    document = json.loads((good / "checkpoints" / "00000008" / "checkpoint.json").read_text())
    folder = tmp_path_factory.mktemp("field")
    place = data.draw(st.sampled_from(list(documents.leaves(document))))
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(json_values)
    (folder / "checkpoint.json").write_text(json.dumps(document))
    said = None
    try:
        found, chosen = checkpoint_reader.read_metadata(folder)
    except InputError as error:
        said = str(error)
    if said is None:
        assert 1 <= found["step"] <= chosen.steps
        assert RunSettings.from_json(chosen.to_json()) == chosen
    else:
        assert "checkpoint.json" in said
        assert "\n" not in said


def test_some_of_the_campaign(good, tmp_path):
    """Broken in ways that are drawn anew each time: read, or refused in a sentence, and neither hangs nor takes memory."""
    for case in random.sample(every_case(good), 40):
        run = Path(shutil.copytree(good, tmp_path / "case" / "run"))
        case.change(run)
        said = ""
        try:
            read(run)
        except InputError as error:
            said = str(error)
        except Exception as error:
            raise AssertionError(f"{case.name}: {error!r}") from error
        assert len(said) < 2000, case.name
        shutil.rmtree(tmp_path / "case")


@pytest.mark.integration
@pytest.mark.slow
def test_the_campaign():
    """Two of its cases with all that a person does with a checkpoint, in processes of their own."""
    script = [sys.executable, "benchmarks/campaign/checkpoints.py", "--count", "2", "--seed", str(random.randrange(1000))]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 faults" in done.stdout
