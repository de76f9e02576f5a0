"""SQL for final invoices, what they adjust, and what they use up.

An invoice that is void stays, and counts no more: neither its period, nor what it
adjusted, nor what it used up.
"""

from collections.abc import Sequence
from decimal import Decimal
from sys import intern
from typing import Final, Literal, NamedTuple

from meterline_sidecar.decimals import added
from meterline_sidecar.store.columns import Columns, marks, pieces
from meterline_sidecar.store.dialects import either
from meterline_sidecar.store.port import Tx


class NewFinal(NamedTuple):
    """A final invoice to keep."""

    customer: str
    period_start_ms: int
    period_end_ms: int
    finalized_ms: int
    document: str
    period: str
    """The name of the period: with the customer, what an invoice is known by."""


class FinalRow(NamedTuple):
    """A final invoice as it is stored."""

    id: int
    customer: str
    period_start_ms: int
    period_end_ms: int
    finalized_ms: int
    document: str
    period: str


class NewAdjustment(NamedTuple):
    """The difference of a final period, as it is billed on another invoice."""

    customer: str
    period: str
    invoice_id: int
    currency: str
    billed: str
    now: str
    amount: str
    counted_up_to_event: int


class NewUse(NamedTuple):
    """What an invoice used up of a credit or a coupon."""

    customer: str
    kind: Literal["credit", "coupon"]
    name: str
    currency: str
    period: str
    invoice_id: int
    amount: str


FINAL: Final = Columns(FinalRow._fields)
NEW_FINAL: Final = Columns(NewFinal._fields)
ADJUSTMENT: Final = Columns(NewAdjustment._fields)
USE: Final = Columns(NewUse._fields)
CUSTOMERS_PER_READ: Final = 5_000
VOID: Final = "(SELECT invoice_id FROM invoice_states WHERE state = 'void')"


async def add_final(tx: Tx, row: NewFinal) -> int:
    """Store a final invoice and return its id."""
    return await _add(tx, "invoices", NEW_FINAL, row)


async def finals_of(tx: Tx, customer: str) -> list[FinalRow]:
    """Return a customer's final invoices, the earliest period first."""
    rows = await tx.fetch_all(
        f"SELECT {FINAL.listed} FROM invoices WHERE customer = ?"  # noqa: S608 - names
        f" AND id NOT IN {VOID} ORDER BY period_start_ms",
        (customer,),
    )
    return [FinalRow(*row) for row in rows]


async def finals_after(tx: Tx, invoice_id: int, *, limit: int) -> list[FinalRow]:
    """Return final invoices behind an id, in the order in which they became final."""
    rows = await tx.fetch_all(
        f"SELECT {FINAL.listed} FROM invoices WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - names
        (invoice_id, limit),
    )
    return [FinalRow(*row) for row in rows]


async def final_row(tx: Tx, invoice_id: int) -> FinalRow | None:
    """Return a final invoice, void or not; ``None``: there is none."""
    row = await tx.fetch_one(
        f"SELECT {FINAL.listed} FROM invoices WHERE id = ?",  # noqa: S608 - names
        (invoice_id,),
    )
    return None if row is None else FinalRow(*row)


async def final_rows(tx: Tx, invoice_ids: Sequence[int]) -> list[FinalRow]:
    """Return final invoices, void or not, by their ids, in order."""
    found: list[FinalRow] = []
    for part in pieces(invoice_ids):
        rows = await tx.fetch_all(
            f"SELECT {FINAL.listed} FROM invoices WHERE id IN ({marks(len(part))})"  # noqa: S608 - names and marks
            " ORDER BY id",
            part,
        )
        found += [FinalRow(*row) for row in rows]
    return found


async def final_ends(tx: Tx) -> dict[str, int]:
    """Return the end of each customer's last final period, UTC ms."""
    rows = await tx.fetch_all(
        "SELECT customer, max(period_end_ms) FROM invoices"  # noqa: S608 - our own text
        f" WHERE id NOT IN {VOID} GROUP BY customer"
    )
    return {row[0]: row[1] for row in rows}


async def closed_ends(tx: Tx) -> dict[str, int]:
    """Return the end of each customer's last period that was ever final, UTC ms.

    One whose invoice is void is closed again only where somebody asks for it.
    """
    found: dict[str, int] = {}
    same: dict[int, int] = {}
    last = ""
    while rows := await tx.fetch_all(
        "SELECT customer, max(period_end_ms) FROM invoices WHERE customer > ?"
        " GROUP BY customer ORDER BY customer LIMIT ?",
        (last, CUSTOMERS_PER_READ),
    ):
        # Of very many customers each name is in memory once, and what is equal too.
        for customer, end_ms in rows:
            found[intern(customer)] = same.setdefault(end_ms, end_ms)
        last = rows[-1][0]
    return found


