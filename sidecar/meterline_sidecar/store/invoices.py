"""SQL for final invoices, and for the gaps that keep one from being final."""

from typing import NamedTuple

from meterline_sidecar.store.port import Tx


class FinalRow(NamedTuple):
    """A final invoice as it is stored."""

    id: int
    customer: str
    period_start_ms: int
    period_end_ms: int
    finalized_ms: int
    document: str


class Gap(NamedTuple):
    """Numbers that a producer recorded and that have not arrived."""

    producer: str
    app: str
    host: str
    pid: int
    first_seq: int
    last_seq: int


async def add_final(tx: Tx, row: FinalRow) -> None:
    """Store a final invoice; ``row.id`` is ignored."""
    await tx.execute(
        "INSERT INTO invoices (customer, period_start_ms, period_end_ms,"
        " finalized_ms, document) VALUES (?, ?, ?, ?, ?)",
        row[1:],
    )


async def finals_of(tx: Tx, customer: str) -> list[FinalRow]:
    """Return a customer's final invoices, the earliest period first."""
    rows = await tx.fetch_all(
        "SELECT id, customer, period_start_ms, period_end_ms, finalized_ms, document"
        " FROM invoices WHERE customer = ? ORDER BY period_start_ms",
        (customer,),
    )
    return [FinalRow(*row) for row in rows]


async def open_gaps(tx: Tx, *, before_ms: int) -> list[Gap]:
    """Return what may still arrive of the time before ``before_ms``.

    A producer sends in order: once an event of a later time has arrived, what is
    still missing of it is later as well.
    """
    rows = await tx.fetch_all(
        "SELECT p.producer, p.app, p.host, p.pid, p.last_seq + 1, p.recorded_seq"
        " FROM producers p WHERE p.recorded_seq > p.last_seq AND p.started_ms < ?"
        " AND coalesce((SELECT e.time_ms FROM events e WHERE e.id ="
        " (SELECT max(b.first_event_id + b.events - 1) FROM batches b"
        " WHERE b.producer_id = p.id AND b.events > 0)), 0) < ?"
        " ORDER BY p.id",
        (before_ms, before_ms),
    )
    return [Gap(*row) for row in rows]


async def final_ends(tx: Tx) -> dict[str, int]:
    """Return the end of each customer's last final period, UTC ms."""
    rows = await tx.fetch_all(
        "SELECT customer, max(period_end_ms) FROM invoices GROUP BY customer"
    )
    return {row[0]: row[1] for row in rows}
