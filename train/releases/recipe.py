"""The command that trains a run with the same settings: what is not as its preset has it becomes an option."""

import dataclasses
from typing import Any

from models.registry import MODELS
from models.settings import ModelSettings
from train.config import RunSettings, make_settings

# Where data lies and where it is computed, which no preset decides; what needs more than one option; what is no option.
_OWN = ("shards", "reader", "model_name", "preset", "model", "device", "logger", "extended")


def list_words(settings: RunSettings, folder: str) -> list[str]:
    """The words after `python -m train`; folder: of the data. A run that was extended has the end that it has now."""
    known = settings.model_name in MODELS
    layers = settings.model.layers
    usual = make_settings("", settings.model_name if known else layers, settings.preset, device=settings.device)
    words = ["--live" if settings.reader == "live" else "--shards", folder]
    words += ["--model", settings.model_name] if known else ["--layers", ",".join(layers)]
    words += ["--preset", settings.preset]
    for field in dataclasses.fields(RunSettings):
        value = getattr(settings, field.name)
        if field.name not in _OWN and value != getattr(usual, field.name):
            words += _write_option(field.name, value)
    return words + _list_model_words(settings.model, usual.model)


def _list_model_words(model: ModelSettings, usual: ModelSettings) -> list[str]:
    words = []
    for field in dataclasses.fields(ModelSettings):
        value = getattr(model, field.name)
        if field.name not in ("layers", "options") and value != getattr(usual, field.name):
            words += [f"--model.{field.name.replace('_', '-')}", _write_value(value)]
    for layer, options in model.options.items():
        for name, value in options.items():
            if usual.options.get(layer, {}).get(name) != value:
                words += [f"--model.{layer}.{name.replace('_', '-')}", _write_value(value)]
    return words


def _write_option(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is True:
        return [flag]
    if isinstance(value, tuple):
        return [flag, *map(str, value)]
    return [flag, "none" if value is None else _write_value(value)]


def _write_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
