"""What a handler can say about the request that it serves: how much, and who pays.

The request is found by a context variable, and Python runs code in contexts that are
not its own: a finalizer in whoever triggered the collector, a task in its maker's, a
forked child in its parent's. Where it cannot be told whose a use is, it is recorded as
nobody's, flagged and counted: another customer must not pay for it. A handle, taken
with ``current()`` while the request is served, asks no context and is always right.
"""

import sys
from collections.abc import Mapping
from typing import Final

from meterline.compiled import stand_in
from meterline.handle import Handle, current_event, doubt, handle_of
from meterline.meter import Named
from meterline.open_event import OpenEvent, generators
from meterline.quantities import Number
from meterline.stray import OUTSIDE, complain, record_stray
from meterline.traffic import traffic

_current: Final = current_event.get  # looked up once, for every quantity
_exception: Final = sys.exception


@stand_in
def record(
    name: str,
    quantity: Number,
    /,
    *,
    id: str | int | None = None,  # noqa: A002 - what everybody calls it
    source: str | None = None,
    **properties: str | int,
) -> None:
    """Add ``quantity`` of ``name`` to the usage event of the request being served.

    Works wherever the handler's context reaches: in async and sync handlers, in
    tasks and threads that they start with ``asyncio.to_thread``, and in the
    generator of a streaming response. Several of one name add up. Never raises: what
    cannot be recorded is left out, counted, and logged once. Where it cannot be told
    whose it is, it is recorded as nobody's, with the flag ``STRAY``.

    Args:
        name: letters, digits and ``_ . : -``, at most 64.
        quantity: a whole number from 0 to 2**63 - 1, of whatever type: 250.0 is 250. Or
            a fraction, as a ``Decimal`` or its text, with at most 18 digits on either
            side of its point: ``"1.25"``. A float that is not whole is not taken.
        id: an id of the app's own, such as that of a job: 1 to 256 characters, or a
            whole number. With it the use is an event of its own, and counts once for
            ever: also tried again, by another worker, in a year.
        source: what the id is unique in; the app's name unless it is said.
        properties: what this quantity is told apart by, as in ``model="large"``: at
            most 16 names of small letters, digits and ``_``, and texts of at most 128
            characters, numbers or truth values. They go over those of ``set_property``.
    """
    event = _current()
    if id is not None or source is not None:
        _record_named(event, name, quantity, properties, (id, source))
    elif (
        event is not None
        and not event.left_at
        and not traffic.collecting
        and event.start_ns > traffic.born_ns
        and _exception() is None
    ):  # what is nearly always so, without a call
        event.add(name, quantity, properties)
    elif event is None:
        record_stray(name, quantity, properties, problem=OUTSIDE, meter=None)
    elif problem := doubt(event):
        record_stray(name, quantity, properties, problem=problem, meter=event.meter)
    else:
        event.add(name, quantity, properties)


def _record_named(
    event: OpenEvent | Handle | None,
    name: str,
    quantity: Number,
    properties: Mapping[str, object],
    named: Named,
) -> None:
    """Record a use with an id of its own, as one of ``event`` if it surely is."""
    problem = OUTSIDE if event is None else doubt(event)
    if event is None or problem:
        meter = None if event is None else event.meter
        record_stray(
            name, quantity, properties, problem=problem, meter=meter, named=named
        )
    else:
        handle_of(event).add(name, quantity, properties, named=named)


def set_total(name: str, quantity: Number, /, **properties: str | int) -> None:
    """Let ``quantity`` be all there is of ``name`` in the request being served.

    In place of adding: the last call decides, and takes the place of what was recorded
    before; what is recorded later adds to it. It is about what has just these
    properties: ``set_total("seats", 3, plan="free")`` leaves others as they are. For
    meters that take the ``latest`` or the ``max``. Never raises, as ``record``.

    Args:
        name: as in ``record``; likewise ``quantity`` and ``properties``.
    """
    event = current_event.get()
    problem = OUTSIDE if event is None else doubt(event)
    if event is None or problem:
        meter = None if event is None else event.meter
        record_stray(name, quantity, properties, problem=problem, meter=meter)
    else:
        handle_of(event).set_total(name, quantity, **properties)


def set_subject(subject: str) -> None:
    """Name who used what the request being served costs. The last call decides.

    Args:
        subject: 1 to 256 characters. It is stronger than the middleware's resolver.
    """
    event = current_event.get()
    if event is None:
        complain(OUTSIDE, meter=None)
    elif problem := doubt(event):
        complain(problem, meter=event.meter)
    else:
        generators.watch()
        event.set_subject(subject)


def set_property(name: str, value: str | int) -> None:
    """Say one more thing of the usage event of the request being served.

    It holds for the whole event and all that is recorded in it, before and after; the
    last call for a name decides. Never raises, as ``record``.

    Args:
        name: a small letter or ``_``, then these and digits; at most 64. It is no name
            of what an event has already, such as ``route``.
        value: text of 1 to 128 characters, a whole number or a truth value.
    """
    event = current_event.get()
    if event is None:
        complain(OUTSIDE, meter=None)
    elif problem := doubt(event):
        complain(problem, meter=event.meter)
    else:
        generators.watch()
        event.set_property(name, value)


def skip() -> None:
    """Make no event of the request being served: nobody pays for it.

    What was recorded in it goes with it, and what is recorded later. It is counted in
    ``stats.excluded``. After the response is over it changes nothing, and is a
    complaint.
    """
    event = current_event.get()
    if event is None:
        complain(OUTSIDE, meter=None)
    elif problem := doubt(event):
        complain(problem, meter=event.meter)
    else:
        event.skip()


def current() -> Handle:
    """Return a handle on the usage event of the request being served.

    It needs no context: give it to threads, pools, workers and finalizers. Where no
    request is being served, what it records is nobody's.
    """
    event = current_event.get()
    if event is None:
        complain(OUTSIDE, meter=None)
        return Handle(None)
    if problem := doubt(event):
        complain(problem, meter=event.meter)
        return Handle(None)
    generators.watch()
    return handle_of(event)
