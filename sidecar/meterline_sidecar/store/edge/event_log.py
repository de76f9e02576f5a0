"""SQL for whoever asks what happened: raw events, and counts over the ledger."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store.columns import FEW_SUBJECTS, marks
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.packed import events_between, in_parts, last_packed
from meterline_sidecar.store.packs import IDS_MAX
from meterline_sidecar.store.port import Row, Tx
from meterline_sidecar.store.sums import whole

SCAN_EVENTS_MAX: Final = 100_000  # looked at for one page; about 10 ms
SCAN_PACKED_MAX: Final = IDS_MAX // 2  # likewise, where they are packed
NEAR: Final = 4  # times a page is looked at first: to read what is packed takes longer
Spans = Sequence[tuple[int, int]]


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
    properties: str | None
    source: str | None
    """Who sent it over HTTP, and what they call it; ``None`` for all others."""
    external_id: str | None
    voided_by: int | None
    """The correction by which it does not count."""
    edge: str | None
    """The name of the edge that sent it; ``None`` for those of this host."""


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
    """Events that wait for their time, or for a person to decide."""
    bad_quantities: int
    """Events that a quantity or property was left out of: it could not be taken."""
    open: int
    closed: int
    memory: int
    """Open producers whose events wait in memory: no file could be made."""


class Filter(NamedTuple):
    """Which events are asked for; ``None`` takes all."""

    customer: str | None = None
    subject: str | None = None
    route: str | None = None
    method: str | None = None
    statuses: tuple[tuple[int, int], ...] | None = None
    """Ranges, first and last included; an event has to be in one of them."""
    kind: int | None = None
    where: tuple[str, str] | None = None
    """A property and its value, of the whole event or of a part of it."""
    source: str | None = None
    external_id: str | None = None
    subjects: str | None = None
    """JSON: pairs of names, between which a subject's is, both included."""
    without: int | None = None
    """Flags that none of them has."""


class WholeEvent(NamedTuple):
    """One event with its producer, and the batch that it was stored in."""

    event: AuditEvent
    app: str
    host: str
    pid: int
    batch_id: int
    learned_ms: int
    mac: bytes


