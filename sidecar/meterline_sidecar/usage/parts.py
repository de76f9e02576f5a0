"""Uses that belong to a request: written while it was open, or after its response.

Filters see them as their request, so that ``status = "200-299"`` takes what was recorded
late. They are no calls, and have no bytes and no duration of their own.
"""

from typing import Final

from meterline.events import UNITS, Flag, Kind
from meterline_sidecar.meters import EVENT_VALUES, Meter

PART: Final = int(Flag.PART)  # arithmetic on enums costs ten times as much
REPEATED: Final = int(Flag.REPEATED)
SORTED_BY: Final = PART | REPEATED
"""Flags that decide which meters take an event."""
_OF_REQUEST: Final = int(Flag.OF_REQUEST)


def kind_in_filters(kind: int, flags: int) -> int:
    """Return the kind of an event as filters see it."""
    if not flags & PART:
        return kind
    return int(Kind.REQUEST if flags & _OF_REQUEST else Kind.WEBSOCKET)


def can_measure(meter: Meter, flags: int) -> bool:
    """Say whether an event has anything of its own that ``meter`` measures."""
    if flags & REPEATED and not meter.counts_repeated:
        return False
    if not flags & PART:
        return True
    return meter.aggregation != "count" and (
        meter.value == UNITS or meter.value not in EVENT_VALUES
    )
