"""README and docs: their Python examples run, their commands parse, their names and links exist."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from argparse import ArgumentParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import run_folder

from dx7data import cli
from train import options

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "configs/README.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)


def blocks(language, without=()):
    """Each fenced block of a language, with a name: its page and its number there."""
    for page in PAGES:
        if page.name not in without:
            for i, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)):
                yield pytest.param(text, id=f"{page.name}-{i}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the text says there is: bank.syx, more/, shards/ rendered from the bank, and a run."""
    made = tmp_path_factory.mktemp("docs")
    (made / "more").mkdir()
    for name in ("bank.syx", "more/other.syx"):
        (made / name).write_bytes((ROOT / "dx7data" / "patches" / "example_bank.syx").read_bytes())
    more = ["--samples", "40", "--seconds", "0.2", "--prefix", "fsk", "--workers", "1"]
    short = {"steps": 30, "evaluate_every": 10, "clips": 1, "rate": 8000, "seconds": 0.1}
    run_folder.make(made / "runs" / "s4-tiny", run_folder.config(steps=30), **short)
    assert cli.main(["render", "--patches", str(made / "bank.syx"), "--out", str(made / "shards"), *more]) == 0
    return made


@pytest.mark.parametrize("example", list(blocks("python", without=["extending.md"])))  # it has a test of its own
def test_python_examples(example, folder):
    """Each by itself: an example that needs the one before it is no example."""
    in_checkout = os.environ | {"PYTHONPATH": str(ROOT)}  # `train` is not installed
    subprocess.run([sys.executable, "-c", example], cwd=folder, env=in_checkout, check=True, timeout=120)


def commands():
    """The words of each command of ours in a bash block, named by the command."""
    for block in blocks("bash"):
        for line in block.values[0].replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "-m" in words and words[words.index("-m") + 1].startswith("train"):
                words = words[words.index("-m") + 1 :]
            if words and words[0].split(".")[0] in ("dx7data", "train"):
                yield pytest.param(words, id=" ".join(words))


def exit_after(parse):
    def parse_and_exit(*arguments, **more):
        parse(*arguments, **more)
        raise SystemExit(0)

    return parse_and_exit


@pytest.mark.parametrize("words", list(commands()))
def test_commands_parse(words, monkeypatch):
    """By the parser of the command itself, which goes no further."""
    package = find_spec(words[0]).submodule_search_locations is not None
    main = cli.main if words[0] == "dx7data" else import_module(words[0] + ".__main__" * package).main
    for parser, name in ((ArgumentParser, "parse_args"), (options.Parser, "read")):
        monkeypatch.setattr(parser, name, exit_after(getattr(parser, name)))
    with pytest.raises(SystemExit) as ended:
        main(words[1:])
    assert ended.value.code == 0


def test_names_of_the_api_page():
    names = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), re.M)
    assert len(names) > 10
    for name in names:
        module, _, member = name.rpartition(".")
        assert getattr(import_module(module), member).__doc__


def anchors(page):
    """Of the headings of a page, as both GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return [re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """To a file, and to a heading of it; those to other hosts are not followed."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
        name, _, heading = target.partition("#")
        if "://" not in target:
            file = (page.parent / name) if name else page
            assert file.exists(), target
            assert not heading or heading in anchors(file), target


def test_the_citation_names_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
