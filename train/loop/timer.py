"""How long the steps of a run take, without evaluations and checkpoints; the first ones apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST_STEPS = 3  # they are timed apart
WAIT_STEPS = 50  # over which waiting for data is measured


class StepTimer:
    """Runs from `start` to `stop`, between which lie several steps: the host does not wait for the device after each."""

    def __init__(self, total: float):
        self.total = total  # seconds of training, those of earlier processes included
        self.first = 0.0  # seconds of the first steps, which compile, tune kernels and fill caches
        self.first_wait = 0.0  # of these, what was spent waiting for data: reading processes start, renderers compile
        self.steps: list[float] = []  # seconds of a step, the mean of each flush that came later
        self._recent = (0, 0.0, 0.0)  # steps, their seconds, and those of waiting, since take_wait gave an answer
        self.start()

    def start(self) -> None:
        self._began, self._waited = time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for data."""
        asked = time.perf_counter()
        yield
        self._waited += time.perf_counter() - asked

    def stop(self, count: int, first: bool) -> tuple[float, float] | None:
        """Means over `count` steps: seconds of a step and, among them, of waiting for data. None for the first steps."""
        took = time.perf_counter() - self._began
        self.total += took
        if first:
            self.first += took
            self.first_wait += self._waited
            return None
        self.steps.append(took / count)
        steps, seconds, waited = self._recent
        self._recent = (steps + count, seconds + took, waited + self._waited)
        return took / count, self._waited / count

    def take_wait(self) -> float | None:
        """The part of the time that was spent waiting for data, of each 50 steps or more; else None."""
        steps, seconds, waited = self._recent
        if steps < WAIT_STEPS:
            return None
        self._recent = (0, 0.0, 0.0)
        return waited / seconds
