"""Writes what an edge's ledger holds as files, so that its centre can read it.

A file holds batches whole and in order, from where the last one ended, all of one
hour and all of them acked by the centre. It is of the archive's form, is read back, and
has a link in the journal. Nothing leaves the ledger by that: it is a copy, and lies beside
what others wrote. What is old may leave for it later, see ``leaving_copies``.
"""

from typing import Final, NamedTuple

from meterline_sidecar.clock import HOUR_MS, Clock
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archive import ERASING, Journal
from meterline_sidecar.ledger.archived import Archived, Form
from meterline_sidecar.ledger.bundle import Bundle, Stored
from meterline_sidecar.ledger.chain import GENESIS
from meterline_sidecar.ledger.erased import is_erasing
from meterline_sidecar.ledger.writing import (
    BATCHES_MAX,
    BYTES_MAX,
    ROWS_MAX,
    Writer,
    n_bytes_of,
    read_stored,
)
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.edge_files import OWN, NewEdgeFile
from meterline_sidecar.store.facts import drop_fact, get_fact, put_fact
from meterline_sidecar.store.port import Ledger, Tx

ANY_TIME: Final = 1 << 62
WRITING: Final = "edge_file_up_to"
"""The fact that says with which batch the file ends that is being written. Whoever was
killed behind it is followed by one that ends there as well, and so has the same name: of
another one no row would tell, nor would an erasure reach it."""


class Reached(NamedTuple):
    """How much of an edge its centre has."""

    batch: int
    """All batches up to here are there, or what they come to is."""
    event: int | None
    """Up to which event all is in what it has, where only that crosses."""


class EdgeFiles:
    """Writes the files of this ledger.

    Args:
        is_trusted: whether the ledger is; of one that is not nothing is written.
    """

    def __init__(
        self,
        database: Ledger,
        archived: Archived,
        journal: Journal,
        *,
        form: Form,
        clock: Clock,
        is_trusted: bool,
    ) -> None:
        self._database = database
        self._archived = archived
        self._journal = journal
        self._clock = clock
        self._is_trusted = is_trusted
        self._writer = Writer(archived, form, clock=clock)
        self.trouble: str | None = None
        """Why the last one could not be written; ``None`` after a good one."""

    async def write_next(
        self, reached: Reached, *, is_urgent: bool
    ) -> NewEdgeFile | None:
        """Write the next file; ``None``: there is nothing for one yet.

        Args:
            reached: what the centre has.
            is_urgent: also of the hour that is not over.

        Raises:
            ArchiveFailed: it cannot be written, or read back; nothing is noted.
        """
        if self._archived.shelf is None or not self._is_trusted:
            return None
        before_ms = self._clock.now_ms() // HOUR_MS * HOUR_MS
        if is_urgent:
            before_ms = ANY_TIME
        async with self._archived.changing:
            try:
                written = await self._write(before_ms, reached, is_urgent=is_urgent)
            except ArchiveFailed as error:
                self.trouble = str(error)
                raise
            self.trouble = None
        return written

    async def _write(
        self, before_ms: int, reached: Reached, *, is_urgent: bool
    ) -> NewEdgeFile | None:
        async with self._database.reading() as tx:
            if await is_erasing(tx):
                if is_urgent:
                    raise ArchiveFailed(f"{ERASING}; try again when it is done")
                return None
            bundle = await _next_bundle(tx, before_ms, reached)
        if not bundle.batches:
            return None
        async with self._database.transaction() as tx:
            await put_fact(tx, WRITING, str(bundle.batches[-1].batch.id))
        file = store.file_of(
            await self._writer.write(bundle),
            edge_id=OWN,
            learned_ms=bundle.batches[-1].batch.learned_ms,
        )
        async with self._database.transaction() as tx:
            row_id = await store.add_file(tx, file)
            await self._journal.link(tx, "edge_files", row_id)
            await drop_fact(tx, WRITING)
        return file


async def _next_bundle(tx: Tx, before_ms: int, reached: Reached) -> Bundle:
    """Return what the next file holds; without batches, if there is none yet."""
    last = await store.last_file(tx, OWN)
    after = 0 if last is None else last.what.last_batch_id
    begun = await get_fact(tx, WRITING)
    ends = None if begun is None or int(begun) <= after else int(begun)
    found: list[Stored] = []
    bundle = Bundle(GENESIS if last is None else last.what.mac, found)
    rows = n_bytes = 0
    batches = await event_store.batches_after(tx, after, limit=BATCHES_MAX)
    for batch, producer, mac in batches:
        last_event = batch.first_event_id + batch.events - 1
        if batch.id > reached.batch:
            break
        if reached.event is not None and last_event > reached.event:
            break
        hour = batch.learned_ms // HOUR_MS
        rows += batch.events + batch.losses
        is_full = found and (
            rows > ROWS_MAX
            or n_bytes > BYTES_MAX
            or hour != found[0].batch.learned_ms // HOUR_MS
        )
        if batch.id > ends if ends else is_full or batch.learned_ms >= before_ms:
            break
        stored = await read_stored(tx, batch, producer, mac)
        n_bytes += n_bytes_of(stored)
        found.append(stored)
    if ends is not None and found and found[-1].batch.id < ends:
        found.clear()  # The centre was put back, and does not have all of it.
    return bundle
