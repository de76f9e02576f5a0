"""One step of an erasure: batches in which a name stands, and what is sealed of them."""

from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.ledger.bundle import Stored
from meterline_sidecar.ledger.chain import GENESIS
from meterline_sidecar.ledger.erased import EraseRefused, Erasing
from meterline_sidecar.ledger.external import name_mac
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import external, integrity
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.port import Tx

BATCHES_PER_STEP: Final = 50


class Step(NamedTuple):
    """Batches that hold a name, and up to which batch it was looked."""

    batches: list[Stored]
    reached: int

    def after(self, erasing: Erasing) -> Erasing:
        """Return how far an erasure is behind it."""
        n_events = sum(
            event.subject == erasing.subject
            for stored in self.batches
            for event in stored.events
        )
        return msgspec.structs.replace(
            erasing,
            batch_id=self.reached,
            batches=erasing.batches + len(self.batches),
            events=erasing.events + n_events,
        )

    def seals(self, key: bytes, erasing: Erasing) -> list[tuple[int, bytes]]:
        """Return ``(batch id, seal)`` of each, as it is when the erasure is done."""
        return [
            (
                stored.batch.id,
                stored.seal_of(
                    key,
                    erasing.renamed(stored.events),
                    erasing.renamed_losses(stored.losses),
                ),
            )
            for stored in self.batches
        ]

    async def names(
        self, tx: Tx, key: bytes, erasing: Erasing
    ) -> list[tuple[str, bytes, int]]:
        """Return what senders call the subject's events, as it is to be stored."""
        found: list[tuple[str, bytes, int]] = []
        for stored in self.batches:
            events = dict(enumerate(stored.events, stored.batch.first_event_id))
            if not events:
                continue
            for name in await external.names_between(tx, min(events), max(events)):
                event = events[name.event_id]
                if event.subject != erasing.subject or name.source is None:
                    continue
                external_id = name.external_id.replace(erasing.subject, erasing.alias)
                mac = name_mac(
                    key,
                    source=name.source,
                    external_id=external_id,
                    is_timed=bool(name.is_timed),
                    event=erasing.renamed([event])[0],
                )
                found.append((external_id, mac, name.event_id))
        return found


async def read_step(tx: Tx, key: bytes, erasing: Erasing) -> Step:
    """Read the next batches that hold the name, each with the link before it.

    Raises:
        EraseRefused: one of them is not what was committed.
    """
    ids, reached = await store.batches_of(
        tx,
        erasing.subject_id,
        erasing.subject,
        after=erasing.batch_id,
        limit=BATCHES_PER_STEP,
    )
    found: list[Stored] = []
    for batch_id in ids:
        ((batch, producer, mac),) = await event_store.batches_after(
            tx, batch_id - 1, limit=1
        )
        events = await event_store.events_of_batch(tx, batch)
        losses = await event_store.losses_of_batch(tx, batch)
        seals = await store.seals_of(tx, "batches", first=batch_id, last=batch_id)
        stored = Stored(batch, producer, mac, events, losses, seals.get(batch_id))
        previous = await integrity.batch_mac(tx, batch_id - 1)
        first = await begin(tx)
        if previous is None:
            previous = first.mac or GENESIS
        if not stored.is_right(key, previous):
            raise EraseRefused(
                f"batch {batch_id} is not what was committed, and an erasure would"
                " hide that: run `meterline verify`"
            )
        found.append(stored)
    return Step(found, reached)
