"""Plans whose train split has few of its patches: nested, and with the same val and test as without the option."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dx7data import cli
from dx7data.dataset.card import format_card
from dx7data.errors import InputError
from dx7data.patches import bank
from dx7data.plan import split
from dx7data.plan.patches import BANK, COUNTERFACTUAL, NOWHERE, make_rows
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Spec

SHORT = ("--patches", "example", "--samples", "60", "--seconds", "0.25", "--split", "0.6,0.2,0.2", "--seed", "5")
EVERYTHING = ("--perturb", "12", "--random-patches", "4", "--pairs", "2", "--source", "random", "--layers", "1..2")
OPTIONS = {"plain": SHORT, "everything": (*SHORT, *EVERYTHING)}


def plan(folder, *options):
    assert cli.main(["plan", "--out", str(folder), *map(str, options)]) == 0
    return Plan.load(folder)


def targets(plan, split):
    return {plan.patches.ids[i] for i in plan.targets[split]}


@pytest.fixture(scope="module", params=OPTIONS)
def plans(request, tmp_path_factory):
    """By number of train patches; None: all of them."""
    folder, options = tmp_path_factory.mktemp(request.param), OPTIONS[request.param]
    limits = {n: ("--train-patches", n) for n in (3, 8, 15)} | {None: ()}
    return {n: plan(folder / str(n), *options, *more) for n, more in limits.items()}


def test_small_ones_are_among_larger_ones(plans):
    sizes = [3, 8, 15, None]
    for small, large in pairwise(sizes):
        assert targets(plans[small], "train") < targets(plans[large], "train")
    assert [len(targets(plans[n], "train")) for n in sizes[:-1]] == sizes[:-1]


def test_val_and_test_are_the_same(plans):
    """Patch by patch, and sample by sample, to the bit."""
    whole = plans[None]
    assert len({each.fingerprint for each in plans.values()}) == len(plans)
    for few in plans.values():
        assert few.counts == whole.counts
        assert [few.hash_split(name) == whole.hash_split(name) for name in few.counts] == [few is whole, True, True]
        for name in ("val", "test"):
            assert targets(few, name) == targets(whole, name)
            for j in range(8):
                one, other = few[name, j], whole[name, j]
                assert one.meta == other.meta
                assert [data for _, data in one.members()] == [data for _, data in other.members()]


def test_train_plays_those_and_no_others(plans):
    """Or versions of them, with pairs."""
    for n, few in plans.items():
        patches, played = few.patches, set()
        for j in range(60):
            choice = few.choose("train", j)
            for i in choice.layers:
                played.add(patches.parents[i][0] if patches.kinds[i] == COUNTERFACTUAL else patches.ids[i])
            assert choice.source is None or patches.ids[choice.source] in targets(few, "train")
        assert played <= targets(few, "train")
        if n in (3, 8):
            assert played == targets(few, "train")


def test_report_and_card(plans):
    for n, few in plans.items():
        rows = [i for i, (own, target) in enumerate(zip(few.patches.splits, few.patches.targets, strict=True)) if target]
        groups = {few.patches.families[i] for i in rows if few.patches.splits[i] == "train"}
        said = f"train has {n} patches of {len(groups)} near-duplicate group"
        assert (said in split.describe(few.split_report)) == (n is not None)
        assert (said in format_card(few).decode()) == (n is not None)
        if n:
            assert few.split_report["train"] == {"patches": n, "families": len(groups)}
        assert few.patches.count_groups("train") == len(groups)


def test_rendered_inspected_verified_and_extended(tmp_path, capsys):
    folder = tmp_path / "shards"
    render = ["render", "--out", str(folder), *SHORT, "--train-patches"]
    assert cli.main([*render, "4"]) == 0
    assert cli.main([*render, "4"]) == 0  # goes on, and finds all done
    assert cli.main([*render, "5"]) == 2
    assert "--train-patches is 4 there and 5 here" in capsys.readouterr().err
    assert cli.main([*render[:-1]]) == 2
    assert "--train-patches is 4 there and none here" in capsys.readouterr().err
    before = Plan.load(folder)
    assert cli.main(["extend", str(folder), "--samples", "90"]) == 0
    after = Plan.load(folder)
    assert (after.fingerprint, targets(after, "train")) == (before.fingerprint, targets(before, "train"))
    assert cli.main(["verify", str(folder)]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", str(folder)]) == 0
    assert "4 patches in 4 near-duplicate groups" in capsys.readouterr().out
    assert cli.main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["patches"] == {split: len(targets(after, split)) for split in ("train", "val", "test")}
    assert found["groups"]["train"] == 4
    assert cli.main(["extend", str(folder), "--patches", "example", "--out", str(tmp_path / "new")]) == 2
    assert "a plan with --train-patches 4 takes no more patches" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--train-patches", "20"), "--train-patches 20 is more than train has, 19: ask for fewer, or leave it out"),
        (("--train-patches", "1", "--layers", "1..2"), "train has 1: use fewer --layers or more --train-patches"),
        (("--train-patches", "3", "--split-by", "phrase"), "or are split by phrase: leave it out"),
        (("--train-patches", "3", "--targets", "example:1"), "these are too few, or are split by phrase: leave it out"),
        (("--train-patches", "3", "--split", "0,0.5,0.5"), "--train-patches 3 is more than train has, 0: "),
    ],
)
def test_what_can_not_be(tmp_path, capsys, more, sentence):
    assert cli.main(["plan", "--out", str(tmp_path / "plan"), *SHORT, *more]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "plan").exists()


def test_no_patches(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["plan", "--out", str(tmp_path / "plan"), *SHORT, "--train-patches", "0"])
    assert "--train-patches: must be 1 to 1000000000" in capsys.readouterr().err


def test_an_edited_plan_is_refused(tmp_path, capsys):
    from dx7data.files import add_hash

    plan(tmp_path / "plan", *SHORT, "--train-patches", 4)
    path = tmp_path / "plan" / "dataset.json"
    for value, sentence in ((5, "column target: train has 4, and the plan says 5"), (0, "field spec.train_patches: ")):
        document = json.loads(path.read_bytes())
        del document["sha256"]
        document["spec"]["train_patches"] = value
        path.write_bytes(add_hash(document))
        with pytest.raises(InputError, match=sentence):
            Plan.load(tmp_path / "plan")


def test_plans_without_it_do_not_know_it(tmp_path):
    """So their fingerprints, and what older versions read, are as they were."""
    made = plan(tmp_path / "plan", *SHORT)
    document = json.loads((tmp_path / "plan" / "dataset.json").read_bytes())
    assert "train_patches" not in document["spec"]
    assert "train" not in document["split_report"]
    assert made.fingerprint == "e5131bd3a9b45e18f0c05b859dd2790a6d7c5bf17dfeb73fdc42ad032f1b6b74"


ROWS = bank.load("example").patches


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 32), st.integers(0, 2**32))
def test_a_choice_depends_on_the_patches_alone(data, count, seed):
    """Whatever other patches there are, and in which order: of those that stay, the chosen ones are chosen again."""
    spec = Spec(
        **{"seconds": 0.5, "sample_rate": 8000, "seed": seed, "source": "random", "split": (1.0, 0.0, 0.0)},
        **{"gain": "native", "keep_silent": False, "shard_bytes": 1000, "train_patches": count},
    )
    made = make_rows(ROWS, [BANK] * 32, [NOWHERE] * 32, [True] * 32)
    made.splits[:] = ["train"] * 32
    chosen = set(split.limit_train(made, spec).ids)
    assert len(chosen) == count
    order = data.draw(st.permutations(range(32)))
    fewer = [i for i in order if made.ids[i] in chosen or data.draw(st.booleans())]
    assert set(split.limit_train(made.take(fewer), spec).ids) == chosen
    kept = [made.ids[i] for i in fewer if made.ids[i] in chosen]
    assert split.limit_train(made.take(fewer), spec).ids == kept  # in their order


def test_versions_go_with_their_patch():
    spec = Spec(
        **{"seconds": 0.5, "sample_rate": 8000, "seed": 0, "source": "random", "split": (1.0, 0.0, 0.0)},
        **{"gain": "native", "keep_silent": False, "shard_bytes": 1000, "train_patches": 5},
    )
    made = make_rows(ROWS, [BANK] * 16 + [COUNTERFACTUAL] * 16, [NOWHERE] * 32, [True] * 16 + [False] * 16)
    made.splits[:] = ["train"] * 32
    made.parents[16:] = [[key] for key in made.ids[:16]]
    left = split.limit_train(made, spec)
    assert len(left) == 10
    assert {parents[0] for parents in left.parents[5:]} == set(left.ids[:5])


def test_patches_that_are_there_twice(tmp_path):
    """With --dedupe none one of two equal rows can be left out, and the other stay."""
    for name in ("one.syx", "two.syx"):
        assert cli.main(["patches", "export", "example", "--out", str(tmp_path / name)]) == 0
    banks = "--patches", tmp_path / "one.syx", tmp_path / "two.syx", "--dedupe", "none"
    few = plan(tmp_path / "few", *banks, *SHORT[2:], "--train-patches", "5")
    assert len(few.targets["train"]) == 5
