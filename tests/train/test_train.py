"""The training loop as a person starts it: what it leaves behind, that it goes on exactly, what it says when it can't."""

import errno
import json
import multiprocessing
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import documented
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import (
    ENVIRONMENT,
    ROOT,
    SMALL,
    STEPS,
    curve,
    during,
    losses,
    one_sentence,
    process,
    resume,
    rows,
    train,
    wait_for,
)
from torch import nn

from dx7data import cli
from dx7data.errors import InputError
from models.model import build
from train import __main__ as command
from train.config import PRESETS, RunSettings, make_settings
from train.data import live
from train.evaluation import verdict
from train.evaluation.loss import target_loss
from train.loop import checkpoint, checkpoint_reader, distributed, optim, trainer
from train.loop import folder as run_folder
from train.loop.signals import Stop
from train.results import boards, reader
from train.results.writer import Log

# --- What a run leaves behind ---


def test_the_command_line_trains(shards, tmp_path):
    """As the README says it, with a preset and a prefix; and the loss falls."""
    argv = ["--shards", shards, "--model", "s4d", "--preset", "tiny", "--prefix", "bytes", "--out", tmp_path / "run"]
    child = process(*argv, "--seconds", 0.03, "--steps", 60, "--evaluate-every", 60, "--workers", 1)
    _, said = child.communicate(timeout=300)
    assert child.returncode == 0, said
    found = losses(tmp_path / "run")
    assert len(found) == 60
    assert found[-20:].mean() < found[:3].mean() - 0.5
    assert {row["set"] for row in rows(tmp_path / "run", "validation")} == {"unseen", "seen"}
    assert rows(tmp_path / "run", "algorithms")
    for name in ("config.json", "train.log", "result.json", "pictures/loss.png", "samples/00000060/0-generated.wav"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert "bits" in said
    assert "clips/s" in said


def test_tables(whole):
    found = rows(whole)
    assert [int(row["step"]) for row in found] == list(range(1, STEPS + 1))
    assert [row["step_seconds"] == "" for row in found] == [True] * 3 + [False] * (STEPS - 3), "the first steps compile"
    said = (whole / "train.log").read_text()
    assert "the first 3 steps, " in said
    assert said.count("process  device") == said.count("CPU, 1 thread ") == 1
    about = json.loads((whole / "config.json").read_text())
    chosen = RunSettings.from_json(about["settings"])
    assert chosen.to_json() == about["settings"]
    assert (chosen.batch, chosen.sample_rate, chosen.model_name) == (4, 8000, "s4d")


def test_checkpoints(whole):
    assert [path.name for path in sorted((whole / "checkpoints").iterdir())] == ["00000008", "00000012"], "the last two"
    averaged, chosen, about = checkpoint_reader.load_model(whole)
    latest, _, _ = checkpoint_reader.load_model(whole / "checkpoints" / "00000012", ema=False)
    assert (about["step"], about["layers"], about["layer_names"]) == (12, 1, ["blocks.0:S4D", "blocks.1:S4D"])
    assert (
        about["fingerprint"]
        == about["stream"]["fingerprint"]
        == json.loads((whole / "config.json").read_text())["fingerprint"]
    )
    tokens = torch.arange(64)[None]
    assert averaged(tokens).shape == (1, 64, 256)
    assert not torch.equal(averaged(tokens), latest(tokens))
    assert chosen.steps == STEPS
    assert not [path for path in whole.rglob("*") if path.suffix in (".pt", ".pth", ".pkl", ".partial")]


def test_presets_are_what_they_say():
    chosen = make_settings("shards", "s4", "seed")
    assert (chosen.model.backbone, chosen.model.d_model, chosen.model.n_layers) == ("sashimi", 64, 8)
    assert (chosen.seconds, chosen.sample_rate, chosen.prefix, chosen.batch, chosen.grad_accum) == (0.5, 8000, None, 28, 2)
    for preset in PRESETS:
        for model in ("s4", "hybrid", ("s4d", "mamba2")):
            chosen = make_settings("shards", model, preset)
            assert RunSettings.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    assert chosen.model.layers == ("s4d", "mamba2")


# --- Killed and resumed ---


def test_killed_and_resumed(shards, whole, tmp_path):
    """SIGKILL at a random step; the checkpoint may be of this step or an earlier one, or not be there."""
    step = random.randrange(1, STEPS)
    child = process("--shards", shards, "--out", tmp_path / "run", *SMALL)
    wait_for(tmp_path / "run", step, child)
    child.kill()
    child.communicate()
    assert resume(tmp_path / "run") == 0
    assert curve(tmp_path / "run") == curve(whole), f"killed at step {step}"
    same = [row | {"step": ""} for row in rows(tmp_path / "run", "validation")]
    assert same == [row | {"step": ""} for row in rows(whole, "validation")]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_and_resumed(shards, whole, tmp_path, monkeypatch, capsys, number, status):
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        during(patched, 6, lambda: signal.raise_signal(number))
        assert train(shards, run) == status
    assert "00000006 is complete" in capsys.readouterr().err
    assert checkpoint.find_last(run).name == "00000006"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert resume(run, "--workers", "1") == 0
    assert curve(run) == curve(whole)


def test_stopped_in_the_last_step(shards, whole, tmp_path, monkeypatch):
    """It is done; and one that was killed before it could say so says it when it is resumed."""
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        during(patched, STEPS, lambda: signal.raise_signal(signal.SIGTERM))
        assert train(shards, run) == 0
    assert curve(run) == curve(whole)
    (run / "result.json").unlink()
    assert resume(run) == 0
    assert (run / "result.json").exists()
    assert curve(run) == curve(whole)


def test_a_second_signal(monkeypatch):
    """torchrun sends a SIGTERM after that of the system; a second Ctrl-C means it."""
    with Stop() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def refuse_logger(run, settings, identity):
    raise InputError("no account")


def test_a_logger_that_fails_leaves_no_run(shards, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(boards, "check_logger", lambda name: None)
    monkeypatch.setitem(boards.LOGGERS, "wandb", refuse_logger)
    run = tmp_path / "run"
    assert train(shards, run, "--logger", "wandb") == 2
    assert "no account" in one_sentence(capsys)
    assert not list(run.iterdir())


def test_two_at_once(copy, shards, capsys, monkeypatch):
    monkeypatch.setattr(boards, "check_logger", lambda name: None)
    monkeypatch.setitem(boards.LOGGERS, "wandb", refuse_logger)
    (copy / "result.json").unlink()
    script = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script, copy / ".lock"], **pipes) as other:
        other.stdout.readline()
        assert resume(copy) == 2
        assert "another process trains in" in one_sentence(capsys)
        assert resume(copy, "--logger", "wandb") == 2
        assert "another process trains in" in one_sentence(capsys), "the service must not hear of it"
        other.kill()
    assert resume(copy) == 0


