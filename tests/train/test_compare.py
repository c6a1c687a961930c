"""The page that compares runs: its numbers are the tables', what it says of conditions is checked, no name escapes."""

import base64
import csv
import json
import re
import shutil
import statistics
from html.parser import HTMLParser

import documented
import numpy as np
import pytest
import run_folder
import scipy.optimize
from hypothesis import example, given
from hypothesis import strategies as st

from dx7data.audio.wav import decode_wav, encode_wav
from train import compare
from train.evaluation import paired
from train.results import comparable, listening, reader
from train.results.chart import Curve, chart, choose_dashes, frame, spread, ticks
from train.results.reader import KINDS

HOSTILE = '<img src=x onerror="alert(1)">&amp;$x'
SHORT = {"steps": 30, "evaluate_every": 10, "clips": 2, "rate": 8000, "seconds": 0.1}


class Page(HTMLParser):
    """Elements with their attributes, the cells of the table by row, and all text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.rows, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag == "data":
            self.rows[-1].append([dict(attributes)["value"], ""])

    def handle_data(self, data):
        self.text += data
        if self.elements and self.elements[-1][0] == "data" and not self.rows[-1][-1][1]:
            self.rows[-1][-1][1] = data

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def made(folder, name, seed=0, **changes):
    config = run_folder.config(steps=30, model_name=name) | changes.pop("config", {})
    return run_folder.make(folder / name, config, seed=seed, **SHORT | changes)


def page(folders, tmp_path):
    assert compare.main([*map(str, folders), "--out", str(tmp_path / "page.html")]) == 0
    return (tmp_path / "page.html").read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [made(folder, "s4", 0), made(folder, "mamba2", 1, final=1.7)]


@pytest.fixture(scope="module")
def text(runs, tmp_path_factory):
    return page(runs, tmp_path_factory.mktemp("page"))


def table(path):
    with open(path) as file:
        return list(csv.DictReader(file))


# --- Numbers ---


def test_numbers_are_those_of_the_tables(runs, text):
    rows = [row for row in Page(text).rows if row]
    assert len(rows) == len(runs)
    for folder, cells in zip(runs, rows, strict=True):
        metrics, validation = table(folder / "metrics.csv"), table(folder / "validation.csv")
        expected = [folder.name, "1234567", "", "", "30", ""]
        for which in ("unseen", "seen"):
            own = [row for row in validation if row["set"] == which]
            expected += [min((row["bits"] for row in own), key=float), own[-1]["bits"]]
            expected += [own[-1]["snr_mean_db"], own[-1]["snr_argmax_db"]]
        timed = metrics[run_folder.FIRST_STEPS :]
        expected += [
            repr(statistics.median(float(row[name]) for row in timed)) for name in ("step_seconds", "tokens_per_second")
        ]
        result = json.loads((folder / "result.json").read_text())
        expected += [str(result["peak_memory_bytes"]), str(result["first_steps_seconds"])]
        assert [exact for exact, _ in cells] == expected
        assert cells[7][1].endswith(" ± 0.0625")
        cells, expected = (
            each[1:2] + each[4:5] + each[6:] for each in (cells, expected)
        )  # without texts, and what is not told
        shown = [float(each.replace(",", "").partition(" ")[0]) for _, each in cells]
        scales = [1] * 10 + [1000, 1, 1e-9, 1]
        steps = [1] * 2 + [1e-4, 1e-4, 1e-2, 1e-2] * 2 + [0.1, 1, 0.01, 0.1]
        for value, exact, scale, step in zip(shown, expected, scales, steps, strict=True):
            assert abs(value - scale * float(exact)) <= 0.5001 * step


def test_the_result_as_json(runs, tmp_path, capsys):
    """Its figures are the cells of the page."""
    out = tmp_path / "page.html"
    assert compare.main([*map(str, runs), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    documented.check("python -m train.compare", found)
    assert (found["page"], found["comparable"], found["differ"]) == (str(out), True, {})
    cells = [[exact for exact, _ in row] for row in Page(out.read_text()).rows if row]
    for row, one in zip(cells, found["runs"], strict=True):
        figures = [one[key] for key in ("model", "parameters", "patches", "groups", "steps", "verdict")]
        figures += [each for measures in one["sets"].values() for each in measures.values()]
        figures += [one[key] for key in ("step_seconds", "tokens_per_second", "peak_memory_bytes", "first_steps_seconds")]
        shown = [each if i in (0, 5) or not each else float(each) for i, each in enumerate(row)]
        assert ["" if each is None else each for each in figures] == shown
    other = {one["run"]: one["mean"] for one in found["paired"] if one["set"] == "seen"}
    (name,) = other
    assert other[name] == pytest.approx(
        paired.compare(*sorted(compare.read(runs), key=lambda run: run.name != name), "seen").mean
    )


def test_the_best_of_a_column_is_marked(runs, text):
    best = re.findall(r'<td class=best><data value="([^"]*)"', text)
    bits = [row["bits"] for folder in runs for row in table(folder / "validation.csv") if row["set"] == "unseen"]
    assert min(bits, key=float) in best
    assert max(bits, key=float) not in best
    assert "1234567" not in best, "parameters are no contest"
    assert "3456789012" not in best, "they are all the same"


def test_curves_are_those_of_the_tables(runs, text):
    """Points in a chart, back in units of the values by the labels of its axis."""
    charts = dict(re.findall(r'<svg class="chart" role="img" aria-label="([^":]*): [^"]*"(.*?)</svg></svg>', text))
    assert {"Training loss", "Training loss, second half", "Cross entropy, unseen", "Log-mel distance, seen"} <= set(charts)
    assert "<b>Log-mel distance, seen</b> dB, decoded as mean<" in text
    drawn = charts["Cross entropy, seen"]
    labels = [(float(y) - 4, float(v)) for y, v in re.findall(r'class="left" x="-6" y="([^"]*)">([^<]*)<', drawn)]
    (y0, v0), (y1, v1) = labels[0], labels[-1]
    for i, folder in enumerate(runs):
        rows = [row for row in table(folder / "validation.csv") if row["set"] == "seen"]
        (group,) = re.findall(rf'<g class="run run-{i}">(.*?)</g>', drawn)
        path = re.findall(r"([\d.-]+) ([\d.-]+)", re.search(r'd="M([^"]*)"', group).group(1))
        values = [v0 + (float(y) - y0) / (y1 - y0) * (v1 - v0) for _, y in path]
        np.testing.assert_allclose(values, [float(row["bits"]) for row in rows], atol=0.003 * abs(v1 - v0))
        across = np.array([float(x) for x, _ in path])
        np.testing.assert_allclose(across / across[-1], [1 / 3, 2 / 3, 1], atol=0.001)
        assert re.findall(r"<title>[^<]*: ([^<]*)</title>", group) == [f"{float(row['bits']):.4g}" for row in rows]


def test_audio_is_that_of_the_runs(runs, text):
    players = Page(text).named("audio")
    assert [each["aria-label"] for each in players[:4]] == [
        f"{name}, sample 0" for name in ("source", "target", "s4", "mamba2")
    ]
    clips = [base64.b64decode(each["src"].partition(",")[2]) for each in players]
    samples = [folder / "samples" / "00000030" for folder in runs]
    expected = []
    for i in range(2):
        expected += [(samples[0] / f"{i}-{kind}.wav").read_bytes() for kind in ("source", "target")]
        expected += [(each / f"{i}-generated.wav").read_bytes() for each in samples]
    assert clips == expected
    assert len(Page(text).named("img")) == len(clips)


def test_other_samples_are_apart(runs, tmp_path):
    other = shutil.copytree(runs[1], tmp_path / "other")
    (other / "samples" / "00000030" / "0-target.wav").write_bytes(encode_wav(np.ones(800, np.int16), 8000))
    text = page([runs[0], other], tmp_path)
    assert len(Page(text).named("audio")) == 3 + 4 + 3
    assert text.count("not of other") == text.count("not of s4") == 1


# --- Are they comparable? ---


def verdict(folders):
    return Page(comparable.verdict(compare.read(folders))).text


def test_comparable(runs):
    said = verdict(runs)
    assert "Comparable. All 2 runs have seen equally many tokens of the same data" in said
    assert "not recorded" not in said
    assert f"{30 * 8 * run_folder.CLIP:,}" in said
    assert "model_names4 s4mamba2 mamba2" in said, "what else differs"


@pytest.mark.parametrize(
    ("name", "value", "called"),
    [
        ("split", "val", "split"),
        ("prefix", None, "prefix"),
        ("sample_rate", 8000, "sample rate (Hz)"),
        ("seconds", 0.5, "crop (s)"),
        ("batch", 16, "batch"),
        ("evaluate_samples", 6, "validation samples"),
    ],
)
def test_another_condition_is_named(runs, tmp_path, name, value, called):
    config = json.loads((runs[0] / "config.json").read_text())
    was = config["settings"][name]
    config["settings"][name] = value
    other = shutil.copytree(runs[0], tmp_path / "other")
    (other / "config.json").write_text(json.dumps(config))
    said = verdict([runs[0], other])
    assert f"Not comparable as they are. These differ: {called}." in said
    was, now = ("none" if each is None else f"{each:,}" if isinstance(each, int) else each for each in (was, value))
    assert f"{called}{was} s4{now} other" in said


def test_other_data_and_fewer_tokens(runs, tmp_path):
    other = made(tmp_path, "other", config={"fingerprint": "f" * 64}, steps=20)
    said = verdict([*runs, other])
    assert "These differ: tokens seen, fingerprint of the clips." in said
    assert f"tokens seen{30 * 8 * run_folder.CLIP:,} s4, mamba2{20 * 8 * run_folder.CLIP:,} other" in said
    assert "fingerprint of the clips0123456789ab s4, mamba2ffffffffffff other" in said
    text = page([*runs, other], tmp_path)
    assert "20 of 30" in text
    assert "peak GB" in text, "though this one has not ended"


def test_what_is_not_recorded_is_not_the_same(runs, tmp_path):
    folders = []
    for folder in runs:
        copy = shutil.copytree(folder, tmp_path / folder.name)
        config = json.loads((copy / "config.json").read_text())
        del config["fingerprint"]
        (copy / "config.json").write_text(json.dumps(config))
        folders.append(copy)
    assert "These differ: fingerprint of the clips.fingerprint of the clipsnot recorded s4, mamba2" in verdict(folders)


def test_a_run_of_an_earlier_version(runs, tmp_path):
    """Beside a new one: its only SNR was that of the likeliest class; its log-mel distance was another measure."""
    old = shutil.copytree(runs[0], tmp_path / "old")
    rows = [
        {name: row[name] for name in ("step", "set", "samples", "bits", *(f"accuracy_{k}" for k in (1, 3, 5, 10)))}
        | {"snr_db": row["snr_argmax_db"], "mrstft": row["mrstft"], "logmel": "23.75"}
        for row in table(old / "validation.csv")
    ]
    run_folder.write_table(old / "validation.csv", rows)
    (old / "clips.csv").unlink()
    text = page([old, runs[1]], tmp_path)
    (cells, others) = [row for row in Page(text).rows if row and len(row) == len(Page(text).rows[2])]
    assert [exact for exact, _ in cells[6:10]] == [
        *(min((row["bits"] for row in rows if row["set"] == "unseen"), key=float), rows[-2]["bits"]),
        *("", rows[-2]["snr_db"]),
    ]
    assert cells[7][1] == f"{float(rows[-2]['bits']):.4f}"
    assert "±" in others[7][1]
    assert "23.75" not in text
    assert "Cross entropy, seen" in page([old], tmp_path)


def test_one_run(runs):
    assert "nothing to compare it with" in verdict(runs[:1])


# --- The page ---


def test_nothing_is_loaded(text):
    assert not re.search(r"(?:https?:)?//(?!www\.w3\.org)\w", re.sub(r"base64,[\w+/=]*", "", text))
    assert {each["src"].partition(",")[0] for each in Page(text).named("img")} == {"data:image/png;base64"}
    assert Page(text).named("script") == [{}], "in the page"
    assert not Page(text).named("link")
    (policy,) = [each["content"] for each in Page(text).named("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; ")
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in Page(text).elements), "which the policy forbids"


def test_clips_are_matched_to_the_target(text):
    """By the gains in the page all have the target's RMS, and none is over full scale."""
    page = Page(text)
    gains = [float(each["data-gain"]) for each in page.named("figure") if "data-gain" in each]
    clips = [decode_wav(base64.b64decode(each["src"].partition(",")[2]))[0] / 32768 for each in page.named("audio")]
    matched = [gain * clip for gain, clip in zip(gains, clips, strict=True)]
    levels = [np.sqrt(np.mean(each**2)) for each in matched]
    for sample in (levels[:4], levels[4:]):
        np.testing.assert_allclose(sample, sample[1], rtol=1e-5)
    assert max(np.abs(each).max() for each in matched) <= 1
    assert gains[2] != pytest.approx(1, abs=0.01), "a run's clip is another as it is"


