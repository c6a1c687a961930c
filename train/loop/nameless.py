"""Processes that read for torch's DataLoader, without the named semaphores that multiprocessing has for its queues."""

import os
from multiprocessing.context import ForkServerContext
from typing import Any

from dx7data.workers import Lock, Shared


class NamelessContext(ForkServerContext):
    """A forkserver whose queues and events have no names: as much of it as a DataLoader uses."""

    def Lock(self) -> Any:
        return QueueLock()

    def BoundedSemaphore(self, value: int = 1) -> Any:
        return Unbounded()

    def Event(self) -> Any:
        return Event()


class QueueLock(Lock):
    """Of one end of a queue, which belongs to one thread of each process."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Waits, whatever is asked for: others have it while they put in one message."""
        self.__enter__()
        return True

    def release(self) -> None:
        self.__exit__()


class Unbounded:
    """What would bound a queue: a loader asks for a few batches at a time."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        return True

    def release(self) -> None:
        """There is nothing to count."""


class Event(Shared):
    """Once it is set it stays so."""

    def is_set(self) -> bool:
        return os.fstat(self.descriptor).st_size > 0

    def set(self) -> None:
        os.truncate(self.descriptor, 1)
