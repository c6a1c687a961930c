"""Evaluation: every metric against a formula or another library, and sets of samples that training has never seen."""

import io
import math
import warnings
import wave

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.signal
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dx7data import cli
from dx7data.plan.plan import Plan
from dx7data.plan.sample import render_samples
from models.mulaw import mu_law_decode, mu_law_encode, mu_law_table
from train.data.datasets import open_clips
from train.data.example import Example
from train.data.sampler import SampleKey
from train.evaluation import metrics
from train.evaluation.decode import DECODERS, decode
from train.evaluation.evaluate import HeldOut, _find_unheard, evaluate, generate, load_held_out, predict, write_wavs

TABLE = mu_law_table()


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, shape)).float()


# --- Metrics ---


def test_bits_and_accuracies():
    """Against numpy: a softmax in float64, ranks by sorting."""
    rng = np.random.default_rng(0)
    logits, classes = rng.normal(0, 3, (3, 200, 256)).astype(np.float32), rng.integers(0, 256, (3, 200))
    logits[np.arange(3)[:, None], np.arange(200), classes] += 5
    probability = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(-1, keepdims=True)
    expected = -np.log2(np.take_along_axis(probability, classes[..., None], -1))[..., 0].mean(1)
    found = metrics.bits_per_sample(torch.from_numpy(logits), torch.from_numpy(classes))
    assert found.numpy() == pytest.approx(expected, rel=1e-5)

    likeliest = np.argsort(-logits, axis=-1)
    parts = metrics.accuracies(torch.from_numpy(logits), torch.from_numpy(classes)).numpy()
    for k, part in zip((1, 3, 5, 10), parts.T, strict=True):
        assert part == pytest.approx((likeliest[..., :k] == classes[..., None]).any(-1).mean(1))
    assert 0.05 < parts[:, 0].max() < parts[:, 3].min() < 0.95, "the test could not tell ranks apart"


@pytest.mark.parametrize(("amplitude", "expected"), [(0.05, 20.0), (0.5, 0.0), (0.5 / 10**0.15, 3.0)])
def test_snr_of_sines(amplitude, expected):
    """Whole periods of two frequencies: the ratio of their amplitudes."""
    time = torch.arange(8000, dtype=torch.float64) / 8000
    target, other = 0.5 * torch.sin(2 * math.pi * 440 * time), amplitude * torch.cos(2 * math.pi * 1000 * time)
    assert metrics.snr_db((target + other)[None], target[None]).item() == pytest.approx(expected, abs=1e-6)


def test_snr_of_mu_law():
    """What the docstring says of a prediction without a fault."""
    sine = torch.sin(torch.arange(80000) * 0.1234567)
    for amplitude, expected in ((1, 38.4), (0.5, 38.6), (0.001, 21.3)):
        target = (amplitude * sine * 32767).round().short()
        found = metrics.snr_db(mu_law_decode(mu_law_encode(target, TABLE))[None], target[None] / 32768)
        assert found.item() == pytest.approx(expected, abs=0.05)


def spectrogram(audio, window, fft):
    """|STFT| by scipy, with a Hann window of unit energy: (bins, frames)."""
    hann = scipy.signal.get_window("hann", window)
    step = window // 5
    found = scipy.signal.stft(audio, 1, hann, window, window - step, fft, boundary="even", padded=False)[2]
    return abs(found) * hann.sum() / np.sqrt((hann**2).sum())  # scipy divides by the sum


