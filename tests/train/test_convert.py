"""A recording becomes what the model says of it: heard as in training, in chunks of any length, by pipes, or refused."""

import io
import json
import os
import struct
import subprocess
import sys
import wave
from pathlib import Path

import documented
import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data import cli
from dx7data.audio import wav
from dx7data.errors import InputError
from dx7data.page.play import conversion, notes
from dx7data.patches import bank
from models.model import build
from models.settings import ModelSettings
from train import convert, describe
from train.config import RunSettings
from train.data import recording
from train.data.datasets import open_clips
from train.evaluation import decode
from train.loop import checkpoint, checkpoint_reader, optim

ROOT = Path(__file__).resolve().parents[2]
RATE = 8000
MODELS = {
    "s4": ModelSettings(("s4",), d_model=8, n_layers=1),
    "mamba2": ModelSettings(("mamba2",), d_model=8, n_layers=1, options={"mamba2": {"headdim": 8, "d_state": 16}}),
    "s4-conv": ModelSettings(("s4",), d_model=8, n_layers=1, options={"s4": {"d_conv": 16}}),
    "wavenet": ModelSettings(("wavenet",), d_model=8, n_layers=1),
    "transformer": ModelSettings(
        ("sliding-attention",), d_model=8, n_layers=1, options={"sliding-attention": {"headdim": 4, "window": 9}}
    ),
    "hybrid": ModelSettings(("s4d", "mamba2"), d_model=8, n_layers=2, options={"mamba2": {"headdim": 8, "d_state": 16}}),
}


def save(run, name="s4", codec=None, layers=1, rate=RATE):
    """A run folder with a checkpoint of random weights; the model."""
    torch.manual_seed(0)
    model = loud(build(MODELS[name]))
    about = RunSettings("shards", name, "tiny", MODELS[name], prefix=codec, sample_rate=rate)
    state = {"settings": about.to_json(), "fingerprint": "0" * 64, "layers": layers, "stream": {}, "seconds": 0.0}
    checkpoint.save(run, 1, model, model, optim.make_adamw(optim.group_parameters(model, 1e-3, 0.0)), state)
    return model.eval()


def loud(model):
    """At initialisation an embedding is so small that the logits hardly differ."""
    with torch.no_grad():
        model.embedding.weight *= 50
    return model


def sine(frequency, rate, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def heard(path, rate=RATE):
    return np.concatenate(list(recording.read_recording(path, rate)))


def read(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """runs/plain, without a prefix; runs/told, with one of two places; a recording of 44.1 kHz in stereo."""
    folder = tmp_path_factory.mktemp("convert")
    save(folder / "plain")
    save(folder / "prefixed", codec="bytes", layers=2)
    stereo = np.stack([sine(440, 44100, 0.05), sine(660, 44100, 0.05)], axis=1)
    soundfile.write(folder / "in.wav", stereo, 44100)
    return folder


def run(folder, run_name, *argv, source="in.wav", out="out.wav"):
    options = ["--checkpoint", folder / "runs" if run_name is None else folder / run_name]
    options += ["--source", folder / source, "--out", folder / out, "--device", "cpu", *argv]
    return convert.main(list(map(str, options)))


# --- What the model hears ---


@pytest.mark.parametrize("rate", [44100, 48000, 8000, 11025])
def test_a_sine_keeps_its_pitch_its_level_and_its_time(tmp_path, rate):
    """The same sine by formula, at the model's rate: to 1 of 32,768 where it neither begins nor ends."""
    tone = sine(997, rate)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, 0.5 * tone], axis=1), rate, subtype="FLOAT")
    audio = heard(tmp_path / "a.wav")
    assert len(audio) == RATE
    assert np.abs(np.fft.rfft(audio)).argmax() == 997  # 1 Hz a bin
    expected = 0.75 * sine(997, RATE) * 32768
    assert np.abs(audio - expected)[100:-100].max() <= 1