SHOWN: Final = {
    **{name: f"e.{name}" for name in AuditEvent._fields},
    "producer": "p.producer",
    "subject": "s.name",
    "customer": "CASE s.is_split WHEN 0 THEN s.customer ELSE (SELECT o.customer"
    " FROM owners o WHERE o.subject_id = s.id AND e.time_ms >= o.from_ms"
    " AND e.time_ms < o.end_ms) END",
    "method": "n.method",
    "route": "n.route",
    "source": "(SELECT xs.name FROM external_events x JOIN external_sources xs"
    " ON xs.id = x.source_id WHERE x.event_id = e.id)",
    "external_id": "(SELECT x.external_id FROM external_events x"
    " WHERE x.event_id = e.id)",
    "voided_by": "(SELECT CASE v.is_void WHEN 1 THEN v.correction_id END"
    " FROM corrected_events v JOIN corrections c ON c.id = v.correction_id"
    " WHERE v.event_id = e.id ORDER BY v.correction_id DESC LIMIT 1)",
    "edge": "(SELECT d.name FROM edge_producers ep JOIN edges d ON d.id = ep.edge_id"
    " WHERE ep.producer = p.producer)",
}
"""Where each field of an ``AuditEvent`` is found, in its order."""
SELECT: Final = f"SELECT {', '.join(SHOWN.values())} FROM"
JOINED: Final = (
    "e JOIN producers p ON p.id = e.producer_id"
    " JOIN endpoints n ON n.id = e.endpoint_id"
    " LEFT JOIN subjects s ON s.id = e.subject_id"
)
HAS_PROPERTY: Final = either(
    sqlite="(json_extract(e.properties, '$.all.' || ?) = ?"
    " OR EXISTS (SELECT 1 FROM json_each(e.properties, '$.parts') p"
    " WHERE json_extract(p.value, '$[2].' || ?) = ?))",
    postgres="(as_json(e.properties) -> 'all' ->> CAST(? AS TEXT) = ?"
    " OR EXISTS (SELECT 1 FROM json_array_elements(as_json(e.properties) -> 'parts') p"
    " WHERE p.value -> 2 ->> CAST(? AS TEXT) = ?))",
)
BETWEEN_NAMES: Final = either(
    sqlite="(SELECT w.id FROM json_each(?) j JOIN subjects w ON w.name BETWEEN"
    " json_extract(j.value, '$[0]') AND json_extract(j.value, '$[1]'))",
    postgres="(SELECT w.id FROM json_array_elements(as_json(?)) j JOIN subjects w"
    " ON w.name BETWEEN j.value ->> 0 AND j.value ->> 1)",
)
TESTS: Final = {
    "customer": "(e.subject_id IN"
    " (SELECT id FROM subjects WHERE customer = ? AND is_split = 0)"
    " OR e.subject_id IN (SELECT subject_id FROM owners WHERE customer = ?)"
    " AND EXISTS (SELECT 1 FROM owners o WHERE o.subject_id = e.subject_id"
    " AND o.customer = ? AND e.time_ms >= o.from_ms AND e.time_ms < o.end_ms))",
    "subject": "e.subject_id = (SELECT id FROM subjects WHERE name = ?)",
    "route": "e.endpoint_id IN (SELECT id FROM endpoints WHERE route = ?)",
    "method": "e.endpoint_id IN (SELECT id FROM endpoints WHERE method = ?)",
    "kind": "e.kind = ?",
    "where": f"(e.properties IS NOT NULL AND {HAS_PROPERTY})",
    "source": "EXISTS (SELECT 1 FROM external_events x JOIN external_sources xs"
    " ON xs.id = x.source_id WHERE x.event_id = e.id AND xs.name = ?)",
    "external_id": "e.id IN (SELECT x.event_id FROM external_events x"
    " WHERE x.external_id = ? AND x.source_id IN (SELECT id FROM external_sources))",
    "subjects": f"e.subject_id IN {BETWEEN_NAMES}",
    "without": "e.flags & ? = 0",
}
"""What each field of a ``Filter`` but the statuses asks of an event."""
IN_RANGE: Final = "e.status BETWEEN ? AND ?"


async def read_events(
    tx: Tx, wanted: Filter, *, start: int, end: int, after: int, limit: int
) -> EventPage:
    """Return events of ``[start, end)`` in the order in which they were learned.

    A page may be short, or even empty, and still name where to go on: only so many
    rows are looked at for one page.

    Args:
        after: the id that the page before ended with; 0 for the first one.
        limit: events on a page.
    """
    span = await ids_between(tx, start, end)
    if span is None or after >= span[1]:
        return EventPage([], None)
    first = max(after + 1, span[0])
    last = min(first + SCAN_EVENTS_MAX - 1, span[1])
    if first <= await last_packed(tx):
        last = min(last, first + SCAN_PACKED_MAX - 1)
    near = first, min(last, first + NEAR * limit)
    events = await _page(tx, wanted, (near, (first, last)), start, end, limit, "ASC")
    reached = events[-1].id if len(events) == limit else last
    return EventPage(events, reached if reached < span[1] else None)


async def newest_events(
    tx: Tx, wanted: Filter, *, start: int, end: int, before: int | None, limit: int
) -> EventPage:
    """Return events of ``[start, end)``, the last learned first; else as above.

    ``next_after`` is the id that the next page comes before.
    """
    span = await ids_between(tx, start, end)
    if span is None:
        return EventPage([], None)
    last = span[1] if before is None else min(before - 1, span[1])
    packed = min(last, await last_packed(tx))
    first = max(span[0], last - SCAN_EVENTS_MAX + 1, packed - SCAN_PACKED_MAX + 1)
    near = max(first, last - NEAR * limit), last
    events = await _page(tx, wanted, (near, (first, last)), start, end, limit, "DESC")
    reached = events[-1].id if len(events) == limit else first
    return EventPage(events, reached if reached > span[0] else None)