@pytest.mark.parametrize(
    ("rate", "length", "sizes"),  # windows and FFTs
    [
        (24000, 9000, [(240, 256), (600, 1024), (1200, 2048)]),
        (8000, 2000, [(80, 128), (200, 256), (400, 512)]),
        (16000, 256, [(160, 256), (256, 256), (256, 256)]),
        (8000, 50, [(50, 64), (50, 64), (50, 64)]),
    ],
)
def test_spectral_distances(rate, length, sizes):
    """Against scipy's STFT and a mel filter bank from its formula; half of the clip lies below the floor."""
    ours, theirs = noise(2, length), noise(2, length, seed=1)
    ours[:, length // 2 :] *= 1e-5
    expected, mels, parts = [], [], []
    for pair in zip(ours.double().numpy(), theirs.double().numpy(), strict=True):
        found = []
        for window, fft in sizes:
            a, b = (spectrogram(audio, window, fft) for audio in pair)
            logs = np.log(np.maximum(a, 1e-4)) - np.log(np.maximum(b, 1e-4))
            found.append(np.linalg.norm(a - b) / np.linalg.norm(b) + np.abs(logs).mean())
        expected.append(np.mean(found))
        window, fft = sizes[-1]
        bank = triangles(rate, fft, min(80, fft // 12))
        lost = mu_law_by_formula(pair[1]) - pair[1]
        power = spectrogram(lost, window, fft) ** 2
        white = bank @ np.broadcast_to(power.mean(0), power.shape)  # the power of each frame, evenly over its bins
        floor = np.maximum(10**0.6 * np.maximum(bank @ power, white), 1e-8)
        a, b = (np.maximum(bank @ spectrogram(audio, window, fft) ** 2, floor) for audio in pair)
        counts = (a > floor) | (b > floor)
        mels.append(np.abs(10 * np.log10(a / b))[counts].mean())
        parts.append(counts.mean())
    assert metrics.multi_resolution_stft_distance(ours, theirs, rate).numpy() == pytest.approx(expected, rel=1e-4)
    assert metrics.log_mel_distance(ours, theirs, rate).numpy() == pytest.approx(mels, rel=1e-4)


def mu_law_by_formula(audio):
    """To 256 classes and back: F(x) = sign(x) ln(1 + 255 |x|) / ln 256, of ITU-T G.711's law without its segments."""
    audio = np.clip(np.rint(audio * 32768), -32768, 32767) / 32768
    curve = np.sign(audio) * np.log1p(255 * np.abs(audio)) / np.log(256)
    level = 2 * np.floor((curve + 1) / 2 * 255 + 0.5) / 255 - 1
    return np.sign(level) * np.expm1(np.abs(level) * np.log(256)) / 255


def triangles(rate, fft, bands):
    """The HTK book's filter bank (bands, bins): equally spaced in mel = 2595 log10(1 + f / 700), peaks of 1."""
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2) / 2595) - 1)
    bins = np.arange(fft // 2 + 1) * rate / fft
    return np.array([np.interp(bins, corners[i : i + 3], [0, 1, 0]) for i in range(bands)])


@pytest.mark.parametrize("gain", [0.1, 0.5, 2.0])
def test_distances_of_a_gain(gain):
    """In closed form: |1 - g| + |ln g|, and |20 log10 g| dB."""
    target = noise(1, 4000)
    found = metrics.multi_resolution_stft_distance(gain * target, target, 8000)
    assert found.item() == pytest.approx(abs(1 - gain) + abs(math.log(gain)), rel=1e-2)  # some bins reach the floor
    found = metrics.log_mel_distance(gain * target, target, 8000)
    assert found.item() == pytest.approx(abs(20 * math.log10(gain)), rel=1e-3)


def test_the_log_mel_distance_tells():
    """A decaying sine and a rest, whose empty bands mu-law's noise fills: the ceiling is far below 30 dB of noise."""
    time = torch.arange(8000) / 8000
    target = 0.3 * torch.sin(2 * math.pi * 440 * time) * torch.exp(-6 * time) * (time < 0.7)
    hiss = noise(8000)
    hiss *= target.norm() / hiss.norm()
    made = [0 * target, metrics.through_mu_law(target), *(target + hiss * 10 ** (-db / 20) for db in (30, 20, 10))]
    silence, *found = [metrics.log_mel_distance(audio[None], target[None], 8000).item() for audio in made]
    assert found == sorted(found)
    assert found[0] < 1 < found[1] / 3
    assert silence > found[2]
    assert metrics.log_mel_distance(mu_law_decode(torch.full((1, 8000), 128)), torch.zeros(1, 8000), 8000) == 0


# --- Decoding ---


def test_the_posterior_mean():
    """Against numpy in float64, levels by the formula."""
    logits = np.random.default_rng(5).normal(0, 4, (3, 50, 256))
    curve = 2 * np.arange(256) / 255 - 1
    levels = np.sign(curve) * (256 ** np.abs(curve) - 1) / 255
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = decode(torch.from_numpy(logits).float(), "mean")
    assert found.shape == (3, 50)
    assert found.numpy() == pytest.approx(probability @ levels, abs=1e-5)
    assert decode(torch.from_numpy(logits), "argmax").numpy() == pytest.approx(levels[logits.argmax(-1)], abs=1e-6)


def test_the_mean_has_the_best_snr():
    """Of a model that is right about its doubt: classes are drawn from what it says."""
    logits = torch.from_numpy(np.random.default_rng(6).normal(0, 3, (4, 500, 256))).float()
    target = mu_law_decode(torch.distributions.Categorical(logits=logits).sample())
    generator = torch.Generator().manual_seed(1)
    mean, likeliest, drawn = (metrics.snr_db(decode(logits, how, generator), target).mean() for how in DECODERS)
    assert mean > likeliest + 1
    assert mean > drawn + 1


def test_what_is_drawn_does_not_depend_on_batches():
    examples = Example(*(part[:, :300] for part in uniform_classes(7)))
    rows = [evaluate(Small(), [made_up(examples)], size, "cpu", how="sample")[0][0] for size in (7, 2)]
    assert rows[0]["decode"] == "sample"
    assert rows[0]["mel_db"] == pytest.approx(rows[1]["mel_db"], rel=1e-5)
    other = evaluate(Small(), [made_up(examples)], 7, "cpu")[0][0]
    assert other["mel_db"] != pytest.approx(rows[0]["mel_db"], rel=1e-2)
    assert all(other[name] == pytest.approx(rows[0][name]) for name in ("bits", "snr_mean_db", "snr_argmax_db"))


# --- Entropies ---


def test_entropies():
    """Against scipy's, of a signal that hangs on another one."""
    rng = np.random.default_rng(7)
    given = rng.integers(0, 256, (5, 3000)) // 32
    classes = (given * 7 + rng.integers(0, 5, given.shape)) % 256
    counts = np.bincount(classes.ravel(), minlength=256)
    found = metrics.order0_bits(torch.from_numpy(classes))
    assert found.shape == (5,)
    assert found.mean().item() == pytest.approx(scipy.stats.entropy(counts, base=2), rel=1e-9)
    parts = [(np.mean(given == g), scipy.stats.entropy(np.bincount(classes[given == g]), base=2)) for g in range(8)]
    found = metrics.conditional_bits(torch.from_numpy(classes), torch.from_numpy(given)).mean().item()
    assert found == pytest.approx(sum(part * bits for part, bits in parts), rel=1e-9)
    assert found < math.log2(5) + 1e-9, "more than was drawn"


def test_entropies_by_hand():
    classes, given = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]]), torch.tensor([[9, 9, 8, 8], [9, 9, 9, 9]])
    bits = [-math.log2(6 / 8), -math.log2(2 / 8)]
    assert metrics.order0_bits(classes).tolist() == pytest.approx([sum(bits) / 2, bits[0]])
    assert metrics.conditional_bits(classes, given).tolist() == [0, 0]
    assert metrics.conditional_bits(classes, torch.zeros_like(classes)).tolist() == pytest.approx([sum(bits) / 2, bits[0]])


