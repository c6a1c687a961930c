"""The settings of a model: what there is to choose, and what is wrong with a choice."""

import difflib
import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, get_origin, get_type_hints

import msgspec

from .film import READERS
from .layers import LAYERS

BACKBONES = ("sashimi", "stack")
# Far beyond what anybody trains: settings come from files too, and a number there must not keep a machine busy for hours.
_MAX = {"d_model": 65_536, "n_layers": 256, "expand": 64, "ff": 64, "pool": 4096, "film": 1 << 20}
_MAX_POOLS = 6
_MAX_OPTION, _MAX_OPTIONS = 65_536, {"d_state": 4096, "expand": 64, "dt_max": 1000, "dt_init_floor": 1000}  # of a layer


def _field(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ModelSettings:
    """All of a model's structure, in values that JSON keeps. Raises ValueError, a sentence, for what can't be.

    The layers' dt_min and dt_max (in `options`) count in samples: 1e-3 to 1e-1 is meant for 8 kHz. At 16 kHz halve both to
    keep the same times. In a stage of SaShiMi that runs at a sixteenth of the rate, times are sixteen times as long.
    """

    layers: tuple[str, ...] = ("s4",)  # of LAYERS; they alternate through the blocks
    backbone: str = _field("sashimi", "sashimi, whose inner stages run at a part of the rate, or stack")
    d_model: int = _field(64, "width")
    n_layers: int = _field(8, "blocks of each stage")
    pool: tuple[int, ...] = _field((4, 4), "steps that become one, from stage to stage; of sashimi alone")
    expand: int = _field(2, "how much wider a stage is than the one above; of sashimi alone")
    ff: int = _field(2, "how much wider the feed-forward part is inside; 0: none")
    dropout: float = _field(0.0, "part of each branch that is left out in training")
    film: int = _field(
        0, "samples of the prefix, if film_reader reads it and scales and shifts each block's input; 0: layers read it"
    )
    film_reader: str = _field(
        "mlp",
        "mlp, for any prefix; operators, with the same weights for each of the six operators of a bytes prefix; or "
        "table, an embedding for each known voice",
    )
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # of a layer: arguments of its constructor

    def __post_init__(self) -> None:
        for name in ("layers", "pool"):  # JSON has no tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))
        options = {
            name: {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
            for name, given in self.options.items()
        }
        object.__setattr__(self, "options", options)  # equal to what comes back from JSON
        if not self.layers:
            raise ValueError(f"layers is empty: name one or more of {', '.join(sorted(LAYERS))}")
        for name in (*self.layers, *self.options):
            check_known("layer", name, sorted(LAYERS))
        check_known("backbone", self.backbone, BACKBONES)
        check_known("film_reader", self.film_reader, READERS)
        if self.film_reader != "mlp" and not self.film:
            raise ValueError(f"film_reader is {self.film_reader}, and film is 0: give it the length of the prefix")
        for name, options in self.options.items():
            if name not in self.layers:
                raise ValueError(
                    f"options has {name}, which is not among the layers, {', '.join(self.layers)}: leave it out"
                )
            for option, value in options.items():
                check_known(f"option of {name}", option, free_arguments(name))
                check_option(name, option, value)
        if len(self.pool) > _MAX_POOLS:
            raise ValueError(f"pool has {len(self.pool)} numbers: there can be up to {_MAX_POOLS}")
        sizes = {name: getattr(self, name) for name in ("d_model", "n_layers", "expand", "ff", "film")}
        for name, size in [*sizes.items(), *(("pool", p) for p in self.pool)]:
            smallest, largest = 0 if name in ("ff", "film") else 1, _MAX[name]
            if type(size) is not int or not smallest <= size <= largest:
                near = min(max(smallest, round(size)), largest) if isinstance(size, int | float) else smallest
                raise ValueError(
                    f"{name} is {size!r}: it must be a whole number from {smallest} to {largest}, the nearest is {near}"
                )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must be a number from 0 to below 1")

    @property
    def n_blocks(self) -> int:
        """Of all stages together."""
        return self.n_layers * (1 + len(self.pool) if self.backbone == "sashimi" else 1)


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no {what} {name!r}: {guess}There are {', '.join(known)}")


def free_arguments(name: str) -> list[str]:
    """The arguments of a layer's constructor that settings may give: not the width, the first, nor what its name fixes."""
    fixed = getattr(LAYERS[name], "keywords", ())
    _, *arguments = inspect.signature(LAYERS[name]).parameters
    return [argument for argument in arguments if argument not in fixed]


def find_types(name: str) -> dict[str, Any]:
    """The type of each argument of a layer's constructor, as its annotations say."""
    layer = LAYERS[name]
    return get_type_hints(getattr(layer, "func", layer).__init__)


def find_default(settings: ModelSettings, name: str, option: str) -> Any:
    """What a layer of a model has for an option."""
    return settings.options.get(name, {}).get(option, inspect.signature(LAYERS[name]).parameters[option].default)


def override(settings: ModelSettings, texts: dict[str, str]) -> ModelSettings:
    """With other values: `d_model` of the model, `d_state` of each layer that has it, `s4d.d_state` of one kind of layer.

    Raises ValueError, a sentence, for what there is not in this model, or can't be.
    """
    own = {name: kind for name, kind in get_type_hints(ModelSettings).items() if name not in ("layers", "options")}
    layers = {name: free_arguments(name) for name in settings.layers}
    known = {*own, *(option for options in layers.values() for option in options)}
    known |= {f"{name}.{option}" for name, options in layers.items() for option in options}
    changed: dict[str, Any] = {}
    options = {name: dict(settings.options.get(name, {})) for name in settings.layers}
    for place, text in texts.items():
        check_known("setting of this model", place, sorted(known))
        if place in own:
            changed[place] = _read(place, text, own[place])
            continue
        one, _, option = place.rpartition(".")
        for name in [one] if one else settings.layers:
            if option in layers[name]:
                options[name][option] = _read(place, text, find_types(name).get(option, Any))
    return replace(settings, **changed, options={name: found for name, found in options.items() if found})


def _read(place: str, text: str, kind: Any) -> Any:
    try:
        return msgspec.convert(text.split(",") if get_origin(kind) is tuple else text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{place} is {text!r}: {error}".replace("`", "")) from None


def check_option(name: str, option: str, value: Any) -> None:
    """Raises ValueError for a value of another type than the layer's constructor takes, by its annotations, or too large."""
    try:
        msgspec.convert(value, find_types(name).get(option, Any))
    except msgspec.ValidationError as error:
        raise ValueError(f"option {option} of {name} is {value!r:.80}: {error}".replace("`", "")) from None
    largest = _MAX_OPTIONS.get(option, _MAX_OPTION)
    several = isinstance(value, list | tuple)
    for number in value if several else [value]:
        without_limit = several and number == math.inf  # an end of a range
        if isinstance(number, int | float) and not without_limit and not abs(number) <= largest:
            raise ValueError(f"option {option} of {name} is {number}: it can be up to {largest}")
