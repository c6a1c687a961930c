"""For all tests: on a GPU, mamba-ssm's kernels are not tuned, which takes minutes for each layer that is tested."""

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def untuned_kernels():
    if importlib.util.find_spec("mamba_ssm"):
        from train.probe import untuned

        untuned()
