"""SQL for taking a subject's name out of the ledger."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.edge.packed import events_between
from meterline_sidecar.store.edge.packed_words import batches_of_subject, n_packed_with
from meterline_sidecar.store.port import Row, Tx, Value
from meterline_sidecar.store.seals import Sealed, SealedRow, as_sealed


class NewErasure(NamedTuple):
    """A subject whose name was taken out."""

    id: int
    alias: str
    digest: bytes
    events: int
    batches: int
    erased_ms: int
    author: str
    reason: str


ERASURE: Final = Columns(NewErasure._fields)
JOURNALED: Final[Mapping[str, tuple[str, ...]]] = {
    "corrections": ("key", "query", "reason"),
    "credit_ends": ("reason",),
    "credits": ("key", "reason"),
    "edge_decisions": ("reason",),
    "erasures": ("reason",),
    "generation_ends": ("reason",),
    "held_decisions": ("reason",),
    "imports": ("name", "file", "reason"),
    "invoice_states": ("cause",),
    "late_rejections": ("reason",),
    "payments": ("key", "reference", "reason"),
    "terms": ("reason",),
}
"""Texts of rows that have a link, which nothing is computed from: they are replaced."""
LOOSE: Final[Mapping[str, tuple[str, ...]]] = {
    "alerts": ("message", "body", "error"),
    "import_faults": ("source", "external_id", "field", "reason"),
    "stripe_events": ("body", "reason"),
}
"""Texts of rows that have none."""
MENTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "adjustments": ("customer",),
    "alerts": ("customer", "message", "body", "error"),
    "corrections": ("key", "query", "author", "reason"),
    "credit_ends": ("author", "reason"),
    "credits": ("customer", "key", "title", "author", "reason"),
    "documents": ("customer", "details"),
    "edge_decisions": ("author", "reason"),
    "edges": ("name", "credential", "trouble"),
    "endpoints": ("route",),
    "erasures": ("author", "reason"),
    "events": ("quantities", "properties"),
    "external_events": ("external_id",),
    "external_sources": ("name",),
    "generation_ends": ("author", "reason"),
    "groups": ("labels",),
    "held_decisions": ("author", "reason"),
    "import_chunks": ("content",),
    "import_faults": ("source", "external_id", "field", "reason"),
    "import_states": ("author",),
    "imports": ("name", "file", "author", "reason"),
    "invoice_states": ("author", "cause"),
    "invoices": ("customer", "document"),
    "late_rejections": ("author", "reason"),
    "outbox": ("customer",),
    "payments": ("customer", "key", "reference", "author", "reason"),
    "producers": ("app", "host"),
    "property_values": ("value",),
    "stripe_calls": ("ref", "stripe_customer", "params", "reason"),
    "stripe_events": ("body", "reason"),
    "subjects": ("name",),
    "term_uses": ("customer", "name"),
    "terms": ("name", "change", "author", "reason"),
    "unique_values": ("value",),
}
"""Where a word may stand: in what people and apps wrote, and in other subjects' names."""
SEALED: Final = "stripe_events"
"""The one of these tables whose rows have a seal of their own: see ``store.seals``."""
IS_DONE: Final = "state = 'done'"
"""Of such a row: nobody acts on what it says any more."""
BYTES: Final = ("l.payload", "losses.payload", "content")
"""Columns that hold bytes, and no text."""
NO_ID: Final = ("import_faults", "stripe_events")
"""Tables whose rows have no number but the one that SQLite gives them."""

_HOLDS: Final[Mapping[str, str]] = {
    column: either(
        sqlite=f"instr(CAST({column} AS BLOB), CAST(? AS BLOB)) > 0",
        postgres=f"instr({column}, convert_to(?, 'UTF8')) > 0"
        if column in BYTES
        else f"instr({column}, ?) > 0",
    )
    for column in (
        *("e.properties", "x.external_id", *BYTES),
        *(column for columns in MENTIONS.values() for column in columns),
    )
}
"""Tests whether a column holds a word: to the byte, and behind a NUL as well."""


