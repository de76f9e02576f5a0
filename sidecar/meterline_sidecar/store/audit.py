"""SQL for whoever asks what happened: raw events, and counts over the ledger."""

from typing import Final, NamedTuple

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store.port import Tx

SCAN_EVENTS_MAX: Final = 500_000  # looked at for one page; about 50 ms


class AuditEvent(NamedTuple):
    """One raw event as it is shown."""

    id: int
    producer: str
    seq: int
    time_ms: int
    kind: int
    subject: str | None
    customer: str | None
    method: str
    route: str
    status: int
    duration_us: int
    bytes_in: int
    bytes_out: int
    flags: int
    quantities: str | None


class EventPage(NamedTuple):
    """Some events, and where to go on (``None``: that was all)."""

    events: list[AuditEvent]
    next_after: int | None


class Counts(NamedTuple):
    """Sums over all producers."""

    recorded: int
    ingested: int
    refused: int
    lost: int
    duplicates: int
    unattributed: int
    held: int
    open: int
    closed: int
    memory: int
    """Open producers whose events wait in memory: no file could be made."""


async def read_events(
    tx: Tx, *, customer: str | None, start: int, end: int, after: int, limit: int
) -> EventPage:
    """Return events of ``[start, end)`` in the order in which they were learned.

    A page may be short, or even empty, and still name where to go on: only so many
    rows are looked at for one page.

    Args:
        customer: whose events; ``None`` takes everybody's.
        after: the id that the page before ended with; 0 for the first one.
        limit: events on a page.
    """
    span = await tx.fetch_one(
        "SELECT min(first_event_id), max(last_event_id) FROM event_hours"
        " WHERE hour_ms >= ? AND hour_ms < ?",
        (start // HOUR_MS * HOUR_MS, end),
    )
    assert span is not None
    if span[0] is None:
        return EventPage([], None)
    first = max(after + 1, span[0])
    last = min(first + SCAN_EVENTS_MAX - 1, span[1])
    rows = await tx.fetch_all(
        "SELECT e.id, p.producer, e.seq, e.time_ms, e.kind, s.name, s.customer,"
        " n.method, n.route, e.status, e.duration_us, e.bytes_in, e.bytes_out,"
        " e.flags, e.quantities FROM events e"
        " JOIN producers p ON p.id = e.producer_id"
        " JOIN endpoints n ON n.id = e.endpoint_id"
        " LEFT JOIN subjects s ON s.id = e.subject_id"
        " WHERE e.id BETWEEN ? AND ? AND e.time_ms >= ? AND e.time_ms < ?"
        " AND (? IS NULL OR e.subject_id IN"
        " (SELECT id FROM subjects WHERE customer = ?)) ORDER BY e.id LIMIT ?",
        (first, last, start, end, customer, customer, limit),
    )
    events = [AuditEvent(*row) for row in rows]
    reached = events[-1].id if len(events) == limit else last
    return EventPage(events, reached if reached < span[1] else None)


async def counts(tx: Tx) -> Counts:
    """Return what all producers together recorded, and what became of it."""
    row = await tx.fetch_one(
        "SELECT coalesce(sum(recorded_seq), 0), coalesce(sum(ingested), 0),"
        " coalesce(sum(refused), 0), coalesce(sum(lost), 0),"
        " coalesce(sum(duplicates), 0), coalesce(sum(unattributed), 0),"
        " coalesce(sum(held), 0), coalesce(sum(1 - is_closed), 0),"
        " coalesce(sum(is_closed), 0),"
        " coalesce(sum(is_closed = 0 AND spool <> 'file'), 0) FROM producers"
    )
    assert row is not None
    return Counts(*row)


async def newest_event_ms(tx: Tx) -> int | None:
    """Return the time of the event that was learned last."""
    row = await tx.fetch_one("SELECT time_ms FROM events ORDER BY id DESC LIMIT 1")
    return None if row is None else row[0]


async def last_event_id(tx: Tx) -> int:
    """Return the id of the event that was learned last; 0 before the first."""
    row = await tx.fetch_one("SELECT coalesce(max(id), 0) FROM events")
    assert row is not None
    return int(row[0])
