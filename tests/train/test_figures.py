"""Pictures of a run: what is drawn is what is in the files, windows by brute force, spectrograms by another program."""

import csv
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import run_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from dx7data.audio.wav import encode_wav
from dx7data.errors import InputError
from train.results import figures, reader
from train.results.reader import Clip

INT16 = st.integers(-32768, 32767)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_folder.make(tmp_path_factory.mktemp("runs") / "s4", steps=200, evaluate_every=50)


def drawn(folder):
    """Size of each picture; a warning would be a defect, whoever raises it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.draw(folder)
    sizes = {}
    for path in (folder / "pictures").iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert len(picture.convert("L").getcolors()) > 10, "not empty"
            sizes[path.name] = picture.size
    return sizes


# --- Which part of a clip ---


@settings(deadline=None)
@given(arrays(np.int16, st.integers(1, 400), elements=INT16), st.integers(50, 200))
def test_windows_are_the_loudest(audio, rate):
    outer = (0, len(audio))
    for (start, stop), seconds in zip(figures.windows(audio, rate), (2, 0.2, 0.02), strict=True):
        length = min(round(seconds * rate), outer[1] - outer[0])
        energies = {i: sum(int(v) ** 2 for v in audio[i : i + length]) for i in range(outer[0], outer[1] - length + 1)}
        assert stop - start == length
        assert energies[start] == max(energies.values())
        assert start == min(i for i, energy in energies.items() if energy == energies[start])
        outer = (start, stop)


def read_pictures(run):
    figures.draw(run)
    return {path.name: path.read_bytes() for path in (run / "pictures").iterdir()}


def test_a_thread_draws_the_same(run, tmp_path):
    """To the byte, while the main thread makes the spectrograms that boards get: an evaluation comes while it draws."""
    copy = shutil.copytree(run, tmp_path / "run")
    levels = np.linspace(-120, 0, 64 * 50).reshape(64, 50)
    expected, spectrogram, during = read_pictures(copy), figures.spectrogram(levels, 0.0), set()
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(read_pictures, copy)
        while not found.done():
            during.add(figures.spectrogram(levels, 0.0))
    assert found.result() == expected
    assert during == {spectrogram}


def test_windows_of_a_clip_of_full_scale_do_not_overflow():
    audio = np.full(48000 * 10, -32768, np.int16)
    audio[: 48000 * 3] = 32767
    assert figures.windows(audio, 48000) == [(144000, 240000), (144000, 153600), (144000, 144960)]


# --- What is drawn ---


def lines(axes):
    return [np.stack([line.get_xdata(), line.get_ydata()], axis=1) for line in axes.lines]


def test_sample_shows_the_wavs(run):
    _, samples = reader.read_samples(run)
    figure = figures.draw_sample("title", samples["1"])
    waves, spectrograms = figure.subfigs
    windows = figures.windows(*samples["1"]["target"])
    for i, axes in enumerate(waves.axes):
        kind, (start, stop) = reader.KINDS[i // 3], windows[i % 3]
        seconds = np.arange(start, stop) / 16000 * (1 if i % 3 == 0 else 1000)
        expected = np.stack([seconds, samples["1"][kind].audio[start:stop] / 32768], axis=1)
        np.testing.assert_allclose(lines(axes)[-1], expected)
        np.testing.assert_allclose(axes.get_xlim(), (seconds[0], seconds[-1] + seconds[1] - seconds[0]))
        assert axes.get_ylim()[1] >= np.abs(expected[:, 1]).max()
        assert axes.get_ylim() == waves.axes[min(i, 3)].get_ylim() or i < 3, "target and generated in one scale"
        if i % 3 < 2:
            (shaded,) = axes.patches
            inner = np.array(windows[i % 3 + 1]) / 16000 * (1 if i % 3 == 0 else 1000)
            np.testing.assert_allclose((shaded.get_x(), shaded.get_x() + shaded.get_width()), inner)
    for axes, kind in zip(spectrograms.axes, reader.KINDS, strict=False):
        assert (axes.images[0].get_array() == figures.mel(samples["1"][kind])).all()
        assert axes.images[0].get_clim() == spectrograms.axes[0].images[0].get_clim()


def test_curves_are_the_tables(run):
    with open(run / "metrics.csv") as file:
        metrics = list(csv.DictReader(file))
    whole, later = figures.draw_loss("s4", metrics).axes[:2]
    expected = np.array([(float(row["step"]), float(row["loss_bits"])) for row in metrics])
    assert (lines(whole)[0] == expected).all()
    assert (lines(later)[0] == expected[100:]).all()

    timed = [row for row in metrics if row["step_seconds"]]
    assert len(timed) == len(metrics) - run_folder.FIRST_STEPS
    for axes, column in zip(figures.draw_steps("s4", timed).axes, ("step_seconds", "data_seconds"), strict=True):
        ms = [1000 * float(row[column]) for row in timed]
        assert lines(axes)[0][:, 1].tolist() == ms
        assert lines(axes)[1][:, 1] == pytest.approx(np.median(ms))

    with open(run / "validation.csv") as file:
        rows = list(csv.DictReader(file))
    panels = figures.draw_validation("s4", rows).axes
    for axes, (column, scale) in zip(
        panels, {"bits": 1, "snr_mean_db": 1, "snr_argmax_db": 1, "mrstft": 1, "mel_db": 1}.items(), strict=False
    ):
        for line, which in zip(lines(axes), ("unseen", "seen"), strict=True):
            expected = [(float(row["step"]), scale * float(row[column])) for row in rows if row["set"] == which]
            assert line.tolist() == [list(pair) for pair in expected]
    assert lines(panels[5])[0][-1, 1] == 100 * float(rows[-2]["accuracy_1"])

    with open(run / "algorithms.csv") as file:
        last = [row for row in csv.DictReader(file) if row["step"] == "200"]
    (axes,) = figures.draw_algorithms("s4", last).axes
    shown = [tuple(point) for line in lines(axes) for point in line]
    assert shown == [(float(row["algorithm"]), float(row["bits"])) for row in last]


def test_times_have_no_powers_of_ten():
    timed = [{"step": str(i), "step_seconds": "0.0997", "data_seconds": "0.00123"} for i in range(3)]
    titles = [axes.get_title() for axes in figures.draw_steps("s4", timed).axes]
    assert titles == ["Whole step: median 100 ms, longest 100 ms", "Waiting for data: median 1.2 ms, longest 1.2 ms"]


@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 100)))
def test_smoothed_is_the_mean_around_each_value(values):
    reach = len(values) // 50
    expected = [values[max(0, i - reach) : i + reach + 1].mean() for i in range(len(values))]
    np.testing.assert_allclose(reader.smooth(values), expected, atol=1e-9)


# --- Spectrograms ---


def test_a_full_tone_is_at_0_db():
    time = np.arange(32000) / 16000
    levels = figures.mel(Clip(np.rint(32767 * np.sin(2 * np.pi * 1000 * time)).astype(np.int16), 16000))
    assert levels[:, 100].max() == pytest.approx(0, abs=1.8), (
        "a Hann window spreads a tone over bins: 10 log10(1.5) more in all"
    )
    assert levels.shape[1] <= 401


@pytest.mark.parametrize(("hertz", "label"), [(100, "0.1"), (1000, "1"), (4000, "4")])
def test_a_tone_is_beside_its_label(hertz, label):
    tone = np.rint(20000 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)).astype(np.int16)
    axes = figures.draw_sample("title", dict.fromkeys(reader.KINDS, Clip(tone, 16000))).subfigs[1].axes[0]
    places = {text.get_text(): place for text, place in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    band = axes.images[0].get_array()[:, 200].argmax()
    bottom, top = axes.images[0].get_extent()[2:]
    assert places[label] == pytest.approx(bottom + (band + 0.5) * (top - bottom) / figures.BANDS, abs=0.6)


# --- Files ---


def test_pictures(run):
    sizes = drawn(run)
    curves = {"loss.png": 380, "steps.png": 320, "validation.png": 760, "algorithms.png": 320}
    assert sizes == {name: (1000, height) for name, height in (curves | {"sample-0.png": 820, "sample-1.png": 820}).items()}


def test_drawn_again_with_the_last_samples(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    assert reader.read_samples(copy)[0] == 200
    shutil.rmtree(copy / "samples" / "00000200")
    assert reader.read_samples(copy)[0] == 150
    (copy / "samples" / "00000175").mkdir()
    assert reader.read_samples(copy)[0] == 150, "a folder in which nothing was generated yet"


def test_the_first_evaluation(tmp_path):
    """Of a tiny run: one sample, a quarter of a second, and only steps without a time."""
    run = run_folder.make(tmp_path / "tiny", steps=2, evaluate_every=2, clips=1, rate=8000, seconds=0.25)
    assert sorted(drawn(run)) == ["algorithms.png", "loss.png", "sample-0.png", "validation.png"]


def test_nothing_to_evaluate(tmp_path):
    run = run_folder.make(tmp_path / "unjudged", steps=5, evaluate_every=10)
    assert sorted(drawn(run)) == ["loss.png", "steps.png"]


def test_silence_and_what_was_not_measured(tmp_path):
    run = run_folder.make(tmp_path / "silent", steps=4, evaluate_every=4, clips=0)
    with open(run / "validation.csv") as file:
        rows = [row | {"snr_mean_db": "nan", "mrstft": ""} for row in csv.DictReader(file)]
    run_folder.write_table(run / "validation.csv", rows)
    (run / "samples" / "00000004").mkdir(parents=True)
    for kind in reader.KINDS:
        (run / "samples" / "00000004" / f"0-{kind}.wav").write_bytes(encode_wav(np.zeros(4000, np.int16), 16000))
    assert "sample-0.png" in drawn(run)
    silent = figures.mel(Clip(np.zeros(4000, np.int16), 16000))
    assert silent.max() <= figures.loudest([silent]) - figures.RANGE_DB, "dark"


# --- Damage ---


def test_a_line_that_is_being_written(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    whole = reader.read_table(copy / "metrics.csv")
    with open(copy / "metrics.csv", "a") as file:
        file.write("201,82.4")
    assert reader.read_table(copy / "metrics.csv") == whole


@pytest.mark.parametrize("row", ["201,1,2", "201" + ",1" * 9, "201,1,oops,1,1,1,1,1"])
def test_damaged_table(run, tmp_path, row):
    copy = shutil.copytree(run, tmp_path / "copy")
    with open(copy / "metrics.csv", "a") as file:
        file.write(row + "\n")
    with pytest.raises(InputError, match=r"metrics.csv can't be read"):
        figures.draw(copy)


@pytest.mark.parametrize("content", [b"", b"no wav", encode_wav(np.zeros(0, np.int16), 8000)])
def test_damaged_clip(run, tmp_path, content):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "samples" / "00000200" / "0-target.wav").write_bytes(content)
    with pytest.raises(InputError, match=r"0-target.wav can't be read .*older samples"):
        figures.draw(copy)