class Voided(NamedTuple):
    """A period whose invoice is void, and that has no other one."""

    customer: str
    period: str
    start_ms: int
    end_ms: int


async def voided(tx: Tx, *, limit: int) -> list[Voided]:
    """Return periods whose invoice is void and that were not invoiced again, in order."""
    rows = await tx.fetch_all(
        "SELECT v.customer, v.period, max(v.period_start_ms), max(v.period_end_ms)"  # noqa: S608 - our own text
        f" FROM invoices v WHERE v.id IN {VOID} AND NOT EXISTS (SELECT 1 FROM invoices i"
        " WHERE i.customer = v.customer AND i.period = v.period"
        f" AND i.id NOT IN {VOID}) GROUP BY v.customer, v.period"
        " ORDER BY max(v.period_end_ms), v.customer LIMIT ?",
        (limit,),
    )
    return [Voided(*row) for row in rows]


class FinalRange(NamedTuple):
    """Where a customer's periods lie that were ever final."""

    start_ms: int
    end_ms: int
    n_invoices: int
    """With those that are void."""
    covered_ms: int
    """Less than from start to end where one between them is not final."""


async def final_ranges(tx: Tx) -> dict[str, FinalRange]:
    """Return where each customer's periods lie that were ever final."""
    found: dict[str, FinalRange] = {}
    same: dict[FinalRange, FinalRange] = {}
    last = ""
    while rows := await tx.fetch_all(
        "SELECT customer, min(period_start_ms), max(period_end_ms), count(*),"  # noqa: S608 - our own text
        f" sum(CASE WHEN id IN {VOID} THEN 0 ELSE period_end_ms - period_start_ms END)"
        " FROM invoices WHERE customer > ? GROUP BY customer ORDER BY customer LIMIT ?",
        (last, CUSTOMERS_PER_READ),
    ):
        for customer, start_ms, end_ms, n_invoices, covered_ms in rows:
            one = FinalRange(start_ms, end_ms, n_invoices, int(covered_ms))
            found[intern(customer)] = same.setdefault(one, one)
        last = rows[-1][0]
    return found


async def final_names(tx: Tx, customer: str) -> frozenset[str]:
    """Return the names of a customer's final periods."""
    rows = await tx.fetch_all(
        f"SELECT period FROM invoices WHERE customer = ? AND id NOT IN {VOID}",  # noqa: S608 - our own text
        (customer,),
    )
    return frozenset(row[0] for row in rows)


async def names_of(tx: Tx, invoice_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return the customer and the period of invoices by their ids."""
    found: dict[int, tuple[str, str]] = {}
    for part in pieces(invoice_ids):
        rows = await tx.fetch_all(
            "SELECT id, customer, period FROM invoices"  # noqa: S608 - only marks
            f" WHERE id IN ({marks(len(part))})",
            part,
        )
        found.update({row[0]: (row[1], row[2]) for row in rows})
    return found


async def final_spans(tx: Tx, *, since_ms: int) -> list[tuple[str, int, int]]:
    """Return ``(customer, start, end)`` of final periods that end after a time."""
    rows = await tx.fetch_all(
        "SELECT customer, period_start_ms, period_end_ms FROM invoices"  # noqa: S608 - our own text
        f" WHERE period_end_ms > ? AND id NOT IN {VOID} ORDER BY id",
        (since_ms,),
    )
    return [(row[0], row[1], row[2]) for row in rows]


class CountedPeriod(NamedTuple):
    """A final period, and the last event that its invoice counts."""

    customer: str
    name: str
    start_ms: int
    end_ms: int
    counted_up_to_event: int


COUNTED: Final = either(
    sqlite="SELECT customer, period, period_start_ms, period_end_ms,"  # noqa: S608 - our own text
    " CAST(document ->> '$.counted_up_to_event' AS INTEGER) FROM invoices"
    f" WHERE period_end_ms > ? AND id NOT IN {VOID} ORDER BY id",
    postgres="SELECT customer, period, period_start_ms, period_end_ms,"  # noqa: S608 - our own text
    " json_integer(document, '{counted_up_to_event}') FROM invoices"
    f" WHERE period_end_ms > ? AND id NOT IN {VOID} ORDER BY id",
)


async def counted_periods(tx: Tx, *, since_ms: int) -> list[CountedPeriod]:
    """Return the final periods that end after a time."""
    rows = await tx.fetch_all(COUNTED, (since_ms,))
    return [CountedPeriod(*row) for row in rows]


async def newest_final_end(tx: Tx) -> int:
    """Return before when somebody's period was ever final, UTC ms; 0: nobody's."""
    row = await tx.fetch_one("SELECT coalesce(max(period_end_ms), 0) FROM invoices")
    assert row is not None
    return int(row[0])


async def newest_invoice(tx: Tx) -> int:
    """Return the id of the invoice that became final last; 0 before the first."""
    row = await tx.fetch_one("SELECT coalesce(max(id), 0) FROM invoices")
    assert row is not None
    return int(row[0])


async def customers_after(tx: Tx, invoice_id: int) -> list[str]:
    """Return whose invoices became final behind one."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT customer FROM invoices WHERE id > ? ORDER BY customer",
        (invoice_id,),
    )
    return [row[0] for row in rows]


