"""What tests of training share: shards of 32 clips, and a run on them that nobody disturbed."""

import pytest

from dx7data import cli


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    options = ["--samples", "40", "--seconds", "0.25", "--sample-rate", "8000", "--workers", "1", "--prefix", "bytes"]
    assert cli.main(["render", "--patches", "example", "--out", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="session")
def whole(shards, tmp_path_factory):
    """A run that nobody disturbed."""
    from small_runs import train

    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(shards, run) == 0
    return run


@pytest.fixture(autouse=True, scope="session")
def without_pictures():
    """Of a tiny run they take nine tenths of the time. test_figures draws them, and so does each run in its own process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("train.loop.trainer.draw", lambda run: None)
        yield