def test_levels_of_odd_clips():
    soft, target, peak = np.full(8, 8, np.int16), np.full(8, 16000, np.int16), np.zeros(800, np.int16)
    peak[0] = 32000
    gains = listening.match_levels([soft, np.zeros(8, np.int16), target], target)
    np.testing.assert_allclose(gains, [10, 1, 1])
    assert listening.match_levels([soft], np.zeros(8, np.int16)) == [1]
    gains = listening.match_levels([target, peak], target)
    np.testing.assert_allclose(gains[1] * 32000, 32768)
    assert gains[1] / gains[0] == pytest.approx(10), "softer together"


def test_a_page_is_known_by_its_clips(runs, tmp_path):
    read = compare.read(runs)
    assert listening.identify(read) == listening.identify(compare.read(runs)) != listening.identify(read[::-1])


def test_hostile_names_stay_text(tmp_path):
    run = made(tmp_path, HOSTILE.replace("/", ""), config={"fingerprint": HOSTILE})
    rows = table(run / "validation.csv")
    run_folder.write_table(run / "validation.csv", [row | {"set": HOSTILE} for row in rows])
    config = json.loads((run / "config.json").read_text())
    config["settings"] |= {HOSTILE: HOSTILE, "split": HOSTILE}
    other = shutil.copytree(run, tmp_path / "other")
    (other / "config.json").write_text(json.dumps(config))
    found = Page(page([run, other], tmp_path))
    assert not [each for each in found.named("img") if "onerror" in each]
    assert found.text.count(HOSTILE) > 20


