"""What was recorded where it cannot be told whose it is: nobody's, flagged and counted."""

from _weakref import ref  # with `weakref` comes half a millisecond of what is not used
from collections.abc import Mapping
from typing import Final

from meterline.complaints import Complaints
from meterline.events import Flag
from meterline.meter import NAMELESS, Meter, Named
from meterline.quantities import Number

OUTSIDE: Final = (
    "no request is being metered here, so this is recorded as nobody's; use"
    " meterline.Meter, or a handle from meterline.current()"
)
_RULE: Final = "is nobody's; take a handle from meterline.current() before"
FORKED: Final = f"what is recorded in a forked child {_RULE}"
FINALIZED: Final = f"what a finalizer records, in whatever request runs, {_RULE}"
LATE: Final = f"what is recorded after a request, while others are served, {_RULE}"

outside: Final = Complaints()
"""Those that no meter has."""
_homes: "list[ref[Meter]]" = []


def set_home(meter: Meter) -> None:
    """Name the meter that takes what is recorded outside of requests."""
    _homes[:] = [ref(meter)]


def complain(problem: str, *, meter: Meter | None) -> None:
    """Say once why something is nobody's, and count it."""
    (outside if meter is None else meter.complaints).add(problem)


def record_stray(
    name: str,
    quantity: Number,
    properties: Mapping[str, object],
    *,
    problem: str,
    meter: Meter | None,
    named: Named = NAMELESS,
) -> None:
    """Record a use of nobody.

    Args:
        properties: of the use, as the app says them.
        named: its id and the source of that, as the app says them.
        meter: that of the request in whose context it came, if there was one.
    """
    complain(problem, meter=meter)
    if meter is None and _homes:
        meter = _homes[0]()
    if meter is not None:
        meter.use(
            name,
            quantity,
            flags=Flag.STRAY,
            named=named,
            properties=properties,
        )
