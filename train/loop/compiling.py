"""The kernels of a step are compiled before it, all at once."""

from collections.abc import Callable

import torch

from dx7data.output import progress_bar
from models.layers import tuning


def compile_kernels(act: Callable[[], object], device: torch.device, shown: bool) -> None:
    """Those of Triton that `act`, forward and backward, launches; gradients are left without meaning. shown: with a bar."""
    bar = progress_bar(unit="kernel", desc="compiling", leave=False, disable=not shown)

    def report(done: int, count: int) -> None:
        bar.total = count
        bar.update(done - bar.n)

    with bar, torch.random.fork_rng([device]):
        tuning.compile_ahead(act, report)