@given(st.integers(3, 3000), st.sampled_from([8000, 11025, 44100, 48000]))
@settings(deadline=None, max_examples=60)
def test_no_distance_to_itself(length, rate):
    """At any length that has a frequency; torchaudio does not warn of empty mel bands either."""
    audio = noise(2, length)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.multi_resolution_stft_distance(audio, audio, rate).tolist() == [0, 0]
        assert metrics.log_mel_distance(audio, audio, rate).tolist() == [0, 0]


def test_silence_is_what_mu_law_does_not_hear():
    values = torch.arange(-20, 21)
    in_the_middle = (mu_law_encode(values.short(), TABLE) == 127) | (mu_law_encode(values.short(), TABLE) == 128)
    assert torch.equal(metrics.is_silent(values[:, None] / 32768), in_the_middle)


# --- Models of which the metrics are known ---


class Told(nn.Module):
    """Its tokens as logits, of which all that belong to the prefix are NaN; right if the source is the target."""

    def __init__(self, prefix=0, sharpness=40.0):
        super().__init__()
        self.prefix, self.sharpness = prefix, sharpness

    def forward(self, tokens):
        logits = self.sharpness * nn.functional.one_hot(tokens, 256).float()
        logits[:, : self.prefix] = math.nan
        return logits


class Small(nn.Module):
    """Random and causal, with dropout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Embedding(256, 16), nn.Dropout(0.5), nn.Linear(16, 256))

    def forward(self, tokens):
        self.logits = self.layers(tokens)
        return self.logits


def uniform_classes(samples=8, length=4000, prefix=0):
    """Source and target are the same; every class is as likely as any other."""
    classes = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (samples, prefix + length)))
    audio = (mu_law_decode(classes) * 32768).round().clamp(-32768, 32767).short()
    return Example(audio[:, :prefix], audio[:, prefix:], audio[:, prefix:])


def made_up(examples, algorithms=None):
    count = len(examples.source)
    return HeldOut("seen", [("train", i) for i in range(count)], algorithms or [1] * count, 8000, examples)


@pytest.mark.parametrize("prefix", [0, 192])
def test_a_perfect_model(prefix):
    """What it says of the prefix does not count."""
    ((row,), *_) = evaluate(Told(prefix), [made_up(uniform_classes(prefix=prefix))], 3, "cpu")
    assert row["bits"] < 1e-6
    assert [row[f"accuracy_{k}"] for k in (1, 3, 5, 10)] == [1, 1, 1, 1]
    assert min(row["snr_mean_db"], row["snr_argmax_db"]) > 80  # every value is one that mu-law has, but for 16 bits
    assert row["mrstft"] < 1e-3
    assert row["mel_db"] < 1e-2


def test_a_model_that_knows_nothing():
    examples = uniform_classes()
    ((row,), *_) = evaluate(Told(sharpness=0.0), [made_up(examples)], 8, "cpu")
    assert row["bits"] == pytest.approx(8, abs=1e-6)
    for k in (1, 3, 5, 10):
        deviation = math.sqrt(k / 256 * (1 - k / 256) / examples.target.numel())
        assert row[f"accuracy_{k}"] == pytest.approx(k / 256, abs=5 * deviation)


def test_bits_of_clips_and_their_standard_error():
    examples = Example(*(part[:, :500] for part in uniform_classes(9)))
    ((row,), _, clips) = evaluate(Small(), [made_up(examples)], 4, "cpu")
    assert [(clip["set"], clip["split"], clip["sample"]) for clip in clips] == [("seen", "train", i) for i in range(9)]
    bits = [clip["bits"] for clip in clips]
    assert row["bits"] == pytest.approx(np.mean(bits))
    assert row["bits_se"] == pytest.approx(scipy.stats.sem(bits))
    alone = [evaluate(Small(), [made_up(Example(*(part[[i]] for part in examples)))], 1, "cpu")[0][0] for i in range(9)]
    assert bits == pytest.approx([each["bits"] for each in alone], rel=1e-5)


def test_a_model_that_broke_shows():
    ((row,), *_) = evaluate(Told(prefix=10), [made_up(uniform_classes())], 8, "cpu")
    assert math.isnan(row["bits"])


def test_batches_and_algorithms_add_up():
    examples = Example(*(part[:, :1000] for part in uniform_classes(11)))
    model = Small()
    whole, by_algorithm, _ = evaluate(model, [made_up(examples, [5, 5, 32] * 3 + [5, 1])], 32, "cpu")
    for size in (1, 4):
        others, parts, _ = evaluate(model, [made_up(examples, [5, 5, 32] * 3 + [5, 1])], size, "cpu")
        for one, other in zip(others + parts, whole + by_algorithm, strict=True):
            assert one.pop("set") == other["set"]
            assert one.pop("decode", "") == other.get("decode", "")
            assert one == pytest.approx({name: other[name] for name in one}, rel=1e-5)
    assert [(row["algorithm"], row["samples"]) for row in by_algorithm] == [(1, 1), (5, 7), (32, 3)]
    bits = sum(row["samples"] * row["bits"] for row in by_algorithm) / 11
    assert bits == pytest.approx(whole[0]["bits"], rel=1e-9)
    assert model.training, "the model is left in another mode"


def test_rows_are_of_each_set_alone():
    one, other = made_up(uniform_classes(2)), made_up(Example(*(part.flip(1) for part in uniform_classes(3))))
    together, *_ = evaluate(Small(), [one, other], 2, "cpu")
    assert together == evaluate(Small(), [one], 2, "cpu")[0] + evaluate(Small(), [other], 2, "cpu")[0]


def test_silent_targets():
    """One among others leaves SNR and STFT distance as they are; alone, it has none."""
    examples = uniform_classes(4, 2000)
    target = examples.target.clone()
    target[2] = torch.randint(-5, 6, (2000,))
    mixed, heard = examples._replace(target=target), Example(*(part[[0, 1, 3]] for part in examples))
    (rows, *_), (others, *_) = (evaluate(Small(), [made_up(each)], 3, "cpu") for each in (mixed, heard))
    for name in ("snr_mean_db", "snr_argmax_db", "mrstft"):
        assert rows[0][name] == pytest.approx(others[0][name], rel=1e-6)
    assert rows[0]["bits"] != pytest.approx(others[0]["bits"], rel=1e-3)
    ((row,), *_) = evaluate(Small(), [made_up(Example(*(part[2:3] for part in mixed)))], 3, "cpu")
    assert {name for name, value in row.items() if value != value} == {
        *("snr_mean_db", "snr_argmax_db", "mrstft", "bits_se")
    }


def test_predictions_are_without_dropout_and_in_float32():
    model, examples = Small(), uniform_classes(2, 100)
    logits = predict(model, examples, "cpu")
    assert torch.equal(logits, model.eval()(mu_law_encode(examples.source, TABLE)))
    rounded = predict(model, examples, "cpu", "bf16")
    assert (model.logits.dtype, rounded.dtype) == (torch.bfloat16, torch.float32)
    assert rounded.sub(logits).abs().max() < 0.05
    assert not rounded.requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_measures_the_same():
    sets = [made_up(uniform_classes(5, 2000, 64), [1, 2, 3, 3, 3])]
    rows, parts, _ = zip(*(evaluate(Small().to(device), sets, 2, device) for device in ("cpu", "cuda")), strict=True)
    for one, other in (*zip(*rows, strict=True), *zip(*parts, strict=True)):
        assert one.pop("set") == other.pop("set")
        assert one.pop("decode", "") == other.pop("decode", "")
        assert one == pytest.approx(other, rel=1e-3)


def test_generated_wavs(tmp_path):
    """A perfect model's are the target but for mu-law, the loudest value included."""
    examples = uniform_classes(2, 3000, 64)
    examples.source[0, :3] = torch.tensor([-32768, 32767, 0])
    audio = generate(Told(64), examples, "cpu")
    assert audio.dtype == torch.int16
    assert torch.equal(mu_law_encode(audio, TABLE), mu_law_encode(examples.source, TABLE))
    assert audio[0, :3].tolist() == [-32768, 32767, 3]
    write_wavs(tmp_path / "samples" / "00001000", examples, audio, 8000)
    for i in range(2):
        for name, expected in (("source", examples.source), ("target", examples.target), ("generated", audio)):
            data = (tmp_path / "samples" / "00001000" / f"{i}-{name}.wav").read_bytes()
            with wave.open(io.BytesIO(data)) as file:
                assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
                assert (np.frombuffer(file.readframes(3000), "<i2") == expected[i].numpy()).all()


