"""For the tests of models."""

import pytest


@pytest.fixture(scope="session")
def interpreter():
    """A pool of one process."""
    pytest.importorskip("torch")
    pytest.importorskip("triton", reason="torch has no Triton on this machine")
    from interpreted import start_interpreter

    with start_interpreter() as pool:
        yield pool