async def _page(
    tx: Tx, wanted: Filter, spans: Spans, start: int, end: int, limit: int, order: str
) -> list[AuditEvent]:
    """Return events of the first span of ids where they fill a page, or of the last."""
    subjects = await subjects_meant(tx, wanted)
    rows: list[Row] = []
    for ids in spans:
        source = await events_between(tx, *ids, subjects=subjects or None)
        rows = await tx.fetch_all(
            f"{SELECT} {source.sql} {JOINED}{where(wanted, subjects)}"
            f" ORDER BY e.id {order} LIMIT ?",
            (*source.given, *given(wanted, subjects, ids, start, end), limit),
        )
        if len(rows) == limit:
            break
    return [AuditEvent(*row) for row in rows]


async def events_of(tx: Tx, ids: Sequence[int]) -> dict[int, AuditEvent]:
    """Return events by their ids."""
    found: dict[int, AuditEvent] = {}
    for source, part in await in_parts(tx, ids):
        rows = await tx.fetch_all(
            f"{SELECT} {source.sql} {JOINED} WHERE e.id IN ({marks(len(part))})",
            (*source.given, *part),
        )
        found.update({row[0]: AuditEvent(*row) for row in rows})
    return found


async def read_event(tx: Tx, event_id: int) -> WholeEvent | None:
    """Return one event with its producer and its batch."""
    source = await events_between(tx, event_id, event_id)
    row = await tx.fetch_one(
        f"{SELECT} {source.sql} {JOINED} WHERE e.id = ?", (*source.given, event_id)
    )
    if row is None:
        return None
    batch = await tx.fetch_one(
        "SELECT p.app, p.host, p.pid, b.id, b.learned_ms, b.mac FROM batches b"
        " JOIN producers p ON p.id = b.producer_id"
        " WHERE b.first_event_id <= ? AND b.first_event_id + b.events > ?"
        " ORDER BY b.id DESC LIMIT 1",
        (event_id, event_id),
    )
    assert batch is not None
    app, host, pid, batch_id, learned_ms, mac = batch
    return WholeEvent(
        AuditEvent(*row),
        app=app,
        host=host,
        pid=pid,
        batch_id=batch_id,
        learned_ms=learned_ms,
        mac=mac,
    )


