"""The page of runs in a real browser: clips are switched on one clock, without a gap; blind tests; all of it by keyboard."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import run_folder
import scipy.stats
from browser import open_tab

from train import compare
from train.results import listening

pytestmark = [pytest.mark.integration, pytest.mark.slow]

RATE, SECONDS = 8000, 0.5
FADE = 40  # samples: 5 ms
WAIT = "new Promise((done) => setTimeout(done, {}))"

# Everything that goes to the loudspeaker, sample by sample.
RECORDER = """(async () => {
  const context = openContext(8000);
  const code = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[samples]]) { if (samples) this.port.postMessage(samples.slice()); return true; } });`;
  await context.audioWorklet.addModule("data:text/javascript," + encodeURIComponent(code));
  const recorder = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
  window.heard = [];
  recorder.port.onmessage = ({ data }) => heard.push(...data);
  const connect = AudioNode.prototype.connect;
  connect.call(recorder, context.destination);
  AudioNode.prototype.connect = function (to) { return connect.call(this, to === context.destination ? recorder : to); };
})()"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two that coincide in all but their samples, and one more."""
    folder = tmp_path_factory.mktemp("runs")
    short = {"steps": 30, "evaluate_every": 10, "rate": RATE, "seconds": SECONDS}
    made = [("s4", 1.9, 0), ("s4d", 1.9, 0), ("mamba2", 1.7, 1)]
    config = run_folder.config(steps=30)
    return [run_folder.make(folder / name, config, final=final, seed=seed, **short) for name, final, seed in made]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "compare.html"
    compare.write(runs, path)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_tab(tmp_path_factory.mktemp("profile"), seconds=120) as tab:
        yield tab


@pytest.fixture
def tab(browser, page):
    browser.logged.clear()
    browser.set_screen(1280, 900)
    browser.open(page.as_uri())
    browser.run("localStorage.clear()")
    browser.open(page.as_uri())
    yield browser
    assert not browser.logged


def press(tab, *keys):
    for key in keys:
        text = {"text": {"Enter": "\r"}.get(key, key)} if len(key) == 1 or key == "Enter" else {}
        code = {" ": "Space"}.get(key, key)
        tab.call(
            "Input.dispatchKeyEvent", type="keyDown", code=code, key=key, windowsVirtualKeyCode=KEYS.get(key, 0), **text
        )
        tab.call("Input.dispatchKeyEvent", type="keyUp", code=code, key=key)


KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}


def focus_samples(tab):
    """As the first Tab and Enter of a person do."""
    tab.run("document.activeElement.blur()")
    press(tab, "Tab", "Enter")
    assert tab.run("document.activeElement.id || document.activeElement.className") == "samples"


def test_what_is_heard(browser, page, runs):
    """At each moment one clip at its gain, at the place where its clock is; between two of them a cross-fade."""
    browser.call("Page.setBypassCSP", enabled=True)  # for the recorder's own code
    browser.set_screen(1280, 900)
    browser.open(page.as_uri())
    browser.run(RECORDER)
    focus_samples(browser)
    for key in (" ", "3", "1", "5", "2"):
        press(browser, key)
        browser.run(WAIT.format(350))
    press(browser, " ")
    browser.run(WAIT.format(300))
    heard = np.array(json.loads(browser.run("JSON.stringify(heard)")))
    browser.call("Page.setBypassCSP", enabled=False)

    read = compare.read(runs)
    clips = [read[0].samples["0"][kind].audio for kind in ("source", "target")]
    clips += [run.samples["0"]["generated"].audio for run in read]
    parts = np.stack(clips) / 32768 * listening.match_levels(clips, clips[1])[:, None]
    first = np.flatnonzero(heard)[0] - np.flatnonzero(parts[1])[0]
    heard = heard[first:]
    expected = parts[:, np.arange(len(heard)) % parts.shape[1]]
    near = np.abs(heard - expected) < 1e-5
    order, at = [1, 2, 0, 4, 1], 0  # of the clips, by the keys above
    for number, following in zip(order, [*order[1:], None], strict=True):
        length = int(np.argmin(near[number, at:]))  # to the first sample that is not of this clip
        assert length > 0.25 * RATE
        at += length
        fade = slice(at, at + FADE + 1)
        to = expected[following] if following is not None else np.zeros(len(heard))
        both = np.stack([expected[number], to])[:, fade]
        assert (heard[fade] >= both.min(0) - 1e-5).all(), "a gap, or a third clip"
        assert (heard[fade] <= both.max(0) + 1e-5).all()
        at += FADE + 1
    assert not heard[at:].any(), "stopped"


def test_keys_and_words(tab):
    """Numbers choose, Space stops, n goes on, arrows move; what plays is said and marked."""
    said = "[document.querySelector('[role=status]').textContent, [...document.querySelectorAll('.sample')].map((sample) => \
        [...sample.querySelectorAll('[aria-pressed]')].findIndex((each) => each.ariaPressed === 'true'))]"
    press(tab, "2")
    assert tab.run(said) == ["", [-1, -1]], "the focus is not in the samples"
    focus_samples(tab)
    press(tab, "2")
    assert tab.run(said) == ["Playing target", [1, -1]]
    press(tab, "5")
    assert tab.run(said) == ["Playing mamba2", [4, -1]]
    press(tab, "9")
    assert tab.run(said) == ["Playing mamba2", [4, -1]], "there is none"
    press(tab, "n", "3")
    assert tab.run(said) == ["Playing s4", [-1, 2]]
    tab.run(WAIT.format(100))
    # The clock stands still meanwhile: on a busy machine the clip would play on.
    moved = """(() => {{ const {{ context }} = state.playing, value = context.currentTime;
        Object.defineProperty(context, "currentTime", {{ value, configurable: true }});
        const [before, key] = [place(), new KeyboardEvent("keydown", {{ key: "{}", bubbles: true }})];
        document.activeElement.dispatchEvent(key); const by = place() - before + AHEAD / state.playing.seconds;
        delete context.currentTime; return by; }})()"""
    assert tab.run(moved.format("ArrowRight")) % 1 == pytest.approx(0.1)
    assert tab.run(moved.format("ArrowLeft")) % 1 == pytest.approx(0.9)
    press(tab, " ")
    assert tab.run(said) == ["", [-1, -1]]
    press(tab, "Tab", "Enter")
    assert tab.run(said) == ["Playing source", [-1, 0]], "the first button of the sample"
    tab.run("document.querySelectorAll('.screen')[3].click()")
    assert tab.run(said) == ["Playing s4d", [3, -1]]
    tab.run("document.querySelector('#repeat').click()")
    tab.run(WAIT.format(900))
    assert tab.run(said) == ["", [-1, -1]], "played once"


@pytest.mark.parametrize("right", [0, 5, 8])
def test_blind(tab, page, right):
    """Eight trials by keys, of which so many are right; nothing is said before one asks; answers outlive the page."""
    tab.run("document.querySelector('#begin').focus()")
    press(tab, "Enter")
    assert tab.run("document.querySelector('#shown').hidden"), "spectrograms would tell"
    for i in range(8):
        assert tab.run("document.querySelector('#which').textContent").startswith(f"Trial {i + 1}, sample ")
        press(tab, "3", "1", "3", "2")
        truth = tab.run("state.trial.truth")
        assert tab.run("[state.trial.a, state.trial.b, state.trial.x === state.trial[state.trial.truth]]") == [
            *("target", "run-0"),
            True,
        ]
        press(tab, truth if i < right else "ab".replace(truth, ""))
        if i == 4:
            tab.open(page.as_uri())
            tab.run("document.querySelector('#begin').click()")
    shown = "[...document.querySelectorAll('#results td')].map((cell) => cell.textContent)"
    assert tab.run(shown) == []
    assert "right" not in tab.run("document.querySelector('#trial').textContent")
    tab.run("document.querySelector('#reveal').click()")
    *texts, p = tab.run(shown)
    assert texts == ["target", "s4", "8", str(right)]
    assert float(p) == pytest.approx(scipy.stats.binomtest(right, 8, alternative="greater").pvalue, rel=0.05)
    assert not tab.run("document.querySelector('#shown').hidden")
    tab.open(page.as_uri())
    assert tab.run(shown) == [*texts, p]
    tab.run("document.querySelector('#forget').click()")
    assert tab.run(shown) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_without_violations(tab, page, axe, width, dark):
    """As it is opened, and in a blind test."""
    tab.set_screen(width, 900, dark)
    tab.open(page.as_uri())
    tab.run(axe)
    for _ in range(2):
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        found = tab.run("axe.run().then(({ violations }) => JSON.stringify(violations.map((v) => [v.id, v.nodes[0].html])))")
        assert json.loads(found) == []
        tab.run("document.querySelector('#begin').click()")


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The rules of axe-core (MPL-2.0, 650 kB), which npm fetches: not ours to ship. AXE names a file instead."""
    if path := os.environ.get("AXE"):
        return Path(path).read_text()
    if not shutil.which("npm"):
        pytest.skip("no axe-core: npm, which fetches it, is not installed, and AXE names no file")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        ["npm", "pack", "--silent", "axe-core@4.14.1"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        pytest.skip(f"no axe-core: npm can't fetch it: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()