def test_a_file_system_without_locks(copy, monkeypatch):
    def refuse(*of):
        raise OSError(errno.ENOLCK, "No locks available")

    (copy / "result.json").unlink()
    monkeypatch.setattr(run_folder.fcntl, "lockf", refuse)
    assert resume(copy) == 0


def test_one_that_ends_while_another_begins(tmp_path, shards, monkeypatch, capsys):
    """The second saw an empty folder. It would go on in the first one's, from step 0, by settings of its own."""
    plain, run = trainer.lock_run, tmp_path / "run"

    def lock_later(folder):
        monkeypatch.setattr(trainer, "lock_run", plain)
        assert train(shards, run) == 0
        return plain(folder)

    monkeypatch.setattr(trainer, "lock_run", lock_later)
    assert train(shards, run, "--lr", "0.5") == 2
    assert f"another process has trained in {run} meanwhile" in capsys.readouterr().err
    assert json.loads((run / "config.json").read_text())["settings"]["lr"] != 0.5
    assert (run / "result.json").exists()


def test_a_table_that_somebody_edited(whole, tmp_path):
    (tmp_path / "metrics.csv").write_text("step,time\n1,0.5\ngarbage,1\n")
    with pytest.raises(InputError, match=r"metrics.csv has a row without a step"):
        Log(tmp_path, 4)


def test_a_table_that_a_full_disk_cut(whole, tmp_path):
    (tmp_path / "metrics.csv").write_text("step,ti")
    (tmp_path / "validation.csv").write_text("")
    written = next((whole / "samples").iterdir())
    for name in ("00000004", "00000008"):
        shutil.copytree(written, tmp_path / "samples" / name)
    log = Log(tmp_path, 4)
    log.add("metrics", [{"step": 5, "time": 1.0}])
    log.close()
    assert rows(tmp_path) == [{"step": "5", "time": "1.0"}]
    assert not (tmp_path / "validation.csv").exists()
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["00000004"]


def test_live_is_the_same(shards, whole, tmp_path, monkeypatch):
    """A plan alone gives the curve of its shards, and a run may go on with the other."""
    plan = tmp_path / "plan"
    plan.mkdir()
    for name in ("dataset.json", "patches.parquet"):
        shutil.copy(shards / name, plan)
    assert command.main(["--live", str(plan), "--out", str(tmp_path / "live"), *SMALL]) == 0
    assert curve(tmp_path / "live") == curve(whole)
    assert "batches are rendered on the CPU" in (tmp_path / "live" / "train.log").read_text()
    with monkeypatch.context() as patched:
        during(patched, 6, lambda: signal.raise_signal(signal.SIGTERM))
        assert train(shards, tmp_path / "run") == 143
    assert resume(tmp_path / "run", "--live", str(plan), "--workers", "1") == 0
    assert curve(tmp_path / "run") == curve(whole)


