"""One step of an erasure: batches in which a name stands, and what is sealed of them."""

from collections.abc import Mapping
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
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Tx

BATCHES_PER_STEP: Final = 50

Name = tuple[str, bytes, int]
"""What a sender calls an event, as it is to be stored: the id, its mac, the event's id."""


class Step(NamedTuple):
    """Batches that hold a name, or may, and up to which batch it was looked."""

    batches: list[Stored]
    reached: int

    def after(self, erasing: Erasing) -> Erasing:
        """Return how far an erasure is behind it."""
        changed = [stored for stored in self.batches if holds(stored, erasing)]
        return msgspec.structs.replace(
            erasing,
            batch_id=self.reached,
            batches=erasing.batches + len(changed),
            events=erasing.events + n_events(changed, erasing),
        )

    def erased(self, key: bytes, erasing: Erasing) -> list[Stored]:
        """Return those that change, as they are when the erasure is done."""
        return [
            without_name(stored, key, erasing)
            for stored in self.batches
            if holds(stored, erasing)
        ]

    def properties(self, erasing: Erasing) -> list[tuple[str | None, int]]:
        """Return ``(properties, event id)`` where they change."""
        return [
            (after, event_id)
            for stored in self.batches
            for event_id, event in enumerate(stored.events, stored.batch.first_event_id)
            if (after := erasing.properties(event.properties)) != event.properties
        ]

    async def names(self, tx: Tx, key: bytes, erasing: Erasing) -> list[Name]:
        """Return what senders call events otherwise when the erasure is done."""
        found: list[Name] = []
        for stored in self.batches:
            numbered = dict(enumerate(stored.events, stored.batch.first_event_id))
            found += await names_of(tx, key, erasing, numbered)
        return found


def holds(stored: Stored, erasing: Erasing) -> bool:
    """Say whether an erasure changes a batch."""
    return (
        erasing.renamed(stored.events) != stored.events
        or erasing.renamed_losses(stored.losses) != stored.losses
    )


def n_events(batches: list[Stored], erasing: Erasing) -> int:
    """Return how many events of some batches are of the subject."""
    return sum(
        event.subject == erasing.subject
        for stored in batches
        for event in stored.events
    )


def without_name(stored: Stored, key: bytes, erasing: Erasing) -> Stored:
    """Return a batch as it is when the erasure is done, under a seal."""
    events = erasing.renamed(stored.events)
    losses = erasing.renamed_losses(stored.losses)
    seal = stored.seal_of(key, events, losses)
    return stored._replace(events=events, losses=losses, seal=seal)


async def names_of(
    tx: Tx, key: bytes, erasing: Erasing, events: Mapping[int, EventRow]
) -> list[Name]:
    """Return what senders call some events, which have no hole, where that changes."""
    found: list[Name] = []
    if not events:
        return found
    for name in await external.names_between(tx, min(events), max(events)):
        event = events[name.event_id]
        external_id = erasing.external_id(name.external_id, event)
        (after,) = erasing.renamed([event])
        if name.source is None or (external_id, after) == (name.external_id, event):
            continue
        mac = name_mac(
            key,
            source=name.source,
            external_id=external_id,
            is_timed=bool(name.is_timed),
            event=after,
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
        list(erasing.words),
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
