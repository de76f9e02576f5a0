"""One step of an erasure: batches in which a name stands, and what is sealed of them."""

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.ledger.bundle import Stored
from meterline_sidecar.ledger.chain import GENESIS
from meterline_sidecar.ledger.erased import EraseRefused, Erasing
from meterline_sidecar.ledger.external import name_mac
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import external, packed_words
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.events import EventRow, mac_of_batch
from meterline_sidecar.store.pack_words import with_texts
from meterline_sidecar.store.port import Tx

BATCHES_PER_STEP: Final = 50

Name = tuple[str, bytes, int]
"""What a sender calls an event, as it is to be stored: the id, its mac, the event's id."""


class Step(NamedTuple):
    """What a step changes, and how far the erasure is behind it."""

    after: Erasing
    seals: list[tuple[int, bytes]]
    properties: list[tuple[str | None, int]]
    """Of events, each with its id."""
    names: list[Name]
    packs: list[tuple[int, bytes]]
    """Those in which such events are, as they are to be stored, by their first ids."""

    async def write(self, tx: Tx) -> None:
        """Seal the batches, and replace what stands beside the subject's name."""
        await store.put_seals(tx, self.after.id, "batches", self.seals)
        await store.rename_external(tx, self.names)
        await store.put_properties(tx, self.properties)
        await packed_words.put_bodies(tx, self.packs)


def holds(stored: Stored, erasing: Erasing) -> bool:
    """Say whether an erasure changes a batch."""
    return (
        any(map(erasing.changes, stored.events))
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
    span = (min(events), max(events))
    words = [erasing.subject, *erasing.words]
    changed = {
        event_id for event_id, event in events.items() if erasing.changes(event)
    } | set(await store.named_with(tx, *span, words))
    if not changed:
        return found
    for name in await external.names_between(tx, *span):
        if name.event_id not in changed or name.source is None:
            continue
        event = events[name.event_id]
        external_id = erasing.external_id(name.external_id, event)
        (after,) = erasing.renamed([event])
        mac = name_mac(
            key,
            source=name.source,
            external_id=external_id,
            is_timed=bool(name.is_timed),
            event=after,
        )
        found.append((external_id, mac, name.event_id))
    return found


async def next_step(tx: Tx, key: bytes, erasing: Erasing) -> Step:
    """Return the next step: batches that hold the name, and what becomes of them.

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
        sealed = await store.seals_of(tx, "batches", first=batch_id, last=batch_id)
        stored = Stored(batch, producer, mac, events, losses, sealed.get(batch_id))
        previous = await mac_of_batch(tx, batch_id - 1)
        first = await begin(tx)
        if previous is None:
            previous = first.mac or GENESIS
        if not stored.is_right(key, previous):
            raise EraseRefused(
                f"batch {batch_id} is not what was committed, and an erasure would"
                " hide that: run `meterline verify`"
            )
        found.append(stored)
    names: list[Name] = []
    for stored in found:
        numbered = dict(enumerate(stored.events, stored.batch.first_event_id))
        names += await names_of(tx, key, erasing, numbered)
    after, seals, properties = await asyncio.to_thread(_changes, key, erasing, found)
    after = msgspec.structs.replace(after, batch_id=reached)
    packs = await packed_words.packs_of(tx, [event_id for _, event_id in properties])
    bodies = await asyncio.to_thread(_anew, packs, properties)
    return Step(after, seals, properties, names, bodies)


def _anew(
    packs: list[tuple[int, int, bytes]], properties: list[tuple[str | None, int]]
) -> list[tuple[int, bytes]]:
    """Return packs with other properties of some events, which may be in one of them."""
    return [
        (
            first,
            with_texts(
                body,
                "properties",
                {i - first: text for text, i in properties if first <= i <= last},
            ),
        )
        for first, last, body in packs
    ]


def _changes(
    key: bytes, erasing: Erasing, batches: list[Stored]
) -> tuple[Erasing, list[tuple[int, bytes]], list[tuple[str | None, int]]]:
    """Return what some batches count, their seals, and events' properties that change."""
    changed = [stored for stored in batches if holds(stored, erasing)]
    after = msgspec.structs.replace(
        erasing,
        batches=erasing.batches + len(changed),
        events=erasing.events + n_events(changed, erasing),
    )
    sealed = [without_name(stored, key, erasing) for stored in changed]
    properties = [
        (new.properties, event_id)
        for stored, done in zip(changed, sealed, strict=True)
        for event_id, old, new in zip(
            count(stored.batch.first_event_id), stored.events, done.events, strict=False
        )
        if new.properties != old.properties
    ]
    return after, [(one.batch.id, one.seal or b"") for one in sealed], properties
