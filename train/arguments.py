"""From the words of `python -m train` to a run and its settings."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from dx7data.errors import InputError
from models.registry import LAYERS, MODELS
from models.settings import ModelSettings, find_default, free_arguments, override
from train.config import (
    FREE,
    PRESETS,
    DataSettings,
    OptimSettings,
    RunSettings,
    find_defaults,
    make_settings,
    name_model,
)
from train.documents import Name
from train.loop import checkpoint, checkpoint_reader
from train.options import Parser, make_reader, read_config
from train.results import reader

NO_PLACE = "--shards is missing: name a folder that `dx7data render` has written, or with --live one with a plan"
_EITHER = ({"--shards", "--live"}, {"--model", "--layers"})  # options that exclude each other
_MODEL = "model."  # what begins the names of the settings of a model


def read(argv: Sequence[str]) -> dict[str, Any]:
    """What is given, also in the files of --config. Raises InputError."""
    files = Parser("train", "", add_help=False)
    files.add_argument("--config", type=Path, action="append", default=[])
    found, rest = files.parse_known_args(list(argv))
    of_files = [word for path in found.config for word in read_config(path, texts=_MODEL)]
    words = [*_drop_overridden(of_files, rest), *rest]
    return make_parser(words).read(words)


def _drop_overridden(of_files: list[str], given: list[str]) -> list[str]:
    """The words of files without those beside which an option of the command line can't stand."""
    parser = make_parser(given)

    def name(word: str) -> str:
        return parser.normalise(word).partition("=")[0]

    pairs = [pair for pair in _EITHER if pair & set(map(name, given))]
    return [word for word in of_files if not any(name(word) in pair for pair in pairs)]


def make_parser(argv: Sequence[str] = ()) -> Parser:
    """All options; argv: of which --preset, --device and the model say what the help shows as defaults."""
    preset, shown, model = _find_shown(argv)
    top = Parser("train", "Train a model on a folder of shards.", epilog=f"Defaults are those of --preset {preset}.")
    add_places(top)
    which = top.add_mutually_exclusive_group()
    names = make_reader(str, MODELS)
    which.add_argument("--model", type=names, metavar="NAME", help=f"model to train: {', '.join(MODELS)}")
    of_layers = f"instead: alternate these layers, as in s4d,mamba2: {', '.join(sorted(LAYERS))}"
    which.add_argument("--layers", dest="model", type=_read_layers, metavar="A,B", help=of_layers)
    of_presets = "values for all options below (default: base with a GPU, tiny without one)"
    top.aliases |= {"--model.name": "--model", "--model.layers": "--layers"}
    top.add_argument("--preset", type=make_reader(str, PRESETS), metavar="|".join(PRESETS), help=of_presets)
    of_run = "the run, a folder or a URL (default: runs/MODEL-PRESET)"
    top.add_argument("--out", type=make_reader(Name), metavar="FOLDER", help=of_run)
    top.add_argument(
        "--resume",
        action="store_true",
        default=False,
        help="continue the run in --out with its own options; --steps N extends it",
    )
    of_files = "a TOML file of options, also under [data], [optim] and [model]; the command line overrides it"
    top.add_argument("--config", type=Path, metavar="FILE", help=of_files)
    inherited = {field.name for each in (DataSettings, OptimSettings) for field in dataclasses.fields(each)}
    own = [field.name for field in dataclasses.fields(RunSettings) if field.name not in inherited]
    top.add_fields(DataSettings, group="data", title="data (--data.split is --split)", shown=shown)
    top.add_fields(OptimSettings, group="optim", title="training (--optim.lr is --lr)", shown=shown)
    top.add_fields(RunSettings, own, title="evaluation and checkpoints", shown=shown)
    _add_model(top, model)
    return top


def add_places(parser: Parser) -> None:
    """--shards or --live: where the data is."""
    where = parser.add_mutually_exclusive_group()
    path = make_reader(Name)  # config.json keeps it
    where.add_argument(
        "--shards", type=path, metavar="FOLDER", help="a folder that `dx7data render` has written, or its URL"
    )
    parser.aliases |= {"--data.shards": "--shards", "--data.live": "--live"}
    of_live = "instead of --shards: render the samples of the plan in this folder during training"
    where.add_argument("--live", type=path, metavar="FOLDER", help=of_live)


def find_place(given: dict[str, Any]) -> dict[str, Any]:
    """What --shards and --live mean for the settings. Raises InputError."""
    if "live" in given:
        if "reader" in given:
            raise InputError("--live reads nothing: leave --reader out, or name the folder with --shards")
        return {name: value for name, value in given.items() if name != "live"} | {"shards": given["live"], "reader": "live"}
    return {"reader": "shards", **given} if "shards" in given else dict(given)


