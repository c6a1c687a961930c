"""The page of a data set: its HTML, by a parser."""

import base64
import json
import re
import shutil
import struct
from html.parser import HTMLParser

import mido
import pytest
from page.conftest import HOSTILE, render

from dx7data import cli
from dx7data.dataset import folders
from dx7data.errors import InputError
from dx7data.page import article, page
from dx7data.plan.plan import Plan


class Outline(HTMLParser):
    """What a page is made of; complains of elements that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


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
    assert len({one["aria-label"] for one in outline.named("audio")}) == 24 * 5
    assert len({one["aria-label"] for one in outline.named("button") if "data-clip" in one}) == 24 * 5
    assert [tag for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)] == ["h1", *["h2"] * 2, *["h3"] * 24]


def test_rows(everything, tmp_path):
    assert cli.main(["inspect", str(everything), "--rows", "8", "--html", str(tmp_path / "page.html")]) == 0
    assert len(Outline((tmp_path / "page.html").read_text()).named("article")) == 8


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
    assert article._in_words(parameter) == words


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
    with pytest.raises(InputError, match="can't write"):
        page.write_page(everything, tmp_path / "missing" / "page.html", rows=1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="can't write"):
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