def test_what_would_alias_is_gone(tmp_path):
    fades = np.hanning(44100)
    soundfile.write(tmp_path / "a.wav", sine(5000, 44100) * fades, 44100, subtype="FLOAT")
    assert np.abs(heard(tmp_path / "a.wav")).max() <= 1


@given(st.integers(1, 20_000), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_16_bits_at_the_rate_pass_unchanged(tmp_path_factory, size, seed):
    path = tmp_path_factory.getbasetemp() / "same.wav"
    audio = np.random.default_rng(seed).integers(-32768, 32768, size).astype(np.int16)
    soundfile.write(path, audio, 11025)
    assert np.array_equal(heard(path, 11025), audio)


def test_beyond_full_scale_is_cut(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([2.0, -2.0] * 100), RATE, subtype="FLOAT")
    assert heard(tmp_path / "a.wav").tolist() == [32767, -32768] * 100


@pytest.mark.parametrize("codec", ["bytes", "fsk", "reference"])
def test_the_prefix_is_the_streams(tmp_path, codec):
    """Of one voice and of two, with the codec that the shards have and with those that they lack."""
    argv = ["--samples", "20", "--seconds", "0.1", "--layers", "1..2", "--prefix", "bytes", "--seed", "3"]
    assert cli.main(["plan", "--patches", "example", "--out", str(tmp_path), *argv]) == 0
    data = open_clips(tmp_path, reader="live", codec=codec)
    bank.export(bank.load_example(), tmp_path / "bank.syx")
    ids = bank.load_example().ids
    seen = set()
    for j in range(6):
        layers = [data.plan.patches.ids[layer] for layer in data.plan.choose("train", j).layers]
        picked = [bank.pick(f"{tmp_path / 'bank.syx'}:{ids.index(each) + 1}") for each in layers]
        assert torch.equal(convert.encode_patches(picked, codec, 2, RATE), data[j].prefix)
        seen.add(len(layers))
    assert seen == {1, 2}


# --- What the model says ---


@pytest.mark.parametrize("name", MODELS)
def test_chunks_have_the_logits_of_the_whole(name):
    torch.manual_seed(1)
    model = loud(build(MODELS[name])).eval()
    tokens = torch.randint(256, (203,))  # not a multiple of the pools' 16
    with torch.no_grad():
        whole = model(tokens[None])[0]
    assert whole.std(0).mean() > 0.1, "the logits hardly depend on what is heard"
    for size in (50, 203):
        assert (whole - torch.cat(list(convert.run(model, tokens.split(size))))).abs().max() < 1e-4


@given(st.lists(st.integers(0, 20), min_size=1), st.integers(1, 20))
def test_pieces_are_cut_to_chunks(sizes, size):
    samples = torch.arange(sum(sizes))
    chunks = list(convert.cut(samples.split(sizes), size))
    assert torch.equal(torch.cat([samples[:0], *chunks]), samples)
    assert {len(chunk) for chunk in chunks[:-1]} <= {size}
    assert all(0 < len(chunk) <= size for chunk in chunks)


@pytest.mark.parametrize("how", [None, "mean", "argmax"])
def test_out_is_what_the_model_says_at_each_sample(folder, capsys, how):
    """From the wav to the wav, by torchaudio and the model alone: the mean of the levels, or the likeliest one."""
    assert run(folder, "plain", *(["--decode", how] if how else [])) == 0
    out = capsys.readouterr().out
    assert "0.05 s of audio at 8000 Hz" in out
    assert f"x real time (chunks of 512 ms, {how or 'mean'}, cpu)" in out
    rate, audio = read(folder / "out.wav")
    model, _, _ = checkpoint_reader.load_model(folder / "plain")
    source = torch.from_numpy(heard(folder / "in.wav") / np.float32(32768))
    with torch.no_grad():
        logits = model(torchaudio.functional.mu_law_encoding(source, 256)[None])[0]
    levels = torchaudio.functional.mu_law_decoding(torch.arange(256), 256).double()
    likeliest = levels[logits.argmax(-1)]
    mean = (logits.double().exp() / logits.double().exp().sum(-1, keepdim=True) * levels).sum(-1)
    assert rate == RATE
    assert len(likeliest.unique()) > 5
    assert (mean - likeliest).abs().max() > 0.01, "the two would be the same"
    expected = (likeliest if how == "argmax" else mean) * 32768
    assert np.abs(audio - expected.numpy()).max() <= 1  # full scale, 32,768, is cut to 32,767


@pytest.mark.parametrize(
    ("argv", "tolerance"),
    [((), 5), (("--decode", "argmax"), 0), (("--decode", "sample", "--temperature", "0.7", "--seed", "4"), 0)],
    ids=["mean", "argmax", "drawn"],
)
def test_short_chunks_say_the_same(folder, argv, tolerance, capsys):
    """Where two classes are about as likely, rounding may decide: seldom."""
    patches = ["--patch", "example:11", "example:3"]
    for how in ([], ["--chunk", "7.5ms"]):
        assert run(folder, "prefixed", *patches, *argv, *how, out=f"out{len(how)}.wav") == 0
        assert ("chunks of 7.5 ms" if how else "chunks of 512 ms") in capsys.readouterr().out
    (_, one), (_, other) = (read(folder / f"out{n}.wav") for n in (0, 2))
    assert len(one) == len(other) == 400
    assert np.count_nonzero(np.abs(one.astype(int) - other) > tolerance) <= 2


def test_chunks(folder, capsys):
    assert [convert.find_chunk(None, *how) for how in ((True, "cuda"), (False, "cpu"), (False, "cuda"))] == [
        0.064,
        0.512,
        16,
    ]
    assert convert.find_chunk("2s", True, "cpu") == 2
    assert run(folder, "plain", "--streaming", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    documented.check("python -m train.convert", found)
    assert (found["chunk_ms"], found["seconds"], found["sample_rate"]) == (64, 0.05, RATE)
    assert found["x_real_time"] == pytest.approx(0.05 / found["took"])


def test_another_patch_another_sound(folder):
    for voice in (1, 2):
        assert run(folder, "prefixed", "--patch", f"example:{voice}", out=f"voice{voice}.wav") == 0
    assert not np.array_equal(read(folder / "voice1.wav")[1], read(folder / "voice2.wav")[1])


# --- Drawing ---


def drawn(logits, temperature, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return decode.draw(logits.expand(count, -1), temperature, generator)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_have_the_distribution(temperature):
    """Pearson's statistic of 255 degrees of freedom is below 350 but for one seed in 30,000."""
    logits = torch.randn(256, generator=torch.Generator().manual_seed(2))
    count = 200_000
    counts = torch.bincount(drawn(logits, temperature, count), minlength=256)
    expected = count * torch.exp(logits.double() / temperature) / torch.exp(logits.double() / temperature).sum()
    assert ((counts - expected) ** 2 / expected).sum() < 350


def test_a_draw_without_a_temperature_is_one_of_the_models_own(folder):
    """--decode sample is at temperature 1, whose draws are not the likeliest."""
    for argv in ([], ["--temperature", "1"], ["--temperature", "0"]):
        assert run(folder, "plain", "--decode", "sample", *argv, out=f"draw{len(argv)}{argv[-1:]}.wav") == 0
    default, one, cold = (read(folder / f"draw{name}.wav")[1] for name in ("0[]", "2['1']", "2['0']"))
    assert np.array_equal(default, one)
    assert not np.array_equal(default, cold)


def test_draws_follow_the_seed_whatever_the_pieces():
    logits = torch.randn(1000, 256)
    generator = torch.Generator().manual_seed(7)
    pieces = [decode.draw(piece, 1.0, generator) for piece in logits.split([1, 9, 300, 690])]
    again, other = (decode.draw(logits, 1.0, torch.Generator().manual_seed(seed)) for seed in (7, 8))
    assert torch.equal(torch.cat(pieces), again)
    assert not torch.equal(again, other)


def test_cold_draws_are_the_likeliest():
    logits = torch.randn(1000, 256)
    generator = torch.Generator()
    assert torch.equal(decode.draw(logits, 1e-9, generator), logits.argmax(-1))
    assert torch.equal(decode.draw(logits, 5e-324, generator), logits.argmax(-1))
    assert torch.equal(decode.draw(logits, 0.0, generator), logits.argmax(-1))


def test_impossible_classes_are_never_drawn():
    logits = torch.full((256,), -torch.inf)
    logits[[3, 200]] = 0.0
    assert set(drawn(logits, 1.0, 10_000).tolist()) == {3, 200}


# --- Pipes ---


def pipe(folder, given, *argv, name="plain", status=0):
    """What the command writes to stdout and says on stderr. It is a process, whose stdin and stdout are pipes."""
    command = [sys.executable, "-m", "train.convert", "--checkpoint", folder / name, "--device", "cpu", *argv]
    done = subprocess.run(list(map(str, command)), input=given, capture_output=True, cwd=ROOT, timeout=300)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr.decode()


def test_wav_in_and_out(folder):
    """A header with a length that is not known yet, as sox writes it, is read and written."""
    assert run(folder, "plain", "--streaming") == 0
    wav_file = (folder / "in.wav").read_bytes()
    endless = wav_file[:40] + (0x7FFFF000).to_bytes(4, "little") + wav_file[44:]
    out, said = pipe(folder, endless, "--source", "-", "--out", "-")
    assert "-: 0.05 s of audio at 8000 Hz" in said
    assert "x real time (chunks of 64 ms, mean, cpu)" in said
    assert out[44:] == (folder / "out.wav").read_bytes()[44:]
    audio, rate = soundfile.read(io.BytesIO(out), dtype="int16")
    assert (len(audio), rate) == (400, RATE)
    assert int.from_bytes(out[40:44], "little") == 0x7FFFF000


def test_raw_in_and_a_file_out(folder):
    soundfile.write(folder / "raw.wav", sine(440, RATE, 0.07), RATE)
    assert run(folder, "plain", source="raw.wav", out="of-file.wav") == 0
    given = (folder / "raw.wav").read_bytes()[44:]
    pipe(folder, given, "--source", "-", "--raw", "--out", folder / "of-pipe.wav", "--chunk", "512ms")
    assert (folder / "of-pipe.wav").read_bytes() == (folder / "of-file.wav").read_bytes()


def test_what_was_heard_is_answered_before_more_comes(folder):
    """As of a live source: each chunk of 10 ms is written while the pipe stays open."""
    command = [sys.executable, "-m", "train.convert", "--checkpoint", str(folder / "plain"), "--device", "cpu", "--raw"]
    command += ["--source", "-", "--out", "-", "--chunk", "10ms"]
    sound = (32768 * sine(440, RATE, 0.03)).astype("<i2").tobytes()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as done:
        for at in range(0, len(sound), 160):
            done.stdin.write(sound[at : at + 160])
            done.stdin.flush()
            assert len(done.stdout.read(160)) == 160
        done.stdin.close()
        assert done.stdout.read() == b""
    assert done.returncode == 0


def test_bad_streams(folder):
    out, said = pipe(folder, b"RIFF me up", "--source", "-", "--out", "-", status=2)
    assert out == b""
    assert "- is no audio that can be read, nor a wav stream (--raw takes samples without a header)" in said
    _, said = pipe(folder, bytes(1600), "--source", "-", "--raw", "--out", folder / "refused.wav", status=2)
    assert "- is silent" in said
    assert not list(folder.glob("*refused.wav*"))


# --- What is refused ---


def test_a_header_that_leads_nowhere(folder, tmp_path):
    """A RF64 header whose data ends before it begins; in a process of its own, for a callback of libsndfile may print."""
    plain = (folder / "in.wav").read_bytes()
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 1 << 63, 1 << 63, 1 << 62, 0)
    (tmp_path / "in.wav").write_bytes(b"RF64\xff\xff\xff\xffWAVE" + sizes + plain[12:])
    script = "import sys; from train.data import recording; print(recording.check_length(recording.Path(sys.argv[1]), 8000))"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "in.wav"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def refused(capsys, folder, name, *argv, **files):
    """The one sentence on standard error; nothing is written."""
    assert run(folder, name, *argv, **{"out": "refused.wav"} | files) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not list(folder.glob("*refused.wav*"))
    return err


@pytest.fixture
def recordings(folder):
    """Files that can't be converted."""
    soundfile.write(folder / "silent.wav", np.zeros(8000), 44100)
    opposite = sine(440, 44100)
    soundfile.write(folder / "cancels.wav", np.stack([opposite, -opposite], axis=1), 44100)
    soundfile.write(folder / "short.wav", sine(440, 44100, 0.009), 44100)
    soundfile.write(folder / "none.wav", np.zeros(0), 44100)
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan] * 4000), 44100, subtype="FLOAT")
    soundfile.write(folder / "slow.wav", opposite, 999)
    (folder / "text.wav").write_text("RIFF me up")
    (folder / "empty.wav").touch()
    (folder / "cut.wav").write_bytes((folder / "in.wav").read_bytes()[:30])


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("silent.wav", "is silent"),
        ("cancels.wav", "is silent: mono"),
        ("short.wav", "is too short: it has 0.0090 s, the least is 0.01 s"),
        ("none.wav", "is too short"),
        ("nan.wav", "no numbers"),
        ("slow.wav", "says 999 Hz: rates from 1000"),
        ("text.wav", "is no audio"),
        ("empty.wav", "is no audio"),
        ("cut.wav", "is no audio"),
        ("nowhere.wav", "can't read"),
        ("plain", "can't read"),
    ],
)
def test_bad_recordings(folder, recordings, capsys, source, sentence):
    err = refused(capsys, folder, "plain", source=source)
    assert source in err
    assert sentence in err