async def add_adjustment(tx: Tx, row: NewAdjustment) -> int:
    """Store a difference that is billed, and return the row's id."""
    return await _add(tx, "adjustments", ADJUSTMENT, row)


class Adjusted(NamedTuple):
    """What adjustments billed of a period."""

    amounts: dict[str, Decimal]
    """By currency."""
    up_to_event: int


async def adjusted_of(tx: Tx, customer: str) -> dict[str, Adjusted]:
    """Return what adjustments billed of each of a customer's periods."""
    rows = await tx.fetch_all(
        "SELECT period, currency, amount, counted_up_to_event FROM adjustments"  # noqa: S608 - our own text
        f" WHERE customer = ? AND invoice_id NOT IN {VOID} ORDER BY id",
        (customer,),
    )
    found: dict[str, Adjusted] = {}
    for period, currency, amount, up_to_event in rows:
        known = found.get(period, Adjusted({}, 0))
        before = known.amounts.get(currency, Decimal(0))
        amounts = {**known.amounts, currency: added(before, Decimal(amount))}
        found[period] = Adjusted(amounts, max(known.up_to_event, up_to_event))
    return found


async def touched_by_void(tx: Tx, customer: str) -> frozenset[str]:
    """Return the periods of which an invoice that is void billed or used up something.

    They come to something else by that, whatever was learned since.
    """
    rows = await tx.fetch_all(
        f"SELECT period FROM adjustments WHERE customer = ? AND invoice_id IN {VOID}"  # noqa: S608 - our own text
        " UNION SELECT period FROM term_uses"
        f" WHERE customer = ? AND invoice_id IN {VOID}",
        (customer, customer),
    )
    return frozenset(row[0] for row in rows)


async def add_use(tx: Tx, row: NewUse) -> int:
    """Store what was used up of a credit or a coupon, and return the row's id."""
    return await _add(tx, "term_uses", USE, row)


async def uses_of(tx: Tx, customer: str) -> list[NewUse]:
    """Return everything that a customer used up of credits and coupons, in order."""
    rows = await tx.fetch_all(
        f"SELECT {USE.listed} FROM term_uses WHERE customer = ?"  # noqa: S608 - names
        f" AND invoice_id NOT IN {VOID} ORDER BY id",
        (customer,),
    )
    return [NewUse(*row) for row in rows]


async def late_days(tx: Tx, customer: str) -> list[tuple[int, int]]:
    """Return ``(day_ms, last event id)`` of usage that changed in what is final.

    Of every subject that the customer pays for now or ever paid for.
    """
    rows = await tx.fetch_all(
        "SELECT l.day_ms, max(l.last_event_id) FROM late_usage l WHERE l.subject_id IN"
        " (SELECT s.id FROM subjects s WHERE s.customer = ?"
        " UNION SELECT o.subject_id FROM owners o WHERE o.customer = ?)"
        " GROUP BY l.day_ms ORDER BY l.day_ms",
        (customer, customer),
    )
    return [(row[0], row[1]) for row in rows]


async def _add(tx: Tx, table: str, columns: Columns, row: object) -> int:
    found = await tx.fetch_one(
        f"INSERT INTO {table} ({columns.listed}) VALUES ({columns.marks})"  # noqa: S608 - names and marks
        " RETURNING id",
        columns.of(row),
    )
    assert found is not None
    return int(found[0])


async def final_end(tx: Tx, customer: str) -> int:
    """Return the end of a customer's last final period, UTC ms; 0: there is none."""
    row = await tx.fetch_one(
        "SELECT coalesce(max(period_end_ms), 0) FROM invoices"  # noqa: S608 - our own text
        f" WHERE customer = ? AND id NOT IN {VOID}",
        (customer,),
    )
    assert row is not None
    return int(row[0])
