"""For all tests: what of their surroundings they need otherwise."""

import importlib.util
import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def untuned_kernels():
    """Tuning takes minutes for each layer of mamba-ssm that is tested on a GPU."""
    if importlib.util.find_spec("mamba_ssm"):
        from train.doctor.probe import disable_tuning

        disable_tuning()


@pytest.fixture(scope="session", autouse=True)
def heard_interrupts():
    """A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