@pytest.mark.parametrize(
    ("name", "argv", "sentence"),
    [
        ("plain", ["--patch", "example:1"], "leave out --patch"),
        ("prefixed", [], "add --patch with 1 to 2, as in bank.syx:11"),
        ("prefixed", ["--patch", *["example:1"] * 3], "--patch names 3 voices"),
        ("plain", ["--chunk", "64"], "--chunk 64 is no time from 1ms to 600s: 64ms and 0.5s are such"),
        ("plain", ["--chunk", "0.5ms"], "--chunk 0.5ms is no time"),
        ("plain", ["--raw"], "--raw is only for pipes"),
        ("plain", ["--temperature", "0.7"], "--temperature is only for --decode sample: leave it out"),
        ("plain", ["--temperature", "1", "--decode", "argmax"], "--temperature is only for --decode sample: leave it out"),
        ("prefixed", ["--patch", "example:33"], "33"),
        ("prefixed", ["--patch", "example:0"], "0"),
        ("prefixed", ["--patch", "nowhere.syx:1"], "nowhere.syx"),
        ("nothing", [], "is no checkpoint"),
        ("in.wav", [], "checkpoint"),
    ],
)
def test_bad_words(folder, capsys, name, argv, sentence):
    assert sentence in refused(capsys, folder, name, *argv)