# --- Sets ---


def planned(folder, *options, command="plan"):
    asked = [command, "--patches", "example", "--out", str(folder), "--seconds", "0.25", *options]
    assert cli.main(asked) == 0
    return Plan.load(folder)


def content(plan, split, j):
    choice = plan.choose(split, j)
    return choice.phrase.notes, choice.phrase.events, choice.source, choice.layers


def test_unseen_and_seen_are_what_the_plan_has(tmp_path):
    """From shards too: of their samples those of val, and new ones with the patches of train."""
    options = ["--samples", "60", "--prefix", "bytes", "--layers", "1..2", "--workers", "1"]
    plan = planned(tmp_path, *options, command="render")
    data = open_clips(tmp_path, codec="bytes", crop=700)
    unseen, seen = load_held_out(data, 4)
    assert [each.name for each in (unseen, seen)] == ["unseen", "seen"]
    assert unseen.places == [("val", j) for j in range(4)]
    assert seen.places == [("train", j) for j in range(48, 52)]
    from_shards = open_clips(tmp_path, "val", codec="bytes", crop=700)
    for i, parts in enumerate(zip(*unseen.examples, strict=True)):
        assert all(torch.equal(one, other) for one, other in zip(parts, from_shards[SampleKey(0, 0, i)], strict=True))
    for one in load_held_out(data, 4, whole=True):
        for place, number, *parts in zip(one.places, one.algorithms, *one.examples, strict=True):
            (expected,) = render_samples(plan, [place])  # of train, beyond those that are in it
            assert number == expected.meta["layers"][0]["algorithm"]
            for part, audio in zip(parts, (expected.prefixes["bytes"], expected.source, expected.target), strict=True):
                assert (part.numpy() == audio).all()
    for cut, whole in zip(load_held_out(data, 4), load_held_out(data, 4, whole=True), strict=True):
        for i, (_, j) in enumerate(cut.places):
            start = data.format.start(SampleKey(0, 0, 0), j)
            assert torch.equal(cut.examples.target[i], whole.examples.target[i, start : start + 700])

    families = [
        {plan.patches.families[layer] for place in places for layer in plan.choose(*place).layers}
        for places in (unseen.places, seen.places, [("train", j) for j in range(48)])
    ]
    assert not families[0] & families[2]
    assert families[1] <= families[2]
    trained = {content(plan, "train", j) for j in range(48)}
    assert not trained & {content(plan, *place) for place in unseen.places + seen.places}
    assert len(load_held_out(data, 100)[0]) == plan.counts["val"]


