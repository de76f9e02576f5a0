"""The usage event of one request: filled from wherever, written once, and told apart."""

from collections.abc import Mapping
from contextvars import ContextVar, copy_context
from time import perf_counter_ns, time_ns
from typing import Final, TypeAlias

from meterline.events import UNITS, Flag, Kind
from meterline.generators import Generators, is_closing
from meterline.meter import Meter, encode
from meterline.properties import Properties
from meterline.quantities import (
    add_quantity,
    bad_quantity,
    checked_quantity,
    checked_subject,
)
from meterline.stray import (
    FINALIZED,
    FORKED,
    LATE,
    OUTSIDE,
    complain,
    record_stray,
)
from meterline.traffic import traffic

TOO_LATE: Final = "set_subject came after the response was over"
PROPERTY_TOO_LATE: Final = "set_property came after the response was over"
SKIPPED_TOO_LATE: Final = "skip came after the response was over"
IN_EXCLUDED: Final = "what is recorded in a request that is left out goes with it"
LEFT_OUT: Final = 1 << 31  # in the flags of an event that is never written

_USE: Final = int(Kind.USE)


class OpenEvent:
    """A usage event that is still being filled, or was written just now.

    There is one for each request. It is reached through a context variable from
    everything that the handler calls, awaits or starts.
    """

    __slots__ = (
        "alone_at",
        "flags",
        "handle",
        "is_left",
        "is_over",
        "meter",
        "method",
        "properties",
        "quantities",
        "route",
        "start_ns",
        "status",
        "subject",
    )

    meter: Meter
    subject: str | None
    route: str | None
    method: str | None
    status: int
    flags: int
    quantities: dict[str, int] | None
    properties: Properties | None
    """Of most events there are none, and then they cost next to nothing."""
    start_ns: int
    is_over: bool
    """The event is written. What is recorded now becomes an event of its own."""
    is_left: bool
    """The app's call has ended, with its background tasks."""
    alone_at: int
    """``Traffic.started`` as it ended, if nobody else was being served; else -1."""
    handle: "Handle | None"

    part: int = int(Flag.OF_REQUEST)
    """The flag of a use that belongs to this event."""

    def add(self, name: str, quantity: int, given: Mapping[str, object]) -> None:
        """Add ``quantity``; after the response is over, as an event of its own.

        Args:
            given: properties of this quantity alone, as the app says them.
        """
        with traffic.lock:  # threads may record for one request at once
            if self.is_over:
                self.record_apart(name, quantity, given)
                return
            if given:  # the part and the total must be of one number
                text, exact, problem = checked_quantity(name, quantity)
                name, quantity = (name, quantity) if problem else (text, exact)
            quantities = {} if self.quantities is None else self.quantities
            if problem := add_quantity(quantities, name, quantity):
                self.flags |= bad_quantity(name)
                self.meter.complaints.add(problem)
                return
            if self.quantities is None:
                # See close(): if it ran before these two, it has not seen them.
                self.quantities = quantities
                if self.is_over:
                    self.record_apart(name, quantity, given)
                    return
                generators.watch()
                self.wait()
            if given:
                properties = self.properties = self.properties or Properties()
                self._note(properties.add(name, quantity, given))

    def record_apart(
        self, name: str, quantity: int, given: Mapping[str, object]
    ) -> None:
        """Record an event of its own, which filters like this one."""
        if self.flags & LEFT_OUT:
            self.meter.complaints.add(IN_EXCLUDED)
            return
        self.meter.use(
            name,
            quantity,
            subject=self.subject,
            route=self.route,
            method=self.method,
            status=self.status,
            flags=self.part,
            whole=None if self.properties is None else self.properties.whole,
            properties=given,
        )

    def set_property(self, name: str, value: str | int) -> None:
        """Say one more thing of the event; after it, only of what comes later."""
        if self.flags & LEFT_OUT:
            return
        with traffic.lock:
            properties = self.properties or Properties()
            self._note(properties.put({name: value}))
            # In this order: see close().
            self.properties = properties
            if self.is_over:
                self.meter.complaints.add(PROPERTY_TOO_LATE)

    def _note(self, problem: str) -> None:
        """Take note that a property was left out, if there is a reason."""
        if problem:
            self.flags |= Flag.BAD_PROPERTY
            self.meter.complaints.add(problem)

    def encoded(self, fields: tuple[object, ...]) -> bytes:
        """Return the event's bytes: ``fields``, in the order of ``UsageEvent``."""
        if self.properties is None:
            return encode(fields)
        return encode((*fields, *self.properties.take()))

    def wait(self, *, for_answer: bool = False) -> None:
        """Let the shipping thread write what waits too long: units, or the event."""
        if self.meter.shipper is None:
            self.meter.open()
        shipper = self.meter.shipper
        if shipper is not None:  # else nothing is recorded now, and that is counted
            room = shipper.waiting
            (room.answers if for_answer else room.units)[self] = copy_context()

    def wait_no_more(self) -> None:
        """Take the event from what the shipping thread looks after."""
        shipper = self.meter.shipper
        if shipper is not None:  # what waited for another one is forgotten with it
            shipper.waiting.remove(self)

    def close(self) -> dict[str, int] | None:
        """Let nothing more be added; return the quantities there are.

        Another thread that records at this moment gets in, or finds it closed. The
        two lines stand together because the interpreter does not switch threads
        between them: so the request pays for a lock only if it has quantities.
        """
        self.is_over = True
        quantities = self.quantities
        if quantities is not None:
            with traffic.lock:  # whoever found it open has added by now
                # Once more: the shipping thread may have written them.
                quantities = self.quantities
                self.wait_no_more()
        return quantities

    def describe(self) -> None:
        """Find out subject, route and method as far as they are known by now."""

    def is_excluded(self) -> bool:
        """Tell whether it is left out by what is known of it by now."""
        return False

    def skip(self) -> None:
        """Make no event of this request; after the response is over, say so."""
        if self.flags & LEFT_OUT:
            return
        with traffic.lock:  # the shipping thread may be writing it
            if self.is_over:
                self.meter.complaints.add(SKIPPED_TOO_LATE)
            else:
                self.leave_out()

    def leave_out(self) -> None:
        """Let it and its quantities go, and count it."""
        self.flags |= LEFT_OUT
        self.close()
        self.quantities = self.method = None
        self.meter.excluded += 1

    def end(self, error: BaseException | None) -> None:
        """Write the event as it stands, once."""

    def fail(self) -> None:
        """Count what an error of ours has cost."""
        self.meter.fail()

    def write_part(self, *, must: bool) -> bool:
        """Write what was recorded so far, as a use; return whether it could be done.

        Without a status filters would not find it, and without a subject it would be
        nobody's: it waits for them.
        """
        self.describe()
        if not self.status or not (self.subject or must):
            return False
        with traffic.lock:
            quantities = self.quantities
            if self.is_over or quantities is None:
                return True
            if self.is_excluded():
                self.leave_out()
                return True
            self.meter.append(
                self.encoded(
                    (
                        time_ns() // 1_000_000,
                        _USE,
                        self.subject,
                        self.method,
                        self.route,
                        self.status,
                        0,
                        0,
                        0,
                        self.part,
                        quantities,
                    )
                )
            )
            if UNITS in quantities:
                self.flags |= Flag.UNITS_APART
            self.quantities = None
            self.wait_no_more()
        return True

    def set_subject(self, subject: str) -> None:
        """Name who pays; after the response is over, only for what comes later."""
        if self.flags & LEFT_OUT:
            return
        subject, problem = checked_subject(subject)
        if problem:
            self.flags |= Flag.BAD_SUBJECT
            self.meter.complaints.add(problem)
            return
        if self.is_over:
            self.meter.complaints.add(TOO_LATE)
        self.subject = subject

    def is_certain(self) -> bool:
        """Tell whether a use that comes now can be of nobody else.

        While the app's call runs, whatever has its context works for it. Later, what
        it has started may serve others, unless there was nobody else since.
        """
        return not self.is_left or self.alone_at == traffic.started