@pytest.mark.parametrize(("promised", "said"), [(8000, True), (0x7FFFF000, False), (0xFFFFFFFF, False)])
def test_a_recording_that_is_cut_short(folder, tmp_path, capsys, promised, said):
    """It is converted as far as it goes; what a pipe has written promises more than anybody has."""
    soundfile.write(tmp_path / "cut.wav", sine(440, 8000)[:2000], 8000, "PCM_16")
    data = bytearray((tmp_path / "cut.wav").read_bytes())
    data[40:44] = promised.to_bytes(4, "little")
    (tmp_path / "cut.wav").write_bytes(data)
    assert run(folder, "plain", source=str(tmp_path / "cut.wav"), out=str(tmp_path / "out.wav")) == 0
    words = "cut.wav is cut short: its header promises 8,000 bytes of audio, and it has 4,000"
    assert (words in capsys.readouterr().err) == said


def test_a_pipe_with_a_name(folder, capsys):
    """It would be read twice: for its length, and to be converted."""
    os.mkfifo(folder / "pipe")
    assert "pipe is a pipe or a device: name it as --source - <" in refused(capsys, folder, "plain", source="pipe")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(folder, capsys):
    assert "--device cuda: torch finds no GPU" in refused(capsys, folder, "plain", "--device", "cuda")


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "warm"])
def test_bad_temperatures(folder, capsys, value):
    assert "--temperature" in refused(capsys, folder, "plain", f"--temperature={value}")


