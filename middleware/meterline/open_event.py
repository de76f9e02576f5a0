"""The usage event of one request: filled from wherever, written once, and told apart."""

from collections.abc import Mapping
from contextvars import copy_context
from time import time_ns
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar

from msgspec import Struct

from meterline.events import QUANTITIES_MAX, UNITS, Flag, Kind
from meterline.generators import Generators
from meterline.meter import NAMELESS, Meter, Named, encode
from meterline.properties import Properties
from meterline.quantities import (
    TOO_LARGE,
    TOO_MANY,
    Number,
    add_quantity,
    bad_quantity,
    checked_quantity,
    checked_subject,
    with_share,
)
from meterline.traffic import traffic

TOO_LATE: Final = "set_subject came after the response was over"
PROPERTY_TOO_LATE: Final = "set_property came after the response was over"
SKIPPED_TOO_LATE: Final = "skip came after the response was over"
IN_EXCLUDED: Final = "what is recorded in a request that is left out is dropped with it"
LEFT_OUT: Final = 1 << 31  # in the flags of an event that is never written

NamedUse = tuple[str, Number, Mapping[str, object], Named]
"""A quantity's name, its amount, properties, and its own id, as the app says them."""

_USE: Final = int(Kind.USE)
T = TypeVar("T")

generators: Final = Generators(is_collecting=traffic.is_collecting)


if TYPE_CHECKING:

    class Keeper(Protocol):
        """Who holds an event after its request: a ``Handle``."""

        def settle(self, event: "OpenEvent") -> None:
            """Keep only what later uses need."""
            ...


def set_as_usual(kind: type[T]) -> type[T]:
    """Let the attributes of a ``Struct`` be set as those of other objects are.

    The interpreter remembers where an attribute stands, and sets it in a tenth of the
    time, unless its class has ways of its own. The collector knows an event as it is.
    """
    setattr(kind, "__setattr__", object.__setattr__)  # noqa: B010 - mypy
    setattr(kind, "__delattr__", object.__delattr__)  # noqa: B010
    return kind


