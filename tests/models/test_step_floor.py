"""What a training step has to move, against a count by hand."""

import pytest

pytest.importorskip("triton", reason="torch has no Triton on this machine")

from benchmarks.bench_step import count_work
from models.model import build
from models.settings import ModelSettings


def test_s4_stack():
    model = build(ModelSettings(("s4",), backbone="stack", d_model=8, n_layers=1, ff=2))
    positions, parameters = 3 * 10, sum(parameter.numel() for parameter in model.parameters())
    convolution, output, wide, narrow = 6 * 8 + 4 * 8, 6 * 8 + 4 * 16, 6 * 8 + 4 * 16, 6 * 16 + 4 * 8
    streams, head = 2 * 20 * 8, 6 * 8 + 8 * 256
    moved, operations = count_work(model, 3, 10)
    assert moved == positions * (convolution + output + wide + narrow + streams + head) + 48 * parameters
    assert operations == 6 * positions * (8 * 16 + 8 * 16 + 16 * 8 + 8 * 256)


def test_mamba2_pooled():
    """7 steps make 4 pooled ones of 2."""
    options = {"mamba2": {"d_state": 4, "headdim": 4}}
    model = build(ModelSettings(("mamba2",), d_model=4, n_layers=1, pool=(2,), ff=0, options=options))
    inner = {width: (2 * width, 2 * width + 2 * 4, 2 * 2 * width + 2 * 4 + 2 * width // 4) for width in (4, 8)}
    moved = 48 * sum(parameter.numel() for parameter in model.parameters()) + 7 * (6 * 4 + 8 * 256)
    for width, positions in ((4, 7), (8, 4)):
        channels, convolved, projected = inner[width]
        products = 6 * width + 4 * projected + 6 * projected + 4 * channels + 10 * convolved + 6 * channels + 4 * width
        moved += positions * (products + 20 * width)
    moved += 4 * 2 * (6 * 8 + 4 * 8)  # down and up
    assert count_work(model, 1, 7)[0] == moved
