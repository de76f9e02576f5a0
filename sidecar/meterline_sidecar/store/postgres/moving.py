"""Copies a whole ledger into an empty database, and back into a new file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from meterline_sidecar.errors import ForeignDatabase, MeterlineError
from meterline_sidecar.store.columns import marks
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import packed
from meterline_sidecar.store.port import Database, Readable, Row, Tx

ROWS_AT_ONCE: Final = 5_000

MADE_BY_TRIGGERS: Final = "producer_sums"
PACKS: Final = "packed_events"
QUESTIONS: Final = "edge_questions"  # of seconds: nobody waits for an answer any more
FIRST: Final = ("invoice_states",)  # before invoices, of which one is not void
LAST_ROWS_FIRST: Final = ("outbox",)  # a row may name a later one that replaced it

COLUMNS: Final = (
    "SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c"
    " WHERE c.table_schema = current_schema() AND c.table_name NOT IN ('writer', 'lease')"
    " AND c.column_name <> 'rowid'"  # which each driver numbers by itself
    " ORDER BY c.table_name, c.ordinal_position"
)
KEYS: Final = (
    "SELECT k.table_name::text, k.column_name::text"
    " FROM information_schema.table_constraints t"
    " JOIN information_schema.key_column_usage k"
    " ON k.constraint_name = t.constraint_name AND k.table_schema = t.table_schema"
    " WHERE t.constraint_type = 'PRIMARY KEY' AND t.table_schema = current_schema()"
    " ORDER BY k.table_name, k.ordinal_position"
)

LEADER: Final = "SELECT name FROM lease WHERE until > clock_timestamp()"

Progress = Callable[[str, int, int], None]
"""Told of a table, how many of its rows are copied, and how many there are."""


async def move_in(
    source: Readable, target: Database, *, progress: Progress
) -> dict[str, int]:
    """Copy every row of a ledger, in one transaction; return the rows of each table.

    Raises:
        ForeignDatabase: there is something in the target already.
    """
    async with source.reading() as rows, target.transaction() as tx:
        columns, keys = await _lists(tx, COLUMNS), await _lists(tx, KEYS)
        for table in columns:
            if table != MADE_BY_TRIGGERS and await tx.fetch_one(
                f"SELECT 1 FROM {table} LIMIT 1"  # noqa: S608 - of the schema
            ):
                raise ForeignDatabase(
                    f"there are {table} in this database already: only an empty one"
                    " takes a whole ledger in; see sidecar.database"
                )
        return await _copy_all(rows, tx, columns, keys, progress)


async def move_out(
    source: Readable, target: Database, *, progress: Progress
) -> dict[str, int]:
    """Copy every row of a ledger on a server into a new one, as ``move_in``.

    Raises:
        MeterlineError: a centre leads, and may go on writing.
    """
    async with source.reading() as rows, target.transaction() as tx:
        if (leader := await rows.fetch_one(LEADER)) is not None:
            raise MeterlineError(
                f"the centre {leader[0]} leads, or did until a moment ago: stop every"
                " centre of this ledger first"
            )
        columns, keys = await _lists(rows, COLUMNS), await _lists(rows, KEYS)
        return await _copy_all(rows, tx, columns, keys, progress)


async def _copy_all(
    source: Tx,
    target: Tx,
    columns: Mapping[str, Sequence[str]],
    keys: Mapping[str, Sequence[str]],
    progress: Progress,
) -> dict[str, int]:
    tables = sorted(columns.keys() - {MADE_BY_TRIGGERS, PACKS, QUESTIONS})
    tables.sort(key=lambda name: name not in FIRST)
    copied = {
        table: await _copy(source, target, table, columns[table], keys[table], progress)
        for table in tables
    }
    copied["events"] += await _copy_packed(source, target, progress)
    return copied


async def _copy_packed(source: Tx, target: Tx, progress: Progress) -> int:
    """Copy packed events as rows: on a server nothing is packed."""
    total, done, last = await packed.n_packed(source), 0, 0
    while packs := await packed.packs_after(source, last, limit=1):
        ((first, last, events),) = packs
        rows = await packed.events_of_pack(source, first)
        assert len(rows) == events, f"a pack of {events} events has {len(rows)}"
        await event_store.add_events(target, rows)
        done += events
        progress("events", done, total)
    return done


async def _lists(tx: Tx, sql: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, column in await tx.fetch_all(sql):
        found.setdefault(table, []).append(column)
    return found


async def _copy(
    source: Tx,
    target: Tx,
    table: str,
    columns: Sequence[str],
    keys: Sequence[str],
    progress: Progress,
) -> int:
    counted = await source.fetch_one(f"SELECT count(*) FROM {table}")  # noqa: S608 - of the schema
    assert counted is not None
    total, done = counted[0], 0
    is_backwards = table in LAST_ROWS_FIRST
    order = ", ".join(f"{key} DESC" if is_backwards else key for key in keys)
    sign = "<" if is_backwards else ">"
    places = [columns.index(key) for key in keys]
    last: Row | None = None
    while True:
        where = (
            ""
            if last is None
            else f"WHERE ({', '.join(keys)}) {sign} ({marks(len(keys))})"
        )
        part = await source.fetch_all(
            f"SELECT {', '.join(columns)} FROM {table} {where}"  # noqa: S608 - of the schema
            f" ORDER BY {order} LIMIT {ROWS_AT_ONCE}",
            last or (),
        )
        if not part:
            break
        await target.execute_many(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks(len(columns))})",  # noqa: S608 - of the schema
            part,
        )
        last = tuple(part[-1][place] for place in places)
        done += len(part)
        progress(table, done, total)
    assert done == total, f"{table}: {done} of {total} rows"
    return done
