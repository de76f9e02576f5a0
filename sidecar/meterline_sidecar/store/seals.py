"""SQL for seals: a digest in each row of the tables whose rows change on their way.

Every statement that adds or changes a row of these tables leaves its seal ``NULL``;
before the transaction commits, all such rows are sealed.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.outbox import ALL as OUTBOX
from meterline_sidecar.store.port import Row, Tx
from meterline_sidecar.store.reconciliation import ALL as RECONCILIATION
from meterline_sidecar.store.stripe_calls import ALL as CALLS


class Sealed(NamedTuple):
    """A table whose rows have seals."""

    table: str
    key: Columns
    """What tells its rows apart."""
    covered: Columns
    """What a seal stands for: all columns but the seal, the key among them."""
    has_later: bool = False
    """Whether the last column came later: where it is 0, seals of before hold."""


class SealedRow(NamedTuple):
    """A row as it is stored."""

    key: Row
    covered: Row
    seal: bytes | None


SEALED: Final = (
    Sealed("outbox", Columns(["id"]), OUTBOX, has_later=True),
    Sealed(
        "outbox_cursor",
        Columns(["id"]),
        Columns(
            ["id", "install", "event_id", "is_live", "sends", "suspect_ms", "added"]
        ),
    ),
    Sealed(
        "reconciliations",
        Columns(["start_ms", "event_name", "stripe_customer"]),
        RECONCILIATION,
        has_later=True,
    ),
    Sealed("stripe_calls", Columns(["id"]), CALLS),
    Sealed(
        "stripe_events",
        Columns(["id"]),
        Columns(
            ["id", "type", "received_ms", "body", "state", "errors", "found", "reason"]
        ),
    ),
)


async def unsealed(tx: Tx, of: Sealed, *, limit: int) -> list[SealedRow]:
    """Return rows that have no seal, or have changed since they had one."""
    rows = await tx.fetch_all(
        f"SELECT {of.key.listed}, {of.covered.listed}, seal FROM {of.table}"  # noqa: S608 - our own names
        " WHERE seal IS NULL LIMIT ?",
        (limit,),
    )
    return [as_sealed(of, row) for row in rows]


async def put_seals(tx: Tx, of: Sealed, rows: Iterable[tuple[bytes, Row]]) -> None:
    """Store seals: ``(seal, the row's key)``."""
    tests = " AND ".join(f"{name} = ?" for name in of.key.names)
    await tx.execute_many(
        f"UPDATE {of.table} SET seal = ? WHERE {tests}",  # noqa: S608 - our own names
        ((seal, *key) for seal, key in rows),
    )


async def sealed_after(
    tx: Tx, of: Sealed, key: Row | None, *, limit: int
) -> list[SealedRow]:
    """Return rows behind a key, in its order; ``None``: from the first one on."""
    order = of.key.listed
    test = "" if key is None else f" WHERE ({order}) > ({of.key.marks})"
    rows = await tx.fetch_all(
        f"SELECT {order}, {of.covered.listed}, seal FROM {of.table}{test}"  # noqa: S608 - our own names and marks
        f" ORDER BY {order} LIMIT ?",
        (*(key or ()), limit),
    )
    return [as_sealed(of, row) for row in rows]


async def has_seals(tx: Tx) -> bool:
    """Say whether any row was ever sealed: then one without a seal is a finding."""
    for of in SEALED:
        row = await tx.fetch_one(
            f"SELECT 1 FROM {of.table} WHERE seal IS NOT NULL LIMIT 1"  # noqa: S608 - our own names
        )
        if row is not None:
            return True
    return False


async def outbox_numbers(tx: Tx) -> tuple[int, int, int | None]:
    """Return how many rows the outbox has, its last id, and how many were ever added.

    The last is ``None`` where the cursor is gone or was never there.
    """
    row = await tx.fetch_one(
        "SELECT count(*), coalesce(max(id), 0),"
        " (SELECT added FROM outbox_cursor WHERE id = 1) FROM outbox"
    )
    assert row is not None
    return row[0], row[1], row[2]


def as_sealed(of: Sealed, row: Row) -> SealedRow:
    """Return a row that was read as its key, what is covered, and its seal."""
    n_keys = len(of.key.names)
    key, covered, seal = row[:n_keys], row[n_keys:-1], row[-1]
    if of.has_later and covered[-1] == 0:
        covered = covered[:-1]
    return SealedRow(key, covered, seal)
