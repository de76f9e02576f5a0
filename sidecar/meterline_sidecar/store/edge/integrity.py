"""SQL for whoever checks that the ledger is what was written to it."""

from typing import Any, Final, Literal, NamedTuple

import msgspec

from meterline_sidecar.meters import Totals
from meterline_sidecar.store.day_parts import PARTS
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.edge.packed import n_packed, sorts_of_packed
from meterline_sidecar.store.packed_days import PACKED
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import ALL, DAYS, WINDOWS, Rollup
from meterline_sidecar.store.sums import summed

Names = Literal["subjects", "endpoints"]
Key = tuple[int | str, ...]
Item = tuple[Key, Any]
"""The key of a row, and what it must hold beside it."""

ID_MAX: Final = (1 << 62) - 1
LOWEST: Final = -(1 << 63)
"""A number behind which every row lies."""
WRONG_MAX: Final = 50  # of one kind; then the rest is surely wrong as well

SUMS_KEPT: Final = (
    "SELECT recorded_high, recorded_low, lost_high, lost_low, ingested, refused,"
    " duplicates, unattributed, bad_quantities, open, closed, in_memory"
    " FROM producer_sums"
)
SUMS: Final = (
    f"SELECT {summed('recorded_seq')}, {summed('lost')},"  # noqa: S608 - our own words
    " coalesce(sum(ingested), 0), coalesce(sum(refused), 0),"
    " coalesce(sum(duplicates), 0), coalesce(sum(unattributed), 0),"
    " coalesce(sum(bad_quantities), 0), coalesce(sum(1 - is_closed), 0),"
    " coalesce(sum(is_closed), 0),"
    " coalesce(sum(CASE WHEN is_closed = 0 AND spool <> 'file' THEN 1 ELSE 0 END), 0)"
    " FROM producers"
)
"""What is kept over all producers, made again from their rows."""

FINAL_STEPS: Final = either(
    sqlite="SELECT CAST(document ->> '$.counted_up_to_event' AS INTEGER) AS counted,"
    " max(period_end_ms) FROM invoices WHERE json_valid(document)"
    " AND document ->> '$.agreement.generation' = ? GROUP BY 1 ORDER BY 1",
    postgres="SELECT json_integer(document, '{counted_up_to_event}') AS counted,"
    " max(period_end_ms) FROM invoices WHERE json_valid(document)"
    " AND json_integer(document, '{agreement,generation}') = ?"
    " GROUP BY 1 ORDER BY 1 NULLS FIRST",
)

_OF_PACKED: Final = (
    " UNION ALL SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4"
    " FROM json_each(?)"
)
_totals: Final = msgspec.json.Decoder(Totals)


def _json(rows: list[list[int]]) -> str:
    return msgspec.json.encode(rows).decode()


async def stray_rows(tx: Tx) -> list[tuple[str, int]]:
    """Return ``(table, how many more rows than were committed in batches)``."""
    found: list[tuple[str, int]] = []
    for table in ("events", "losses"):
        row = await tx.fetch_one(
            f"SELECT (SELECT count(*) FROM {table})"  # noqa: S608 - our own names
            f" - (SELECT coalesce(sum({table}), 0) FROM batches)"
        )
        assert row is not None
        n_more = row[0] + (await n_packed(tx) if table == "events" else 0)
        if n_more:
            found.append((table, n_more))
    return found


class Beyond(NamedTuple):
    """By how much the counts of a producer are above what the ledger holds of it."""

    producer: str
    last_seq: int
    last_seq_here: int | None
    """The last number of its batches here; ``None``: there are none."""
    is_short: int
    """Whether it recorded less than it sent."""
    ingested: int
    unattributed: int
    held: int
    bad_quantities: int
    lost: int
    refused: int

    @property
    def counts(self) -> tuple[int, ...]:
        """What is counted, in the order of the fields."""
        return self[4:]


