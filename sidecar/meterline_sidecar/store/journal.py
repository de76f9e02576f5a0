"""SQL for the journal: a link for each row that money stands in."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from meterline_sidecar.store.columns import marks
from meterline_sidecar.store.port import Row, Tx

ID_MAX: Final = 2**63 - 1


class Link(NamedTuple):
    """One link of the chain."""

    id: int
    entry: str
    row_id: int
    mac: bytes


ENTRIES = {
    "terms": "id, kind, name, change, from_ms, learned_ms, source, author, reason,"
    " reaches_final",
    "invoices": "id, customer, period_start_ms, period_end_ms, finalized_ms, document,"
    " period",
    "adjustments": "id, customer, period, invoice_id, currency, billed, now, amount,"
    " counted_up_to_event",
    "invoice_states": "id, invoice_id, state, at_ms, author, cause",
    "payments": "id, invoice_id, customer, key, currency, amount, paid_on, reference,"
    " recorded_ms, author, reason",
    "credits": "id, customer, key, kind, title, currency, amount, priority, starts,"
    " expires, granted_ms, author, reason",
    "credit_ends": "id, credit_id, ended_ms, author, reason",
    "term_uses": "id, customer, kind, name, currency, period, invoice_id, amount",
    "documents": "id, series, number, kind, invoice_id, customer, period, currency,"
    " amount, issued_ms, details",
    "held_decisions": "id, event_id, is_accepted, decided_ms, author, reason",
    "corrections": "id, kind, key, query, reverts, first_event_id, event_id, events,"
    " digest, corrected_ms, author, reason",
    "imports": "id, name, file, begun_ms, author, reason",
    "import_states": "id, import_id, state, at_ms, author, lines, events, bad, accepted,"
    " duplicates, conflicts",
    "edge_decisions": "id, edge_id, decision, decided_ms, author, reason",
    "generation_ends": "id, generation, ended_ms, author, reason",
    "late_rejections": "id, correction_id, rejected_ms, author, reason",
    "erasures": "id, alias, digest, events, batches, erased_ms, author, reason",
    "archive_moves": "id, is_out, file, file_bytes, digest, first_batch_id, last_batch_id,"
    " first_event_id, events, first_loss_id, losses, previous_mac, mac, first_ms,"
    " beyond_ms, moved_ms",
    "edge_files": "id, edge_id, file, file_bytes, digest, first_batch_id, last_batch_id,"
    " first_event_id, events, first_loss_id, losses, previous_mac, mac, first_ms,"
    " beyond_ms, learned_ms, written_ms",
}
"""The tables that the journal covers, with what of their rows it does; the id first."""


async def newest_link(tx: Tx) -> Link | None:
    """Return the last link."""
    row = await tx.fetch_one(
        "SELECT id, entry, row_id, mac FROM journal ORDER BY id DESC LIMIT 1"
    )
    return None if row is None else Link(*row)


async def add_links(tx: Tx, links: Iterable[tuple[str, int, bytes]]) -> None:
    """Add links behind the last one: of which table, of which row, and the mac."""
    await tx.execute_many(
        "INSERT INTO journal (entry, row_id, mac) VALUES (?, ?, ?)", links
    )


async def links_after(tx: Tx, link_id: int, *, limit: int) -> list[Link]:
    """Return up to ``limit`` links behind an id, in order."""
    rows = await tx.fetch_all(
        "SELECT id, entry, row_id, mac FROM journal WHERE id > ? ORDER BY id LIMIT ?",
        (link_id, limit),
    )
    return [Link(*row) for row in rows]


async def links_before(
    tx: Tx, link_id: int, *, entries: Sequence[str], limit: int
) -> list[Link]:
    """Return links of some tables before one, the newest first."""
    rows = await tx.fetch_all(
        "SELECT id, entry, row_id, mac FROM journal"  # noqa: S608 - only marks
        f" WHERE id < ? AND entry IN ({marks(len(entries))}) ORDER BY id DESC LIMIT ?",
        (link_id, *entries, limit),
    )
    return [Link(*row) for row in rows]


async def links_about(tx: Tx, customer: str, *, before: int, limit: int) -> list[Link]:
    """Return links of what was decided about a customer before one, the newest first."""
    rows = await tx.fetch_all(
        "SELECT j.id, j.entry, j.row_id, j.mac FROM ("
        "SELECT 'terms' AS entry, id AS row_id FROM terms"
        " WHERE kind = 'customer' AND name = ?"
        " UNION ALL SELECT 'invoice_states', s.id FROM invoices i"
        " JOIN invoice_states s ON s.invoice_id = i.id WHERE i.customer = ?"
        " UNION ALL SELECT 'documents', id FROM documents WHERE customer = ?"
        " UNION ALL SELECT 'payments', id FROM payments WHERE customer = ?"
        " UNION ALL SELECT 'credits', id FROM credits WHERE customer = ?"
        " UNION ALL SELECT 'credit_ends', e.id FROM credits c"
        " JOIN credit_ends e ON e.credit_id = c.id WHERE c.customer = ?"
        ") about JOIN journal j ON j.entry = about.entry AND j.row_id = about.row_id"
        " WHERE j.id < ? ORDER BY j.id DESC LIMIT ?",
        (*([customer] * 6), before, limit),
    )
    return [Link(*row) for row in rows]


async def rows_between(tx: Tx, after: int, before: int, *, entry: str) -> list[int]:
    """Return the ids of a table's rows that were linked behind one link, before another."""
    rows = await tx.fetch_all(
        "SELECT row_id FROM journal WHERE id > ? AND id < ? AND entry = ? ORDER BY id",
        (after, before, entry),
    )
    return [row[0] for row in rows]


