"""The files in configs/: options that exist, models that can be made, and figures that are where their comments say."""

import re
from pathlib import Path

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode

from models.model import build
from train import arguments

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "configs").rglob("*.toml"))
# As the tables of the results have them.
PARAMETERS = {
    "one-voice/s4": 4_764_160,
    "one-voice/s4d": 4_759_552,
    "one-voice/mamba1": 4_777_472,
    "one-voice/mamba2-seed": 4_586_288,
    "one-voice/mamba2": 4_617_368,
    "one-voice/mamba3": 4_711_952,
    "one-voice/hybrid": 4_789_816,
    "any-voice/s4-film": 6_640_000,
    "any-voice/hybrid-film": 6_430_000,
}


def read(path):
    words = ["--shards", "shards", "--device", "cpu", "--out", "run", "--config", str(path)]
    return arguments.choose_run(arguments.read(words))[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_published_run(path):
    chosen = read(path)
    with FakeTensorMode():
        model = build(chosen.model)
    name = f"{path.parent.name}/{path.stem}"
    if name in PARAMETERS:
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count == pytest.approx(PARAMETERS[name], abs=5000 if "film" in name else 0)
    *text, place = [line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("#")]
    page, section = re.fullmatch(r'(\S+), "(.*)"', place).groups()
    (there,) = [part for part in re.split(r"^##+ ", (ROOT / page).read_text(), flags=re.M) if part.startswith(section)]
    (bits,) = re.findall(r"(\d\.\d{3}) bits", " ".join(text))
    assert bits in there


def test_no_two_are_the_same_run():
    """But mamba2 at its best rate and at that of the others."""
    found = [read(path).to_json() for path in FILES]
    assert len(FILES) > 25
    assert all(found[i] != found[j] for i in range(len(found)) for j in range(i))


def test_the_readme_names_every_folder():
    text = (ROOT / "configs" / "README.md").read_text()
    assert {path.parent.name for path in FILES} == set(re.findall(r"^\| `([\w-]+)` \|", text, re.M))