async def ids_between(tx: Tx, start: int, end: int) -> tuple[int, int] | None:
    """Return the first and the last id that events of a span can have here.

    Those that left for the archive are not looked for: their hours stay noted.
    """
    span = await tx.fetch_one(
        "SELECT min(first_event_id), max(last_event_id) FROM event_hours"
        " WHERE hour_ms >= ? AND hour_ms < ?",
        (start // HOUR_MS * HOUR_MS, end),
    )
    assert span is not None
    if span[0] is None:
        return None
    first = max(span[0], (await begin(tx)).event_id + 1)
    return None if first > span[1] else (first, span[1])


async def subjects_meant(tx: Tx, wanted: Filter) -> list[int]:
    """Return the subjects that events can be of, where they are few; else none.

    A statement that has them as marks, ahead of all else, tells the events of others by
    one look, and needs not even make rows of them where they are packed.
    """
    rows: list[Row] = []
    if wanted.subject is not None:
        rows = await tx.fetch_all(
            "SELECT id FROM subjects WHERE name = ?", (wanted.subject,)
        )
    elif wanted.customer is not None:
        rows = await tx.fetch_all(
            "SELECT id FROM subjects WHERE customer = ? AND is_split = 0 UNION"
            " SELECT subject_id FROM owners WHERE customer = ? LIMIT ?",
            (wanted.customer, wanted.customer, FEW_SUBJECTS + 1),
        )
    return [row[0] for row in rows] if len(rows) <= FEW_SUBJECTS else []


def where(wanted: Filter, subjects: Sequence[int]) -> str:
    """Return the condition on events ``e``; what is not asked for costs nothing on each row.

    Args:
        subjects: see ``subjects_meant``.
    """
    tests = [text for name, text in TESTS.items() if getattr(wanted, name) is not None]
    if wanted.statuses is not None:
        tests.append(f"({' OR '.join([IN_RANGE] * len(wanted.statuses))})")
    if subjects:
        tests.insert(0, f"e.subject_id IN ({marks(len(subjects))})")
    # Nearly all that lie between the ids are of the time: that is looked at last.
    all_of = ["e.id BETWEEN ? AND ?", *tests, "e.time_ms >= ? AND e.time_ms < ?"]
    return f" WHERE {' AND '.join(all_of)}"


def given(
    wanted: Filter, subjects: Sequence[int], ids: tuple[int, int], start: int, end: int
) -> tuple[str | int, ...]:
    """Return the parameters of the condition, in its order.

    Args:
        ids: the first and the last, both included.
        start, end: when the events happened.
    """
    values: list[str | int] = []
    for name, test in TESTS.items():
        value: str | int | tuple[str, str] | None = getattr(wanted, name)
        if value is not None:
            texts = value if isinstance(value, tuple) else (value,)
            values += texts * (test.count("?") // len(texts))
    edges = (edge for edges in wanted.statuses or () for edge in edges)
    return (*ids, *subjects, *values, *edges, start, end)


async def counts(tx: Tx) -> Counts:
    """Return what all producers together recorded, and what became of it.

    What was held and let go is stored a second time, and what corrections store, by
    the ledger itself: no app recorded it, and it is not counted here.
    """
    row = await tx.fetch_one(
        "SELECT recorded_high - coalesce(h.recorded_seq, 0) / 4294967296,"
        " recorded_low - coalesce(h.recorded_seq, 0) % 4294967296,"
        " lost_high, lost_low, s.ingested - coalesce(h.ingested, 0), s.refused,"
        " s.duplicates, s.unattributed - coalesce(h.unattributed, 0),"
        " (SELECT count(*) FROM held_events WHERE state = 'waiting'),"
        " s.bad_quantities - coalesce(h.bad_quantities, 0),"
        " s.open - coalesce(h.open, 0), s.closed - coalesce(h.closed, 0), s.in_memory"
        " FROM producer_sums s, (SELECT CAST(sum(recorded_seq) AS BIGINT)"
        " AS recorded_seq,"
        " sum(ingested) AS ingested, sum(unattributed) AS unattributed,"
        " sum(bad_quantities) AS bad_quantities, sum(1 - is_closed) AS open,"
        " sum(is_closed) AS closed FROM producers WHERE producer IN (SELECT value"
        " FROM facts WHERE name IN ('held_producer', 'corrections_producer'))) h"
    )
    assert row is not None
    recorded, lost = whole(*row[:2]), whole(*row[2:4])
    ingested, refused, *others = row[4:]
    return Counts(recorded, ingested, refused, lost, *others)


async def newest_event_ms(tx: Tx) -> int | None:
    """Return the time of the event that was learned last."""
    row = await tx.fetch_one("SELECT time_ms FROM events ORDER BY id DESC LIMIT 1")
    return None if row is None else row[0]


async def learned_last_ms(tx: Tx) -> int | None:
    """Return when events were last learned of; ``None``: never."""
    row = await tx.fetch_one("SELECT learned_ms FROM batches ORDER BY id DESC LIMIT 1")
    return None if row is None else row[0]


async def learned_before_ms(tx: Tx, event_id: int) -> int | None:
    """Return since when there are events behind one; ``None``: there are none.

    It looks from the newest batch back, at no more than are behind that event.
    """
    row = await tx.fetch_one(
        "SELECT learned_ms FROM batches WHERE first_event_id <= ? AND events > 0"
        " AND (SELECT max(id) FROM events) > ?"  # which is one look, however many there are
        " ORDER BY id DESC LIMIT 1",
        (event_id + 1, event_id),
    )
    return None if row is None else row[0]


async def last_event_id(tx: Tx) -> int:
    """Return the id of the event that was learned last; 0 before the first."""
    row = await tx.fetch_one("SELECT max(id) FROM events")
    assert row is not None
    return int(row[0] or (await begin(tx)).event_id)
