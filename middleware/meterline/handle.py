"""Handles on usage events: what code outside of their context reaches them by."""

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter_ns
from typing import Final, Self, TypeAlias

from meterline.generators import is_closing
from meterline.meter import NAMELESS, Named
from meterline.open_event import LEFT_OUT, OpenEvent, generators
from meterline.quantities import Number
from meterline.stray import (
    FINALIZED,
    FORKED,
    LATE,
    OUTSIDE,
    complain,
    record_stray,
)
from meterline.traffic import traffic


class Past(OpenEvent, kw_only=True, eq=False):
    """What is left of an event when its request is gone: enough for later uses."""

    part: int  # type: ignore[misc]  # of each its own
    is_over: bool = True

    @classmethod
    def of(cls, event: OpenEvent) -> Self:
        """Return what is left of ``event``."""
        return cls(
            meter=event.meter,
            start_ns=event.start_ns,
            subject=event.subject,
            route=event.route,
            method=event.method,
            status=event.status,
            flags=event.flags & LEFT_OUT,
            properties=event.properties,
            part=event.part,
        )


class Handle:
    """The usage event of one request, whoever asks and from wherever.

        event = meterline.current()  # in the handler
        event.record("tokens", 512)  # in any thread, task, finalizer or inner app

    What is recorded before the response is over adds to the request's event; what
    comes later is a use with the request's subject, route and status. Nothing raises.
    """

    __slots__ = ("_event", "meter", "start_ns")

    left_at: Final = 0
    """As an ``OpenEvent`` in the context of a generator's end; it is never too late."""

    def __init__(self, event: OpenEvent | None) -> None:
        self._event = event
        self.meter = None if event is None else event.meter
        self.start_ns = perf_counter_ns() if event is None else event.start_ns

    def record(
        self,
        name: str,
        quantity: Number,
        /,
        *,
        id: str | int | None = None,  # noqa: A002 - what everybody calls it
        source: str | None = None,
        **properties: str | int,
    ) -> None:
        """Add ``quantity`` of ``name`` to the request's event, as ``meterline.record``."""
        named = NAMELESS if id is None and source is None else (id, source)
        self.add(name, quantity, properties, named=named)

    def add(
        self,
        name: str,
        quantity: Number,
        given: Mapping[str, object],
        *,
        named: Named = NAMELESS,
        is_apart: bool = False,
    ) -> None:
        """Do the same with the properties in one argument, and the name in another.

        Args:
            is_apart: make an event of its own of it, as of a use that has a name.
        """
        event = self._event
        if event is None:
            record_stray(
                name, quantity, given, problem=OUTSIDE, meter=None, named=named
            )
        elif event.start_ns <= traffic.born_ns:  # the parent writes its events itself
            event.describe()
            event.record_apart(name, quantity, given, named=named)
        elif named is NAMELESS and not is_apart:
            event.add(name, quantity, given)
        else:
            event.add_named(name, quantity, given, named)

    def set_total(
        self, name: str, quantity: Number, /, **properties: str | int
    ) -> None:
        """Let ``quantity`` be all there is of ``name``, as ``meterline.set_total``."""
        event = self._event
        if event is None:
            record_stray(name, quantity, properties, problem=OUTSIDE, meter=None)
        elif event.start_ns <= traffic.born_ns:
            event.describe()
            event.record_apart(name, quantity, properties)
        else:
            event.set_total(name, quantity, properties)

    def set_subject(self, subject: str) -> None:
        """Name who used what the request costs, as ``meterline.set_subject``."""
        if self._event is None:
            complain(OUTSIDE, meter=None)
        else:
            self._event.set_subject(subject)

    def set_property(self, name: str, value: str | int) -> None:
        """Say one more thing of the request's event, as ``meterline.set_property``."""
        if self._event is None:
            complain(OUTSIDE, meter=None)
        else:
            self._event.set_property(name, value)

    def skip(self) -> None:
        """Make no event of the request, as ``meterline.skip``."""
        if self._event is None:
            complain(OUTSIDE, meter=None)
        else:
            self._event.skip()

    def settle(self, event: OpenEvent) -> None:
        """Keep only what later uses need: the request itself is large."""
        if event.is_over:
            self._event = Past.of(event)

    def is_certain(self) -> bool:
        """Tell that there is no doubt."""
        return True


Current: TypeAlias = OpenEvent | Handle | None

current_event: ContextVar[Current] = ContextVar("meterline_event", default=None)


def handle_of(event: OpenEvent | Handle) -> Handle:
    """Return the one handle on ``event``, which may be that already."""
    if isinstance(event, Handle):
        return event
    known = event.handle
    if isinstance(known, Handle):
        return known
    handle = event.handle = Handle(event)
    if event.left_at:
        handle.settle(event)
    return handle


def doubt(event: OpenEvent | Handle) -> str:
    """Return why what is said now may not be about ``event``; empty if it is."""
    if (
        not event.left_at
        and not traffic.collecting
        and event.start_ns > traffic.born_ns
        and sys.exception() is None
    ):
        return ""  # what is nearly always so, without a call of ours
    if event.start_ns <= traffic.born_ns:
        return FORKED
    if traffic.is_collecting() or (isinstance(event, OpenEvent) and is_closing()):
        return FINALIZED
    return "" if event.is_certain() else LATE


def _owner() -> Handle | None:
    """Return whose an async generator is that begins here."""
    event = current_event.get()
    return None if event is None or doubt(event) else handle_of(event)


def _adopt(owner: Handle) -> None:
    current_event.set(owner)


generators.tell_owners(_owner, _adopt)


class LeftOut(OpenEvent, kw_only=True, eq=False):
    """In place of an event: the current one of requests that make none.

    One for all of them: it holds nothing.
    """

    start_ns: int = sys.maxsize  # in a forked child, too
    flags: int = LEFT_OUT
    is_over: bool = True
