"""A thread that writes while training goes on."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """One piece of work at a time. What one raises is raised again by the next call of any method but `close`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._work: Future | None = None

    def start(self, *work: Callable[[], None]) -> None:
        """One after the other, as soon as the work before is done."""
        self.wait()
        self._work = self._thread.submit(_do_all, work)

    def wait(self) -> None:
        """Until all is done."""
        work, self._work = self._work, None
        if work:
            work.result()

    def check(self) -> None:
        if self._work and self._work.done():
            self.wait()

    def close(self) -> None:
        """Wait, whatever it raises: this is for the end after another error."""
        self._thread.shutdown()


def _do_all(work: Iterable[Callable[[], None]]) -> None:
    for each in work:
        each()
