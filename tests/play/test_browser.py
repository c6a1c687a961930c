"""The page in a real browser: what is heard is what `dx7data wav` writes, to the sample; and every part by keyboard alone."""

import json
import threading

import numpy as np
import pytest
from browser import open_tab
from play.test_notes import write_wav

from dx7data.engine.tables import BLOCK
from dx7data.patches import bank, patch, sysex
from dx7data.play.notes import RATE, render_stretch
from dx7data.play.server import Instrument, open_server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BANK = bank.load_example()
READY = "document.documentElement?.dataset.ready !== undefined"
WAIT = "new Promise((done) => setTimeout(done, {}))"

# What passes the volume, sample by sample; and what the page asked the server for.
RECORDER = """(async () => {
  const sound = window.sound = await import(new URL("sound.js", location));
  const code = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[samples]]) { if (samples) this.port.postMessage(samples); return true; } });`;
  await sound.context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const recorder = new AudioWorkletNode(sound.context, "recorder");
  window.heard = [];
  window.asked = [];
  recorder.port.onmessage = ({ data }) => heard.push(data);
  sound.volume.connect(recorder).connect(sound.context.destination);
  const fetch = window.fetch;
  window.fetch = (name, options) => { if (name === "note") asked.push(JSON.parse(options.body)); return fetch(name, options); };
  await sound.context.resume();
})()"""
HEARD = """(async () => {
  const whole = [];
  const pieces = [...heard];
  await new Promise((done) => setTimeout(done, 500)); // until the page knows how long notes had to wait in these pieces
  for (const piece of pieces) for (const sample of piece) whole.push(Math.round(sample * 32768 * 1024) / 1024);
  return JSON.stringify({ heard: whole, asked, waited: sound.waited, rate: sound.context.sampleRate });
})()"""


@pytest.fixture(scope="module")
def address():
    render_stretch(patch.INIT, 60, 100, None, 0, BLOCK)  # as the command does: what must be compiled is so before a key goes down
    server, address = open_server(Instrument(BANK, None))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture
def tab(tmp_path, address):
    with open_tab(tmp_path / "profile") as tab:
        tab.set_screen(1280, 900)
        tab.open(address, READY)
        yield tab


def drop_waits(heard, expected):
    """What is heard without the zeros while a note waited for a busy machine, and how many these were."""
    at, waits = 0, 0
    kept = np.zeros_like(expected)
    for sample in heard:
        if at < expected.size and sample == expected[at]:
            kept[at] = sample
            at += 1
        elif sample == 0:
            waits += 1
        else:
            kept[at:] = sample  # neither: the comparison fails here
            break
    return kept, waits


@pytest.mark.parametrize(("which", "held"), [(4, 30), (10, 900)])
def test_what_is_heard_is_the_wav(tmp_path, address, which, held):
    """A tap, whose release is soon, and a note that is held for several pieces; chosen, played and released by keys."""
    with open_tab(tmp_path / "profile") as tab:
        tab.call("Page.setBypassCSP", enabled=True)  # for the recorder's own code
        tab.open(address, READY)
        tab.run(f"document.querySelectorAll('#patches button')[{which}].click()")
        tab.run(WAIT.format(300))
        tab.run(RECORDER)
        tab.press("KeyD", "d")
        tab.run(WAIT.format(held))
        tab.press("KeyD", "d", down=False)
        tab.run(WAIT.format(2500))
        report = json.loads(tab.run(HEARD))

    assert report["rate"] == RATE
    assert report["asked"][0] == {
        "patch": BANK.patches[which].tobytes().hex(), "key": 64, "velocity": 100, "release": None, "first": 0, "stop": 4096,
    }
    release = report["asked"][-1]["release"]
    assert release, "the key went up"
    heard = np.array(report["heard"])
    heard = heard[np.flatnonzero(heard)[0] :]
    expected = write_wav(tmp_path, BANK.patches[which], 64, 100, release * BLOCK / RATE, seconds=10).astype(float)
    expected = expected[np.flatnonzero(expected)[0] :]
    length = min(heard.size - report["waited"], int(2 * RATE))
    kept, waits = drop_waits(heard[: length + report["waited"]], expected[:length])
    wrong = np.flatnonzero(kept != expected[:length])
    assert not wrong.size, f"from sample {wrong[0]:,} of {length:,}, {waits} waits, {report['waited']} said; asked: {report['asked']}"
    assert waits <= report["waited"]
    assert np.abs(expected[:length]).max() > 500


def test_a_chord_is_the_sum(tmp_path, address):
    with open_tab(tmp_path / "profile") as tab:
        tab.call("Page.setBypassCSP", enabled=True)
        tab.open(address, READY)
        tab.run(RECORDER)
        tab.run("""(async () => {
          const patch = "%s";
          for (const key of [48, 60, 67]) sound.noteOn(patch, key, 90);
          await new Promise((done) => setTimeout(done, 1200));
        })()""" % BANK.patches[0].tobytes().hex())
        report = json.loads(tab.run(HEARD))
    heard = np.array(report["heard"])
    heard = heard[np.flatnonzero(heard)[0] :]
    assert (heard == np.rint(heard)).all(), "whole numbers: nothing but sums"
    notes = [write_wav(tmp_path, BANK.patches[0], key, 90, 10, seconds=1).astype(int) for key in (48, 60, 67)]
    starts = [0, 0, 0]
    # Each begins with some quantum of 128 samples; which, depends on the machine. The first is at once.
    span = 4000
    for first in range(3):
        rest = [n for n in range(3) if n != first]
        lead = np.flatnonzero(notes[first])[0]
        whole = np.concatenate([np.zeros(lead), heard])[: span + 8192]
        left = whole[:span] - notes[first][:span]
        for a in range(0, 4096, 128):
            for b in range(0, 4096, 128):
                starts = [a, b]
                trial = left.copy()
                for n, start in zip(rest, starts, strict=True):
                    trial[start:] -= notes[n][: span - start]
                if not trial.any():
                    return
    pytest.fail("what is heard is no sum of the three notes")


