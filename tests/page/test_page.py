"""The page: its drawings by the tables of the engine, its spectrum by the formula, its HTML by a parser and by a browser."""

import base64
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
import zlib
from html.parser import HTMLParser
from itertools import pairwise

import mido
import numpy as np
import pytest

from dx7data import cli
from dx7data.audio import mel, player
from dx7data.dataset import folders
from dx7data.engine.render import render as play
from dx7data.engine.tables import BLOCK
from dx7data.engine.voice import voices
from dx7data.errors import InputError
from dx7data.page import drawing, page, spectrogram
from dx7data.patches import bank, patch, sysex
from dx7data.patches.algorithms import ALGORITHMS, OPERATORS
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard

HOSTILE = "<script>$x"  # ten bytes: markup, and what a template fills in
NAME_START = patch.PARAMETERS


def render(folder, *options, patches="example"):
    assert cli.main(["render", "--patches", str(patches), "--out", str(folder), *map(str, options), "--workers", "1"]) == 0
    return folder


# --- Algorithms ---


def panel(number):
    return ElementTree.fromstring(drawing.draw_algorithm(number))


def boxes(svg):
    """Operator -> left and upper edge of its box."""
    found = {}
    for group in svg.iter("g"):
        rect = group.find("rect")
        found[int(group.get("data-operator"))] = (float(rect.get("x")), float(rect.get("y")))
    return found


def links(number):
    """The connections of an algorithm, as the rows of ALGORITHMS are written."""
    chains = [chain.split(">") for chain in ALGORITHMS[number - 1][0].split()]
    return {(int(a), int(b)) for chain in chains for a, b in pairwise(chain)}


@pytest.mark.parametrize("number", range(1, 33))
def test_algorithm_as_on_the_panel(number):
    svg = panel(number)
    place = boxes(svg)
    assert sorted(place) == [1, 2, 3, 4, 5, 6]
    assert [text.text for text in svg.iter("text")] == [str(group.get("data-operator")) for group in svg.iter("g")]
    assert len(set(place.values())) == 6
    bottom = max(y for _, y in place.values())
    carriers = set(place) - {modulator for modulator, _ in links(number)}
    assert {n for n, (_, y) in place.items() if y == bottom} == carriers
    assert {int(g.get("data-operator")) for g in svg.iter("g") if "carrier" in g.get("class").split()} == carriers
    assert sorted(carriers) == sorted(carriers, key=lambda n: place[n][0]), "from left to right"
    for a, b in ((a, b) for a in place for b in place if a < b and place[a][1] == place[b][1]):
        assert abs(place[a][0] - place[b][0]) >= 30, "boxes, and the loop between them, do not touch"

    drawn = [path for path in svg.iter("path") if path.get("data-from")]
    connections = [p for p in drawn if p.get("class") is None]
    assert sorted((int(p.get("data-from")), int(p.get("data-to"))) for p in connections) == sorted(links(number))
    for path in connections:
        start, end = place[int(path.get("data-from"))], place[int(path.get("data-to"))]
        assert start[1] < end[1], "modulators are above what they modulate"
        numbers = [float(each) for each in re.findall(r"-?[\d.]+", path.get("d"))]
        assert numbers[:2] == [start[0] + 10, start[1] + 20]
        assert [numbers[3], numbers[4]] == [end[0] + 10, end[1]]


@pytest.mark.parametrize("number", range(1, 33))
def test_feedback_loop(number):
    (loop,) = [path for path in panel(number).iter("path") if (path.get("class") or "").startswith("feedback")]
    around = {4: (4, 6), 6: (5, 6)}.get(number, (ALGORITHMS[number - 1][1],) * 2)
    assert (int(loop.get("data-from")), int(loop.get("data-to"))) == around
    place = boxes(panel(number))
    numbers = [float(each) for each in re.findall(r"-?[\d.]+", loop.get("d"))]
    assert numbers[0] == place[around[0]][0] + 10
    assert place[around[0]][1] + 20 < numbers[1] < place[around[0]][1] + 30
    assert numbers[-1] == place[around[1]][1]


# --- Envelopes ---


