"""Ctrl-C and SIGTERM: training stops at the end of a step, with a checkpoint."""

import signal
from types import FrameType


class Stop:
    """Inside its block, the first Ctrl-C or SIGTERM asks for a checkpoint and the end; then a Ctrl-C ends at once.

    A second SIGTERM does not: torchrun sends one of its own to processes that had theirs from the system.
    """

    def __enter__(self) -> "Stop":
        self.signal = 0
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])
