"""A run whose prefix an MLP reads: trained, resumed and heard through the command line."""

import shutil

import numpy as np
import pytest
import soundfile

from dx7data import cli
from dx7data.prefix import samples
from train import __main__ as command
from train import convert
from train.loop.checkpoint_reader import load_model
from train.results import reader

TRAIN = ["--model", "s4d", "--preset", "tiny", "--device", "cpu", "--steps", "2", "--batch", "2", "--seconds", "0.05"]
TRAIN += ["--evaluate-samples", "1", "--evaluate-every", "9", "--checkpoint-every", "1"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film") / "plan"
    options = ["--patches", "example", "--samples", "20", "--seconds", "0.25", "--prefix", "bytes"]
    assert cli.main(["plan", "--out", str(folder), *options]) == 0
    return folder


@pytest.mark.parametrize("how_read", ["mlp", "operators", "table"])
def test_trained_resumed_and_converted(plan, tmp_path, how_read):
    run, source = tmp_path / "run", tmp_path / "in.wav"
    argv = [
        "--live",
        str(plan),
        "--out",
        str(run),
        *TRAIN,
        "--prefix",
        "bytes",
        "--model.film",
        "192",
        "--model.film-reader",
        how_read,
    ]
    assert command.main(argv) == 0
    model, settings, _ = load_model(run)
    assert settings.model.film == model.reader.length == 192
    losses = reader.read_table(run / "metrics.csv")
    (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints" / "00000002")  # as if it had been killed before
    assert command.main(["--resume", "--out", str(run)]) == 0
    assert [row["loss_bits"] for row in reader.read_table(run / "metrics.csv")] == [row["loss_bits"] for row in losses]

    soundfile.write(source, (8000 * np.sin(np.arange(400) / 5)).astype(np.int16), 8000)
    heard = {}
    for how in (["example:1"], ["example:2"], ["example:2", "--streaming"]):
        out = tmp_path / "out.wav"
        argv = ["--checkpoint", str(run), "--source", str(source), "--out", str(out), "--device", "cpu", "--patch", *how]
        assert convert.main(argv) == 0
        heard[" ".join(how)] = soundfile.read(out, dtype="int16")[0].astype(int)
    assert np.abs(heard["example:2"] - heard["example:2 --streaming"]).max() <= 1  # rounding
    assert (heard["example:1"] != heard["example:2"]).any()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ["--prefix", "bytes", "--model.film", "100"],
            "film is 100, and the prefix has 192 samples: take --model.film 192, or leave",
        ),
        (["--model.film-reader", "table"], "film is 0: give it the length of the prefix"),
        (["--model.film", "192"], "film is 192, and there is no --prefix: add one, or leave --model.film out"),
        (
            ["--prefix", "fsk", "--model.film", "FSK", "--model.film-reader", "operators"],
            "reader operators needs the bytes prefix of one voice: add --prefix bytes, or take mlp",
        ),
    ],
)
def test_a_prefix_that_the_reader_cannot_read_is_refused(plan, tmp_path, capsys, argv, sentence):
    argv = [str(samples("fsk", 8000)) if word == "FSK" else word for word in argv]
    assert command.main(["--live", str(plan), "--out", str(tmp_path / "run"), *TRAIN, *argv]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
