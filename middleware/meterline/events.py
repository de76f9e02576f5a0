"""What a usage event can be: its kinds, its flags, its names and its limits.

How one is encoded stands in ``usage_event``, which an app does not load.
"""

from enum import IntEnum
from typing import Final

SUBJECT_CHARS_MAX: Final = 256
ROUTE_CHARS_MAX: Final = 512
METHOD_CHARS_MAX: Final = 32
QUANTITY_NAME_CHARS_MAX: Final = 64
QUANTITIES_MAX: Final = 32
PROPERTY_NAME_CHARS_MAX: Final = 64
PROPERTY_CHARS_MAX: Final = 128  # of a value
PROPERTIES_MAX: Final = 16  # of the whole event, and of each part
PARTS_MAX: Final = 32
NAME_CHARS_MAX: Final = 256  # of a source, and of an id in it
QUANTITY_MAX: Final = 2**63 - 1  # what SQLite and PostgreSQL keep as an integer
DECIMALS_MAX: Final = 18  # of a quantity that is not whole, and before its point
STATUS_MAX: Final = 999
UNITS: Final = "units"
"""The quantity that an event has 1 of unless the app recorded it."""
TIME_MS_MAX: Final = 2**53  # the year 287396; keeps every later sum inside 63 bits

RESERVED_NAMES: Final = frozenset(
    {
        "amounts",
        "at",
        "bytes_in",
        "bytes_out",
        "customer",
        "duration",
        "duration_us",
        "flags",
        "id",
        "kind",
        "meter",
        "method",
        "parts",
        "producer",
        "properties",
        "quantities",
        "quantity",
        "route",
        "seq",
        "source",
        "status",
        "subject",
        "time",
        "time_ms",
    }
)
"""No properties: what an event has already, what ``record`` takes besides them, and
what stands beside them in the files."""


class Kind(IntEnum):
    """Where a usage event comes from."""

    REQUEST = 0
    """An HTTP request."""
    WEBSOCKET = 1
    """A websocket connection, recorded when it closes."""
    USE = 2
    """A quantity recorded outside a request, or after its response was over."""


class Flag:
    """What was unusual about a usage event; several may be set.

    Plain numbers: to make an enum of them takes longer than to load most modules here, and
    to set one of it longer than to encode an event.
    """

    INCOMPLETE: Final = 1
    """The response ended without its last body message: the client went away."""
    ERROR: Final = 2
    """The app raised."""
    CANCELLED: Final = 4
    """The request's task was cancelled."""
    BAD_QUANTITY: Final = 8
    """A recorded quantity was no number from 0 to ``QUANTITY_MAX``, or one of more digits
    than ``DECIMALS_MAX`` behind the point, or before it, or a fraction as a float: left
    out."""
    BAD_SUBJECT: Final = 16
    """The subject was no text of 1 to 256 characters, or its resolver raised."""
    BAD_UNITS: Final = 32
    """One that was left out is called ``units``: how many there were is not known,
    and they are not taken for the 1 of an event that says nothing of them."""
    STRAY: Final = 64
    """A use recorded where the request that it belongs to could not be told: it has no
    subject, because it might be somebody else's."""
    OF_REQUEST: Final = 128
    """A use that belongs to an HTTP request: recorded while its response was still
    going out, or after it. It has the request's subject, route, method and status, and
    filters see it as a ``request``; it is no call of its own."""
    OF_WEBSOCKET: Final = 256
    """The same of a websocket."""
    PART: Final = OF_REQUEST | OF_WEBSOCKET
    UNITS_APART: Final = 512
    """Its ``units`` stand in uses that were written while it was open."""
    BAD_PROPERTY: Final = 1024
    """A property was left out: its name or value cannot be taken, or there are too many.
    What it was said of still counts, without it."""
    BAD_ID: Final = 2048
    """An id of the app's own could not be taken: it counts each time that it comes."""
    HELD: Final = 1 << 16
    """Set by the sidecar: the time cannot be right: ahead, or before 2026."""
    RELEASED: Final = 1 << 17
    """Set by the sidecar: the event that is counted in place of one that was held."""
    EXTERNAL: Final = 1 << 18
    """Set by the sidecar: it came over HTTP, under a name that its sender gave it."""
    NAMED: Final = 1 << 19
    """Set by the sidecar: its app gave it an id, under which it counts once."""
    DUPLICATE: Final = 1 << 20
    """Set by the sidecar: an event with its id, which says the same, was there before.
    That one counts, and this one does not."""
    CONFLICT: Final = 1 << 21
    """Set by the sidecar: an event with its id, which says something else, was there
    before. That one counts, and this one does not."""
    REPEATED: Final = 1 << 22
    """Set by the sidecar: a request that its client sent again under a key of its own.
    It counts for those meters alone that say so."""
    CORRECTION: Final = 1 << 23
    """Set by the sidecar: no use, but the place in the order of events from which on a
    correction holds."""
    ROLLED_UP: Final = 1 << 24
    """Set by an edge: no use of its own, but what some of its events come to, by the
    meters of its centre. It counts there alone."""


LEFT_OUT: Final = Flag.BAD_QUANTITY | Flag.BAD_PROPERTY | Flag.BAD_ID
"""Flags of events that something was left out of."""
UNCOUNTED: Final = Flag.HELD | Flag.DUPLICATE | Flag.CONFLICT | Flag.CORRECTION
"""Flags of events that no meter counts."""
