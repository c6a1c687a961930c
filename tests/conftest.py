"""For all tests: what of their surroundings they need otherwise."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# torch takes all cores for each process unless told otherwise, and xdist starts a process for each core.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# The first example may compile a loop, and a machine may have other work: neither is a defect.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_configure(config):
    """Compile the engine and the reader of music once, before the processes start that would all compile them."""
    if getattr(config.option, "numprocesses", None):
        import dx7data

        dx7data.render(dx7data.voices(dx7data.load_patches("example"), 60, 100, held=0.1, rate=44100), seconds=0.1)
        compile_reader()


def compile_reader():
    from midi_files import make_file

    from dx7data.phrases import corpus
    from dx7data.phrases.report import MusicReport
    from dx7data.phrases.selection import Wanted

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.mid")
        path.write_bytes(make_file(0))
        corpus.collect(path, None, None, Wanted(1.0), MusicReport())


@pytest.fixture(scope="session", autouse=True)
def heard_interrupts():
    """A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
