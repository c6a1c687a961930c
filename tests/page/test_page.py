"""The page of a data set: its HTML by a parser and by a browser."""

import base64
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import threading
from html.parser import HTMLParser

import mido
import numpy as np
import pytest

from dx7data import cli
from dx7data.dataset import folders
from dx7data.errors import InputError
from dx7data.page import page
from dx7data.patches import bank, patch, sysex
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard

HOSTILE = "<script>$x"  # ten bytes: markup, and what a template fills in
NAME_START = patch.PARAMETERS


def render(folder, *options, patches="example"):
    assert cli.main(["render", "--patches", str(patches), "--out", str(folder), *map(str, options), "--workers", "1"]) == 0
    return folder


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