@pytest.mark.gpu
@pytest.mark.skipif(live.choose_gpu(torch.device("cuda"))[0] is None, reason="needs a GPU that numba-cuda can use")
def test_live_on_the_gpu_is_the_same(shards, tmp_path):
    for option in ("--shards", "--live"):
        argv = [option, str(shards), "--out", str(tmp_path / option), *SMALL, "--device", "cuda", "--workers", "1"]
        assert command.main(argv) == 0
    assert "batches are rendered on GPU 0" in (tmp_path / "--live" / "train.log").read_text()
    np.testing.assert_allclose(losses(tmp_path / "--live"), losses(tmp_path / "--shards"), atol=1e-4)


def test_dropout_goes_on_where_it_was(shards, tmp_path, monkeypatch):
    """The generators are part of a checkpoint."""
    from train import config

    real = config.models.preset
    monkeypatch.setattr(config.models, "preset", lambda *name: config.dataclasses.replace(real(*name), dropout=0.2))
    assert train(shards, tmp_path / "whole") == 0
    with monkeypatch.context() as patched:
        during(patched, 6, lambda: signal.raise_signal(signal.SIGTERM))
        assert train(shards, tmp_path / "run") == 143
    torch.manual_seed(99)
    assert resume(tmp_path / "run") == 0
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes(shards, whole, tmp_path):
    """torchrun: the same curve; one of the two dies, the other says so in a sentence, and one process goes on alone."""
    run, launcher = tmp_path / "run", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    child = process("--shards", shards, "--out", run, *SMALL, launcher=launcher)
    wait_for(run, 6, child)
    listed = subprocess.run(["ps", "--ppid", str(child.pid), "-o", "pid="], capture_output=True, text=True, check=True)
    os.kill(max(map(int, listed.stdout.split())), signal.SIGKILL)
    _, said = child.communicate(timeout=240)
    assert child.returncode != 0
    assert re.search(r"\nprocess  device .*\n0  +CPU.*\n1  +CPU.*\nall ", (run / "train.log").read_text())
    sentences = [line for line in said.replace("\r", "\n").splitlines() if line.startswith("train: ")]
    assert len(sentences) <= 1, said
    assert all("another process of this run is gone" in line for line in sentences)
    assert len(losses(run)) < STEPS
    np.testing.assert_allclose(losses(run), losses(whole)[: len(losses(run))], atol=1e-4)
    assert resume(run) == 0
    np.testing.assert_allclose(losses(run), losses(whole), atol=1e-4)