def music(path, phrases):
    notes = [{"phrase_id": i, "start_time": 0.0, "duration": 0.1, "note": 30 + i, "velocity": 90} for i in range(phrases)]
    pq.write_table(pa.Table.from_pylist(notes), path)
    return ["--phrases", str(path)]


@pytest.mark.parametrize(
    "options", [[], ["--pairs", "2"], ["--layers", "1..3"], ["--source", "random"]], ids=lambda each: " ".join(each)
)
def test_phrases_of_seen_samples_are_never_trained(tmp_path, options):
    """Music comes round again and again, so samples beyond the last would play what was trained."""
    plan = planned(tmp_path / "plan", "--samples", "400", *music(tmp_path / "music.parquet", 50), *options)
    unseen, seen = load_held_out(open_clips(plan, reader="live"), 5)
    trained = [plan.choose("train", j) for j in range(plan.counts["train"])]
    fresh, _, numbers = _find_unheard(plan, "train", 5)
    assert seen.places == [("train", j) for j in numbers]
    chosen = [fresh.choose(*place) for place in seen.places]
    assert len(chosen) == len(unseen) == 5
    assert not {choice.phrase.id for choice in chosen} & {choice.phrase.id for choice in trained}
    assert {layer for choice in chosen for layer in choice.layers} <= {layer for each in trained for layer in each.layers}
    for i, place in enumerate(seen.places):
        assert (seen.examples.target[i].numpy() == fresh[place].target).all()


