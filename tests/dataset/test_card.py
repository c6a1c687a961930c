"""The data-set card: YAML that readers understand whatever is in it, and words of a person that stay."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dx7data import cli
from dx7data.dataset import card
from dx7data.errors import make_printable
from dx7data.files import add_hash, check_hash
from dx7data.patches import bank, sysex
from dx7data.plan.plan import Plan

OPTIONS = ["--patches", "example", "--samples", "20", "--seconds", "0.05", "--split", "0.8,0.1,0.1"]
MINE = b"My own words, with --- and <!-- a comment -->.\r\n\r\n"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card") / "shards"
    assert cli.main(["plan", *OPTIONS, "--out", str(folder)]) == 0
    return Plan.load(folder)


@pytest.fixture
def folder(tmp_path):
    assert cli.main(["render", *OPTIONS, "--workers", "1", "--out", str(tmp_path / "shards")]) == 0
    return tmp_path / "shards"


def read_front_matter(data):
    """The YAML as the Hub cuts it out: between the first two lines of three dashes."""
    text = data.decode()
    assert text.startswith("---\n")
    return yaml.safe_load(text[4:].split("\n---\n")[0])


def test_front_matter(plan):
    found = read_front_matter(card.format_card(plan))
    assert found["pretty_name"] == "A DX7 voice-conversion data set"
    assert found["license"] == "unknown"
    assert found["task_categories"] == ["audio-to-audio"]
    assert {"dx7", "synthesizer", "webdataset"} <= set(found["tags"])
    assert found["size_categories"] == ["n<1K"]
    (config,) = found["configs"]
    paths = {each["split"]: each["path"] for each in config["data_files"]}
    assert paths == {"train": "train-*.tar", "validation": "val-*.tar", "test": "test-*.tar"}


@pytest.mark.parametrize(
    ("count", "size"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (123_456, "100K<n<1M"), (10**9, "1B<n<10B")]
)
def test_size_categories(plan, count, size):
    assert read_front_matter(card.format_card(replace(plan, counts={"train": count})))["size_categories"] == [size]


def test_title_and_licence(tmp_path):
    for name, options in {"known": ["CC-BY-4.0"], "other": ["Ours: all \"rights\", 'yours'"]}.items():
        options = ["--title", "Sines & <FM>", "--license", *options]
        assert cli.main(["plan", *OPTIONS, *options, "--out", str(tmp_path / name)]) == 0
    known, other = ((tmp_path / name / "README.md").read_bytes() for name in ("known", "other"))
    assert read_front_matter(known)["license"] == "cc-by-4.0"
    assert read_front_matter(known)["pretty_name"] == "Sines & <FM>"
    assert "\n# Sines \\& \\<FM\\>\n" in known.decode()
    assert "license_name" not in read_front_matter(known)
    assert read_front_matter(other)["license"] == "other"
    assert read_front_matter(other)["license_name"] == "Ours: all \"rights\", 'yours'"
    assert Plan.load(tmp_path / "known").fingerprint == Plan.load(tmp_path / "other").fingerprint


def test_another_title_is_another_command(folder, capsys):
    assert cli.main(["render", *OPTIONS, "--title", "Sines", "--out", str(folder)]) == 2
    assert "--title is none there and Sines here" in capsys.readouterr().err


@pytest.mark.parametrize("title", ["", "a\nb", "x" * 201, "\x1b[2J", " "])
def test_titles_that_are_none(title, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["plan", *OPTIONS, "--title", title, "--out", str(tmp_path / "shards")])
    assert "--title" in capsys.readouterr().err


@settings(deadline=None, max_examples=300)
@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
@example("---", "a\n---\nb")
@example("x: [y", '"')
@example(card.MARK, "\x00\x1b\x85\u2028\u202e\ufeff😀")
def test_no_name_breaks_the_yaml(plan, title, name):
    """A plan may come from anybody, so also one that the command line refuses."""
    name += "!"  # so that it is no identifier
    data = card.format_card(replace(plan, title=title, license=name))
    found = read_front_matter(data)
    assert found["pretty_name"] == make_printable(title)
    assert found["license"] == "other"
    assert found["license_name"] == make_printable(name)
    assert card.is_current(replace(plan, title=title, license=name), data)


def test_a_hostile_title_in_a_plan(folder):
    title = f"a\n---\n{card.MARK}\x1b[2J"
    document = check_hash((folder / "dataset.json").read_bytes())
    (folder / "dataset.json").write_bytes(add_hash(document | {"title": title}))
    (folder / "README.md").unlink()
    assert cli.main(["verify", str(folder), "--fix"]) == 0
    data = (folder / "README.md").read_bytes()
    assert read_front_matter(data)["pretty_name"] == make_printable(title)
    assert cli.main(["verify", str(folder), "--fix"]) == 0
    assert (folder / "README.md").read_bytes() == data


# --- Words of a person ---


def add_words(folder, words=MINE):
    path = folder / "README.md"
    own, mark, rest = path.read_bytes().partition(card.MARK.encode())
    path.write_bytes(own.replace(b"license: unknown", b"license: mit\nlanguage: [de]") + words + mark + rest)
    return path.read_bytes()


def test_words_above_the_line_stay(folder):
    written = add_words(folder)
    assert cli.main(["verify", str(folder)]) == 0
    assert cli.main(["verify", str(folder), "--fix"]) == 0
    assert (folder / "README.md").read_bytes() == written
    assert cli.main(["render", *OPTIONS, "--out", str(folder)]) == 0
    assert (folder / "README.md").read_bytes() == written
    assert cli.main(["extend", str(folder), "--samples", "1000"]) == 0
    extended = (folder / "README.md").read_bytes()
    assert MINE in extended
    found = read_front_matter(extended)
    assert (found["license"], found["language"], found["size_categories"]) == ("mit", ["de"], ["1K<n<10K"])
    assert b"1000 pairs" in extended
    assert cli.main(["verify", str(folder)]) == 0


def test_damage_below_the_line_is_mended(folder, capsys):
    written = add_words(folder)
    (folder / "README.md").write_bytes(written.replace(b"20 pairs", b"21 pairs"))
    assert cli.main(["verify", str(folder)]) == 1
    assert "README.md: it is missing, or has changed below the line" in capsys.readouterr().out
    assert cli.main(["verify", str(folder), "--fix"]) == 0
    assert (folder / "README.md").read_bytes() == written


def test_a_card_without_the_line_is_kept_above_it(folder, plan):
    (folder / "README.md").write_bytes(MINE)
    assert cli.main(["verify", str(folder)]) == 1
    assert cli.main(["verify", str(folder), "--fix"]) == 0
    data = (folder / "README.md").read_bytes()
    assert MINE.strip() in data.partition(card.MARK.encode())[0]
    assert read_front_matter(data)["configs"]
    assert cli.main(["verify", str(folder)]) == 0


def test_a_card_of_an_empty_repository_is_kept(tmp_path):
    """The Hub makes a README.md with a repository; its clone is then rendered into."""
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n---\n" + MINE)
    assert cli.main(["plan", *OPTIONS, "--out", str(tmp_path)]) == 0
    data = (tmp_path / "README.md").read_bytes()
    assert data.startswith(b"---\nlicense: mit\n---\n" + MINE.strip())
    assert card.is_current(Plan.load(tmp_path), data)


def test_cards_of_format_3_are_ours(folder):
    plan = Plan.load(folder)
    old = (
        b"---\ntask_categories: [audio-to-audio]\ntags: [synthesizer, dx7, fm, webdataset]\n---\n# A DX7 voice-conversion\n"
    )
    assert card.is_current(replace(plan, format=3), old)
    assert card.format_card(plan, old) == card.format_card(plan)


def test_cards_with_a_plural_of_one_are_as_good(tmp_path, capsys):
    """As previews of this version wrote them."""
    voice = tmp_path / "one.syx"
    voice.write_bytes(sysex.write_voice(bank.pick("example:1")))
    made = ["plan", "--patches", str(voice), "--samples", "1", "--split", "1,0,0", "--seconds", "0.05"]
    assert cli.main([*made, "--out", str(tmp_path / "plan")]) == 0
    assert "1 pair of 0.05 s at 8000 Hz from 1 patch: train 1" in capsys.readouterr().out
    plan, data = Plan.load(tmp_path / "plan"), (tmp_path / "plan" / "README.md").read_bytes()
    assert b"\n1 pair of 0.05 s clips" in data
    assert b"| split | 1 near-duplicate group, the largest of 1 patch;" in data
    old = data.replace(b"1 pair of", b"1 pairs of").replace(b"1 near-duplicate group,", b"1 families of near-copies,")
    assert card.is_current(plan, old)
    assert card.format_card(plan, old) == data
    assert not card.is_current(plan, data.replace(b"1 pair of", b"2 pairs of"))


# As previews of this version wrote them, and as they are now.
WORDS = [
    (
        "12 families of near-copies, the largest of 3; split by patch: between parts at least 64 audible parameters differ",
        "12 near-duplicate groups, the largest of 3 patches; split by patch: patches of two splits differ in at least 64 "
        "audible parameters",
    ),
    (
        "2 families of near-copies, the largest of 1; split by phrase: every part has all patches",
        "2 near-duplicate groups, the largest of 1 patch; split by phrase: every split has all patches",
    ),
    (
        "train has 12 patches of 1 family; all in one part |",
        "train has 12 patches of 1 near-duplicate group; all in one split |",
    ),
    ("22 from music, none in two parts; chords |", "22 from music, none in two splits; chords |"),
    (
        "velocity is hidden in 1 of 20 samples; a model that knows all else can reach about -1.5 dB; a model can hear key, "
        "patch in all of 20 samples",
        "velocity is hidden in 1 of 20 samples: no model can reach an SNR above about -1.5 dB; not hidden in any of 20 "
        "samples: key, patch",
    ),
]


@pytest.mark.parametrize(("earlier", "now"), WORDS)
def test_cards_in_earlier_words_are_as_good(earlier, now, monkeypatch):
    """Their data sets pass `verify`; a figure that is another one is still found."""
    monkeypatch.setattr(card, "_format_text", lambda plan: f"{card.MARK}\n| {now}")
    assert card.is_current(SimpleNamespace(format=4), f"mine\n{card.MARK}\n| {earlier}".encode())
    assert not card.is_current(SimpleNamespace(format=4), f"mine\n{card.MARK}\n| {earlier.replace('2', '4')}".encode())