async def link_of(tx: Tx, entry: str, row_id: int) -> Link | None:
    """Return the link of a row."""
    row = await tx.fetch_one(
        "SELECT id, entry, row_id, mac FROM journal WHERE entry = ? AND row_id = ?",
        (entry, row_id),
    )
    return None if row is None else Link(*row)


async def covered_row(tx: Tx, entry: str, row_id: int) -> Row | None:
    """Return what the journal covers of a row; ``None`` where it is gone."""
    columns = ENTRIES[entry]
    key = columns.partition(",")[0]
    return await tx.fetch_one(
        f"SELECT {columns} FROM {entry} WHERE {key} = ?",  # noqa: S608 - our own names
        (row_id,),
    )


async def covered_rows(tx: Tx, entry: str, row_ids: Sequence[int]) -> list[Row]:
    """Return what the journal covers of up to some thousand rows."""
    columns = ENTRIES[entry]
    key = columns.partition(",")[0]
    return await tx.fetch_all(
        f"SELECT {columns} FROM {entry} WHERE {key} IN ({marks(len(row_ids))})",  # noqa: S608 - our own names
        row_ids,
    )


async def is_linked(tx: Tx, entry: str) -> bool:
    """Return whether any row of a table has a link."""
    row = await tx.fetch_one("SELECT 1 FROM journal WHERE entry = ? LIMIT 1", (entry,))
    return row is not None


async def unlinked(
    tx: Tx, entry: str, *, after: int = 0, up_to: int = ID_MAX, limit: int
) -> list[int]:
    """Return the ids of rows that have no link, the oldest first.

    Args:
        after: only those behind this one, and up to the other.
    """
    key = ENTRIES[entry].partition(",")[0]
    rows = await tx.fetch_all(
        f"SELECT t.{key} FROM {entry} t WHERE NOT EXISTS (SELECT 1 FROM journal j"  # noqa: S608 - our own names
        f" WHERE j.entry = ? AND j.row_id = t.{key}) AND t.{key} > ? AND t.{key} <= ?"
        f" ORDER BY t.{key} LIMIT ?",
        (entry, after, up_to, limit),
    )
    return [row[0] for row in rows]
