"""A keyed chain over the rows that money stands in, beside that of the events.

Terms, final invoices, adjustments, what credits were used for, and decisions of people
are written seldom and mean much: each row has a link of its own, ``HMAC-SHA256(key,
previous mac | table | row)``, written in the transaction that writes the row. So a row
that was changed, deleted or slipped in is named.
"""

import hmac
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from meterline_sidecar.ledger.erased import row_seal
from meterline_sidecar.ledger.report import Progress
from meterline_sidecar.store import journal as store
from meterline_sidecar.store.edge.erase import put_seals, seals_of
from meterline_sidecar.store.facts import drop_fact, get_fact
from meterline_sidecar.store.port import Row, Tx

GENESIS: Final = b"meterline journal 1"
"""What stands in for the mac before the first link."""
LINKS_PER_READ: Final = 2_000
ADOPTS: Final = "journal adopts "
"""What the note of a migration begins with, before the table: up to which row."""

_encode = msgspec.msgpack.Encoder().encode


def link_mac(key: bytes, previous: bytes, entry: str, row: Row) -> bytes:
    """Return the mac of a link, 32 bytes, over the row as it is stored."""
    return hmac.digest(key, previous + _encode((entry, row)), "sha256")


class Journal:
    """Links rows as they are written."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Link a row that was written in this transaction."""
        await self.link_all(tx, entry, [row_id])

    async def link_all(self, tx: Tx, entry: str, row_ids: Sequence[int]) -> None:
        """Link up to some thousand rows that were written in this transaction."""
        rows = {row[0]: row for row in await store.covered_rows(tx, entry, row_ids)}
        newest = await store.newest_link(tx)
        mac = GENESIS if newest is None else newest.mac
        links: list[tuple[str, int, bytes]] = []
        for row_id in row_ids:
            mac = link_mac(self._key, mac, entry, rows[row_id])
            links.append((entry, row_id, mac))
        await store.add_links(tx, links)

    def together(self) -> "Together":
        """Return a journal that links at once what is written in one transaction."""
        return Together(self)

    async def adopt(self, tx: Tx) -> int:
        """Link what is older than its links; return how many rows.

        All rows of a ledger whose journal is empty, and those that a migration made of
        others and left a note of. Any other row without a link is a finding.
        """
        is_empty = await store.newest_link(tx) is None
        n_rows = 0
        for entry in store.ENTRIES:
            noted = await get_fact(tx, f"{ADOPTS}{entry}")
            if is_empty:
                n_rows += await self._take_in(tx, entry, up_to=store.ID_MAX)
            elif noted is not None and not await store.is_linked(tx, entry):
                n_rows += await self._take_in(tx, entry, up_to=int(noted))
            if noted is not None:
                await drop_fact(tx, f"{ADOPTS}{entry}")
        return n_rows

    async def _take_in(self, tx: Tx, entry: str, *, up_to: int) -> int:
        n_rows, last = 0, 0
        while ids := await store.unlinked(
            tx, entry, after=last, up_to=up_to, limit=LINKS_PER_READ
        ):
            await self.link_all(tx, entry, ids)
            n_rows, last = n_rows + len(ids), ids[-1]
        return n_rows


class Together:
    """Notes rows as they are written, and links all of them in a few statements."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._rows: dict[str, list[int]] = {}

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Note a row of this transaction."""
        self._rows.setdefault(entry, []).append(row_id)

    async def link_noted(self, tx: Tx) -> None:
        """Link all that was noted, in the same transaction."""
        for entry, row_ids in self._rows.items():
            await self._journal.link_all(tx, entry, row_ids)
        self._rows.clear()


async def verify_journal(
    tx: Tx, key: bytes, find: Callable[[str], None], progress: Progress
) -> None:
    """Tell what is wrong with the rows that the journal covers, in words."""
    newest = await store.newest_link(tx)
    n_links = 0 if newest is None else newest.id
    previous, last_id = GENESIS, 0
    while links := await store.links_after(tx, last_id, limit=LINKS_PER_READ):
        for link in links:
            if link.id != last_id + 1:
                find(f"links {last_id + 1} to {link.id - 1} of the journal are missing")
            row = await store.covered_row(tx, link.entry, link.row_id)
            if row is None:
                find(f"{_named(link)} was deleted")
            elif link_mac(
                key, previous, link.entry, row
            ) != link.mac and not await _is_erased(tx, key, link, row):
                find(f"{_named(link, row)} was changed, or a link before it")
            previous, last_id = link.mac, link.id
        progress("journal", last_id, n_links)
    for entry in store.ENTRIES:
        for row_id in await store.unlinked(tx, entry, limit=LINKS_PER_READ):
            find(f"row {row_id} of {entry} was not written by Meterline")


async def seal_erased(
    tx: Tx, key: bytes, erasure_id: int, entry: str, row_ids: Sequence[int]
) -> None:
    """Seal rows as they are by now: a name was taken out of them in this transaction."""
    seals: list[tuple[int, bytes]] = []
    for row_id in row_ids:
        link = await store.link_of(tx, entry, row_id)
        row = await store.covered_row(tx, entry, row_id)
        assert link is not None
        assert row is not None
        seals.append((row_id, row_seal(key, entry, link.mac, row)))
    await put_seals(tx, erasure_id, entry, seals)


async def is_as_written(tx: Tx, key: bytes, entry: str, row_id: int) -> bool:
    """Say whether a row is what was linked, but for names that were taken out."""
    link = await store.link_of(tx, entry, row_id)
    row = await store.covered_row(tx, entry, row_id)
    if link is None or row is None:
        return False
    before = await store.links_after(tx, link.id - 2, limit=1) if link.id > 1 else []
    previous = before[0].mac if before else GENESIS
    is_linked = hmac.compare_digest(link_mac(key, previous, entry, row), link.mac)
    return is_linked or await _is_erased(tx, key, link, row)


async def _is_erased(tx: Tx, key: bytes, link: store.Link, row: Row) -> bool:
    """Say whether a row is what was linked, but for a name that was taken out."""
    seals = await seals_of(tx, link.entry, first=link.row_id, last=link.row_id)
    seal = row_seal(key, link.entry, link.mac, row)
    return hmac.compare_digest(seals.get(link.row_id, b""), seal)


def _named(link: store.Link, row: Row | None = None) -> str:
    """Return how a person knows a row."""
    if row is not None and link.entry == "invoices":
        return f"the final invoice {row[6]} of {row[1]} (row {link.row_id})"
    if row is not None and link.entry == "documents":
        return f"the document {row[1]} {row[2]} of {row[5]} (row {link.row_id})"
    if row is not None and link.entry == "terms":
        return f"what was agreed with {row[1]} {row[2]} (row {link.row_id} of terms)"
    return f"row {link.row_id} of {link.entry}"
