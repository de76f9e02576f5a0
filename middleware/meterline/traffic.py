"""What this process has served: which requests are its own, and who else is served."""

import gc
import threading
from time import perf_counter_ns
from typing import Final

from meterline.system import after_fork


class Traffic:
    """How many requests this process has begun and ended, and since when it lives."""

    __slots__ = ("born_ns", "collecting", "ended", "lock", "started")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin to count, as a process that has served nothing yet."""
        self.started = 0
        self.ended = 0
        self.born_ns = perf_counter_ns()
        """Requests that began before are a parent's."""
        self.collecting = 0
        """The thread in which the garbage collector runs at this moment."""
        self.lock = threading.RLock()
        """Is held by whoever adds to an open event, or closes one that was added to."""

    def end(self) -> int:
        """Count the end of a request; return how many have ended now.

        As many have begun only if nobody else was being served, and nobody is since.
        """
        self.ended = ended = self.ended + 1
        return ended

    def is_collecting(self) -> bool:
        """Tell whether this is a finalizer that the garbage collector runs."""
        return self.collecting == threading.get_ident()


traffic: Final = Traffic()


def _after_fork() -> None:
    """Begin anew, also the lock: a thread that is not in the child may have held it."""
    traffic.begin()


def _note_collection(phase: str, _info: dict[str, int]) -> None:
    """Finalizers that the collector runs see the context of whoever triggered it."""
    traffic.collecting = threading.get_ident() if phase == "start" else 0


gc.callbacks.append(_note_collection)
after_fork(_after_fork)