@pytest.mark.slow
def test_two_processes_go_on_by_the_command_that_they_print(shards, whole, tmp_path):
    run, launcher = tmp_path / "run", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    child = process("--shards", shards, "--out", run, *SMALL, launcher=launcher)
    wait_for(run, 3, child)
    child.terminate()
    _, said = child.communicate(timeout=240)
    assert len(losses(run)) < STEPS
    (printed,) = re.findall(r"^train: stopped; .* to continue: (.*)$", said, re.MULTILINE)
    assert "--nproc-per-node 2 -m train --resume" in printed
    alone = ENVIRONMENT | {"PET_STANDALONE": "1"}  # --standalone, for torchrun: on a port that is free
    again = subprocess.run(shlex.split(printed), cwd=ROOT, env=alone, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert re.search(r"\n1  +CPU", (run / "train.log").read_text())
    np.testing.assert_allclose(losses(run), losses(whole), atol=1e-4)


@pytest.mark.slow
def test_two_processes_that_diverge(shards, tmp_path):
    """Both see it in the same step, and neither ends before it is written down."""
    run, launcher = tmp_path / "run", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    child = process("--shards", shards, "--out", run, *SMALL, "--lr", "1000", launcher=launcher)
    _, said = child.communicate(timeout=240)
    assert child.returncode != 0
    assert len(re.findall(r"^train: .*diverged", said.replace("\r", "\n"), re.MULTILINE)) == 1, said
    assert json.loads((run / "result.json").read_text())["verdict"] == "diverged"


def test_what_only_the_second_process_finds(tmp_path):
    """It says so itself, where the first one would else have said it and torchrun ended the second."""
    second = ENVIRONMENT | {"RANK": "1", "WORLD_SIZE": "2"}
    (tmp_path / "notes.txt").touch()
    argv = [sys.executable, "-m", "train", "--shards", tmp_path / "none", "--out", tmp_path, *SMALL]
    found = subprocess.run(argv, cwd=ROOT, env=second, capture_output=True, text=True, timeout=240)
    assert found.returncode == 2
    assert f"train: {tmp_path} is there already" in found.stderr


def test_whatever_webdataset_reads(shards, tmp_path, monkeypatch, caplog):
    """Stopped and gone on with, without a promise of the same order; nothing is evaluated."""
    url, run = f"{shards}/{{train,val}}-000000.tar", tmp_path / "run"
    with monkeypatch.context() as patched:
        during(patched, 6, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert train(url, run, "--reader", "webdataset", "--prefix", "bytes") == 130
    assert resume(run) == 0
    assert [row["step"] for row in rows(run)] == [str(1 + i) for i in range(STEPS)]
    assert not (run / "validation.csv").exists()
    assert "can't be resumed exactly" in caplog.text
    assert "nothing is evaluated" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus(shards, tmp_path):
    """torchrun with NCCL: the curve of one GPU."""
    for count in ("1", "2"):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count, "-m", "train"]
        argv = ["--shards", str(shards), "--out", str(tmp_path / count), *SMALL, "--device", "cuda"]
        subprocess.run([*launcher, *argv], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    np.testing.assert_allclose(losses(tmp_path / "2"), losses(tmp_path / "1"), atol=1e-4)


def test_accumulation_computes_the_same(shards, whole, tmp_path):
    assert train(shards, tmp_path / "run", "--grad-accum", "2") == 0
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(whole), atol=1e-4)


# --- One sentence ---


def test_damage_that_a_reading_process_finds(shards, tmp_path, capsys):
    shutil.copytree(shards, tmp_path / "shards")
    for tar in (tmp_path / "shards").glob("train-*.tar"):
        tar.write_bytes(bytes(tar.stat().st_size))
    assert train(tmp_path / "shards", tmp_path / "run", "--workers", "1") == 2
    assert "is not where its table says: `dx7data verify --fix` mends it" in one_sentence(capsys)


def test_a_reading_process_that_is_killed(shards, tmp_path, monkeypatch, capsys):
    during(monkeypatch, 3, lambda: [os.kill(child.pid, signal.SIGKILL) for child in multiprocessing.active_children()])
    assert train(shards, tmp_path / "run", "--workers", "1") == 2
    assert "a process that reads was killed" in one_sentence(capsys)


def test_missing_shards(tmp_path, capsys):
    """Skipped only when asked, and counted."""
    options = ["--samples", "300", "--seconds", "0.05", "--sample-rate", "8000", "--workers", "1", "--shard-size", "1MB"]
    assert cli.main(["render", "--patches", "example", "--out", str(tmp_path / "shards"), *options]) == 0
    lost = sorted((tmp_path / "shards").glob("train-*.tar"))[0]
    for path in lost.parent.glob(f"{lost.stem}.*"):
        path.unlink()
    capsys.readouterr()
    assert train(tmp_path / "shards", tmp_path / "run") == 2
    assert "lacks 1 of 2 train shards" in one_sentence(capsys)
    assert train(tmp_path / "shards", tmp_path / "run", "--skip-missing") == 0
    assert "without those of 1 missing shard" in (tmp_path / "run" / "train.log").read_text()


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--seconds", "0.3"], "last 0.25 s"),
        (["--sample-rate", "7000"], "7000 Hz"),
        (["--batch", "5", "--grad-accum", "2"], "take --batch 4"),
        (["--batch", "500"], "a batch of 500 is more than"),
        (["--out", "{whole}"], "there already"),
    ],
)
def test_wrong_options(shards, whole, tmp_path, capsys, argv, word):
    assert train(shards, tmp_path / "run", *[each.format(whole=whole) for each in argv]) == 2
    assert word in one_sentence(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (
            ["--seed", "99999999999999999999"],
            "--seed: '99999999999999999999' can't be used: expected a whole number <= 92233720368547758",
        ),
        (["--learning-rate", "1"], "there is no option --learning-rate"),
        (["--evaluate_evry", "1"], "there is no option --evaluate-evry: did you mean --evaluate-every?"),
        (["--optim.lrr", "1"], "did you mean --optim.lr?"),
        (["--lr", "none"], "--lr: 'none' can't be used: expected a number"),
        (["--batch", "2.5"], "--batch: '2.5' can't be used: expected a whole number"),
        (["--model", "hybird"], "--model: there is no 'hybird': did you mean hybrid?"),
        (["--prefix", "morse"], "--prefix: there is no 'morse': there are "),
        (["--live", "shards"], "--live: not allowed with argument --shards"),
        (["--model", "s4", "--model.headdim", "8"], "there is no setting of this model 'headdim'"),
        (["--model", "s4", "--model.d_state", "many"], "d_state is 'many': Expected int, got str"),
        (["--model", "s4", "more"], "more belongs to no option"),
        (["--out", ""], "there is nothing after --out: is a variable of the shell not set?"),
    ],
)
def test_unknown_options(capsys, argv, word):
    assert command.main(["--shards", "shards", *argv]) == 2
    assert word in one_sentence(capsys)


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--out", "runs/none", "--shards", "none", "--model", "s4d"], "none"),
        (["--shards", "shards"], "--model is missing"),
        (["--model", "s4"], "--shards is missing"),
        (["--layers", "s4d,gru", "--shards", "shards"], "'gru'"),
        (["--resume"], "--model is missing"),
        (["--resume", "--out", "runs/none"], "is no run"),
        pytest.param(
            ["--device", "cuda", "--model", "s4", "--shards", "shards"],
            "torch finds 0",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_is_not_there(tmp_path, monkeypatch, capsys, argv, word):
    monkeypatch.chdir(tmp_path)
    assert command.main(argv) == 2
    assert word in one_sentence(capsys)


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--lr", "1"], "--lr is 0.01"),
        (["--model", "s4"], "--model is s4d"),
        (["--steps", "7"], "--steps 7 is too few"),
        (["--preset", "base"], "--preset is tiny"),
        (["--model.d_model", "64"], "--model.d_model is not 64"),
    ],
)
def test_a_run_keeps_its_options(copy, capsys, argv, word):
    assert resume(copy, *argv) == 2
    assert word in one_sentence(capsys)
    assert resume(copy, "--batch", "4", "--workers", "0") == 2
    assert "has done all its 12 steps" in one_sentence(capsys)