async def producers_beyond(
    tx: Tx, *, held_flag: int, bad_flag: int, limit: int
) -> list[Beyond]:
    """Return producers whose counts are not what the batches here come to."""
    packed = [
        [
            producer_id,
            *map(int, (not subject_id, flags & held_flag > 0, flags & bad_flag > 0)),
            n,
        ]
        for (producer_id, subject_id, flags), n in (await sorts_of_packed(tx)).items()
    ]
    counted = _OF_PACKED if packed else ""
    rows = await tx.fetch_all(
        "WITH b AS (SELECT producer_id, max(last_seq) AS last_seq,"  # noqa: S608 - our own words
        " sum(events) AS events FROM batches GROUP BY producer_id),"
        " r AS (SELECT producer_id, CASE WHEN subject_id = 0 THEN 1 ELSE 0 END AS nobody,"
        " CASE WHEN flags & ? <> 0 THEN 1 ELSE 0 END AS held,"
        " CASE WHEN flags & ? <> 0 THEN 1 ELSE 0 END AS bad, 1 AS n FROM events"
        f"{counted}), e AS (SELECT producer_id, sum(n * nobody) AS nobody,"
        " sum(n * held) AS held, sum(n * bad) AS bad FROM r GROUP BY producer_id),"
        " l AS (SELECT producer_id, sum(CASE WHEN payload IS NULL"
        " THEN last_seq - first_seq + 1 ELSE 0 END) AS lost,"
        " sum(CASE WHEN payload IS NULL THEN 0"
        " ELSE last_seq - first_seq + 1 END) AS refused"
        " FROM losses GROUP BY producer_id),"
        " p AS (SELECT p.producer, p.last_seq, b.last_seq AS here,"
        " p.recorded_seq < p.last_seq AS is_short,"
        " p.ingested - coalesce(b.events, 0) AS n1,"
        " p.unattributed - coalesce(e.nobody, 0) AS n2,"
        " p.held - coalesce(e.held, 0) AS n3,"
        " p.bad_quantities - coalesce(e.bad, 0) AS n4,"
        " p.lost - coalesce(l.lost, 0) AS n5, p.refused - coalesce(l.refused, 0) AS n6"
        " FROM producers p LEFT JOIN b ON b.producer_id = p.id"
        " LEFT JOIN e ON e.producer_id = p.id LEFT JOIN l ON l.producer_id = p.id)"
        " SELECT * FROM p WHERE is_short OR last_seq <> coalesce(here, 0)"
        " OR n1 <> 0 OR n2 <> 0 OR n3 <> 0 OR n4 <> 0 OR n5 <> 0 OR n6 <> 0 LIMIT ?",
        (held_flag, bad_flag, *([_json(packed)] if packed else []), limit),
    )
    return [Beyond(*row) for row in rows]


async def has_wrong_sums(tx: Tx) -> bool:
    """Say whether the sums over all producers are not those of their rows."""
    row = await tx.fetch_one(
        f"SELECT abs(count(*) - 1) + (SELECT count(*) FROM ({SUMS_KEPT}"  # noqa: S608 - our own words
        f" EXCEPT {SUMS}) AS d) FROM producer_sums"
    )
    assert row is not None
    return bool(row[0])


async def wrong_held(tx: Tx, *, held_flag: int, begins_behind: int) -> list[int]:
    """Return held events that are not noted as they came, or as was decided.

    Args:
        begins_behind: the last event that left the ledger: of those up to it only the
            decision is compared.
    """
    rows = await tx.fetch_all(
        "SELECT e.id FROM events e LEFT JOIN held_events h ON h.event_id = e.id"
        " WHERE e.flags & ? <> 0 AND (h.event_id IS NULL"
        " OR h.producer_id <> e.producer_id OR h.subject_id <> e.subject_id"
        " OR h.time_ms <> e.time_ms)"
        " UNION SELECT h.event_id FROM held_events h"
        " LEFT JOIN events e ON e.id = h.event_id"
        " LEFT JOIN events c ON c.id = h.counted_as"
        " LEFT JOIN held_decisions d ON d.id ="
        " (SELECT max(id) FROM held_decisions WHERE event_id = h.event_id)"
        " WHERE (h.event_id > ? OR h.event_id < 1)"
        " AND (e.id IS NULL OR e.flags & ? = 0) OR h.state <> CASE"
        " WHEN h.counted_as IS NOT NULL THEN 'counted' WHEN d.id IS NULL THEN 'waiting'"
        " WHEN d.is_accepted = 1 THEN 'accepted' ELSE 'rejected' END"
        " OR h.counted_as IS NOT NULL AND (h.counted_as > ? AND c.id IS NULL"
        " OR h.counted_as <= h.event_id OR c.time_ms <> h.time_ms"
        " OR c.subject_id <> h.subject_id OR c.endpoint_id <> e.endpoint_id)"
        " ORDER BY 1 LIMIT ?",
        (held_flag, begins_behind, held_flag, begins_behind, WRONG_MAX),
    )
    return [row[0] for row in rows]


