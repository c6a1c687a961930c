"""The page in a real browser: what is heard is what `dx7data wav` writes, to the sample; all of it works by keyboard."""

import json

import numpy as np
import pytest
import servers
from browser import find_violations, load_axe, open_tab
from page.play.test_notes import write_wav

from dx7data.engine.tables import BLOCK
from dx7data.page.play.notes import RATE
from dx7data.page.play.server import Instrument, open_server, warm_up
from dx7data.patches import bank, patch, sysex

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BANK = bank.load_example()
HEX = BANK.patches[0].tobytes().hex()
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
  window.fetch = (name, options) => {
    if (name === "note") asked.push(JSON.parse(options.body));
    return fetch(name, options);
  };
  await sound.context.resume();
  window.playTogether = async (asked) => {
    const node = new AudioWorkletNode(sound.context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    node.connect(sound.volume);
    const answers = await Promise.all(asked.map((note) => sound.ask("note", note)));
    const notes = await Promise.all(answers.map(async (answer) => new Int16Array(await answer.arrayBuffer())));
    notes.forEach((samples, id) => node.port.postMessage({ call: "write", id, first: 0, samples, whole: true }));
    await new Promise((done) => setTimeout(done, 1500));
  };
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
    warm_up()  # as the command does
    server, address = open_server(Instrument(BANK, None))
    with servers.run(server):
        yield address


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
        "patch": BANK.patches[which].tobytes().hex(),
        "key": 64,
        "velocity": 100,
        "release": None,
        "first": 0,
        "stop": 16384,
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
    assert not wrong.size, (
        f"from sample {wrong[0]:,} of {length:,}, {waits} waits, {report['waited']} said; asked: {report['asked']}"
    )
    assert waits <= report["waited"]
    assert np.abs(expected[:length]).max() > 500


def test_an_error_is_shown_until_the_next_note(tab):
    """Of a server that was gone for a while."""
    tab.run("window.working = window.fetch; window.fetch = () => Promise.reject(new TypeError('gone'))")
    message = "JSON.stringify([document.getElementById('message').hidden, document.getElementById('message').textContent])"
    for down in (True, False):
        tab.press("KeyD", "d", down=down)
    tab.run(WAIT.format(300))
    hidden, text = json.loads(tab.run(message))
    assert not hidden
    assert "no longer answers" in text
    tab.run("window.fetch = window.working")
    for down in (True, False):
        tab.press("KeyD", "d", down=down)
    tab.run(WAIT.format(300))
    assert json.loads(tab.run(message)) == [True, ""]


def test_notes_add_up(tmp_path, address):
    """The player alone, with three notes that are there: they may begin a few quanta of 128 samples apart."""
    keys = (48, 60, 67)
    with open_tab(tmp_path / "profile") as tab:
        tab.call("Page.setBypassCSP", enabled=True)
        tab.open(address, READY)
        tab.run(RECORDER)
        asked = [{"patch": HEX, "key": key, "velocity": 90, "release": None, "first": 0, "stop": 24000} for key in keys]
        tab.run(f"playTogether({json.dumps(asked)})")
        heard = np.array(json.loads(tab.run(HEARD))["heard"])
    notes = [write_wav(tmp_path, BANK.patches[0], key, 90, 10, seconds=0.5).astype(int) for key in keys]
    quanta = [128 * i for i in range(20)]
    for starts in ((0, second, third) for second in quanta for third in quanta):
        whole = np.zeros(24000 + max(starts), int)
        for start, note in zip(starts, notes, strict=True):
            whole[start : start + note.size] += note
        first = max(0, np.flatnonzero(heard)[0] - np.flatnonzero(whole)[0])
        if np.array_equal(heard[first : first + whole.size], whole):
            return
    pytest.fail("what is heard is no sum of the three notes")


def text_of(tab, selector):
    return tab.run(f"document.querySelector({json.dumps(selector)}).textContent")


def enter(tab, selector, *values):
    """Types values into a control, one after another; what it shows then."""
    tab.run(f"""(() => {{
      const control = document.querySelector({json.dumps(selector)});
      for (const value of {json.dumps(values)}) {{
        control.value = value;
        control.dispatchEvent(new Event("input"));
      }}
      control.dispatchEvent(new Event("change"));
    }})()""")
    return tab.run(f"document.querySelector({json.dumps(selector)}).value")


def focus(tab, selector):
    tab.run(f"document.querySelector({json.dumps(selector)}).focus()")


def test_an_edited_voice_is_saved(tab):
    """Searched for and chosen by keys, edited by data entry, named; the link gives its dump, and Restore the stored one."""
    focus(tab, "#search")
    for letter in "tine":
        tab.call("Input.dispatchKeyEvent", type="keyDown", code=f"Key{letter.upper()}", key=letter, text=letter)
        tab.press(f"Key{letter.upper()}", letter, down=False)
    assert text_of(tab, "#found") == "1 of 32"
    assert not tab.run("document.querySelectorAll('.keys .down').length"), "typing in the search plays nothing"
    tab.press("Tab", "Tab")
    assert "TINE GLOW" in tab.run("document.activeElement.textContent")
    tab.call("Input.dispatchKeyEvent", type="keyDown", code="Enter", key="Enter", text="\r")
    tab.run(WAIT.format(500))
    assert "TINE GLOW" in text_of(tab, "#display-voice")

    focus(tab, "[aria-label='Algorithm']")
    assert tab.run("document.activeElement.value") == str(BANK.patches[4][patch.ALGORITHM] + 1)
    enter(tab, "#entry", "32")
    assert text_of(tab, "#display-parameter") == "Algorithm = 32"
    enter(tab, "#name", "MINE")
    saved = "fetch(document.querySelector('#save').href).then((a) => a.arrayBuffer()).then((b) => [...new Uint8Array(b)])"
    expected = BANK.patches[4].copy()
    expected[patch.ALGORITHM] = 31
    expected[patch.PARAMETERS :] = np.frombuffer(b"MINE      ", np.uint8)
    assert bytes(tab.run(saved)) == sysex.write_voice(expected)
    assert tab.run("document.querySelector('#save').download") == "MINE.syx"
    tab.run(WAIT.format(1000))
    assert tab.run("document.querySelector('#algorithm svg').getAttribute('aria-label')").startswith("Algorithm 32")

    tab.run("document.querySelector('#compare').click()")
    assert text_of(tab, "#display-voice").strip() == "TINE GLOW"
    tab.run("document.querySelector('#compare').click()")
    assert "MINE" in text_of(tab, "#display-voice")
    tab.run("document.querySelector('#restore').click()")
    assert bytes(tab.run(saved)) == sysex.write_voice(BANK.patches[4])
    assert tab.run("document.querySelector('#compare').disabled")


def test_patches_are_chosen_by_arrows(tab):
    """The list is one stop of Tab; a slash leads to the search."""
    tab.type("/")
    assert tab.run("document.activeElement.id") == "search"
    tab.type("Tab")
    assert "ROUND BASS" in tab.run("document.activeElement.textContent")
    for key, name in (("ArrowDown", "LOW BOW"), ("ArrowDown", "NYLON PICK"), ("ArrowUp", "LOW BOW")):
        tab.press(key, key)
        tab.wait(f"document.querySelector('#display-voice').textContent.includes('{name}')")
        assert tab.run("document.querySelector('[aria-current]').textContent").endswith(name)
        assert name in tab.run("document.activeElement.textContent")
    tab.type("Tab")
    assert tab.run("document.activeElement.id") == "name"


def test_an_operator_that_is_switched_off_is_not_sounded(tmp_path, address):
    with open_tab(tmp_path / "profile") as tab:
        tab.call("Page.setBypassCSP", enabled=True)
        tab.open(address, READY)
        tab.run(RECORDER)
        tab.run("document.querySelector('[data-operator=\"3\"] .switch').click()")
        tab.press("KeyA", "a")
        tab.press("KeyA", "a", down=False)
        (played, *_) = tab.run("asked")
        saved = tab.run("document.querySelector('#save').href")
    expected = BANK.patches[0].copy()
    expected[patch.FIELDS.index("op3_output_level")] = 0
    assert bytes.fromhex(played["patch"]) == expected.tobytes()
    assert saved.endswith(f"/{HEX}.syx"), "what is saved has its level still"


def test_values_out_of_range_are_not_taken(tab):
    level = "[aria-label='Operator 1 output level']"
    for value, kept in (("100", "98"), ("-1", "98"), ("", "98"), ("1.5", "98"), ("42", "42")):
        assert enter(tab, level, "98", value) == kept
    assert enter(tab, "[aria-label='Transpose']", "-24") == "-24"
    assert enter(tab, "[aria-label='Operator 6 detune']", "-7", "8") == "-7"


def test_ways_to_press_keys(tab):
    down = "[...document.querySelectorAll('.keys .down')].map((key) => Number(key.dataset.key))"
    focus(tab, ".keys [tabindex='0']")
    tab.press("ArrowRight", "ArrowRight")
    assert tab.run("document.activeElement.getAttribute('aria-label')") == "C♯ 61"
    tab.press("Space", " ")
    tab.press("KeyA", "a")
    assert tab.run(down) == [60, 61]
    tab.press("Space", " ", down=False)
    tab.press("KeyA", "a", down=False)
    tab.press("KeyX", "x")
    tab.press("KeyW", "w")
    assert tab.run(down) == [73]
    tab.press("KeyW", "w", down=False)

    box = tab.run(
        "(({ x, width, bottom }) => [x + width / 2, bottom - 20])"
        "(document.querySelector('[data-key=\"64\"]').getBoundingClientRect())"
    )
    mouse = {"x": box[0], "y": box[1], "button": "left", "buttons": 1, "clickCount": 1}
    tab.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
    assert tab.run(down) == [64]
    mouse["x"] += 35
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", **mouse)
    assert tab.run(down) == [65], "the pointer slides to the next key"
    tab.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse)
    assert tab.run(down) == []