class Past(OpenEvent):
    """What is left of an event when its request is gone: enough for later uses."""

    __slots__ = ("part",)

    def __init__(self, event: OpenEvent) -> None:
        self.meter = event.meter
        self.subject = event.subject
        self.route = event.route
        self.method = event.method
        self.status = event.status
        self.start_ns = event.start_ns
        self.part = event.part
        self.flags = event.flags & LEFT_OUT
        self.properties = event.properties
        self.quantities = None
        self.is_over = True


class Handle:
    """The usage event of one request, whoever asks and from wherever.

        event = meterline.current()  # in the handler
        event.record("tokens", 512)  # in any thread, task, finalizer or inner app

    What is recorded before the response is over adds to the request's event; what
    comes later is a use with the request's subject, route and status. Nothing raises.
    """

    __slots__ = ("_event", "meter", "start_ns")

    is_left: Final = False
    """As an ``OpenEvent`` in the context of a generator's end; it is never too late."""

    def __init__(self, event: OpenEvent | None) -> None:
        self._event = event
        self.meter = None if event is None else event.meter
        self.start_ns = perf_counter_ns() if event is None else event.start_ns

    def record(self, name: str, quantity: int, /, **properties: str | int) -> None:
        """Add ``quantity`` of ``name`` to the request's event, as ``meterline.record``."""
        self.add(name, quantity, properties)

    def add(self, name: str, quantity: int, given: Mapping[str, object]) -> None:
        """Do the same with the properties in one argument."""
        event = self._event
        if event is None:
            record_stray(name, quantity, given, problem=OUTSIDE, meter=None)
        elif event.start_ns <= traffic.born_ns:  # the parent writes its events itself
            event.describe()
            event.record_apart(name, quantity, given)
        else:
            event.add(name, quantity, given)

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
            self._event = Past(event)

    def is_certain(self) -> bool:
        """Tell that there is no doubt."""
        return True


Current: TypeAlias = OpenEvent | Handle | None

current_event: ContextVar[Current] = ContextVar("meterline_event", default=None)


def handle_of(event: OpenEvent | Handle) -> Handle:
    """Return the one handle on ``event``, which may be that already."""
    if isinstance(event, Handle):
        return event
    handle = event.handle
    if handle is None:
        handle = event.handle = Handle(event)
        if event.is_left:
            handle.settle(event)
    return handle


def doubt(event: OpenEvent | Handle) -> str:
    """Return why what is said now may not be about ``event``; empty if it is."""
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


generators: Final = Generators(
    owner=_owner, adopt=_adopt, is_collecting=traffic.is_collecting
)