async def next_id(tx: Tx) -> int:
    """Return the number of the next erasure."""
    row = await tx.fetch_one("SELECT coalesce(max(id), 0) + 1 FROM erasures")
    assert row is not None
    return int(row[0])


async def newest_id(tx: Tx) -> int:
    """Return the number of the last erasure; 0 before the first."""
    return await next_id(tx) - 1


async def add_erasure(tx: Tx, row: NewErasure) -> None:
    """Note that a name was taken out, in the transaction that does it."""
    await tx.execute(
        f"INSERT INTO erasures ({ERASURE.listed}) VALUES ({ERASURE.marks})",  # noqa: S608 - names and marks
        row,
    )


async def erasures(tx: Tx, *, before: int, limit: int) -> list[NewErasure]:
    """Return erasures before one, the newest first."""
    rows = await tx.fetch_all(
        f"SELECT {ERASURE.listed} FROM erasures WHERE id < ? ORDER BY id DESC LIMIT ?",  # noqa: S608 - names
        (before, limit),
    )
    return [NewErasure(*row) for row in rows]


async def last_erasure(tx: Tx) -> NewErasure | None:
    """Return what was erased last."""
    found = await erasures(tx, before=1 << 62, limit=1)
    return found[0] if found else None


async def aliases(tx: Tx) -> set[str]:
    """Return what stands in the place of names that were erased."""
    return {row[0] for row in await tx.fetch_all("SELECT alias FROM erasures")}


async def subjects_after(
    tx: Tx, subject_id: int, *, limit: int
) -> list[tuple[int, str]]:
    """Return ``(id, name)`` of subjects behind one, in order."""
    rows = await tx.fetch_all(
        "SELECT id, name FROM subjects WHERE id > ? ORDER BY id LIMIT ?",
        (subject_id, limit),
    )
    return [(row[0], row[1]) for row in rows]


async def batches_of(
    tx: Tx,
    subject_id: int,
    name: str,
    words: Sequence[str],
    *,
    after: int,
    limit: int,
) -> tuple[list[int], int]:
    """Return which of the next batches may hold a name, and up to which it was looked.

    In events of the subject, or a word in properties, names of senders, or in what was
    refused.
    """
    row = await tx.fetch_one(
        "SELECT max(id) FROM (SELECT id FROM batches WHERE id > ? ORDER BY id LIMIT ?)"
        " AS b",
        (after, limit),
    )
    if row is None or row[0] is None:
        return [], after
    span = (after, row[0])
    in_events = _any_holds(["e.properties", "x.external_id"], words)
    in_losses = _any_holds(["l.payload"], [name, *words])
    rows = await tx.fetch_all(
        "SELECT b.id FROM batches b WHERE b.id > ? AND b.id <= ? AND (EXISTS"  # noqa: S608 - names and marks
        " (SELECT 1 FROM events e LEFT JOIN external_events x ON x.event_id = e.id"
        " WHERE e.id >= b.first_event_id AND e.id < b.first_event_id + b.events"
        f" AND (e.subject_id = ? OR {in_events})) OR EXISTS"
        " (SELECT 1 FROM losses l WHERE l.id >= b.first_loss_id"
        " AND l.id < b.first_loss_id + b.losses AND l.payload IS NOT NULL"
        f" AND {in_losses})) ORDER BY b.id",
        (*span, subject_id, *words, *words, name, *words),
    )
    found = await batches_of_subject(tx, subject_id, words, span)
    return sorted(found.union(row[0] for row in rows)), span[1]


def _any_holds(columns: Sequence[str], words: Sequence[str]) -> str:
    """Return a test whose marks are all words for each column in turn."""
    tests = [_HOLDS[column] for column in columns for _ in words]
    return f"({' OR '.join(tests)})" if tests else "1 = 0"


def _number(table: str) -> str:
    return "rowid" if table in NO_ID else "id"