def test_a_run_that_has_just_begun(runs, tmp_path):
    young = made(tmp_path, "young", steps=2)
    text = page([young, runs[0]], tmp_path)
    assert "tokens seennot recorded young" in Page(text).text
    assert "2 of 30" in text
    page([young], tmp_path)


def test_runs_of_the_same_name(runs, tmp_path):
    copy = shutil.copytree(runs[0], tmp_path / "s4")
    assert [run.name for run in compare.read([runs[0], copy])] == [f"{folder.parent.name}/s4" for folder in (runs[0], copy)]


# --- Charts ---


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e9))
@example(524288.6875, 0.03125)
def test_ticks_are_round_and_inside(low, width):
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 7
    assert all(low - 1e-6 * width <= value <= low + width + 1e-6 * width for value in found)
    if len(found) > 1:
        step = (found[-1] - found[0]) / (len(found) - 1)
        mantissa = step / 10.0 ** np.floor(np.log10(step) + 1e-5)  # the difference of large numbers has lost some digits
        assert min(abs(mantissa - each) for each in (1, 2, 5)) < 1e-5


def test_the_frame_is_that_of_the_end():
    across, values = np.arange(101.0), np.linspace(8, 2, 101)
    values[:5] = 100
    shown = frame([Curve(0, "run", across, values)], 0, 100)
    assert values[-1] > shown.low > 1.5
    assert values[10] < shown.high < 8
    flat = frame([Curve(0, "run", across[:1], np.array([3.0]))], 0, 100)
    assert flat.low < 3 < flat.high
    assert "nan" not in chart("title", "unit", "steps", [Curve(0, "run", across[:1], np.array([3.0]))], flat)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 12])
