"""A take played by a trained model: a process of train.convert, for rendering and playing do without torch."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dx7data.audio.wav import encode_wav
from dx7data.errors import InputError, suggest_install
from dx7data.patches import sysex

_CHECKOUT = Path(__file__).resolve().parents[3]  # where `train` is, if this is a checkout of the project
_LONGEST = 600  # seconds that a conversion may take
_CHUNK = "512ms"  # all of the take is there: longer chunks than a live source has are faster


class Model(NamedTuple):
    """A trained model, and what its source must be like."""

    option: tuple[str, str]  # of train.convert: --checkpoint with a run, or --pretrained with a name
    sample_rate: int
    prefix: bool  # does it hear the patch? else it plays the one that it was trained on


def open_model(option: str, value: str | Path) -> Model:
    """The model that an option of train.convert names, asked for what it takes.

    Raises InputError when it can't be used here.
    """
    given = option, os.path.realpath(value) if isinstance(value, Path) else value
    about = json.loads(_run("describe", *given))
    return Model(given, about["sample_rate"], about["prefix"] is not None)


def convert(model: Model, source: np.ndarray, patch: np.ndarray) -> bytes:
    """The source, int16 at the model's rate, in the voice of a patch: a wav file. Raises InputError."""
    with tempfile.NamedTemporaryFile(prefix="dx7data-", suffix=".syx") as file:
        file.write(sysex.write_voice(patch))
        file.flush()
        voice = ("--patch", file.name) if model.prefix else ()
        pipes = ("--source", "-", "--out", "-", "--raw", "--chunk", _CHUNK)
        audio = _run("convert", *model.option, *pipes, *voice, given=source.astype("<i2").tobytes())
    return encode_wav(np.frombuffer(audio, "<i2"), model.sample_rate)


def _run(command: str, *options: object, given: bytes = b"") -> bytes:
    """What a command of train writes to stdout, with this on its stdin. Raises InputError with its last sentence."""
    if not (_CHECKOUT / "train" / f"{command}.py").exists():
        raise InputError(
            f"{options[0]} needs the folder train/, which only a checkout of the project has: start dx7data there"
        )
    places = [str(_CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    argv = [sys.executable, "-m", f"train.{command}", *map(str, options)]
    try:
        done = subprocess.run(argv, input=given, capture_output=True, timeout=_LONGEST, env=surroundings)
    except subprocess.TimeoutExpired:
        raise InputError(f"the model took more than {_LONGEST} s: play less at once, or use a smaller one") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"train.{command} failed without a word"]
        if said[-1].startswith("ModuleNotFoundError"):
            needs = f"{options[0]} needs torch and what else the train extra brings"
            raise InputError(f"{needs}: {suggest_install('train')}")
        raise InputError(said[-1].removeprefix(f"train.{command}: "))
    return done.stdout
