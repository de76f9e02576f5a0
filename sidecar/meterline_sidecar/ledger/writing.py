"""Writes batches of the ledger as a file of the archive, and makes sure that it did.

Whoever writes one reads it back and compares it before anything follows from that. One
that is there already, and holds just this, stays as it is.
"""

import asyncio
from hashlib import sha256
from itertools import chain
from typing import Final

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archived import Archived, Form
from meterline_sidecar.ledger.bundle import Bundle, Stored
from meterline_sidecar.ledger.shelf import OwnShelf, file_name
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.edge.erase import seals_of
from meterline_sidecar.store.edge.events import BatchRow
from meterline_sidecar.store.port import Tx

ROWS_MAX: Final = 50_000  # of a file; deleting them takes about as long as an fsync
BYTES_MAX: Final = 32 << 20  # of their texts, which are in memory at once
BATCHES_MAX: Final = 5_000


class Writer:
    """Writes bundles, each as a file."""

    def __init__(self, archived: Archived, form: Form, *, clock: Clock) -> None:
        self._archived = archived
        self._form = form
        self._clock = clock

    async def write(self, bundle: Bundle) -> NewMove:
        """Write a file, and return it as it would be noted that it left.

        Raises:
            ArchiveFailed: it cannot be written or read back, or the batches are not
                what was committed.
        """
        shelf = self._archived.shelf
        assert shelf is not None, "who writes has a place for it"
        # In threads: these are Python, and ingest must be answered meanwhile.
        wrong = await asyncio.to_thread(bundle.wrong, self._archived.key)
        if wrong is not None:
            raise ArchiveFailed(f"{wrong}, and so stays: run `meterline verify`")
        content = await self._kept(shelf, bundle)
        if content is None:
            content = await asyncio.to_thread(self._form.encode, bundle)
            await shelf.put(self._name_of(bundle), content)
        else:
            await shelf.sync(self._name_of(bundle))
        move = self._move_of(bundle, content)
        if await self._archived.read_back(move) != bundle:
            raise ArchiveFailed(f"{move.file} does not read as it was written")
        return move

    async def _kept(self, shelf: OwnShelf, bundle: Bundle) -> bytes | None:
        """Return the file that is there already, if it holds just this.

        It stays as it is: an earlier ledger, or a backup of it, may know its digest.
        """
        try:
            content = await shelf.get(self._name_of(bundle))
            kept = await asyncio.to_thread(self._form.decode, content)
        except ArchiveFailed:
            return None  # Not there, or half of it: it is written.
        return content if kept == bundle else None

    def _name_of(self, bundle: Bundle) -> str:
        first, last = bundle.batches[0], bundle.batches[-1]
        return file_name(first.batch.first_event_id, last.mac, self._form.suffix)

    def _move_of(self, bundle: Bundle, content: bytes) -> NewMove:
        first, last = bundle.batches[0].batch, bundle.batches[-1].batch
        first_ms, beyond_ms = bundle.span
        return NewMove(
            is_out=1,
            file=self._name_of(bundle),
            file_bytes=len(content),
            digest=sha256(content).hexdigest(),
            first_batch_id=first.id,
            last_batch_id=last.id,
            first_event_id=first.first_event_id,
            events=bundle.n_events,
            first_loss_id=first.first_loss_id,
            losses=bundle.n_losses,
            previous_mac=bundle.previous_mac,
            mac=bundle.batches[-1].mac,
            first_ms=first_ms,
            beyond_ms=beyond_ms,
            moved_ms=self._clock.now_ms(),
        )


async def read_stored(tx: Tx, batch: BatchRow, producer: str, mac: bytes) -> Stored:
    """Return a batch with all that was committed with it."""
    events = await event_store.events_of_batch(tx, batch) if batch.events else []
    losses = await event_store.losses_of_batch(tx, batch) if batch.losses else []
    seals = await seals_of(tx, "batches", first=batch.id, last=batch.id)
    # A number of this ledger means nothing elsewhere.
    of_none = batch._replace(producer_id=0)
    return Stored(of_none, producer, mac, events, losses, seals.get(batch.id))


def n_bytes_of(stored: Stored) -> int:
    """Return how many bytes the texts of a batch have."""
    texts = chain.from_iterable(
        (event.subject, event.quantities, event.properties) for event in stored.events
    )
    payloads = (loss.payload or b"" for loss in stored.losses)
    return sum(len(text or "") for text in texts) + sum(map(len, payloads))
