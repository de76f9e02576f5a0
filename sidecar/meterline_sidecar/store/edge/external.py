"""SQL for names of events: what senders over HTTP and apps call them, unique for ever."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from meterline_sidecar.store.columns import marks, pieces
from meterline_sidecar.store.edge.events import HASHED, EventRow
from meterline_sidecar.store.port import Tx, Value


class Conflicts(NamedTuple):
    """How often an event came under an id that another one has."""

    events: int
    source: str | None
    """Of the last one; ``None`` where there was none."""
    external_id: str | None
    event_id: int | None
    """The event that has the id."""


class Stored(NamedTuple):
    """A name as it is stored, with the event that it is of, as far as they are there."""

    event_id: int
    source: str | None
    external_id: str
    is_timed: int
    mac: bytes
    event: EventRow | None


async def sources(tx: Tx) -> dict[str, int]:
    """Return the id of every source that has sent, by name; there are few."""
    rows = await tx.fetch_all("SELECT name, id FROM external_sources")
    return dict(rows)


async def add_sources(tx: Tx, names: Sequence[str]) -> dict[str, int]:
    """Add sources, and return their ids; one may be there already."""
    await tx.execute_many(
        "INSERT INTO external_sources (name) VALUES (?) ON CONFLICT (name) DO NOTHING",
        [(name,) for name in names],
    )
    found: dict[str, int] = {}
    for part in pieces(names):
        rows = await tx.fetch_all(
            "SELECT name, id FROM external_sources"  # noqa: S608 - only marks
            f" WHERE name IN ({marks(len(part))})",
            part,
        )
        found.update(dict(rows))
    return found


async def named(
    tx: Tx, names: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], tuple[int, bytes]]:
    """Return ``(event id, mac)`` of what is stored under ``(source id, external id)``."""
    found: dict[tuple[int, str], tuple[int, bytes]] = {}
    for part in pieces(names):
        pairs = ", ".join(["(CAST(? AS BIGINT), ?)"] * len(part))
        rows = await tx.fetch_all(
            # An IN of pairs would read the whole table, and so would a plain JOIN where
            # the planner thinks little of it.
            f"WITH wanted (source_id, external_id) AS (VALUES {pairs})"  # noqa: S608 - only marks
            " SELECT x.source_id, x.external_id, x.event_id, x.mac"
            " FROM wanted w CROSS JOIN external_events x"
            " WHERE x.source_id = w.source_id AND x.external_id = w.external_id",
            [value for name in part for value in name],
        )
        found.update({(row[0], row[1]): (row[2], row[3]) for row in rows})
    return found


async def add_names(tx: Tx, names: Iterable[Sequence[Value]]) -> None:
    """Name events, in the transaction that stores them.

    Args:
        names: of each, the event's id, the source's, the id in it, 1 where the time
            is part of what it says, and its mac.
    """
    await tx.execute_many(
        "INSERT INTO external_events (event_id, source_id, external_id, is_timed, mac)"
        " VALUES (?, ?, ?, ?, ?)",
        names,
    )


async def note_conflicts(tx: Tx, event_ids: Iterable[int]) -> None:
    """Count events that came under an id that one of these has, once for each."""
    await tx.execute_many(
        "UPDATE external_sources SET conflicts = conflicts + 1, conflict_event_id = ?"
        " WHERE id = (SELECT source_id FROM external_events WHERE event_id = ?)",
        [(event_id, event_id) for event_id in event_ids],
    )


async def conflicts(tx: Tx) -> Conflicts:
    """Return how often an id came again with other content, and an example."""
    row = await tx.fetch_one("SELECT sum(conflicts) FROM external_sources")
    assert row is not None
    example = await tx.fetch_one(
        "SELECT s.name, x.external_id, x.event_id FROM external_sources s"
        " JOIN external_events x ON x.event_id = s.conflict_event_id"
        " ORDER BY s.conflict_event_id DESC LIMIT 1"
    )
    return Conflicts(row[0] or 0, *(example or (None, None, None)))


async def names_after(tx: Tx, event_id: int, *, limit: int) -> list[Stored]:
    """Return names of events behind one, in order, each with its event."""
    hashed = ", ".join(HASHED.values())
    rows = await tx.fetch_all(
        "SELECT x.event_id, xs.name, x.external_id, x.is_timed, x.mac,"  # noqa: S608 - names
        f" e.id IS NOT NULL, {hashed} FROM external_events x"
        " LEFT JOIN external_sources xs ON xs.id = x.source_id"
        " LEFT JOIN events e ON e.id = x.event_id"
        " LEFT JOIN subjects s ON s.id = e.subject_id"
        " LEFT JOIN endpoints n ON n.id = e.endpoint_id"
        " WHERE x.event_id > ? ORDER BY x.event_id LIMIT ?",
        (event_id, limit),
    )
    return [
        Stored(
            event_id,
            source,
            external_id,
            is_timed,
            mac,
            EventRow(*fields) if is_there else None,
        )
        for event_id, source, external_id, is_timed, mac, is_there, *fields in rows
    ]


async def names_between(tx: Tx, first: int, last: int) -> list[Stored]:
    """Return names of events by their ids, both included; the events are elsewhere."""
    rows = await tx.fetch_all(
        "SELECT x.event_id, xs.name, x.external_id, x.is_timed, x.mac"
        " FROM external_events x LEFT JOIN external_sources xs ON xs.id = x.source_id"
        " WHERE x.event_id BETWEEN ? AND ? ORDER BY x.event_id",
        (first, last),
    )
    return [Stored(row[0], row[1], row[2], row[3], row[4], None) for row in rows]


async def nameless(
    tx: Tx, *, named_flags: int, but_flags: int, limit: int
) -> list[int]:
    """Return events that were given a name, by their flags, and have none."""
    rows = await tx.fetch_all(
        "SELECT e.id FROM events e LEFT JOIN external_events x ON x.event_id = e.id"
        " WHERE e.flags & ? <> 0 AND e.flags & ? = 0 AND x.event_id IS NULL"
        " ORDER BY e.id LIMIT ?",
        (named_flags, but_flags, limit),
    )
    return [row[0] for row in rows]


async def unused_sources(tx: Tx, *, limit: int) -> list[str]:
    """Return sources of which no event is stored."""
    rows = await tx.fetch_all(
        "SELECT s.name FROM external_sources s WHERE NOT EXISTS"
        " (SELECT 1 FROM external_events x WHERE x.source_id = s.id)"
        " ORDER BY s.id LIMIT ?",
        (limit,),
    )
    return [row[0] for row in rows]
