"""A bank that was bred: the same for the same seed, all of it heard and new, and mostly no near-duplicates."""

import numpy as np
import pytest

import dx7data
from dx7data import cli
from dx7data.errors import InputError
from dx7data.patches import patch
from dx7data.patches.similarity import Codes, group_near_duplicates
from dx7data.patches.simplify import SIMPLER
from dx7data.plan import breeding

COUNT, RANDOM = 120, 10


@pytest.fixture(scope="module")
def parents():
    return dx7data.load_patches("example")


@pytest.fixture(scope="module")
def bred(parents):
    return breeding.breed(parents, seed=3, count=COUNT, generations=3, random=RANDOM)


def peaks(patches, note):
    return np.abs(dx7data.render(dx7data.voices(patches, note, 100, held=0.5, rate=48000), seconds=0.5)).max(axis=1)


def test_all_are_legal_new_and_heard(parents, bred):
    assert bred.shape == (COUNT, patch.STORED_BYTES)
    assert (patch.require_legal(bred) == bred).all()
    assert (bred[: len(parents)] == parents).all()
    assert len({patch.patch_id(each) for each in bred}) == COUNT
    heard = np.array([peaks(bred, note) for note in (36, 60, 84)])
    assert (heard.max(axis=0) >= 4).all()
    assert (heard[:, -RANDOM:] >= breeding.LOUD).all()


def test_it_follows_from_the_seed_and_the_numbers(parents, bred):
    assert (breeding.breed(parents, 3, COUNT, 3, RANDOM) == bred).all()
    other = breeding.breed(parents, 4, COUNT, 3, RANDOM)
    assert (other[len(parents) :] != bred[len(parents) :]).any(axis=1).all()


def test_later_generations_have_parents_from_earlier_ones(parents, bred):
    """Of the last generation, some have values that no patch of the bank has, and a neighbour among the children."""
    children, last = bred[len(parents) : -RANDOM], bred[-RANDOM - 20 : -RANDOM]
    distance = (last[:, None, : patch.PARAMETERS] != children[None, :40, : patch.PARAMETERS]).sum(axis=2).min(axis=1)
    to_parents = (last[:, None, : patch.PARAMETERS] != parents[None, :, : patch.PARAMETERS]).sum(axis=2).min(axis=1)
    assert (distance < to_parents).any()


def test_most_are_in_groups_of_their_own(bred):
    groups = np.unique(group_near_duplicates(Codes(bred)))
    assert len(groups) > 0.7 * COUNT


def test_silent_parents_are_left_out(parents):
    silent = parents[:2].copy()
    silent[:, [16 + 21 * i for i in range(6)]] = 0  # output levels
    assert (breeding.breed(np.concatenate([silent, parents[2:4]]), 0, 4, 1, 1)[:2] == parents[2:4]).all()
    with pytest.raises(InputError, match="none of these patches can be heard"):
        breeding.breed(silent, 0, 4, 1, 0)


@pytest.mark.parametrize("simpler", SIMPLER)
def test_all_are_simplified(parents, simpler):
    bred = breeding.breed(parents, 3, COUNT, 3, RANDOM, SIMPLER[simpler])
    assert len({patch.patch_id(each) for each in bred}) == COUNT
    assert (SIMPLER[simpler](bred) == bred).all()
    assert (np.array([peaks(bred, note) for note in (36, 60, 84)]).max(axis=0) >= 4).all()


def test_parents_that_become_equal(parents):
    other = parents[0].copy()
    other[16] = 99 - other[16]  # the level of operator 6, which is no carrier
    bred = breeding.breed(np.stack((parents[0], other)), 0, 20, 2, 0, SIMPLER["carrier"])
    assert len({patch.patch_id(each) for each in bred}) == 20


def test_the_command(tmp_path, capsys):
    out = tmp_path / "bred.syx"
    argv = ["patches", "breed", "example", "--out", str(out), "--generations", "2", "--count"]
    assert cli.main([*argv, "50"]) == 0
    assert len(dx7data.load_patches(out)) == 50
    assert cli.main([*argv, "50", "--simplify", "carriers"]) == 0
    assert all("algorithm 32  feedback 0" in patch.summarize(each) for each in dx7data.load_patches(out))
    assert cli.main([*argv, "33"]) == 2
    assert "take 34 or more" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["missing/bred.syx", "bred.wav", "there.syx", "name" * 60 + ".syx"])
def test_where_no_bank_can_be_is_said_before_it_is_bred(tmp_path, capsys, monkeypatch, out):
    (tmp_path / "there.syx").mkdir()
    monkeypatch.setattr(breeding, "breed", None)
    assert cli.main(["patches", "breed", "example", "--out", str(tmp_path / out)]) == 2
    assert out in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.syx"]
