"""SQL for credits that customers were granted."""

from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.port import Tx

Kind = Literal["goodwill", "prepaid"]


class NewCredit(NamedTuple):
    """A credit to keep."""

    customer: str
    key: str | None
    """What whoever granted it calls it; a second one of that key is refused."""
    kind: Kind
    title: str
    currency: str
    amount: str
    """Decimal text."""
    priority: int
    starts: str
    """A date, or empty."""
    expires: str
    granted_ms: int
    author: str
    reason: str


class CreditRow(NamedTuple):
    """A credit as it is stored, and when it was ended."""

    id: int
    customer: str
    key: str | None
    kind: Kind
    title: str
    currency: str
    amount: str
    priority: int
    starts: str
    expires: str
    granted_ms: int
    author: str
    reason: str
    ended_ms: int | None
    end_reason: str | None


NEW: Final = Columns(NewCredit._fields)
STORED: Final = Columns(CreditRow._fields).without("ended_ms", "end_reason")


async def add_credit(tx: Tx, row: NewCredit) -> int:
    """Store a credit, and return its id."""
    found = await tx.fetch_one(
        f"INSERT INTO credits ({NEW.listed}) VALUES ({NEW.marks}) RETURNING id",  # noqa: S608 - names and marks
        NEW.of(row),
    )
    assert found is not None
    return int(found[0])


async def end_credit(
    tx: Tx, credit_id: int, *, ended_ms: int, author: str, reason: str
) -> int:
    """Note that a credit pays for nothing more, and return the row's id."""
    found = await tx.fetch_one(
        "INSERT INTO credit_ends (credit_id, ended_ms, author, reason)"
        " VALUES (?, ?, ?, ?) RETURNING id",
        (credit_id, ended_ms, author, reason),
    )
    assert found is not None
    return int(found[0])


async def credits_of(tx: Tx, customer: str) -> list[CreditRow]:
    """Return everything that a customer was granted, in order."""
    listed = ", ".join(f"c.{name}" for name in STORED.names)
    rows = await tx.fetch_all(
        f"SELECT {listed}, e.ended_ms, e.reason FROM credits c"  # noqa: S608 - names
        " LEFT JOIN credit_ends e ON e.credit_id = c.id"
        " WHERE c.customer = ? ORDER BY c.id",
        (customer,),
    )
    return [CreditRow(*row) for row in rows]
