"""What TensorBoard, Weights & Biases and MLflow show of a run, read back with their own readers; nothing needs a network."""

import csv
import importlib
import io
import sys

import numpy as np
import pytest
import run_folder
from matplotlib import image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from dx7data.errors import InputError
from train import __main__ as command
from train.results import boards, figures, reader
from train.results.writer import Log

KINDS = [f"{i}-{kind}" for i in range(2) for kind in reader.KINDS]


@pytest.fixture
def run(tmp_path):
    """A run of 30 steps, evaluated at 10, 20 and 30."""
    config = run_folder.config(steps=30)
    return run_folder.make(tmp_path / "run", config, steps=30, evaluate_every=10, rate=8000, seconds=0.1)


def tell(log):
    """As the trainer does: rows of tables, and the last samples, twice."""
    log.add("metrics", [{"step": step, "loss_bits": 8.0 - step, "set_by": None} for step in (31, 32)])
    log.add("validation", [{"step": 32, "set": "seen", "samples": 4, "bits": 2.25, "mel_db": float("nan")}])
    log.show_samples()
    log.show_samples()


def read_wav(run, name):
    return (run / "samples" / "00000030" / f"{name}.wav").read_bytes()


def test_tensorboard(run):
    about = reader.read_config(run)
    log = Log(run, 30, about)
    tell(log)
    log.close()
    assert [path.is_file() for path in (run / "tensorboard").iterdir()] == [True], "no folder for hyper-parameters"
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    tags = found.Tags()
    assert [event.value for event in found.Scalars("metrics/loss_bits")] == [-23, -24]
    assert [(event.step, event.value) for event in found.Scalars("validation/seen/bits")] == [(32, 2.25)]
    assert set(tags["audio"]) == {f"audio/{name}" for name in KINDS}
    assert set(tags["images"]) == {f"spectrogram/{name}" for name in KINDS}
    for name in KINDS:
        events = found.Audio(f"audio/{name}")
        assert {event.encoded_audio_string for event in events} == {read_wav(run, name)}
        assert [event.step for event in events] == [30] * (2 if name.endswith("generated") else 1)
    picture = found.Images("spectrogram/0-target")[0]
    pixels = image.imread(io.BytesIO(picture.encoded_image_string))
    assert pixels.shape[:2] == (picture.height, picture.width)
    level = figures.mel(reader.read_samples(run)[1]["0"]["target"])
    assert np.corrcoef(pixels[::-1, :, :3].sum(2).ravel(), level.ravel())[0, 1] > 0.9, "brighter is louder"
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["settings.lr"].number_value == 0.003
    assert told["settings.compile"].bool_value is False
    assert told["settings.model.options.s4.d_state"].number_value == 64
    assert told["settings.model_name"].string_value == "s4"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_library_that_is_not_there(tmp_path, monkeypatch, capsys, name):
    """A folder of its name, which wandb leaves where it has run, is none either."""
    argv = ["--shards", str(tmp_path), "--model", "s4d", "--preset", "tiny", "--device", "cpu", "--logger", name]
    said = f"--logger {name} needs {name}, which is not installed: pip install -e '.[{name}]'"
    monkeypatch.setitem(sys.modules, name, None)
    assert command.main([*argv, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="is not installed"):
        boards.check_logger(name)
    assert not (tmp_path / "run").exists()


def test_loggers_are_imported_only_when_asked_for(run, monkeypatch):
    """Here an import of one is an error."""
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    boards.check_logger(None)
    log = Log(run, 30)
    tell(log)
    log.close()


class Broken:
    """A service that is gone after the run has begun."""

    name, identity = "wandb", "one"

    def add_numbers(self, numbers):
        raise ConnectionError("the server\nis gone")


def test_training_goes_on_without_a_service(run, caplog):
    log = Log(run, 30, logger=Broken())
    tell(log)
    log.close()
    assert caplog.messages == ["--logger wandb is left out from here on: the server"]
    assert (run / "train.log").read_text().endswith(f" {caplog.messages[0]}\n")
    assert [row["loss_bits"] for row in reader.read_table(run / "metrics.csv")[-2:]] == ["-23.0", "-24.0"]


def test_a_damaged_file_of_identities(run):
    (run / "logger.json").write_text("{")
    with pytest.raises(InputError, match=r"logger.json can't be read .* remove it"):
        boards.open_logger("wandb", run, {})


# --- With the libraries ---


def open_library(name):
    return pytest.importorskip(name, reason=f"{name} is not installed, which make test does without: pip install {name}")


@pytest.mark.integration
def test_wandb(run, tmp_path, monkeypatch):
    """Offline: the summary and the files of a run that goes on under its name."""
    open_library("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    settings = reader.read_config(run)["settings"]
    for _ in range(2):
        log = Log(run, 30, logger=boards.open_logger("wandb", run, settings))
        tell(log)
        summary, config = dict(log._logger._run.summary), dict(log._logger._run.config)
        log.close(done=True)
    assert (summary["step"], summary["metrics/loss_bits"], summary["validation/seen/bits"]) == (30, -24, 2.25)
    assert config["model"]["d_model"] == 64
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in folders} == {boards._read_identities(run)["wandb"]}
    media = folders[-1] / "files" / "media"
    wavs = {path.read_bytes() for path in (media / "audio").rglob("*.wav")}
    assert wavs == {read_wav(run, name) for name in KINDS}
    assert len(list((media / "images").rglob("*.png"))) == len(KINDS) + 2, "what was generated, at both evaluations"


@pytest.mark.integration
def test_mlflow(run, tmp_path, monkeypatch):
    """In a local store: SQLite where the whole of mlflow is installed, files with mlflow-skinny."""
    mlflow = open_library("mlflow")
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec("sqlalchemy"):
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    else:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    settings = reader.read_config(run)["settings"]
    for done in (False, True):
        log = Log(run, 30, logger=boards.open_logger("mlflow", run, settings | {"workers": done}))
        tell(log)
        log.close(done)
    client = mlflow.MlflowClient()
    (experiment,) = [each for each in client.search_experiments() if each.name == "dx7data"]
    (found,) = client.search_runs(experiment.experiment_id)
    assert (found.info.run_id, found.info.status) == (boards._read_identities(run)["mlflow"], "FINISHED")
    assert found.info.run_name == "run"
    assert found.data.params["model.options.s4.d_state"] == "64"
    history = client.get_metric_history(found.info.run_id, "metrics/loss_bits")
    assert sorted((each.step, each.value) for each in history) == [(31, -23.0)] * 2 + [(32, -24.0)] * 2
    assert [each.value for each in client.get_metric_history(found.info.run_id, "validation/seen/bits")] == [2.25] * 2
    for name in KINDS:
        path = client.download_artifacts(found.info.run_id, f"audio/{name}/00000030.wav", str(tmp_path))
        with open(path, "rb") as file:
            assert file.read() == read_wav(run, name)
        assert client.list_artifacts(found.info.run_id, f"spectrogram/{name}")[0].file_size > 100


@pytest.mark.integration
def test_a_service_that_is_not_there(run, tmp_path, monkeypatch):
    """One sentence, before anything is written."""
    mlflow = open_library("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"--logger mlflow: .*127.0.0.1"):
        boards.open_logger("mlflow", tmp_path / "new", {})
    assert not (tmp_path / "new").exists()


def test_rows_are_in_the_table_too(run):
    """Whatever boards do."""
    log = Log(run, 30)
    tell(log)
    with open(run / "validation.csv") as file:
        assert list(csv.DictReader(file))[-1]["bits"] == "2.25"