@pytest.mark.parametrize(
    ("out", "sentence"), [("in.wav", "is the source"), ("plain", "is a folder"), ("no/out.wav", "can't")]
)
def test_bad_places_to_write(folder, capsys, out, sentence):
    before = (folder / "in.wav").read_bytes()
    assert sentence in refused(capsys, folder, "plain", out=out)
    assert (folder / "in.wav").read_bytes() == before


def test_an_earlier_file_survives_until_the_new_one_is_whole(folder, capsys, monkeypatch):
    (folder / "kept.wav").write_text("earlier")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "decode", interrupted)
    assert run(folder, "plain", out="kept.wav") == 130
    assert (folder / "kept.wav").read_text() == "earlier"
    assert not list(folder.glob("*.partial"))
    monkeypatch.setattr(convert, "decode", decode.decode)
    assert run(folder, "plain", out="kept.wav") == 0
    assert read(folder / "kept.wav")[0] == RATE


# --- As `dx7data play` uses it: a process of its own ---


@pytest.mark.parametrize(("which", "codec", "prefix"), [("plain", None, False), ("prefixed", "bytes", True)])
def test_takes_of_the_keyboard(folder, capsys, tmp_path, which, codec, prefix):
    """The model is described, and converts a take as the command converts its source."""
    assert describe.main(["--checkpoint", str(folder / which)]) == 0
    assert json.loads(capsys.readouterr().out) == {"sample_rate": RATE, "prefix": codec, "patches": 2 if prefix else 1}

    model = conversion.open_model("--checkpoint", folder / which)
    assert model == conversion.Model(("--checkpoint", str((folder / which).resolve())), RATE, prefix)
    stored = bank.load_example().patches[0]
    source, _ = notes.render_take(stored, [notes.Note(60, 100, 0, 20), notes.Note(64, 100, 40, 60)], RATE)
    (tmp_path / "converted.wav").write_bytes(conversion.convert(model, source, stored))
    (tmp_path / "source.wav").write_bytes(wav.encode_wav(source, RATE))
    voice = ["--patch", "example:1"] if prefix else []
    files = ["--source", str(tmp_path / "source.wav"), "--out", str(tmp_path / "out.wav")]
    assert convert.main(["--checkpoint", str(folder / which), *files, *voice, "--chunk", "512ms"]) == 0
    assert (tmp_path / "converted.wav").read_bytes() == (tmp_path / "out.wav").read_bytes()


def test_where_the_keyboard_has_no_model(folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match="nothing"):
        conversion.open_model("--checkpoint", tmp_path / "nothing")
    stored = bank.load_example().patches[0]
    with pytest.raises(InputError, match="silent"):
        conversion.convert(
            conversion.Model(("--checkpoint", str(folder / "plain")), RATE, False), np.zeros(800, np.int16), stored
        )
    assert cli.main(["play", "--patches", "example", "--checkpoint", str(tmp_path / "nothing"), "--no-open"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setattr(conversion, "_CHECKOUT", tmp_path)
    with pytest.raises(InputError, match="checkout"):
        conversion.open_model("--checkpoint", folder / "plain")


def test_a_keyboard_without_torch(folder, tmp_path, monkeypatch):
    """A module of that name that can't be imported stands before torch, as where torch is not installed."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match="train extra"):
        conversion.open_model("--checkpoint", folder / "plain")
