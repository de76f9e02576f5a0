"""What a handler can say about the request that it serves: how much, and who pays."""

import logging
import os
import threading
from contextvars import ContextVar
from typing import Final

from meterline.events import Flag
from meterline.meter import Meter
from meterline.quantities import (
    Complaints,
    add_quantity,
    bad_quantity,
    checked_subject,
)

log = logging.getLogger(__name__)

OUTSIDE: Final = (
    "nothing was recorded: no request is being metered here; use meterline.Meter"
)
TOO_LATE: Final = "set_subject came after the response was over"


class OpenEvent:
    """A usage event that is still being filled, or was written just now.

    There is one for each request. It is reached through a context variable from
    everything that the handler calls, awaits or starts.
    """

    __slots__ = ("flags", "is_over", "meter", "quantities", "route", "subject")

    meter: Meter
    subject: str | None
    route: str | None
    flags: int
    quantities: dict[str, int] | None
    is_over: bool
    """The event is written. What is recorded now becomes an event of its own."""

    def record(self, name: str, quantity: int) -> None:
        """Add ``quantity``; after the response is over, as an event of its own."""
        with lock:  # threads may record for one request at once
            if self.is_over or not self._add(name, quantity):
                self.meter.record(
                    name, quantity, subject=self.subject, route=self.route
                )

    def _add(self, name: str, quantity: int) -> bool:
        """Add to the event; return false if it was closed meanwhile."""
        quantities = {} if self.quantities is None else self.quantities
        if problem := add_quantity(quantities, name, quantity):
            self.flags |= bad_quantity(name)
            self.meter.complaints.add(problem)
            return True
        is_first = self.quantities is None
        # See close(): if it ran before these two, it has not seen them.
        self.quantities = quantities
        is_over = self.is_over
        return not (is_first and is_over)

    def close(self) -> dict[str, int] | None:
        """Let nothing more be added; return the quantities there are.

        Another thread that records at this moment gets in, or finds it closed. The
        two lines stand together because the interpreter does not switch threads
        between them: so the request pays for a lock only if it has quantities.
        """
        self.is_over = True
        quantities = self.quantities
        if quantities is not None:
            with lock:  # whoever found it open has added by now
                return quantities.copy()
        return None

    def set_subject(self, subject: str) -> None:
        """Name who pays; after the response is over, only for what comes later."""
        if problem := checked_subject(subject):
            self.flags |= Flag.BAD_SUBJECT
            self.meter.complaints.add(problem)
            return
        if self.is_over:
            self.meter.complaints.add(TOO_LATE)
        self.subject = subject


current: ContextVar[OpenEvent | None] = ContextVar("meterline_event", default=None)
lock = threading.RLock()
outside = Complaints()


def record(name: str, quantity: int) -> None:
    """Add ``quantity`` of ``name`` to the usage event of the request being served.

    Works wherever the handler's context reaches: in async and sync handlers, in
    tasks and threads that they start with ``asyncio.to_thread``, and in the
    generator of a streaming response. Several of one name add up. Never raises: what
    cannot be recorded is left out, counted, and logged once.

    Args:
        name: letters, digits and ``_ . : -``, at most 64.
        quantity: a whole number from 0 to 2**63 - 1, of whatever type: 250.0 is 250.
    """
    event = current.get()
    if event is None:
        outside.add(OUTSIDE)
    else:
        event.record(name, quantity)


def set_subject(subject: str) -> None:
    """Name who used what the request being served costs. The last call decides.

    Args:
        subject: 1 to 256 characters. It is stronger than the middleware's resolver.
    """
    event = current.get()
    if event is None:
        outside.add(OUTSIDE)
    else:
        event.set_subject(subject)


def _after_fork() -> None:
    """Make the lock anew: a thread that is not in the child may have held it."""
    global lock
    lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