def test_a_run_with_names_of_earlier_settings_goes_on(shards, tmp_path):
    """Its settings have `accumulation`, which is grad_accum today."""
    old = tmp_path / "old"
    assert train(shards, old, "--grad-accum", "2", "--checkpoint-every", "6") == 0
    shutil.rmtree(old / "checkpoints" / "00000012")
    (old / "result.json").unlink()
    expected = curve(old)
    for path in (old / "config.json", old / "checkpoints" / "00000006" / "checkpoint.json"):
        document = json.loads(path.read_text())
        document["settings"]["accumulation"] = document["settings"].pop("grad_accum")
        path.write_text(json.dumps(document))
    assert reader.read(old, "old").facts["grad_accum"] == "2"
    assert resume(old) == 0
    assert curve(old) == expected
    assert json.loads((old / "checkpoints" / "00000012" / "checkpoint.json").read_text())["settings"]["grad_accum"] == 2


def test_other_data(copy, tmp_path, capsys):
    other = tmp_path / "other"
    options = ["--samples", "40", "--seconds", "0.25", "--workers", "1", "--seed", "1"]
    assert cli.main(["render", "--patches", "example", "--out", str(other), *options]) == 0
    assert resume(copy, "--shards", str(other)) == 2
    assert "other data" in one_sentence(capsys)
    shutil.rmtree(copy / "checkpoints")
    assert resume(copy, "--shards", str(other)) == 2  # also before its first checkpoint
    assert "other data" in one_sentence(capsys)


def test_another_model(copy, capsys):
    """A checkpoint that somebody put there."""
    folder = checkpoint.find_last(copy)
    about = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps(about | {"layer_names": ["blocks.0:S4"]}))
    assert resume(copy) == 2
    assert "field layer_names: it has 1 layers, the settings have 2" in one_sentence(capsys)


@pytest.mark.parametrize("name", ["model", "ema", "optimiser", "rng"])
def test_damaged_checkpoints(copy, whole, caplog, name):
    """The run goes on from the one before, to the same losses, and the new checkpoint takes the damaged one's place."""
    path = checkpoint.find_last(copy) / f"{name}.safetensors"
    expected = path.read_bytes()
    data = bytearray(expected)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert resume(copy) == 0
    assert f"{path} is damaged: it is not as it was written; {path.parents[1] / '00000008'} is taken" in caplog.text
    assert curve(copy) == curve(whole)
    assert path.read_bytes() == expected


def test_a_damaged_description(copy, whole, caplog):
    path = checkpoint.find_last(copy) / "checkpoint.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert resume(copy) == 0
    assert f"{path} is damaged" in caplog.text
    assert curve(copy) == curve(whole)