async def texts_with(
    tx: Tx,
    table: str,
    columns: Sequence[str],
    words: Sequence[str],
    *,
    after: int,
    limit: int,
) -> list[int]:
    """Return the numbers of rows behind one in whose columns a word stands."""
    number = _number(table)
    test = _any_holds(columns, words)
    rows = await tx.fetch_all(
        f"SELECT {number} FROM {table}"  # noqa: S608 - our own names
        f" WHERE {number} > ? AND {test}{f' AND {IS_DONE}' if table == SEALED else ''}"
        f" ORDER BY {number} LIMIT ?",
        (after, *(word for _ in columns for word in words), limit),
    )
    return [row[0] for row in rows]


async def texts_of(
    tx: Tx, table: str, columns: Sequence[str], row_id: int
) -> Row | None:
    """Return the texts of a row."""
    return await tx.fetch_one(
        f"SELECT {', '.join(columns)} FROM {table} WHERE {_number(table)} = ?",  # noqa: S608 - our own names
        (row_id,),
    )


async def sealed_row(tx: Tx, of: Sealed, row_id: int) -> SealedRow | None:
    """Return a row that has a seal, by SQLite's own number of it."""
    row = await tx.fetch_one(
        f"SELECT {of.key.listed}, {of.covered.listed}, seal FROM {of.table}"  # noqa: S608 - our own names
        f" WHERE {_number(of.table)} = ?",
        (row_id,),
    )
    return None if row is None else as_sealed(of, row)


async def put_texts(
    tx: Tx, table: str, columns: Sequence[str], row_id: int, texts: Sequence[Value]
) -> None:
    """Store the texts of a row, without a word that stood in them."""
    sets = ", ".join(f"{column} = ?" for column in columns)
    if table == SEALED:
        sets += ", seal = NULL"
    await tx.execute(
        f"UPDATE {table} SET {sets} WHERE {_number(table)} = ?",  # noqa: S608 - our own names
        (*texts, row_id),
    )


async def events_before(tx: Tx, event_id: int, *, subject_id: int, limit: int) -> int:
    """Return how many of ``limit`` events up to one are of a subject."""
    source = await events_between(
        *(tx, event_id - limit + 1, event_id),
        columns=("id", "subject_id"),
        subjects=(subject_id,),
    )
    row = await tx.fetch_one(
        f"SELECT count(*) FROM {source.sql} e WHERE id > ? AND id <= ? AND subject_id = ?",  # noqa: S608 - our own words
        (*source.given, event_id - limit, event_id, subject_id),
    )
    assert row is not None
    return int(row[0])


async def rename_subject(tx: Tx, subject_id: int, alias: str) -> None:
    """Put an alias in the place of a subject's name."""
    await tx.execute("UPDATE subjects SET name = ? WHERE id = ?", (alias, subject_id))


async def rename_losses(tx: Tx, words: Sequence[str], alias: str) -> int:
    """Put an alias in the place of what was refused and holds a word; return the rows."""
    return await tx.execute(
        "UPDATE losses SET payload = ? WHERE payload IS NOT NULL"  # noqa: S608 - only marks
        f" AND {_any_holds(['losses.payload'], words)}",
        (alias.encode(), *words),
    )


async def put_properties(tx: Tx, rows: Iterable[tuple[str | None, int]]) -> None:
    """Store ``(properties, event id)`` of events without a word that stood in them."""
    await tx.execute_many("UPDATE events SET properties = ? WHERE id = ?", rows)


async def rename_external(tx: Tx, rows: Iterable[tuple[str, bytes, int]]) -> None:
    """Store ``(external id, mac, event id)`` of events that have a name of a sender's."""
    await tx.execute_many(
        "UPDATE external_events SET external_id = ?, mac = ? WHERE event_id = ?", rows
    )


async def named_with(tx: Tx, first: int, last: int, words: Sequence[str]) -> list[int]:
    """Return events, by ids of both included, in whose sender's name a word stands."""
    rows = await tx.fetch_all(
        "SELECT event_id FROM external_events WHERE event_id BETWEEN ? AND ?"  # noqa: S608 - only marks
        f" AND {_any_holds(['external_id'], words)}",
        (first, last, *words),
    )
    return [row[0] for row in rows]


