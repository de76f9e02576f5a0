"""SQL for counting: events in, and what they add up to, per subject and window."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.meters import Totals
from meterline_sidecar.store.columns import Columns, marks
from meterline_sidecar.store.day_parts import PARTS
from meterline_sidecar.store.edge import day_parts, rollups
from meterline_sidecar.store.edge.begin import check_here
from meterline_sidecar.store.edge.by_column import columns_between
from meterline_sidecar.store.edge.packed import is_packed
from meterline_sidecar.store.edge.packed_days import Day
from meterline_sidecar.store.packed_days import GROUPS_MIN, PACKED
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import ALL, DAYS, WINDOWS
from meterline_sidecar.store.usage import GENERATION, Generation


class Key(NamedTuple):
    """Where usage is added up."""

    subject_id: int
    window_ms: int
    group_id: int


class EventFacts(NamedTuple):
    """What aggregation reads of an event."""

    id: int
    time_ms: int
    kind: int
    subject_id: int
    endpoint_id: int
    status: int
    duration_us: int
    bytes_in: int
    bytes_out: int
    flags: int
    quantities: str | None
    properties: str | None = None
    """As in ``ingest.decode``: JSON, or ``None`` without any."""
    n_events: int = 1
    """How many it stands for that are alike, as far as meters look. Then it has the
    number of the last of them, and a time in the window of them all."""


class Cut(NamedTuple):
    """Where a window is two for a subject, for events behind one."""

    subject_id: int
    cut_ms: int
    after_event_id: int


class Span(NamedTuple):
    """Events in a row, and between which times they happened."""

    after_id: int
    last_id: int
    first_ms: int
    last_ms: int

    @property
    def n_ids(self) -> int:
        """How many there are."""
        return self.last_id - self.after_id


COUNTED: Final = Columns(EventFacts._fields).without("n_events")


class ReadEvents(Protocol):
    """Returns events behind one: ``events_after``, or who also reads the archive."""

    def __call__(
        self, tx: Tx, cursor: int, *, skip_flags: int, limit: int
    ) -> Awaitable[tuple[list[EventFacts], int]]:
        """Return up to ``limit`` events behind ``cursor``, and the new cursor."""
        ...


async def add_generation(tx: Tx, definition: str) -> Generation:
    """Start a generation that counts all events from the first on."""
    new = await tx.fetch_one(
        "INSERT INTO generations (definition, cursor) VALUES (?, 0) RETURNING id",
        (definition,),
    )
    assert new is not None
    return Generation(
        id=new[0],
        definition=definition,
        cursor=0,
        last_success_ms=None,
        is_complete=0,
    )


async def get_generation(tx: Tx, generation: int) -> Generation | None:
    """Return a generation, unless it was given up."""
    row = await tx.fetch_one(
        f"SELECT {GENERATION.listed} FROM generations WHERE id = ?"  # noqa: S608 - names
        " AND id NOT IN (SELECT generation FROM generation_ends)",
        (generation,),
    )
    return None if row is None else Generation(*row)


async def definitions_of(tx: Tx, generations: Sequence[int]) -> list[tuple[int, str]]:
    """Return ``(id, definition)`` of generations, also of those that are not read now."""
    rows = await tx.fetch_all(
        f"SELECT id, definition FROM generations WHERE id IN ({marks(len(generations))})"  # noqa: S608 - only marks
        " ORDER BY id",
        generations,
    )
    return [(row[0], row[1]) for row in rows]


async def put_generations(tx: Tx, rows: Sequence[tuple[int, str]]) -> None:
    """Store generations as they are elsewhere: ``(id, definition)``; nothing is counted."""
    await tx.execute_many(
        "INSERT INTO generations (id, definition, cursor, is_complete)"
        " VALUES (?, ?, 0, 1)",
        rows,
    )


async def put_cuts(tx: Tx, cuts: Sequence[Cut]) -> None:
    """Store where windows are cut, as it is elsewhere."""
    await tx.execute_many(
        "INSERT INTO window_cuts (subject_id, cut_ms, after_event_id) VALUES (?, ?, ?)",
        cuts,
    )


async def put_definition(tx: Tx, generation: int, definition: str) -> None:
    """Store what a generation counts by from now on."""
    await tx.execute(
        "UPDATE generations SET definition = ? WHERE id = ?", (definition, generation)
    )


async def has_counted_since(tx: Tx, time_ms: int, *, cursor: int) -> bool:
    """Say whether an event up to ``cursor`` may have happened since a time.

    By the hour: it may say so where there is none, and never the other way round.
    """
    row = await tx.fetch_one(
        "SELECT 1 FROM event_hours WHERE hour_ms > ? AND first_event_id <= ? LIMIT 1",
        (time_ms - HOUR_MS, cursor),
    )
    return row is not None


async def first_since(tx: Tx, time_ms: int) -> int:
    """Return an event before which none happened since a time; 1 where there is none."""
    row = await tx.fetch_one(
        "SELECT coalesce(min(first_event_id), 1) FROM event_hours WHERE hour_ms > ?",
        (time_ms - HOUR_MS,),
    )
    assert row is not None
    return int(row[0])


async def left_over(tx: Tx, kept: Sequence[int]) -> list[int]:
    """Return the generations other than those to keep."""
    rows = await tx.fetch_all("SELECT id FROM generations ORDER BY id")
    return [row[0] for row in rows if row[0] not in kept]


async def drop(tx: Tx, generation: int, *, limit: int) -> int:
    """Delete usage of a generation, a bounded piece; return the rows."""
    deleted = await tx.execute(
        "DELETE FROM unique_values WHERE"
        " (generation, subject_id, window_ms, group_id, meter, value) IN"
        " (SELECT generation, subject_id, window_ms, group_id, meter, value"
        " FROM unique_values WHERE generation = ? LIMIT ?)",
        (generation, limit),
    )
    for rollup in (WINDOWS, DAYS, ALL):
        deleted += await rollups.drop(tx, rollup, generation, limit=limit)
    n_packs = limit // GROUPS_MIN  # each is as much as so many rows, or more
    for packs in (PACKED, PARTS):
        deleted += await rollups.drop(tx, packs, generation, limit=n_packs)
    return deleted


async def cuts_between(tx: Tx, start: int, end: int) -> list[Cut]:
    """Return where windows are cut in ``[start, end)``, in order of time."""
    rows = await tx.fetch_all(
        "SELECT subject_id, cut_ms, after_event_id FROM window_cuts"
        " WHERE cut_ms >= ? AND cut_ms < ? ORDER BY cut_ms, subject_id",
        (start, end),
    )
    return [Cut(*row) for row in rows]


async def events_after(
    tx: Tx, cursor: int, *, skip_flags: int, limit: int
) -> tuple[list[EventFacts], int]:
    """Return up to ``limit`` events behind ``cursor``, and the new cursor.

    Events with one of ``skip_flags`` are passed over.

    Raises:
        EventsArchived: some of them left the ledger.
    """
    span = await span_after(tx, cursor, limit=limit)
    return await events_in(tx, span, skip_flags=skip_flags), span.last_id


async def span_after(tx: Tx, cursor: int, *, limit: int) -> Span:
    """Return where the next ``limit`` events behind ``cursor`` are, or fewer.

    Raises:
        EventsArchived: some of them left the ledger.
    """
    await check_here(tx, cursor)
    if await is_packed(tx, cursor + 1, cursor + limit):
        ids, times = await columns_between(
            tx, cursor + 1, cursor + limit, columns=("id", "time_ms")
        )
        if ids:
            return Span(cursor, ids[-1], min(times), max(times))
    row = await tx.fetch_one(
        "SELECT max(id), min(time_ms), max(time_ms) FROM"
        " (SELECT id, time_ms FROM events WHERE id > ? ORDER BY id LIMIT ?) AS e",
        (cursor, limit),
    )
    assert row is not None
    return Span(cursor, cursor, 0, 0) if row[0] is None else Span(cursor, *row)


async def events_in(
    tx: Tx, span: Span, *, skip_flags: int, only_flags: int = 0
) -> list[EventFacts]:
    """Return the events of a span, each by itself, in their order.

    Args:
        skip_flags: those with one of these are passed over.
        only_flags: and those without all of these.
    """
    if not span.n_ids:
        return []
    if await is_packed(tx, span.after_id + 1, span.last_id):
        columns = await columns_between(
            tx, span.after_id + 1, span.last_id, columns=COUNTED.names
        )
        return [
            event
            for event in map(EventFacts, *columns)
            if not event.flags & skip_flags and event.flags & only_flags == only_flags
        ]
    rows = await tx.fetch_all(
        f"SELECT {COUNTED.listed} FROM events WHERE id > ? AND id <= ?"  # noqa: S608 - names
        " AND flags & ? = 0 AND flags & ? = ? ORDER BY id",
        (*span[:2], skip_flags, only_flags, only_flags),
    )
    return [EventFacts(*row) for row in rows]


async def has_endpoint(tx: Tx, route: str) -> bool:
    """Say whether any event has this route, and no method."""
    row = await tx.fetch_one(
        "SELECT 1 FROM endpoints WHERE method = '' AND route = ?", (route,)
    )
    return row is not None


async def endpoints(tx: Tx, *, after: int = 0) -> dict[int, tuple[str, str]]:
    """Return every (method, route) by its id, behind one, in order."""
    rows = await tx.fetch_all(
        "SELECT id, method, route FROM endpoints WHERE id > ? ORDER BY id", (after,)
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def intern_groups(tx: Tx, labels: Iterable[str]) -> dict[str, int]:
    """Return the ids of groups, which are JSON objects; new ones are added."""
    wanted = list(labels)
    await tx.execute_many(
        "INSERT INTO groups (labels) VALUES (?) ON CONFLICT (labels) DO NOTHING",
        ((text,) for text in wanted),
    )
    found: dict[str, int] = {}
    for text in wanted:
        row = await tx.fetch_one("SELECT id FROM groups WHERE labels = ?", (text,))
        assert row is not None
        found[text] = row[0]
    return found


async def totals_of(tx: Tx, generation: int, keys: Sequence[Key]) -> dict[Key, Totals]:
    """Return what is stored of these keys."""
    found = await rollups.totals_of(tx, WINDOWS, generation, keys)
    return {Key(*key): totals for key, totals in found.items()}


async def put_totals(
    tx: Tx, generation: int, rows: Iterable[tuple[Key, Totals, int]]
) -> None:
    """Store totals: ``(key, totals, last event id)``, best in order of the key.

    Parts of days follow from windows, and are deleted with what they followed from.

    The last event of a window stays where it is a correction that is known already,
    and events before it are counted now.
    """
    written = list(rows)
    days = {
        Day(key.subject_id, key.window_ms // DAY_MS * DAY_MS) for key, _, _ in written
    }
    await day_parts.forget(tx, generation, days)
    await tx.execute_many(
        "INSERT INTO usage (generation, subject_id, window_ms, group_id, totals,"
        " last_event_id) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (generation, subject_id, window_ms, group_id) DO UPDATE SET"
        # A correction that was known in an earlier step lies behind this step's events.
        " totals = excluded.totals,"
        " last_event_id = CASE WHEN usage.last_event_id > excluded.last_event_id"
        " THEN usage.last_event_id ELSE excluded.last_event_id END",
        (
            (generation, *key, msgspec.json.encode(totals).decode(), last_event_id)
            for key, totals, last_event_id in written
        ),
    )


async def add_unique(
    tx: Tx, generation: int, rows: Iterable[tuple[Key, str, str]]
) -> None:
    """Store distinct values: ``(key, meter, value)``; known ones change nothing."""
    await tx.execute_many(
        "INSERT INTO unique_values (generation, subject_id, window_ms, group_id,"
        " meter, value) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (generation, subject_id, window_ms, group_id, meter, value)"
        " DO NOTHING",
        ((generation, *key, meter, value) for key, meter, value in rows),
    )


async def advance(
    tx: Tx, generation: int, cursor: int, *, before: int, now_ms: int
) -> bool:
    """Note how far a generation has counted, in the transaction that counted.

    Returns ``False`` where its cursor does not stand at ``before``: somebody else has
    counted these events, and the transaction must not commit.
    """
    n_rows = await tx.execute(
        "UPDATE generations SET cursor = ?, last_success_ms = ?"
        " WHERE id = ? AND cursor = ?",
        (cursor, now_ms, generation, before),
    )
    return n_rows == 1


async def complete(tx: Tx, generation: int) -> None:
    """Let a generation be read from now on, in place of the one before it."""
    await tx.execute(
        "UPDATE generations SET is_complete = 1 WHERE id = ?", (generation,)
    )


async def note_late(tx: Tx, rows: Iterable[tuple[int, int, int]]) -> None:
    """Note usage that changed in what is final: ``(subject id, day_ms, event id)``."""
    await tx.execute_many(
        "INSERT INTO late_usage (subject_id, day_ms, last_event_id) VALUES (?, ?, ?)"
        " ON CONFLICT (subject_id, day_ms) DO UPDATE"
        " SET last_event_id = excluded.last_event_id",
        rows,
    )