def test_curves_that_coincide_show_equally_much(count):
    """At each place of the line the last curve that has a dash there is seen."""
    seen = np.zeros(240, int)
    for number in range(count):
        on, off = map(float, (choose_dashes(number, count) or "24 0").split())
        assert on + off == 24
        seen[(np.arange(240) + 0.5) / 10 % 24 < on] = number
    np.testing.assert_allclose(np.bincount(seen, minlength=count), 240 / count, atol=1)


@given(st.lists(st.floats(0, 150), min_size=1, max_size=12))
def test_names_are_apart_and_near_their_curves(wanted):
    """As near as by scipy's isotonic regression, which has no bounds; within them if they are wide enough."""
    wanted = np.array(wanted)
    free, order = spread(wanted, 12, -1e4, 1e4), np.argsort(wanted, kind="stable")
    rooms = 12 * np.arange(len(wanted))
    np.testing.assert_allclose(free[order], scipy.optimize.isotonic_regression(wanted[order] - rooms).x + rooms, atol=1e-6)
    found = spread(wanted, 12, 6, 144)
    assert (np.diff(found[order]) >= 12 - 1e-6).all()
    assert 6 <= found.min() <= found.max() <= 144 + 1e-6


def test_the_names_of_many_runs_do_not_overlap():
    """The frame grows with them."""
    across = np.arange(2.0)
    curves = [Curve(i, "a" * 20 + str(i), across, np.array([i, 2.0]), choose_dashes(i, 20)) for i in range(20)]
    drawn = str(chart("title", "unit", "steps", curves, frame(curves, 0, 1)))
    found = re.findall(r'<g class="run run-\d end">.*?y="([\d.]+)"><title>(a+\d+)</title>(…a+\d+)</text>', drawn)
    assert [(whole, shown[1:]) for _, whole, shown in found] == [(curve.name, curve.name[-13:]) for curve in curves]
    places = [float(y) for y, *_ in found]
    assert np.diff(places).min() >= 12
    assert max(places) <= float(re.search(r'<svg width="236" height="(\d+)"', drawn)[1])