class OpenEvent(Struct, kw_only=True, eq=False):
    """A usage event that is still being filled, or was written just now.

    There is one for each request. It is reached through a context variable from
    everything that the handler calls, awaits or starts. It is a ``Struct`` because that
    is made in one step, however many attributes it has.
    """

    meter: Meter
    start_ns: int
    subject: str | None = None
    route: str | None = None
    method: str | None = None
    status: int = 0
    flags: int = 0
    quantities: dict[str, int | str] | None = None
    properties: Properties | None = None
    """Of most events there are none, and then they cost next to nothing."""
    named: list[NamedUse] | None = None
    """Uses with ids of their own: they become events when status and subject are known."""
    is_over: bool = False
    """The event is written. What is recorded now becomes an event of its own."""
    left_at: int = 0
    """0 until the app's call has ended, with its background tasks; then as
    ``Traffic.end`` says."""
    handle: "Keeper | None" = None

    part: ClassVar[int] = Flag.OF_REQUEST
    """The flag of a use that belongs to this event."""

    __repr__ = object.__repr__  # a struct's would name all that its request says

    def add(self, name: str, quantity: Number, given: Mapping[str, object]) -> None:
        """Add ``quantity``; after the response is over, as an event of its own.

        Args:
            given: properties of this quantity alone, as the app says them.
        """
        with traffic.lock:  # threads may record for one request at once
            if self.is_over:
                self.record_apart(name, quantity, given)
                return
            amount: int | str = 0
            if given:  # the part and the total must be of one number
                text, exact, problem = checked_quantity(name, quantity)
                if not problem:
                    name = text
                    quantity = amount = exact
            quantities = self.quantities
            is_first = quantities is None
            if quantities is None:
                quantities = {}
            if problem := add_quantity(quantities, name, quantity):
                self.flags |= bad_quantity(name)
                self.meter.complaints.add(problem)
                return
            if is_first and not self._begin(quantities):
                self.record_apart(name, quantity, given)
                return
            if given:
                properties = self.properties = self.properties or Properties()
                self._note(properties.add(name, amount, given))

    def _begin(self, quantities: dict[str, int | str]) -> bool:
        """Take the first quantities; say whether that was in time."""
        # See close(): if it ran before these two, it has not seen them.
        self.quantities = quantities
        if self.is_over:
            return False
        generators.watch()
        shipper = self.meter.shipper
        if shipper is None:
            self.wait()
        else:  # as that does, without a call
            shipper.waiting.units[self] = copy_context()
        return True

    def set_total(
        self, name: str, quantity: Number, given: Mapping[str, object]
    ) -> None:
        """Let ``quantity`` be all that has these properties, in place of what was."""
        with traffic.lock:
            if self.is_over:
                self.record_apart(name, quantity, given)
                return
            name, amount, problem = checked_quantity(name, quantity)
            quantities = {} if self.quantities is None else self.quantities
            if not problem:
                problem = self._set_share(quantities, name, amount, given)
            if problem:
                self.flags |= bad_quantity(name)
                self.meter.complaints.add(problem)
            elif self.quantities is None and not self._begin(quantities):
                self.record_apart(name, amount, given)

    def _set_share(
        self,
        quantities: dict[str, int | str],
        name: str,
        amount: int | str,
        given: Mapping[str, object],
    ) -> str:
        """Set what of a quantity has these properties; return why not, or nothing."""
        if name not in quantities and len(quantities) >= QUANTITIES_MAX:
            return TOO_MANY
        before = quantities.get(name, 0)
        part = None
        if given:
            properties = self.properties = self.properties or Properties()
            part, problem = properties.part(name, given)
            self._note(problem)
        if part is not None:
            share: Any = part[1]
        else:
            share = self.properties.rest(name, before) if self.properties else before
        total = with_share(before, before=share, after=amount)
        if total is None:
            return TOO_LARGE  # never of the first: of it no part would have a total
        quantities[name] = total
        if part is not None:
            part[1] = amount
        return ""

    def add_named(
        self, name: str, quantity: Number, given: Mapping[str, object], named: Named
    ) -> None:
        """Record a use with an id of its own, as an event of its own."""
        with traffic.lock:
            if not self.is_over:
                if self.named is None:
                    self.named = []
                self.named.append((name, quantity, given, named))
                if self.quantities is None:
                    # That there are some is what everybody who ends it asks.
                    self.quantities = {}
                if not self.is_over:  # else as in add()
                    generators.watch()
                    self.wait()
                    return
                self.named.pop()
            self.record_apart(name, quantity, given, named=named)

    def _write_named(self) -> None:
        """Record the uses with ids of their own, now that it is known whose they are."""
        if self.named is not None:
            uses, self.named = self.named, None
            for name, quantity, given, named in uses:
                self.record_apart(name, quantity, given, named=named)

    def record_apart(
        self,
        name: str,
        quantity: Number,
        given: Mapping[str, object],
        *,
        named: Named = NAMELESS,
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
            named=named,
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

    def encoded(self, fields: tuple[object, ...], key: str | None = None) -> bytes:
        """Return the event's bytes: ``fields``, in the order of ``UsageEvent``.

        Args:
            key: what its client called it.
        """
        if self.properties is not None:
            fields = (*fields, *self.properties.take())
        elif key is not None:
            fields = (*fields, None, None)
        return encode(fields if key is None else (*fields, key))

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

    def close(self) -> dict[str, int | str] | None:
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
                if self.named is not None:
                    self._write_named()
                if (shipper := self.meter.shipper) is not None:  # as ``wait_no_more``
                    shipper.waiting.remove(self)
        return quantities or None

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
        self.meter.leave_out()

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
            self._write_named()
            if quantities:
                self._write_units(quantities)
            self.quantities = None
            self.wait_no_more()
        return True

    def _write_units(self, quantities: dict[str, int | str]) -> None:
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
        return not self.left_at or self.left_at == traffic.started