def test_midi(tab):
    """Messages as a port sends them: note-on, note-on of velocity 0, note-off, and the pedal."""
    heard = """(async () => {
      const { listen } = await import(new URL("keyboard.js", location));
      const said = [];
      const keys = listen((key, velocity) => (said.push([key, velocity]), key), (key) => said.push([-key]), () => 1);
      for (const message of %s) keys.receive("port", message);
      return said;
    })()"""
    played = [[0x90, 60, 100], [0x91, 60, 7], [0x90, 60, 0], [0x81, 60, 64], [0xB0, 64, 127], [0x90, 62, 1], [0x80, 62, 0]]
    assert tab.run(heard % played) == [[60, 100], [60, 7], [-60], [-60], [62, 1]]
    assert tab.run(heard % [*played, [0xB0, 64, 0]])[-1] == [-62]


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_looks(tab, address, pytestconfig, width, dark):
    """Nothing is wider than the screen; nothing is refused by the page's own policy; axe-core objects to nothing."""
    tab.set_screen(width, 844, dark)
    tab.open(address, READY)
    tab.press("KeyA", "a")
    tab.run(WAIT.format(500))
    tab.press("KeyA", "a", down=False)
    inside, whole = tab.run("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert whole <= inside <= width
    small = """[...document.querySelectorAll(".switch, .actions *, .tools button, .keys button")]
      .filter((each) => each.getBoundingClientRect().width < 24 || each.getBoundingClientRect().height < 24).length"""
    assert tab.run(small) == 0, "large enough for a finger"
    assert not tab.logged
    assert find_violations(tab, load_axe(pytestconfig.cache.mkdir("axe"))) == []
