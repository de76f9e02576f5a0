"""An event as it should have been recorded, made of one that was."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from meterline.events import Flag
from meterline.usage_event import Part, UsageEvent
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.ingest.decode import EVER, to_row
from meterline_sidecar.properties import stored_in
from meterline_sidecar.store.edge.events import EventRow

KEPT_FLAGS: Final = int(Flag.REPEATED)
"""What we noted of the event that holds for the one in its place, besides its app's."""


class NotAmendable(MeterlineError):
    """An event cannot be as it was asked for; the text says why."""


class Changes(NamedTuple):
    """What of an event is changed; ``None``: it stays as it is."""

    subject: str | None = None
    time_ms: int | None = None
    quantities: Mapping[str, int | str] = {}
    """By name; others stay."""
    properties: Mapping[str, str] = {}
    """Of the whole event, by name; others stay."""


def amended(event: EventRow, changes: Changes) -> EventRow:
    """Return the event that counts in place of another, without its number.

    Raises:
        NotAmendable: it would be no event.
    """
    known: dict[str, int | str] = (
        msgspec.json.decode(event.quantities) if event.quantities else {}
    )
    stored = stored_in(event.properties)
    used = UsageEvent(
        time_ms=event.time_ms if changes.time_ms is None else changes.time_ms,
        kind=event.kind,
        subject=changes.subject or event.subject,
        method=event.method or None,
        route=event.route or None,
        status=event.status,
        duration_us=event.duration_us,
        bytes_in=event.bytes_in,
        bytes_out=event.bytes_out,
        flags=event.flags,
        quantities={**known, **changes.quantities} or None,
        properties={**stored.whole, **changes.properties} or None,
        parts=[Part(*part) for part in stored.parts] or None,
    )
    try:
        row = to_row(0, used, EVER)
    except ValueError as error:
        raise NotAmendable(f"{error}; void it, and add another one") from error
    return row._replace(flags=row.flags | event.flags & KEPT_FLAGS)
