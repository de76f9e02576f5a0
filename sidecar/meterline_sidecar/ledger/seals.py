"""Seals over rows that change on their way: what Stripe was told, and what it said.

The journal covers rows that are written once. A row of the outbox has many states, so
it carries its seal itself, ``HMAC-SHA256(key, table | row)``, made anew whenever it
changes. That rows are gone is seen by their number, which is under a seal as well.
"""

import hmac
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import msgspec

from meterline_sidecar.ledger.report import Progress
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import seals as store
from meterline_sidecar.store.edge import erase
from meterline_sidecar.store.port import Database, Row, Tx

ROWS_PER_STEP: Final = 2_000

_encode = msgspec.msgpack.Encoder().encode


def seal_of(key: bytes, table: str, row: Row) -> bytes:
    """Return the seal of a row, 32 bytes, over the row as it is stored."""
    return hmac.digest(key, b"seal" + _encode((table, row)), "sha256")


class SealingDatabase(Database):
    """A ledger whose transactions seal, at their end, what they changed."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key

    @property
    def others_write(self) -> bool:
        """Whether other processes write it as well; see ``Database``."""
        return self._database.others_write

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        """Open a read-only snapshot; see ``Readable.reading``."""
        return self._database.reading()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        """Open a write transaction; see ``Database.transaction``."""
        async with self._database.transaction() as tx:
            yield tx
            await _seal(tx, self._key)

    async def adopt(self) -> None:
        """Seal what was written before there were seals.

        Only in a ledger that has none: later a row without a seal is a finding.
        """
        async with self._database.transaction() as tx:
            if not await store.has_seals(tx):
                await _seal(tx, self._key)


async def _seal(tx: Tx, key: bytes) -> None:
    """Seal every row that was added or changed in this transaction."""
    for of in store.SEALED:
        while rows := await store.unsealed(tx, of, limit=ROWS_PER_STEP):
            await store.put_seals(
                tx, of, [(seal_of(key, of.table, row.covered), row.key) for row in rows]
            )


async def is_sealed(tx: Tx, key: bytes, table: str, row_id: int) -> bool:
    """Say whether a row fits its seal; one of a table without seals always does.

    Args:
        row_id: SQLite's own number of it.
    """
    for of in store.SEALED:
        if of.table == table:
            row = await erase.sealed_row(tx, of, row_id)
            return row is not None and row.seal == seal_of(key, table, row.covered)
    return True


async def verify_seals(
    tx: Tx, key: bytes, find: Callable[[str], None], progress: Progress
) -> None:
    """Tell what is wrong with the rows that have seals, in words."""
    for of in store.SEALED:
        last: Row | None = None
        n_rows = 0
        while rows := await store.sealed_after(tx, of, last, limit=ROWS_PER_STEP):
            for row in rows:
                if row.seal != seal_of(key, of.table, row.covered):
                    named = ", ".join(str(value) for value in row.key)
                    find(f"row {named} of {of.table} is not what was written")
            last = rows[-1].key
            n_rows += len(rows)
            progress(of.table, n_rows, n_rows)
    n_rows, last_id, added = await store.outbox_numbers(tx)
    if n_rows != last_id or (n_rows and added is None):
        find(f"the outbox has {n_of(n_rows, 'row')}, but the last one is row {last_id}")
    if added is not None and added != n_rows:
        find(f"the outbox has {n_of(n_rows, 'row')}; added to it were: {added}")