def test_no_checkpoint_is_whole(copy, capsys):
    for path in copy.glob("checkpoints/*/rng.safetensors"):
        path.write_bytes(b"")
    before = [(path, path.read_bytes()) for path in copy.rglob("*") if path.is_file()]
    assert resume(copy) == 2
    assert "no checkpoint before it is whole: take one from a backup" in one_sentence(capsys)
    assert all(path.read_bytes() == data for path, data in before), "nothing is begun anew over it"


@pytest.mark.parametrize(
    ("file", "place", "value", "said"),
    [
        ("checkpoint.json", ("step",), 7, "field step: it is 7, not that of the folder"),
        ("checkpoint.json", ("stream", "step"), 5, "field stream: it is at step 13 of the data, the checkpoint at step 8"),
        ("checkpoint.json", ("stream",), None, "field stream: expected object, got null"),
        ("checkpoint.json", ("settings", "precision"), "fp64", "field settings.precision"),
        ("config.json", ("settings", "precision"), "fp64", "config.json, field settings.precision"),
        ("config.json", ("settings", "steps"), 7, "field step: it is 8, and the run has 7 steps"),
        (
            "config.json",
            ("settings", "steps"),
            99,
            "field settings.steps: 12 here and 99 in the run: one was edited",
        ),
        ("config.json", ("settings", "warmup"), 0.5, "field settings.warmup: 0.1 here and 0.5 in the run"),
        ("config.json", ("settings", "later"), 7, "'later' is a setting of another version"),
        ("config.json", ("fingerprint",), None, "config.json, field fingerprint: expected str, got null"),
    ],
)
def test_what_does_not_fit(copy, capsys, file, place, value, said):
    folder = checkpoint.find_last(copy)
    shutil.rmtree(folder)
    (copy / "result.json").unlink()
    path = copy / file if file == "config.json" else folder.with_name("00000008") / file
    document = inner = json.loads(path.read_text())
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(document))
    assert resume(copy) == 2
    assert said in one_sentence(capsys)


def test_what_a_person_put_beside_checkpoints_stays(copy, whole):
    folder = checkpoint.find_last(copy)
    best, notes = folder.with_name("00000004-best"), folder.with_name("99")
    folder.rename(best)
    notes.mkdir()
    (notes / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in best.iterdir()}
    assert resume(copy) == 0
    assert curve(copy) == curve(whole)
    assert {path.name: path.read_bytes() for path in best.iterdir()} == before
    assert (notes / "notes.txt").read_text() == "mine"


def test_a_full_disk(shards, whole, tmp_path, monkeypatch, capsys):
    """No file may be larger than a limit, which comes after the first checkpoint."""
    run, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patched:
        during(patched, 6, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1])))
        try:
            assert train(shards, run) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = one_sentence(capsys)
    assert os.strerror(errno.EFBIG) in said
    assert "00000004 is complete" in said
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["00000004"]
    assert resume(run) == 0
    assert curve(run) == curve(whole)


@pytest.mark.parametrize("where", ["gradient", "parameter"])
def test_what_is_not_finite(shards, tmp_path, monkeypatch, capsys, where):
    """The parameter is named, the step, and the weights of the last checkpoint are as they were."""
    from train.loop import learner

    broken, count = "backbone.blocks.1.layer.log_dt", iter(range(100))

    def faulty(chosen):
        model = build(chosen)
        parameter = model.get_parameter(broken)
        if where == "gradient":
            parameter.register_hook(lambda gradient: gradient * (float("nan") if next(count) == 6 else 1))
        else:
            during(monkeypatch, 6, lambda: parameter.data[0].fill_(float("inf")))
        return model

    monkeypatch.setattr(learner, "build", faulty)
    run = tmp_path / "run"
    assert train(shards, run) == 3
    said = one_sentence(capsys)
    assert f"step 7: {'the gradient of' if where == 'gradient' else 'parameter'} {broken} is not finite" in said
    assert checkpoint.find_last(run).name == "00000004"
    assert len(rows(run)) == 6
    assert json.loads((run / "result.json").read_text())["verdict"] == "diverged"


# --- How it ended ---


def test_a_run_that_diverged(shards, tmp_path, capsys):
    """A rate at which people can see it: the loss is finite and far beyond a guess."""
    run = tmp_path / "run"
    assert train(shards, run, "--lr", "10") == 3
    said = one_sentence(capsys)
    assert "run diverged: its loss ends at" in said
    assert "lower --lr" in said
    result = json.loads((run / "result.json").read_text())
    assert result["verdict"] == "diverged"
    assert result["loss_bits"] == pytest.approx(losses(run)[-1]), "a tenth of the steps"
    assert result["loss_bits"] > 16
    assert result["steps"] == STEPS