async def terms_with(tx: Tx, name: str) -> list[tuple[int, str]]:
    """Return ``(id, change)`` of rows about customers in which a text stands."""
    rows = await tx.fetch_all(
        "SELECT id, change FROM terms WHERE kind = 'customer' AND instr(change, ?) > 0"
        " ORDER BY id",
        (name,),
    )
    return [(row[0], row[1]) for row in rows]


async def waiting_imports(tx: Tx, name: str) -> list[str]:
    """Return the imports of which lines wait aside that hold a name, in order."""
    rows = await tx.fetch_all(
        "SELECT i.name FROM imports i WHERE EXISTS (SELECT 1 FROM import_chunks c"
        " WHERE c.import_id = i.id AND instr(c.content, ?) > 0)"
        " ORDER BY i.id",
        (name.encode(),),
    )
    return [row[0] for row in rows]


async def put_change(tx: Tx, row_id: int, change: str) -> None:
    """Store what a row of terms says, without a name that stood in it."""
    await tx.execute("UPDATE terms SET change = ? WHERE id = ?", (change, row_id))


async def put_seals(
    tx: Tx, erasure_id: int, entry: str, seals: Sequence[tuple[int, bytes]]
) -> None:
    """Seal rows that an erasure changes: ``(row id, seal)``."""
    await tx.execute_many(
        "INSERT INTO erasure_seals (entry, row_id, erasure_id, seal) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (entry, row_id) DO UPDATE SET erasure_id = excluded.erasure_id,"
        " seal = excluded.seal",
        ((entry, row_id, erasure_id, seal) for row_id, seal in seals),
    )


async def seals_of(tx: Tx, entry: str, *, first: int, last: int) -> dict[int, bytes]:
    """Return the seals of rows by their ids, both included."""
    rows = await tx.fetch_all(
        "SELECT row_id, seal FROM erasure_seals WHERE entry = ? AND row_id BETWEEN ? AND ?",
        (entry, first, last),
    )
    return dict(rows)


async def stray_seals(tx: Tx, *, in_progress: int) -> list[tuple[str, int]]:
    """Return ``(entry, row id)`` of seals of no erasure, or of a row that is not there.

    Args:
        in_progress: the number of an erasure that is under way; 0 for none.
    """
    rows = await tx.fetch_all(
        "SELECT s.entry, s.row_id FROM erasure_seals s WHERE s.erasure_id <> ?"
        " AND NOT EXISTS (SELECT 1 FROM erasures e WHERE e.id = s.erasure_id)"
        " OR s.entry <> 'batches' AND NOT EXISTS (SELECT 1 FROM journal j"
        " WHERE j.entry = s.entry AND j.row_id = s.row_id)"
        " OR s.entry = 'batches' AND s.row_id > (SELECT coalesce(max(id), 0) FROM batches)"
        " LIMIT 50",
        (in_progress,),
    )
    return [(row[0], row[1]) for row in rows]


async def mentions(tx: Tx, words: Sequence[str], *, but_subject: str) -> dict[str, int]:
    """Return in how many rows of which tables a word stands in a text.

    Every row is looked at, those of events as well.

    Args:
        but_subject: the name of the subject itself.
    """
    found: dict[str, int] = {}
    for table, columns in MENTIONS.items():
        given = [word for _ in columns for word in words]
        test = _any_holds(columns, words)
        if table == "subjects":
            test += " AND name <> ?"
            given.append(but_subject)
        row = await tx.fetch_one(
            f"SELECT count(*) FROM {table} WHERE {test}",  # noqa: S608 - our own names
            given,
        )
        n_rows = await n_packed_with(tx, words) if table == "events" else 0
        if row is not None and (n_rows := n_rows + row[0]):
            found[table] = n_rows
    return found
