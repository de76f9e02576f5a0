"""The fence: under which number the elected writer does what it does by itself.

Where several processes write one ledger, one of them is elected to write of money. Each
election has a number, higher than those before. Whatever a job of the elected one does,
in whichever part, runs under its number: a transaction that is opened meanwhile is
refused once another was elected, so that a process that slept through its time changes
nothing when it wakes. What people and edges ask for has no fence: it is looked at again
in the transaction that writes it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_FENCE: Final[ContextVar[int | None]] = ContextVar("fence", default=None)


def fence() -> int | None:
    """Return the number that is worked under here; ``None``: under none."""
    return _FENCE.get()


@contextmanager
def fenced(number: int | None) -> Generator[None]:
    """Work under a number; tasks that are begun meanwhile do so, too."""
    token = _FENCE.set(number)
    try:
        yield
    finally:
        _FENCE.reset(token)