def test_envelopes_are_what_is_heard():
    """One operator alone: its loudness in the engine's audio, four blocks at a time, which hold a period of the note."""
    for rates, levels in (
        ((70, 40, 30, 55), (99, 80, 60, 0)),
        ((45, 99, 25, 99), (90, 95, 0, 50)),
        ((99, 60, 0, 60), (0, 99, 85, 70)),
    ):
        stored = patch.SINE_FLAT.copy()
        first = patch.FIELDS.index("op1_eg_rate_1")
        stored[first : first + 8] = (*rates, *levels)
        played = voices(stored, 60, 100, 1.0, 48000)
        audio = np.abs(play(played, 1.5)[0].astype(float))[: 1024 * BLOCK]
        heard = 20 * np.log10(np.maximum(audio.reshape(-1, 4 * BLOCK).max(axis=1), 1) / 8186)
        drawn = -drawing.compute_operator_decibels(played, OPERATORS - 1, 1024)
        drawn = np.maximum(drawn[:-1], drawn[1:]).reshape(-1, 4).max(axis=1)
        # Lower, the whole numbers of the audio are too coarse; steeper, a period's crest may miss the top.
        clear = (drawn > -45) & (np.abs(np.gradient(drawn)) < 3)
        assert clear.sum() > 60
        assert np.abs(heard - drawn)[clear].max() < 1


def test_pitch_envelope_only_if_it_moves():
    still = patch.SINE_FLAT.copy()
    assert "pitch" not in drawing.draw_envelopes(still)
    moved = still.copy()
    moved[patch.FIELDS.index("pitch_eg_level_1")] = 99
    assert "pitch" in drawing.draw_envelopes(moved)
    octaves = drawing.compute_pitch_octaves(voices(moved, 60, 100, 1.0, 48000), 300)
    assert octaves[0] == 0
    assert octaves.max() == pytest.approx(127 / 32)


def test_simplified_curves_stay_close():
    values = np.cumsum(np.random.default_rng(1).normal(size=2000))
    kept = drawing.simplify(values, 2.0)
    assert np.abs(np.interp(np.arange(2000), kept, values[kept]) - values).max() <= 2.0
    assert len(kept) < 500


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"frequency_coarse": 0, "frequency_fine": 0}, "×0.50"),
        ({"frequency_coarse": 14, "frequency_fine": 0}, "×14.00"),
        ({"frequency_coarse": 2, "frequency_fine": 50, "detune": 4}, "×3.00 −3"),
        ({"frequency_coarse": 7, "frequency_fine": 0, "oscillator_mode": 1}, "1000 Hz"),
    ],
)
def test_frequencies(fields, shown):
    assert drawing.format_frequency({"detune": 7, "oscillator_mode": 0} | fields) == shown


# --- Spectrum ---


