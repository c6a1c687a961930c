"""Options are the fields of the settings: the same names, defaults and limits, from words, from a file and from JSON."""

import dataclasses
import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
from dx7data.errors import InputError
from models.registry import LAYERS, MODELS, preset
from train import arguments, baselines, compare, convert, study
from train.config import PRESETS, RunSettings, find_defaults, make_settings
from train.options import parse, setting

BASIC = ["--shards", "shards", "--model", "s4", "--preset", "tiny", "--device", "cpu"]


def chosen(*argv):
    return arguments.choose_run(arguments.read([*BASIC, *argv]))[1]


def test_every_setting_is_an_option():
    """Under its own name, and under that of its group."""
    values = {"split": "val", "reader": "webdataset", "prefix": "fsk", "sample_rate": 4000, "seconds": 0.3, "workers": 3}
    values |= {"skip_missing": True, "steps": 7, "batch": 6, "grad_accum": 3, "lr": 0.5, "warmup": 0.25, "compile": True}
    values |= {"weight_decay": 0.3, "clip": 2.0, "ema": 0.5, "precision": "bf16", "seed": 9, "decode": "argmax"}
    values |= {
        "schedule": "wsd",
        "decay": 0.75,
        "evaluate_every": 11,
        "evaluate_samples": 12,
        "checkpoint_every": 13,
        "keep_last": 3,
        "keep_best": "bits",
        "patience": 4,
        "logger": "mlflow",
    }
    known = {field.name for field in dataclasses.fields(RunSettings)}
    assert known - values.keys() == {"shards", "model_name", "preset", "model", "device", "extended", "init_from", "freeze"}
    for name, value in values.items():
        words = [f"--{name}"] if value is True else [f"--{name}", str(value)]
        assert chosen(*words) == dataclasses.replace(chosen(), **{name: value})
    assert chosen("--optim.lr", "0.5", "--data.sample_rate=4000") == chosen("--lr", "0.5", "--sample-rate", "4000")


def test_help_has_every_default(capsys):
    """Those of the preset that is named beside it."""
    for name in PRESETS:
        with pytest.raises(SystemExit):
            arguments.read(["--preset", name, "--device", "cuda", "--model", "hybrid", "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        for field in dataclasses.fields(RunSettings):
            value = find_defaults(name, "cuda").get(field.name, field.default)
            if "help" in field.metadata and field.name != "device" and value not in (None, False, ()):
                about = shown[shown.rindex(f" --{field.name.replace('_', '-')} ") :]
                assert about.partition("(default: ")[2].startswith(f"{value})"), field.name
        assert "--model.d-state VALUE of layers (default: 32 in s4d, 32 in mamba2)" in shown
        assert "--model.pool VALUE steps that become one, from stage to stage; of sashimi alone (default: 4,4)" in shown


def test_settings_of_the_model():
    assert chosen("--model.d_model", "16").model == dataclasses.replace(chosen().model, d_model=16)
    assert chosen("--model.d-state=16", "--model.pool", "2,2").model.options == {"s4": {"d_state": 16}}
    hybrid = ["--shards", "x", "--layers", "s4d,mamba2", "--preset", "tiny", "--device", "cpu", "--model.d_state", "8"]
    both = arguments.choose_run(arguments.read(hybrid))[1].model
    assert [both.options[name]["d_state"] for name in ("s4d", "mamba2")] == [8, 8]
    one = arguments.choose_run(arguments.read([*hybrid, "--model.mamba2.d_state", "16"]))[1].model
    assert [one.options[name]["d_state"] for name in ("s4d", "mamba2")] == [8, 16]


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_any_layer_stands_alone_or_with_another(layer):
    """Without a preset of its name too; with one, its options are that one's."""
    run = make_settings("shards", (layer, "s4"), "tiny")
    assert run.model.layers == (layer, "s4")
    expected = preset(layer).options.get(layer, {}) if layer in MODELS else {}
    assert run.model.options.get(layer, {}) == expected


def test_the_command_line_overrides_what_it_excludes(tmp_path):
    """Of options that can't stand beside each other too: its data, and its model."""
    path = tmp_path / "options.toml"
    path.write_text('model = "s4"\n[data]\nlive = "plan"\n')
    given = arguments.read(["--config", str(path), "--layers", "s4d,mamba2", "--shards=x"])
    assert (given["model"], given["shards"], "live" in given) == (("s4d", "mamba2"), "x", False)
    path.write_text('shards = "x"\n[model]\nlayers = ["s4d", "mamba2"]\n')
    given = arguments.read(["--config", str(path), "--data.live", "plan", "--model.name", "s4"])
    assert (given["model"], given["live"], "shards" in given) == ("s4", "plan", False)


def test_a_file_of_options(tmp_path):
    """What the command line says counts more, wherever it stands."""
    path = tmp_path / "run.toml"
    path.write_text(
        "steps = 70\nskip_missing = true\n[optim]\nlr = 0.5\nwarmup = 0.2\n"
        "[model]\nlayers = ['s4d', 'mamba2']\npool = [2, 2]\n[model.s4d]\nd_state = 8\n"
    )
    words = ["--shards", "x", "--preset", "tiny", "--device", "cpu", "--config"]
    found = arguments.choose_run(arguments.read(["--lr", "0.25", *words, str(path)]))[1]
    assert (found.steps, found.skip_missing, found.lr, found.warmup) == (70, True, 0.25, 0.2)
    assert (found.model.layers, found.model.pool) == (("s4d", "mamba2"), (2, 2))
    assert found.model.options["s4d"] == {"d_state": 8}
    path.write_text("[model]\nname = 'hybrid'\nrotary = false\n[model.mamba2]\nbc_norm = true\n")
    found = arguments.choose_run(arguments.read([*words, str(path)]))[1].model.options["mamba2"]
    assert (found["rotary"], found["bc_norm"]) == (False, True)
    wrong = {"lr = ": "is no TOML", "lrs = 1": r"no option --lrs: did you mean --lr\?", "compile = false": "leave it out"}
    for text, word in wrong.items():
        path.write_text(text)
        with pytest.raises(InputError, match=word):
            arguments.read([*BASIC, "--config", str(path)])
    with pytest.raises(InputError, match=r"--config .*none.toml can't be read: No such file"):
        arguments.read(["--config", str(tmp_path / "none.toml")])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = " + 5000 * "[" + 5000 * "]", "is nested too deeply"),
        ("a = " + 5000 * "{a = " + "1" + 5000 * "}", "is nested too deeply"),
        ("[" + ".".join(5000 * "a") + "]\nb = 1", "is nested too deeply"),
        ("config = 'other.toml'", "it has a config of its own: give each file on the command line"),
        ("[optim]\nconfig = 'other.toml'", "there is no option --optim.config"),
        ("#" * (1 << 20) + "\n", "has more than the 1,048,576 bytes that are read of such a file"),
    ],
    ids=["arrays", "tables", "names", "config", "config in a table", "long"],
)
def test_files_of_options_that_are_no_use(tmp_path, text, sentence):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        arguments.read([*BASIC, "--config", str(path)])


