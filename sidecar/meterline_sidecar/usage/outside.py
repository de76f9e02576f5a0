"""Events that are in no ledger here, those of an edge, as counting reads events."""

from typing import Final

from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.edge.usage import EventFacts

LAST: Final = 1 << 60
"""As their number: of what a meter measured at a time the newest holds. Which of several
it was when the edge counted them, only the edge can tell."""
NOBODY: Final = 0
SOMEBODY: Final = 1


class Outside:
    """Gives such events numbers, as the ledger that they are in has others."""

    def __init__(self) -> None:
        self.endpoints: dict[int, tuple[str, str]] = {}
        """By their numbers; it grows with what is read."""
        self._numbers: dict[tuple[str, str], int] = {}

    def facts(self, event: EventRow) -> EventFacts:
        """Return what a ``Folder`` reads of an event; of its subject, whether it has one."""
        endpoint = (event.method, event.route)
        number = self._numbers.setdefault(endpoint, len(self._numbers) + 1)
        self.endpoints[number] = endpoint
        return EventFacts(
            id=LAST,
            time_ms=event.time_ms,
            kind=event.kind,
            subject_id=NOBODY if event.subject is None else SOMEBODY,
            endpoint_id=number,
            status=event.status,
            duration_us=event.duration_us,
            bytes_in=event.bytes_in,
            bytes_out=event.bytes_out,
            flags=event.flags,
            quantities=event.quantities,
            properties=event.properties,
        )