def test_the_highest_rate(shards, tmp_path, capsys):
    """The loss may overflow then, or not quite: both is the same end."""
    assert train(shards, tmp_path / "run", "--lr", "1000") == 3
    assert "diverged" in one_sentence(capsys)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["verdict"] == "diverged"
    assert train(shards, tmp_path / "other", "--lr", "1001") == 2
    assert "<= 1000" in one_sentence(capsys)


def test_a_run_that_is_worse_than_a_guess(shards, tmp_path, capsys):
    """Two steps of a rate that is too high, but not by much: that is legitimate, and said."""
    run = tmp_path / "run"
    assert train(shards, run, "--lr", "0.3", "--steps", "2") == 0
    result = json.loads((run / "result.json").read_text())
    last = {row["set"]: float(row["bits"]) for row in rows(run, "validation")}
    assert result["sets"].keys() == last.keys()
    assert last["seen"] > 8
    assert result["loss_bits"] < 16, "it has not diverged"
    assert result["verdict"] == result["sets"]["seen"]["verdict"] == "worse than uniform"
    text = f"seen is worse than uniform: {last['seen']:.3f} bits a sample; a uniform guess has 8.000"
    assert text in capsys.readouterr().out
    assert text in (run / "train.log").read_text()


@pytest.mark.parametrize(
    ("bits", "order0", "expected"),
    [
        (5.0, 7.0, "ok"),
        (7.0, 7.0, "ok"),
        (7.1, 7.0, "worse than order-0"),
        (8.0, 7.0, "worse than order-0"),
        (8.1, 7.0, "worse than uniform"),
        (float("nan"), 7.0, "worse than uniform"),
        (float("inf"), 7.0, "worse than uniform"),
    ],
)
def test_verdicts(bits, order0, expected):
    assert verdict.judge(bits, order0) == expected