def test_an_endless_file_of_options():
    with pytest.raises(InputError, match="has more than the 1,048,576 bytes"):
        arguments.read([*BASIC, "--config", "/dev/zero"])


@pytest.mark.parametrize("option", ["--out", "--shards", "--live", "--init-from", "--freeze"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [("a\udcffb", "in UTF-8"), ("a\nb", "without control characters"), (4097 * "a", "str of length <= 4096")],
)
def test_texts_that_a_run_could_not_keep(option, name, reason):
    """Its config.json could not be read again, so it could never go on."""
    with pytest.raises(InputError, match=f"{option}: .*can't be used: expected .*{reason}") as error:
        arguments.read(["--model", "s4", option, name])
    assert len(str(error.value)) < 400


def test_limits_are_those_of_json():
    """What an option refuses is refused in config.json too, and the other way round."""
    document = json.loads(json.dumps(chosen().to_json()))
    for name, value in [
        ("lr", 0.0),
        ("warmup", 1.5),
        ("steps", 0),
        ("workers", -1),
        ("precision", "fp8"),
        ("seconds", 0),
        ("clip", float("inf")),
    ]:
        with pytest.raises(InputError):
            RunSettings.from_json(document | {name: value})
        with pytest.raises(InputError, match=rf"--{name}: "):
            chosen(f"--{name}={value}")


def test_data_options_are_those_of_train():
    words = ["--shards", "x", "--sample-rate", "4000", "--seconds", "0.25", "--split", "val", "--skip-missing"]
    settings, out = baselines.read_options(words)
    run = arguments.choose_run(arguments.read([*words, "--model", "s4d", "--preset", "seed", "--device", "cpu"]))[1]
    assert settings == dataclasses.replace(run, evaluate_samples=1024)
    assert out == Path("baselines.json")
    with pytest.raises(InputError, match=r"--shards is missing"):
        baselines.read_options([])
    assert baselines.read_options(["--live", "x"])[0].reader == "live"


def test_commands_have_typed_options():
    found = study.read_options(["--shards", "x", "--models", "s4", "s4d", "--lrs", "0.1", "1", "--", "--preset", "seed"])
    assert found == study.StudyOptions("x", models=("s4", "s4d"), lrs=(0.1, 1.0), options=("--preset", "seed"))
    words = ["--checkpoint", "a", "--source", "b", "--out", "c.wav", "--patch", "x:1", "y:2", "--patch", "z:3"]
    converted = parse(convert.ConvertOptions, words, "train.convert", "")
    assert (converted.patch, converted.decode, converted.checkpoint) == (("x:1", "y:2", "z:3"), None, Path("a"))
    found = parse(compare.CompareOptions, ["a", "b", "--baselines", "c"], "train.compare", "")
    assert found == compare.CompareOptions((Path("a"), Path("b")), baselines=Path("c"))
    with pytest.raises(InputError, match=r"^--out is missing: "):
        parse(convert.ConvertOptions, words[:4], "train.convert", "")


def test_percent_signs_in_a_help(capsys):
    @dataclasses.dataclass
    class Options:
        share: float = setting(0.5, "100 % is all")

    with pytest.raises(SystemExit):
        parse(Options, ["--help"], "x", "50 %%")
    assert "100 % is all (default: 0.5)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "read",
    [
        lambda url: parse(convert.ConvertOptions, ["--out", url], "train.convert", ""),
        lambda url: study.read_options(["--shards", "shards", "--out", url]),
        lambda url: parse(compare.CompareOptions, ["run", "--out", url], "train.compare", ""),
        lambda url: baselines.read_options(["--shards", "shards", "--out", url]),
    ],
    ids=["convert", "study", "compare", "baselines"],
)
def test_a_url_is_no_path(read):
    with pytest.raises(InputError, match="--out: s3://bucket/x is a URL, and a path of this machine is needed here"):
        read("s3://bucket/x")