def test_an_edited_voice_is_saved_and_played(tab, address):
    """By keyboard alone: search, choose, change a parameter by data entry, and the link that saves it."""
    tab.run("document.getElementById('search').focus()")
    for letter in "tine":
        tab.call("Input.dispatchKeyEvent", type="keyDown", code=f"Key{letter.upper()}", key=letter, text=letter)
        tab.press(f"Key{letter.upper()}", letter, down=False)
    assert tab.run("document.querySelector('#found').textContent") == "1 of 32"
    assert not tab.run("document.querySelectorAll('.keys .down').length"), "typing in the search plays nothing"
    tab.press("Tab", "Tab")
    assert "TINE GLOW" in tab.run("document.activeElement.textContent")
    tab.call("Input.dispatchKeyEvent", type="keyDown", code="Enter", key="Enter", text="\r")
    tab.run(WAIT.format(300))
    assert "TINE GLOW" in tab.run("document.getElementById('display-voice').textContent")
    tab.run("document.querySelector('[aria-label=\"Algorithm\"]').focus()")
    assert tab.run("document.activeElement.value") == str(BANK.patches[4][patch.ALGORITHM] + 1)
    tab.run("""(() => { const entry = document.getElementById("entry"); entry.value = 32;
      entry.dispatchEvent(new Event("input")); })()""")
    assert "Algorithm = 32" in tab.run("document.getElementById('display-parameter').textContent")
    tab.run("(() => { const name = document.getElementById('name'); name.value = 'MINE'; name.dispatchEvent(new Event('input')); })()")
    saved = bytes(tab.run("fetch(document.getElementById('save').href).then((a) => a.arrayBuffer()).then((b) => [...new Uint8Array(b)])"))
    expected = BANK.patches[4].copy()
    expected[patch.ALGORITHM] = 31
    expected[patch.PARAMETERS :] = np.frombuffer(b"MINE      ", np.uint8)
    assert saved == sysex.write_voice(expected)
    assert tab.run("document.getElementById('save').download") == "MINE.syx"
    tab.run(WAIT.format(500))
    assert tab.run("document.querySelector('#algorithm svg').getAttribute('aria-label')").startswith("Algorithm 32")
    tab.run("document.getElementById('restore').click()")
    assert tab.run("document.getElementById('compare').disabled")


def test_values_out_of_range_are_not_taken(tab):
    for value, kept in (("100", "99"), ("-1", "99"), ("", "99"), ("1.5", "99"), ("42", "42")):
        tab.run(f"""(() => {{ const control = document.querySelector('[aria-label="Operator 1 output level"]');
          if (!{json.dumps(value)} || !window.begun) {{ window.begun = true; }}
          control.value = "99"; control.dispatchEvent(new Event("input"));
          control.value = {json.dumps(value)}; control.dispatchEvent(new Event("input")); control.dispatchEvent(new Event("change")); }})()""")
        assert tab.run("document.querySelector('[aria-label=\"Operator 1 output level\"]').value") == kept


def test_keys_by_keyboard_and_midi(tab):
    tab.run("document.querySelector('.keys [tabindex=\"0\"]').focus()")
    assert tab.run("document.activeElement.getAttribute('aria-label')") == "C 60"
    tab.press("ArrowRight", "ArrowRight")
    assert tab.run("document.activeElement.getAttribute('aria-label')") == "C♯ 61"
    down = "[...document.querySelectorAll('.keys .down')].map((key) => Number(key.dataset.key))"
    tab.press("Space", " ")
    tab.press("KeyA", "a")
    assert tab.run(down) == [60, 61]
    tab.press("Space", " ", down=False)
    tab.press("KeyA", "a", down=False)
    assert tab.run(down) == []
    x, y = tab.run("(() => { const box = document.querySelector('[data-key=\"64\"]').getBoundingClientRect(); return [box.x + box.width / 2, box.bottom - 20]; })()")
    mouse = {"x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
    tab.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
    assert tab.run(down) == [64]
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", **mouse | {"x": x + 35})
    assert tab.run(down) == [65], "a finger that slides"
    tab.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse | {"x": x + 35})
    assert tab.run(down) == []


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_looks(tab, address, width, dark):
    """Nothing is wider than the screen; nothing is refused by the page's own policy; everything has a name."""
    tab.set_screen(width, 844, dark)
    tab.open(address, READY)
    tab.press("KeyA", "a")
    tab.run(WAIT.format(500))
    tab.press("KeyA", "a", down=False)
    inside, whole = tab.run("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert whole <= inside <= width
    nameless = """[...document.querySelectorAll("button, input, select, a, canvas, audio")].filter((each) =>
      !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length)).length"""
    assert tab.run(nameless) == 0
    small = """[...document.querySelectorAll(".switch, .actions *, .tools button, .keys button")]
      .filter((each) => each.getBoundingClientRect().width < 24 || each.getBoundingClientRect().height < 24).length"""
    assert tab.run(small) == 0, "large enough for a finger"
    assert not tab.logged
