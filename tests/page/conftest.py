"""A data set of everything, and its page."""

import numpy as np
import pytest

from dx7data import cli
from dx7data.page import page
from dx7data.patches import bank, patch, sysex

HOSTILE = "<script>$x"  # ten bytes: markup, and what a template fills in


def render(folder, *options, patches="example"):
    argv = ["render", "--patches", patches, "--out", folder, *options, "--workers", 1]
    assert cli.main(list(map(str, argv))) == 0
    return folder


@pytest.fixture(scope="session")
def everything(tmp_path_factory):
    """Pairs of up to two layers, all prefixes, and hostile names, at 16 kHz."""
    folder = tmp_path_factory.mktemp("everything")
    patches = bank.load(["example"]).patches.copy()
    patches[:, patch.PARAMETERS :] = np.frombuffer(HOSTILE.encode(), np.uint8)
    (folder / "hostile.syx").write_bytes(b"".join(map(sysex.write_voice, patches)))
    options = (
        "--samples",
        60,
        "--sample-rate",
        16000,
        "--prefix",
        "bytes",
        "fsk",
        "reference",
        "--pairs",
        "--layers",
        "1..2",
    )
    return render(folder / "<img src=x onerror=alert(1)>", *options, patches=folder / "hostile.syx")


@pytest.fixture(scope="session")
def written(everything):
    path = everything.parent / "page.html"
    page.write_page(everything, path)
    return path