def test_the_result_as_json(shards, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(shards, run, "--lr", "0.3", "--steps", "2", "--json", "-q") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    documented.check("python -m train", found)
    assert said.err == ""
    assert {"run": str(run), **json.loads((run / "result.json").read_text()), "warnings": found["warnings"]} == found
    assert all(text in (run / "train.log").read_text() for text in found["warnings"])
    assert found["warnings"], "it has learnt nothing"


def test_the_sentence_has_no_control_characters(shards, tmp_path, capsys):
    assert train(shards, tmp_path / "a\x1b[2Jb") == 2
    assert "a\\x1b[2Jb' can't be used" in capsys.readouterr().err


def test_more_clips_on_a_gpu():
    assert make_settings("shards", "s4", "seed", device="cuda").evaluate_samples == 1024
    assert make_settings("shards", "s4", "seed", device="cpu").evaluate_samples == 64
    assert make_settings("shards", "s4", "tiny", device="cuda", evaluate_samples=5).evaluate_samples == 5


def test_a_run_of_an_earlier_version_goes_on(shards, whole, tmp_path, monkeypatch):
    """Its settings have no --decode and its table other columns: rows of both are read."""
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        during(patched, 6, lambda: signal.raise_signal(signal.SIGTERM))
        assert train(shards, run) == 143
    for path in (run / "config.json", checkpoint.find_last(run) / "checkpoint.json"):
        about = json.loads(path.read_text())
        del about["settings"]["decode"]
        path.write_text(json.dumps(about))
    (run / "clips.csv").unlink(missing_ok=True)
    old = "step,set,samples,bits,accuracy_1,accuracy_3,accuracy_5,accuracy_10,snr_db,mrstft,logmel\n"
    (run / "validation.csv").write_text(old + "5,seen,2,6.5,0.1,0.2,0.3,0.4,-3.5,9.8,19.5\n")
    assert resume(run) == 0
    assert curve(run) == curve(whole)
    first, *later = reader.read_table(run / "validation.csv")
    assert (first["bits"], first["snr_argmax_db"], first["snr_mean_db"], first["decode"]) == ("6.5", "-3.5", "", "")
    expected = reader.read_table(whole / "validation.csv")
    assert [{name: row[name] for name in expected[0]} for row in later] == expected


def test_without_torch():
    script = "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('train', run_name='__main__')"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr == "train: torch is not installed: `make test` or pip install -e '.[train]' installs it\n"


def test_out_of_memory():
    """What torch raises for memory that isn't there."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.int8)
    assert "--grad-accum" in command.explain(raised.value, None)
    assert command.explain(RuntimeError("a fault of ours"), None) is None


# --- The parts ---


def test_the_loss_is_that_of_the_target_region():
    logits = torch.randn(2, 7, 256, requires_grad=True)
    target = torch.randint(256, (2, 4))
    loss = target_loss(logits, target)
    single = [F.cross_entropy(logits[i, 3 + t], target[i, t]).item() for i in range(2) for t in range(4)]
    assert loss.item() == pytest.approx(np.mean(single), rel=1e-5)
    loss.backward()
    assert not logits.grad[:, :3].any()
    assert logits.grad[:, 3:].any()


@pytest.mark.parametrize("name", ["s4", "s4-conv", "s4d", "mamba1", "mamba2", "mamba3", "wavenet", "transformer"])
def test_parameter_groups(name):
    model = build(make_settings("", name, "tiny").model)
    groups = optim.group_parameters(model, 1e-2, 0.1)
    found = {id(parameter): group for group in groups for parameter in group["params"]}
    assert len(found) == len(list(model.parameters())) == sum(len(group["params"]) for group in groups)
    for parameter_name, parameter in model.named_parameters():
        group = found[id(parameter)]
        last = parameter_name.rsplit(".", 1)[-1]
        plain = parameter.ndim > 1 and last == "weight" and "embedding" not in parameter_name
        assert group["weight_decay"] == (0.1 if plain else 0), parameter_name
        capped = last in ("log_dt", "log_A_real", "A_imag", "P", "B") and name.startswith("s4")
        assert group["lr"] == (1e-3 if capped else 1e-2), parameter_name
    assert optim.group_parameters(model, 1e-4, 0.1)[0]["lr"] == 1e-4


def test_the_average():
    """After the first steps, torch's own."""
    model, ours = nn.Linear(3, 2), nn.Linear(3, 2)
    ours.load_state_dict(model.state_dict())
    theirs = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(model)
    for step in range(200, 210):
        nn.init.normal_(model.weight)
        theirs.update_parameters(model)
        optim.update_average(ours, model, 0.9, step)
    torch.testing.assert_close(ours.weight, theirs.module.weight)


def test_one_process_is_alone():
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("RANK", raising=False)
        found = distributed.join("cpu")
    assert (found.rank, found.count, found.first) == (0, 1, True)
    assert found.mean(torch.ones(2)).tolist() == [1, 1]
    assert not distributed.is_connection_lost(RuntimeError("gloo"))


@pytest.mark.parametrize("name", ["samples", "checkpoints", "pictures", "train.log", "metrics.csv", ".lock"])
def test_a_link_out_of_a_run_is_not_followed(copy, tmp_path, capsys, name):
    """Going on with a run removes samples and writes to tables: of this run, and not of another folder."""
    (copy / "result.json").unlink()
    (copy / "pictures").mkdir()
    elsewhere = tmp_path / "elsewhere"
    (copy / name).rename(elsewhere)
    (elsewhere / "00000099").mkdir() if elsewhere.is_dir() else None
    (copy / name).symlink_to(elsewhere)
    before = sorted((str(path), path.is_dir() or path.read_bytes()) for path in [elsewhere, *elsewhere.rglob("*")])
    assert resume(copy) == 2
    assert f"{copy / name} leads out of {copy}" in one_sentence(capsys)
    assert sorted((str(path), path.is_dir() or path.read_bytes()) for path in [elsewhere, *elsewhere.rglob("*")]) == before


def test_a_table_that_a_power_cut_left(whole, tmp_path):
    """A file system that has kept the new length and lost the last bytes fills them with zeros."""
    lines = (whole / "metrics.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "metrics.csv").write_bytes(b"".join(lines[:5]) + bytes(40) + b"\n" + bytes(100))
    Log(tmp_path, 100).close()
    assert rows(tmp_path) == rows(whole)[:4]


def test_tables_are_on_the_disk_before_the_checkpoint(shards, tmp_path, monkeypatch):
    """Else a run would go on from a checkpoint with rows missing before it."""
    calls, sync, rename = [], os.fsync, os.rename

    def fsync(descriptor):
        sync(descriptor)
        calls.append(os.fstat(descriptor).st_ino)

    def move(source, target):
        rename(source, target)
        calls.append(Path(target).name)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", move)
    assert train(shards, tmp_path / "run", "--steps", "4") == 0
    assert calls.index((tmp_path / "run" / "metrics.csv").stat().st_ino) < calls.index("00000004")


def test_too_little_shared_memory(shards, tmp_path, monkeypatch, capsys):
    """The real thing, in a container with a small /dev/shm, is a bus error, or torch's "unable to allocate: Success"."""
    small = os.statvfs_result((4096, 4096, 16, 3, 3, 16, 16, 16, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    assert train(shards, tmp_path / "run", "--workers", "2") == 2
    assert "take --workers 0" in one_sentence(capsys)
    assert train(shards, tmp_path / "run2", "--workers", "0") == 0
