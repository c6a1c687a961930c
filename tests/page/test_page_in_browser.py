"""The page of a data set in a real browser: by keyboard, on small and large screens, by the rules of axe-core."""

import json

import pytest
from browser import find_violations, load_axe, open_tab

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FOCUSED = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
SHOWN = "all.filter((each) => each.offsetParent).length"
PLAYING = "document.activeElement.getAttribute('aria-pressed') === 'true'"
# Each clip is loaded by a player of its own, which is then let go: a browser allows only some dozens.
DURATIONS = """(async () => {
  const durations = [];
  for (const clip of document.querySelectorAll("audio")) {
    const own = new Audio();
    await new Promise((done) => { own.onloadedmetadata = own.onerror = done; own.src = clip.src; });
    durations.push(own.duration);
    own.removeAttribute("src");
    own.load();
  }
  return durations;
})()"""
# Pixels of the screen for a pixel of each picture, across and down.
SCALES = """(() => {
  for (const each of document.querySelectorAll("article > details")) each.open = true;
  return [...document.images].map((image) => {
    const { width, height } = image.getBoundingClientRect();
    return [width * devicePixelRatio / image.naturalWidth, height * devicePixelRatio / image.naturalHeight];
  });
})()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory, written):
    with open_tab(tmp_path_factory.mktemp("profile")) as tab:
        tab.address = written.as_uri()
        yield tab


@pytest.fixture(scope="module")
def axe(pytestconfig):
    return load_axe(pytestconfig.cache.mkdir("axe"))


def press(tab, *keys):
    for key in keys:
        tab.type(key)
    return tab.run(FOCUSED)


@pytest.mark.parametrize("width", [390, 1280])
def test_by_keyboard_alone(tab, width):
    """To the first player in three Tabs; then from sample to sample, which play, and to those that are searched for."""
    tab.set_screen(width, 844)
    tab.open(tab.address)
    assert press(tab, "Tab", "Tab", "Tab").startswith("Source of 1, ")
    assert press(tab, "Tab").startswith("Target of 1, ")
    assert press(tab, "j", "j").startswith("Target of 3, ")
    assert tab.run("document.activeElement.matches(':focus-visible')")
    assert tab.run("document.activeElement.getBoundingClientRect().top") >= 0

    press(tab, " ")
    tab.wait(PLAYING)
    assert press(tab, "k").startswith("Target of 2, "), "what plays moves along"
    tab.wait(PLAYING)
    assert tab.run("playing.closest('article') === all[1]")
    press(tab, " ")
    assert tab.run("player.paused")
    tab.wait("!document.querySelector('[aria-pressed=true]')")
    tab.run("player.currentTime = 0")
    press(tab, "ArrowRight", "ArrowRight", "ArrowLeft")
    assert tab.run("player.currentTime / player.duration") == pytest.approx(0.1, abs=0.001)

    press(tab, "/", *"val")
    count = tab.run("all.filter((each) => each.dataset.split === 'val').length")
    assert tab.run(SHOWN) == count < 24
    assert tab.run("document.querySelector('#found').textContent") == f"{count} of 24 here"
    press(tab, "Tab", "Enter", "Tab")
    assert press(tab, "j") == press(tab, "j"), "in a choice, letters are its own"
    tab.run("document.querySelector('[type=reset]').focus()")
    press(tab, "Enter")
    tab.wait(f"{SHOWN} === 24")
    assert not tab.logged


def test_a_link_to_the_other_of_a_pair(tab):
    """It unfolds a sample that was neither open nor found."""
    tab.set_screen(390, 844)
    tab.open(tab.address)
    press(tab, "/", *"train_00000000")
    assert tab.run(SHOWN) == 1
    tab.run("all[0].querySelector('details').open = true; all[0].querySelector('.changed a').click()")
    tab.wait("all[1].querySelector('details').open")
    assert tab.run(SHOWN) == 24
    assert tab.run("all[1].getBoundingClientRect().top") == pytest.approx(16, abs=1)
    assert press(tab, "j").startswith("Target of 3, ")


def test_filters(tab):
    """Each value of each choice shows the samples that have it, as their json says."""
    tab.open(tab.address)
    values = tab.run("""(() => {
      const found = [];
      for (const select of filters) for (const { value, text } of [...select.options].slice(1)) {
        select.value = value;
        show();
        const shown = all.filter((each) => !each.hidden).map((each) => each.querySelector("pre").textContent);
        found.push([select.name, value, text, shown]);
        select.value = "";
      }
      return found;
    })()""")
    assert {"algorithm", "split", "phrase"} <= {name for name, *_ in values}
    fields = {
        "algorithm": lambda meta: {str(layer["algorithm"]) for layer in meta["layers"]},
        "split": lambda meta: {meta["split"]},
        "phrase": lambda meta: {meta["phrase"]["kind"]},
        "level": lambda meta: {"clipped"} * any(meta["clipped"].values()),
    }
    whole = tab.run("all.map((each) => each.querySelector('pre').textContent)")
    for name, value, text, shown in values:
        expected = [each for each in whole if value in fields[name](read(each))]
        assert shown == expected
        assert text == f"{value} ({len(expected)})"


def read(text):
    """The json of a sample, as the page shows it."""
    return {name: json.loads(value) for name, _, value in (line.partition(": ") for line in text.splitlines())}


@pytest.mark.parametrize(("width", "scale"), [(390, 1), (390, 3), (1280, 1), (1280, 1.25), (1600, 2)])
def test_spectrograms_have_whole_pixels(tab, width, scale):
    tab.set_screen(width, 844, scale=scale)
    tab.open(tab.address)
    scales = tab.run(SCALES)
    assert len(scales) == 24 * 5
    for across, down in scales:
        assert across == pytest.approx(max(1, round(across)), abs=0.01)
        assert down == pytest.approx(max(1, round(down)), abs=0.01)
    assert tab.run("getComputedStyle(document.images[0]).imageRendering") == "pixelated"


def test_all_clips_play(tab):
    tab.open(tab.address)
    durations = tab.run(DURATIONS)
    assert len(durations) == 24 * 5
    assert all(durations)


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_looks(tab, axe, width, dark):
    """Nothing is wider than the screen, a phone shows no more than a few screens, and axe-core objects to nothing."""
    tab.set_screen(width, 844, dark)
    tab.open(tab.address)
    height = tab.run("document.documentElement.scrollHeight")
    if width == 390:
        assert height < 6 * 844
    tab.run("for (const each of document.querySelectorAll('details')) each.open = true")
    inside, whole = tab.run("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert whole <= inside <= width
    assert find_violations(tab, axe) == []
    assert not tab.logged