def luminance(colour):
    """Relative, by WCAG 2.2."""
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_names_of_runs_can_be_read(text):
    """On paper, light and dark: 4.5 to 1, as WCAG asks of small text; a page's checker does not look at SVG."""
    papers = re.findall(r"--paper: (#\w{6});", text)
    colours = [
        re.findall(r"--run-\d: (#\w{6});", line) for line in text.splitlines() if line.startswith(("  --run", "    --run"))
    ]
    assert [len(found) for found in colours] == [8, 8]
    for paper, found in zip(papers, colours, strict=True):
        for colour in found:
            low, high = sorted(map(luminance, (paper, colour)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, colour


# --- What a person can get wrong ---


def refused(argv, capsys):
    before = sorted(argv[-1].parent.rglob("*")) if argv[-2] == "--out" else None
    assert compare.main([str(word) for word in argv]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    if before is not None:
        assert sorted(argv[-1].parent.rglob("*")) == before, "nothing is left half written"
    return said


def test_no_run(runs, tmp_path, capsys):
    out = ["--out", tmp_path / "page.html"]
    assert "nowhere is no run: it has no config.json" in refused([runs[0], tmp_path / "nowhere", *out], capsys)
    assert "config.json is no run" in refused([runs[0] / "config.json", *out], capsys)
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    (copy / "metrics.csv").unlink()
    assert "copy has no step in its metrics.csv" in refused([copy, *out], capsys)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"model": 1}'),
        ("config.json", b"\xff"),
        ("result.json", b"3"),
        ("metrics.csv", b"step,loss_bits\n1,x\n"),
        ("validation.csv", b"\x00\xff\n\n"),
        ("samples/00000030/1-source.wav", b"RIFF"),
    ],
)
def test_damaged_files(runs, tmp_path, capsys, name, content):
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    (copy / name).write_bytes(content)
    assert name in refused([runs[1], copy, "--out", tmp_path / "page.html"], capsys)


def test_what_a_run_lacks_is_left_out(runs, tmp_path):
    """The number of groups beside that of the patches, and the speed beside the time of a step."""
    copy = shutil.copytree(runs[0], tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text()) | {"patches": 5}
    config.pop("groups", None)
    (copy / "config.json").write_text(json.dumps(config))
    rows = table(copy / "metrics.csv")
    tokens = reader.read(copy, "copy").tokens_a_step
    rows[-1]["tokens_per_second"] = ""
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (copy / "metrics.csv").write_text("\n".join(lines) + "\n")
    assert "with more patches" not in page([copy, runs[1]], tmp_path)
    assert reader.read(copy, "copy").tokens_a_step == pytest.approx(tokens, rel=0.2)


def test_where_no_page_can_be(runs, tmp_path, capsys):
    assert "can't write the page" in refused([*runs, "--out", tmp_path / "missing" / "page.html"], capsys)
    assert "can't write the page" in refused([*runs, "--out", tmp_path], capsys)


def test_samples_have_all_kinds(runs):
    _, samples = reader.read_samples(runs[0])
    assert {tuple(clips) for clips in samples.values()} == {KINDS}


@pytest.mark.parametrize(("value", "said"), [({}, "expected int, got object"), (0, "expected int >= 1")])
def test_steps_that_are_none(tmp_path, capsys, value, said):
    made(tmp_path, "s4", config={"settings": run_folder.CONFIG["settings"] | {"steps": value}})
    assert compare.main([str(tmp_path / "s4"), "--out", str(tmp_path / "page.html")]) == 2
    assert f"config.json, field settings.steps: {said}" in capsys.readouterr().err


def test_steps_that_are_not_recorded(tmp_path):
    settings = {name: value for name, value in run_folder.CONFIG["settings"].items() if name != "steps"}
    folder = made(tmp_path, "s4")
    (folder / "config.json").write_text(json.dumps(run_folder.CONFIG | {"settings": settings}))
    assert compare.main([str(folder), "--out", str(tmp_path / "page.html")]) == 0