def test_music_without_phrases_to_spare(tmp_path, caplog):
    plan = planned(tmp_path / "all", "--samples", "7", *music(tmp_path / "music.parquet", 7), "--split", "1,0,0")
    assert load_held_out(open_clips(plan, reader="live")) == []
    assert "no phrases are left" in caplog.text


def test_a_data_set_split_by_phrase_has_one_set(tmp_path):
    plan = planned(tmp_path, "--samples", "40", "--split-by", "phrase")
    assert [one.name for one in load_held_out(open_clips(plan, reader="live"), 2)] == ["val"]
    assert [one.places[0][0] for one in load_held_out(open_clips(plan, "val", reader="live"), 2)] == ["val"]


def test_what_is_looked_through_does_not_grow_with_the_samples(tmp_path, monkeypatch):
    """One voice that plays 60 phrases 1.6 million times."""
    target = ["--targets", "ROUND BASS", *music(tmp_path / "music.parquet", 60)]
    plan = planned(tmp_path / "plan", "--samples", "1600000", *target)
    chosen, choose = [], Plan.choose
    monkeypatch.setattr(Plan, "choose", lambda *place: chosen.append(place) or choose(*place))
    assert [len(one) for one in load_held_out(open_clips(plan, reader="live"), 3)] == [3]
    assert len(chosen) <= 12