@pytest.mark.parametrize("rate", [8000, 11025, 16000])
@pytest.mark.parametrize("part", [0.03, 0.11, 0.3, 0.43])
def test_a_tone_is_in_its_band(rate, part):
    hertz = part * rate
    audio = np.rint(32767 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)).astype(np.int16)
    levels = mel.compute_mel(audio, rate, spectrogram.COLUMNS)
    middle = levels[:, levels.shape[1] // 2]
    centres = mel.compute_frequencies(rate, mel.BANDS)[1:-1]
    pitches = 2595 * np.log10(1 + np.array([hertz, *centres]) / 700)
    assert middle.argmax() == np.abs(pitches[1:] - pitches[0]).argmin()
    assert -4 < middle.max() < 3, "decibels of full scale"
    assert np.sort(middle)[-8] < -40


def test_mel_is_the_formula():
    """One frame, written out: Fourier sum, triangle, logarithm."""
    rate, size = 8000, 512
    audio = np.random.default_rng(2).integers(-9000, 9000, 4000).astype(np.int16)
    levels = mel.compute_mel(audio, rate, spectrogram.COLUMNS)
    column, hop = 60, -(-4000 // spectrogram.COLUMNS)
    hop = max(hop, 32)
    n = np.arange(size)
    frame = audio[column * hop - size // 2 :][:size] / 32768 * (0.5 - 0.5 * np.cos(2 * np.pi * n / size))
    power = [abs((frame * np.exp(-2j * np.pi * k * n / size)).sum()) ** 2 / (size / 4) ** 2 for k in range(size // 2 + 1)]
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = [700 * (10 ** (top * i / (mel.BANDS + 1) / 2595) - 1) for i in range(mel.BANDS + 2)]
    for band in (0, 17, 63):
        a, b, c = edges[band : band + 3]
        total = 0.0
        for k, value in enumerate(power):
            hertz = k * rate / size
            total += value * max(0, min((hertz - a) / (b - a), (c - hertz) / (c - b)))
        assert levels[band, column] == pytest.approx(10 * np.log10(total + 1e-12), abs=1e-6)


def test_every_band_hears_something():
    for rate, size in ((8000, 512), (11025, 512), (12000, 1024), (14700, 1024), (16000, 1024)):
        assert (mel.make_filters(size, rate, mel.BANDS).sum(axis=1) > 0).all()


@pytest.mark.parametrize("audio", [np.zeros(4000, np.int16), np.full(1, 5, np.int16), np.full(192, -32768, np.int16)])
def test_pictures_of_odd_clips(audio):
    pixels, _ = decoded(spectrogram.draw_spectrogram(audio, 8000))
    assert pixels.shape[0] == mel.BANDS
    assert pixels.any() == bool(audio.any())
    assert "nan" not in player.draw_waveform(audio)


def decoded(data):
    """Pixels and palette of a PNG, by the format's own rules."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(name + content) == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]
        chunks[name] = content
        at += 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_png():
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    found, palette = decoded(spectrogram.encode_png(pixels))
    assert (found == pixels).all()
    assert palette.shape == (256, 3)
    assert (np.diff(palette.astype(int).sum(axis=1)) >= 0).all(), "louder is lighter"


@pytest.mark.parametrize(
    ("rate", "expected"), [(8000, 8000), (16000, 16000), (22050, 11025), (24000, 12000), (44100, 14700)]
)
def test_audio_for_the_page(rate, expected):
    tone = np.rint(20000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16)
    audio, found = spectrogram.shrink(tone, rate)
    assert found == expected
    assert audio.dtype == np.int16
    assert audio.size == expected
    wanted = 20000 * np.sin(2 * np.pi * 440 * np.arange(expected) / expected)
    assert np.abs(audio - wanted)[100:-100].max() < 300
    assert spectrogram.shrink(np.zeros(60 * rate, np.int16), rate)[0].size == spectrogram.SECONDS * expected


# --- Which samples ---


def test_chosen_are_spread_over_shards_and_splits():
    made = [Shard("train", i, 100 * i, 100) for i in range(8)] + [Shard("val", 0, 0, 4), Shard("test", 0, 0, 1)]
    picked = [place for unit in page.choose_samples(made, 24, 1) for place in unit]
    assert len(picked) == len(set(picked)) == 24
    assert {shard.name for shard, _ in picked} == {shard.name for shard in made}
    assert all(i < shard.count for shard, i in picked)
    assert [len(unit) for unit in page.choose_samples(made, 24, 2)] == [2] * 11 + [1]
    assert all(unit[0][1] % 2 == 0 for unit in page.choose_samples(made, 24, 2))
    assert {shard.split for unit in page.choose_samples(made, 1, 1) for shard, _ in unit} == {"train", "val", "test"}
    assert sum(len(unit) for unit in page.choose_samples(made, 10**6, 1)) == 805


# --- The page ---


class Outline(HTMLParser):
    """What a page is made of; complains of elements that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Pairs of up to two layers, all prefixes, and hostile names, at 16 kHz."""
    folder = tmp_path_factory.mktemp("everything")
    patches = bank.load(["example"]).patches.copy()
    patches[:, NAME_START:] = np.frombuffer(HOSTILE.encode(), np.uint8)
    (folder / "hostile.syx").write_bytes(b"".join(map(sysex.write_voice, patches)))
    options = (
        "--samples",
        60,
        "--sample-rate",
        16000,
        "--prefix",
        "bytes",
        "fsk",
        "reference",
        "--pairs",
        "--layers",
        "1..2",
    )
    return render(folder / "<img src=x onerror=alert(1)>", *options, patches=folder / "hostile.syx")


@pytest.fixture(scope="module")
def written(everything):
    path = everything.parent / "page.html"
    page.write_page(everything, path)
    return path


def test_whole_and_small(written, everything):
    assert written.stat().st_size < 10e6
    outline = Outline(written.read_text())
    articles = outline.named("article")
    assert len(articles) == 24
    assert {one["id"].split("_")[0] for one in articles} == {"train", "val", "test"}
    assert len(outline.named("audio")) == 24 * 5
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for a in outline.named("a")}
    assert targets <= {f"#{each}" for each in ids}
    assert all(one.get("alt") for one in outline.named("img"))
    assert [tag for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)] == ["h1", *["h2"] * 3, *["h3"] * 24]


def test_players_hold_the_clips(written, everything):
    """Byte by byte the wavs in the shards, in the order of the page."""
    stored = {
        one["__key__"]: one for each in Plan.load(everything).shards() for one in folders.read_samples(everything, each.name)
    }
    outline = Outline(written.read_text())
    key, found = None, {}
    for tag, attributes in outline.tags:
        if tag == "article":
            key = attributes["id"]
        elif tag == "audio":
            found.setdefault(key, []).append(base64.b64decode(attributes["src"].removeprefix("data:audio/wav;base64,")))
    for key, clips in found.items():
        one = stored[key]
        assert set(clips) == {data for name, data in one.items() if name.endswith("wav")}
        assert clips[:2] == [one["source.wav"], one["target.wav"]]


def test_pairs_are_side_by_side_and_named(written, everything):
    text = written.read_text()
    pairs = text.split('<div class="pair">')[1:]
    assert len(pairs) == 12
    metas = {
        one["__key__"]: json.loads(one["json"])
        for each in Plan.load(everything).shards()
        for one in folders.read_samples(everything, each.name)
    }
    for each in pairs:
        first, second = re.findall(r'<article id="(\w+)"', each)
        assert metas[first]["pair"]["with"] == second
        pair = metas[first]["pair"]
        assert f'<b>{pair["value"]}</b> here, <b>{pair["value_there"]}</b> in <a href="#{second}">' in each


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("op3_eg_rate_1", "Operator 3: EG rate 1"),
        ("algorithm", "Algorithm"),
        ("lfo_pitch_mod_depth", "LFO pitch mod depth"),
        ("pitch_eg_level_4", "Pitch EG level 4"),
        ("oscillator_sync", "Oscillator sync"),
    ],
)
def test_parameters_in_words(parameter, words):
    assert page._in_words(parameter) == words


def test_hostile_names_stay_text(written):
    text = written.read_text()
    outline = Outline(text)
    assert len(outline.named("script")) == 1
    assert "<img src=x" not in text
    assert not any(name.startswith("on") for _, attributes in outline.tags for name in attributes)
    assert sum(HOSTILE in data for data in outline.text) > 48, "in names, panels and what the json says"


def test_nothing_is_loaded(written):
    text = written.read_text()
    assert "http:" not in text
    assert "https:" not in text
    (policy,) = [one["content"] for one in Outline(text).named("meta") if "Security" in one.get("http-equiv", "")]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; ")
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in Outline(text).tags), "which the policy forbids"
    sources = [attributes.get("src") or attributes.get("href") for _, attributes in Outline(text).tags]
    assert all(source.startswith(("data:", "#")) for source in sources if source)


def test_other_rates_and_controllers(tmp_path):
    track = mido.MidiTrack()
    for i in range(40):
        track.append(mido.Message("pitchwheel", pitch=200 * i - 4000))
        track.append(mido.Message("control_change", control=1, value=3 * i))
        track.append(mido.Message("note_on", note=50 + i, velocity=90))
        track.append(mido.Message("note_off", note=50 + i, time=300))
    file = mido.MidiFile(tracks=[track])
    file.save(tmp_path / "<b>.mid")
    for rate, per_second in ((48000, 16000), (44100, 14700), (8000, 8000)):
        folder = tmp_path / str(rate)
        options = (
            "--samples",
            12,
            "--sample-rate",
            rate,
            "--seconds",
            "1.5",
            "--midi",
            tmp_path / "<b>.mid",
            "--split",
            "1,0,0",
        )
        render(folder, *options)
        page.write_page(folder, tmp_path / "page.html", rows=5)
        text = (tmp_path / "page.html").read_text()
        outline = Outline(text)
        clips = [base64.b64decode(one["src"].partition(",")[2]) for one in outline.named("audio")]
        assert {struct.unpack("<I", clip[24:28])[0] for clip in clips} == {per_second}
        assert {len(clip) for clip in clips} == {44 + 2 * int(1.5 * per_second)}
        assert "&lt;b&gt;.mid" in text
        assert text.count('class="controller"') == 2 * 5
        assert re.search(">bend ±[12]<", text)


def test_what_a_person_can_get_wrong(everything, tmp_path):
    with pytest.raises(InputError, match="no data set"):
        page.write_page(tmp_path, tmp_path / "page.html")
    with pytest.raises(InputError, match="can't write the page"):
        page.write_page(everything, tmp_path / "missing" / "page.html", rows=1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="can't write the page"):
        page.write_page(everything, tmp_path / "folder", rows=1)

    damaged = tmp_path / "damaged"
    shutil.copytree(everything, damaged)
    for path in damaged.glob("*.parquet"):
        if path.name != "patches.parquet":
            path.write_bytes(b"no table")
    with pytest.raises(InputError, match="verify"):
        page.write_page(damaged, tmp_path / "page.html")
    for path in damaged.glob("*.stats.json"):
        path.unlink()
    with pytest.raises(InputError, match="nothing to show"):
        page.write_page(damaged, tmp_path / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "folder"], "nothing is left half written"


# --- In a browser ---

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "headless_shell")

# Reports to the console, as one line of JSON. Each clip is loaded by a player of its own, which is then let go. Media are
# decoded in real time, whatever the browser's virtual clock says, so --dump-dom would end before the last one.
PROBE = """
<script>
const errors = [];
addEventListener("error", (event) => errors.push(String(event.message || event.target.outerHTML.slice(0, 80))), true);
addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective));
addEventListener("load", async () => {
  const durations = [];
  for (const clip of document.querySelectorAll("audio")) {
    const own = new Audio();
    await new Promise((done) => { own.onloadedmetadata = own.onerror = done; own.src = clip.src; });
    durations.push(own.duration);
    own.removeAttribute("src");
    own.load();
  }
  const button = document.querySelector(".clip button");
  button.focus();
  const focused = document.activeElement === button;
  button.click();
  await new Promise((done) => player.addEventListener("playing", done, { once: true }));
  const pressed = button.getAttribute("aria-pressed");
  button.click();
  const broken = [...document.images].filter((image) => !image.naturalWidth).length;
  const report = { durations, errors, focused, pressed, paused: player.paused, broken, images: document.images.length,
    width: document.documentElement.clientWidth, scroll: document.documentElement.scrollWidth };
  console.log("REPORT" + JSON.stringify(report) + "END");
});
</script>
"""


@pytest.fixture(scope="module")
def browser():
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed, and CHROMIUM names none")
    return found


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(390, 0), (1280, 1)])
def test_in_a_browser(browser, written, tmp_path, width, dark):
    probed = tmp_path / "probed.html"
    # The page's policy allows its own script alone, so it must be told of this one.
    digest = base64.b64encode(hashlib.sha256(PROBE.removeprefix("\n<script>").partition("</script>")[0].encode()).digest())
    text = written.read_text().replace("script-src ", f"script-src 'sha256-{digest.decode()}' ", 1)
    probed.write_text(text.replace("<title>", PROBE + "<title>", 1))
    # In a frame of its own, for no window is as narrow as a phone.
    frame = tmp_path / "frame.html"
    frame.write_text(f'<iframe src="probed.html" style="border: 0; width: {width}px; height: 844px"></iframe>')
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1400,900", "--autoplay-policy=no-user-gesture-required", "--disable-audio-output"]
    command += [f"--blink-settings=preferredColorScheme={1 - dark}", "--enable-logging=stderr"]
    command += ["--remote-debugging-port=0", frame.as_uri()]  # the port keeps the page open
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        limit = threading.Timer(30, process.kill)
        limit.start()
        said = []
        for line in process.stderr:
            said.append(line)
            if "REPORT" in line:
                break
        limit.cancel()
        process.kill()
    reported = re.search("REPORT(.*)END", said[-1])
    assert reported, "".join(said[-30:])
    report = json.loads(reported.group(1).replace('\\"', '"'))
    assert not [line for line in said[:-1] if "CONSOLE" in line]
    assert not report["errors"]
    assert len(report["durations"]) == 24 * 5
    assert all(duration and duration > 0 for duration in report["durations"])
    assert report["images"] == 24 * 5
    assert not report["broken"]
    assert report["focused"]
    assert report["pressed"] == "true"
    assert report["paused"]
    assert report["scroll"] <= report["width"] <= width
