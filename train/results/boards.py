"""Where people look at a run while it goes on: TensorBoard, and Weights & Biases or MLflow if asked for.

All get the same numbers by the same names, such as `validation/seen/bits`, fixed samples as `audio/0-generated`, and their
mel spectrograms as `spectrogram/0-generated`.
"""

import importlib
import importlib.util
import io
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from PIL import Image  # which matplotlib brings
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from dx7data.audio.wav import encode_wav
from dx7data.errors import InputError, suggest_install
from dx7data.files import read_regular, write_atomically
from train.documents import MAX_JSON_BYTES, Name, convert, decode
from train.results.reader import Clip, flatten

Numbers = list[tuple[int, dict[str, float]]]  # step, and what was measured there by its name
_PROJECT = "dx7data"  # of Weights & Biases, and experiment of MLflow, unless the environment names another
_IDENTITIES = "logger.json"  # in the run: as what each service knows it


class Board(Protocol):
    """One of them. All methods may raise whatever its library raises."""

    def add_numbers(self, numbers: Numbers) -> None: ...

    def add_clip(self, name: str, clip: Clip, spectrogram: bytes, step: int) -> None:
        """spectrogram: a PNG"""

    def close(self, done: bool) -> None:
        """done: whether the run has done all its steps."""


class TensorBoard:
    """Event files in the run; those of steps after `step` no longer count. Hyper-parameters are in the same file."""

    def __init__(self, run: Path, step: int, settings: dict):
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        shown = {f"validation/{name}/bits": 0 for name in ("seen", "unseen", "val")} | {"metrics/loss_bits": 0}
        experiment, session, _ = hparams({name: _read_number(text) for name, text in flatten(settings).items()}, shown)
        self._add(experiment)
        self._add(session)

    def _add(self, summary: Summary, step: int | None = None) -> None:
        writer = self._board.file_writer
        assert writer is not None  # until it is closed
        writer.add_summary(summary, step)

    def add_numbers(self, numbers: Numbers) -> None:
        for step, values in numbers:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def add_clip(self, name: str, clip: Clip, spectrogram: bytes, step: int) -> None:
        """As it is in samples/, to the bit: add_audio would scale it."""
        audio = Summary.Audio(
            sample_rate=clip.rate,
            num_channels=1,
            length_frames=len(clip.audio),
            encoded_audio_string=encode_wav(*clip),
            content_type="audio/wav",
        )
        width, height = Image.open(io.BytesIO(spectrogram)).size
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=spectrogram)
        self._add(Summary(value=[Summary.Value(tag=f"audio/{name}", audio=audio)]), step)
        self._add(Summary(value=[Summary.Value(tag=f"spectrogram/{name}", image=image)]), step)

    def close(self, done: bool) -> None:
        self._board.close()


def _read_number(text: str) -> float | str:
    """Of a value as `flatten` writes it."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text


class WandB:
    """A run of Weights & Biases. WANDB_PROJECT, WANDB_MODE=offline and its other variables work as always."""

    name = "wandb"

    def __init__(self, run: Path, settings: dict, identity: str | None):
        self._library = wandb = importlib.import_module("wandb")
        self.identity = identity or secrets.token_hex(4)
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        self._run = wandb.init(
            project=project,
            name=os.path.basename(os.path.realpath(run)),
            id=self.identity,
            resume="allow",
            config=settings,
            allow_val_change=True,
        )
        self._run.define_metric("*", step_metric="step")  # its own step could not go back where a run goes on

    def add_numbers(self, numbers: Numbers) -> None:
        for step, values in numbers:
            self._run.log({"step": step, **values})

    def add_clip(self, name: str, clip: Clip, spectrogram: bytes, step: int) -> None:
        audio = self._library.Audio(clip.audio, sample_rate=clip.rate)
        image = self._library.Image(Image.open(io.BytesIO(spectrogram)))
        self._run.log({"step": step, f"audio/{name}": audio, f"spectrogram/{name}": image})

    def close(self, done: bool) -> None:
        self._run.finish(exit_code=0 if done else 1)


class MLflow:
    """A run of MLflow. MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and its other variables work as always."""

    name = "mlflow"

    def __init__(self, run: Path, settings: dict, identity: str | None):
        self._library = mlflow = importlib.import_module("mlflow")
        self._client = mlflow.MlflowClient()
        if identity:
            self._client.update_run(identity, status="RUNNING")
            self.identity = identity
            return
        experiment = mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)).experiment_id
        self.identity = self._client.create_run(experiment, run_name=os.path.basename(os.path.realpath(run))).info.run_id
        params = [mlflow.entities.Param(name, text) for name, text in flatten(settings).items()]
        self._client.log_batch(self.identity, params=params)

    def add_numbers(self, numbers: Numbers) -> None:
        now, entry = int(1000 * time.time()), self._library.entities.Metric
        metrics = [entry(name, value, now, step) for step, values in numbers for name, value in values.items()]
        self._client.log_batch(self.identity, metrics=metrics)

    def add_clip(self, name: str, clip: Clip, spectrogram: bytes, step: int) -> None:
        """As files: audio/0-generated/00001000.wav"""
        with TemporaryDirectory() as folder:
            for kind, ending, content in (("audio", "wav", encode_wav(*clip)), ("spectrogram", "png", spectrogram)):
                path = Path(folder) / f"{step:08d}.{ending}"
                path.write_bytes(content)
                self._client.log_artifact(self.identity, str(path), f"{kind}/{name}")

    def close(self, done: bool) -> None:
        self._client.set_terminated(self.identity, "FINISHED" if done else "KILLED")


LOGGERS: dict[str, Callable[[Path, dict, str | None], WandB | MLflow]] = {"wandb": WandB, "mlflow": MLflow}


def check_logger(name: str | None) -> None:
    """Raises InputError if its library is not installed. A folder of that name, as wandb leaves it, is no library."""
    found = importlib.util.find_spec(name) if name else None
    if name and not (found and found.origin):
        raise InputError(f"--logger {name} needs {name}, which is not installed: {suggest_install(name)}")


def open_logger(name: str | None, run: Path, settings: dict) -> WandB | MLflow | None:
    """For a run that begins, or goes on where its logger.json says. Raises InputError if it can't be had."""
    if name is None:
        return None
    try:
        return LOGGERS[name](run, settings, _read_identities(run).get(name))
    except InputError:
        raise
    except Exception as error:  # whatever the library calls it: no account, no server
        raise InputError(f"--logger {name}: {describe(error)}") from None


def describe(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def keep_identity(run: Path, name: str, identity: str) -> None:
    """So that a run that goes on is the same run for the service."""
    found = _read_identities(run)
    if found.get(name) != identity:
        content = json.dumps(found | {name: identity}, indent=1).encode()
        write_atomically(run / _IDENTITIES, lambda file: file.write(content))


def _read_identities(run: Path) -> dict[str, str]:
    path = run / _IDENTITIES
    if not os.path.lexists(path):
        return {}
    try:
        return convert(decode(read_regular(path, MAX_JSON_BYTES, links=False)), dict[str, Name], path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}): remove it, and the run gets a new page") from None