async def held_of(
    tx: Tx, *, first_id: int, beyond_id: int
) -> list[tuple[int, int, int, str | None, str]]:
    """Return what is noted of what is held in a span of ids.

    ``(event id, learned_ms, time_ms, subject, producer)``, in order.
    """
    rows = await tx.fetch_all(
        "SELECT h.event_id, h.learned_ms, h.time_ms, s.name, p.producer"
        " FROM held_events h LEFT JOIN subjects s ON s.id = h.subject_id"
        " LEFT JOIN producers p ON p.id = h.producer_id"
        " WHERE h.event_id >= ? AND h.event_id < ? ORDER BY h.event_id",
        (first_id, beyond_id),
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


async def released_between(tx: Tx, *, first_id: int, beyond_id: int) -> list[int]:
    """Return the events of a span of ids that stand for a held one, in order."""
    rows = await tx.fetch_all(
        "SELECT counted_as FROM held_events WHERE counted_as >= ? AND counted_as < ?"
        " ORDER BY counted_as",
        (first_id, beyond_id),
    )
    return [row[0] for row in rows]


async def hours(tx: Tx) -> dict[int, tuple[int, int]]:
    """Return the span of ids that is noted for each hour."""
    rows = await tx.fetch_all(
        "SELECT hour_ms, first_event_id, last_event_id FROM event_hours"
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def groups(tx: Tx) -> dict[str, int]:
    """Return the ids of all groups, by their labels."""
    rows = await tx.fetch_all("SELECT labels, id FROM groups")
    return {row[0]: row[1] for row in rows}


async def ids_after(tx: Tx, table: Names, row_id: int, *, limit: int) -> list[int]:
    """Return ids of names behind one, in order."""
    rows = await tx.fetch_all(
        f"SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - our own names
        (row_id, limit),
    )
    return [row[0] for row in rows]


async def owners_after(
    tx: Tx, subject_id: int, *, limit: int
) -> list[tuple[int, str, str | None, int]]:
    """Return ``(id, name, customer, is_split)`` of subjects behind an id, in order."""
    rows = await tx.fetch_all(
        "SELECT id, name, customer, is_split FROM subjects WHERE id > ?"
        " ORDER BY id LIMIT ?",
        (subject_id, limit),
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


async def parts_of(tx: Tx, subject_id: int) -> list[tuple[int, int, str | None]]:
    """Return ``(from_ms, end_ms, customer)`` of a subject that changed hands."""
    rows = await tx.fetch_all(
        "SELECT from_ms, end_ms, customer FROM owners WHERE subject_id = ?"
        " ORDER BY from_ms",
        (subject_id,),
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def stray_parts(tx: Tx) -> list[int]:
    """Return subjects that have parts and did not change hands, or are not there."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT o.subject_id FROM owners o LEFT JOIN subjects s"
        " ON s.id = o.subject_id WHERE s.id IS NULL OR s.is_split = 0 LIMIT ?",
        (WRONG_MAX,),
    )
    return [row[0] for row in rows]


async def final_steps(tx: Tx, generation: int) -> list[tuple[int, int]]:
    """Return from behind which event on what is final reaches further, and up to when.

    ``(event id, end_ms)`` of final invoices that were made from a generation, as far as
    the end is later than all before it: so there are few.
    """
    rows = await tx.fetch_all(FINAL_STEPS, (generation,))
    found: list[tuple[int, int]] = []
    for counted, end_ms in rows:
        if not found or end_ms > found[-1][1]:
            found.append((counted or 0, end_ms))
    return found


async def strays(tx: Tx) -> list[tuple[str, int]]:
    """Return ``(table, generation)`` of usage whose generation there is not."""
    known = {row[0] for row in await tx.fetch_all("SELECT id FROM generations")}
    found: list[tuple[str, int]] = []
    known_tables = (one.table for one in (WINDOWS, DAYS, PACKED, PARTS, ALL))
    for table in (*known_tables, "unique_values"):
        last = LOWEST
        while row := await tx.fetch_one(
            f"SELECT generation FROM {table} WHERE generation > ?"  # noqa: S608 - our own names
            " ORDER BY generation LIMIT 1",
            (last,),
        ):
            last = row[0]
            if last not in known:
                found.append((table, last))
    return found


async def totals_after(
    tx: Tx, rollup: Rollup, generation: int, key: Key | None, *, limit: int
) -> list[Item]:
    """Return totals behind a key, in order of the key; of windows with the last event.

    Args:
        key: ``None``: from the first one on.
    """
    columns = ", ".join(rollup.columns)
    marks = ", ".join("?" * len(rollup.columns))
    last = ", last_event_id" if rollup is WINDOWS else ""
    rows = await tx.fetch_all(
        f"SELECT {columns}, totals{last} FROM {rollup.table}"  # noqa: S608 - our own names and marks
        f" WHERE generation = ? AND ({columns}) > ({marks}) ORDER BY {columns} LIMIT ?",
        (generation, *(key or (LOWEST,) * len(rollup.columns)), limit),
    )
    width = len(rollup.columns)
    return [
        (
            row[:width],
            (_totals.decode(row[width]), row[-1])
            if last
            else _totals.decode(row[width]),
        )
        for row in rows
    ]


async def values_after(
    tx: Tx, generation: int, key: Key | None, *, limit: int
) -> list[Item]:
    """Return distinct values behind a key, in its order."""
    rows = await tx.fetch_all(
        "SELECT subject_id, window_ms, group_id, meter, value FROM unique_values"
        " WHERE generation = ? AND (subject_id, window_ms, group_id, meter, value)"
        " > (?, ?, ?, ?, ?)"
        " ORDER BY subject_id, window_ms, group_id, meter, value LIMIT ?",
        (generation, *(key or (LOWEST, LOWEST, LOWEST, "", "")), limit),
    )
    return [(row, None) for row in rows]


async def late_after(tx: Tx, key: Key | None, *, limit: int) -> list[Item]:
    """Return days of what is final in which usage changed, behind a key, in its order."""
    rows = await tx.fetch_all(
        "SELECT subject_id, day_ms, last_event_id FROM late_usage"
        " WHERE (subject_id, day_ms) > (?, ?) ORDER BY subject_id, day_ms LIMIT ?",
        (*(key or (LOWEST, LOWEST)), limit),
    )
    return [(row[:2], row[2]) for row in rows]
