"""dx7data: Yamaha DX7 patches in, training data out.

    patches = dx7data.load_patches("bank.syx")                              # uint8 (V, 155)
    notes = dx7data.voices(patches, 60, 100, held=1.0, rate=44100)          # middle C, velocity 100
    audio = dx7data.render(notes, seconds=2.5)                              # int32 (V, T), the DX7's own integers
    sample = dx7data.Plan.load("shards/")["train", 7]                       # rendered here and now, as it is in its shard

Each name is imported on first use, so importing the package takes no time.
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "load_patches": "patches.bank",
    "voices": "engine.voice",
    "render": "engine.render",
    "Plan": "plan.plan",
    "Sample": "plan.sample",
}
__all__ = [*_PLACES, "prefix", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"dx7data.{_PLACES[name]}"), name)
    if name == "prefix":
        return import_module("dx7data.prefix")
    if name == "__version__":
        return import_module("importlib.metadata").version("dx7data")
    raise AttributeError(f"module 'dx7data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