def _find_shown(argv: Sequence[str]) -> tuple[str, dict[str, Any], ModelSettings | None]:
    """The preset, what it sets, and the model. What is wrong in argv counts as not given: it is said later."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("preset", "device", "model", "layers"):
        peek.add_argument(f"--{name}")
    try:
        found, _ = peek.parse_known_args(list(argv))
    except argparse.ArgumentError:
        return _find_shown(())
    device = found.device or find_device()
    preset = found.preset if found.preset in PRESETS else find_preset(device)
    defaults = find_defaults(preset, device)
    model = found.model or (tuple(found.layers.split(",")) if found.layers else None)
    try:
        return preset, defaults, make_settings("", model, preset).model if model else None
    except InputError:
        return preset, defaults, None


def _add_model(parser: Parser, model: ModelSettings | None) -> None:
    """Settings of the model, as text; models.settings.override reads them. The help shows those of the model at hand."""
    title = "model" + ("" if model else " (with --model NAME here, also the options of its layers)")
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(ModelSettings):
        if "help" in field.metadata:
            default = getattr(model, field.name) if model else "the model's"
            _add_text(group, field.name, f"{field.metadata['help']} (default: {_join(default)})")
    own = {field.name for field in dataclasses.fields(ModelSettings)}
    shared: dict[str, list[str]] = {}
    for name in sorted(LAYERS):
        for option in free_arguments(name):
            _add_text(group, f"{name}.{option}", argparse.SUPPRESS)
            shared.setdefault(option, []).append(name)
    for option, names in shared.items():
        if option not in own:
            here = [name for name in dict.fromkeys(model.layers if model else ()) if name in names]
            values = ", ".join(f"{_join(find_default(model, name, option))} in {name}" for name in here) if model else ""
            _add_text(group, option, f"of layers (default: {values})" if here else argparse.SUPPRESS)


def _add_text(group: Any, name: str, help: str) -> None:
    flag = f"--{_MODEL}{name}"
    group.add_argument(flag.replace("_", "-"), dest=f"{_MODEL}{name}", metavar="VALUE", help=help.replace("%", "%%"))


def _join(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _read_layers(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def find_device() -> Literal["cpu", "cuda"]:
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_device(given: str | None) -> Literal["cpu", "cuda"]:
    """What --device says, else a GPU if there is one. Raises InputError for a GPU where torch finds none."""
    if given == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; --device cpu works everywhere")
    return "cpu" if given == "cpu" else find_device()


def find_preset(device: str) -> str:
    return "base" if device == "cuda" else "tiny"


def choose_run(given: dict[str, Any]) -> tuple[Path, RunSettings]:
    """Where the run is, and its settings. Raises InputError when the command line contradicts it."""
    overrides = find_place(given)
    of_model = {name.removeprefix(_MODEL): overrides.pop(name) for name in list(overrides) if name.startswith(_MODEL)}
    overrides["device"] = overrides.get("device") or find_device()
    resume, model, out = overrides.pop("resume"), overrides.pop("model", None), overrides.pop("out", None)
    if "freeze" in overrides:
        overrides["freeze"] = tuple(pattern for text in overrides["freeze"] for pattern in text.split(","))
    if initial := overrides.get("init_from"):
        overrides["init_from"] = str(find_initial(initial))
        if model is None and not resume:
            model = checkpoint_reader.read_metadata(Path(overrides["init_from"]))[1]
    if model is None and not (resume and out):
        raise InputError(
            f"--model is missing: take one of {', '.join(MODELS)}, or --layers with one or more of "
            f"{', '.join(sorted(LAYERS))}"
        )
    preset = overrides.get("preset", find_preset(overrides["device"]))
    run = Path(out) if out else Path("runs") / f"{name_model(model)}-{preset}"
    if resume:
        if model is not None:
            overrides["model_name"] = name_model(model)
        return run, change_settings(run, overrides, of_model)
    if "shards" not in overrides:
        raise InputError(NO_PLACE)
    return run, make_settings(model=model, of_model=of_model, **overrides | {"preset": preset})


def change_settings(run: Path, overrides: dict[str, Any], of_model: dict[str, str]) -> RunSettings:
    """Those of a run that goes on. Raises InputError for one that it must keep."""
    stored = RunSettings.from_json(reader.read_config(run)["settings"], run / "config.json")
    if (steps := overrides.pop("steps", stored.steps)) != stored.steps:
        stored = extend(stored, run, steps)
    exact = "webdataset" not in (stored.reader, overrides.get("reader"))
    for name, value in overrides.items():
        if (name not in FREE or (name == "reader" and not exact)) and getattr(stored, name) != value:
            _refuse("--" + name.removesuffix("_name").replace("_", "-"), getattr(stored, name), value, run)
    check_model(of_model, stored.model, run)
    return dataclasses.replace(stored, **{name: overrides[name] for name in FREE if name in overrides})


def find_initial(text: str) -> Path:
    """The checkpoint that --init-from means, so that the run can begin again from the same one. Raises InputError."""
    if "://" in text:
        raise InputError(f"--init-from {text} is a URL: copy the run to a folder first")
    return checkpoint_reader.find_checkpoint(Path(text))


def extend(stored: RunSettings, run: Path, steps: int) -> RunSettings:
    """The settings of a run with another end. Raises InputError if it has come further."""
    last = checkpoint.find_last(run)
    done = int(last.name) if last else 0
    if steps <= done:
        raise InputError(f"--steps {steps} is too few: {run} has done {done:,} steps already")
    return stored.extend(done, steps)


def check_model(texts: dict[str, str], stored: ModelSettings, run: Path) -> None:
    """Raises InputError when settings of the model, as text, are not those of a run."""
    for name, text in texts.items():
        try:
            if override(stored, {name: text}) == stored:
                continue
        except ValueError as error:
            raise InputError(f"--{_MODEL}{name}: {error}") from None
        raise InputError(f"--{_MODEL}{name} is not {text} in {run}: leave it out, or start another run")


def _refuse(option: str, was: Any, now: Any, run: Path) -> None:
    texts = ["none" if value is None else str(value) for value in (was, now)]
    raise InputError(f"{option} is {texts[0]} in {run} and {texts[1]} here: leave it out, or start another run")
