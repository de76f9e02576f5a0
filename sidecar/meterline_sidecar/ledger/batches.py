"""Recomputes the chain over all batches, and what is noted of their events."""

from collections.abc import AsyncIterator
from typing import Final

from meterline.events import Flag
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.ledger.chain import GENESIS, batch_mac
from meterline_sidecar.ledger.progress_mark import ProgressMark, Verified
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import integrity as store
from meterline_sidecar.store.edge.events import BatchRow, EventRow
from meterline_sidecar.store.port import Tx

BATCHES_PER_READ: Final = 200
HELD: Final = int(Flag.HELD)  # arithmetic on enums costs ten times as much

Hours = dict[int, tuple[int, int]]
"""The span of event ids of each hour."""


async def verify_batches(
    tx: Tx,
    key: bytes,
    report: Report,
    progress: Progress,
    *,
    mark: ProgressMark | None = None,
) -> None:
    """Recompute every mac; after a wrong one go on from what is stored."""
    newest = (await event_store.marks(tx)).batch_id
    previous, last_id = GENESIS, 0
    follows = (1, 1)  # the ids of the next batch's first event and first loss
    hours: Hours = {}
    done = None if mark is None else mark.read()
    if done is not None and await store.batch_mac(tx, done.batch_id) == done.mac:
        previous, last_id, hours = done.mac, done.batch_id, dict(done.hours)
        report.resumed_at_batch = done.batch_id
        report.batches, report.events = done.batches, done.events
        report.losses, report.findings = done.losses, list(done.findings)
        follows = done.follows
    async for batch, producer, mac in _batches(tx, last_id, report):
        if batch.id != last_id + 1:
            report.add(f"batches {last_id + 1} to {batch.id - 1} are missing")
        if (batch.first_event_id, batch.first_loss_id) != follows:
            report.add(f"{_named(batch, producer)} does not follow on the one before")
        await _verify_batch(tx, key, previous, (batch, producer, mac), hours, report)
        previous, last_id = mac, batch.id
        follows = (
            batch.first_event_id + batch.events,
            batch.first_loss_id + batch.losses,
        )
        report.batches += 1
        progress("batches", batch.id, newest)
        if mark is not None and mark.is_due():
            mark.write(_noted(batch.id, mac, follows, hours, report))
    if mark is not None:
        mark.clear()
    if hours != await store.hours(tx):
        _compare_hours(hours, await store.hours(tx), report)


async def _verify_batch(
    tx: Tx,
    key: bytes,
    previous: bytes,
    stored: tuple[BatchRow, str, bytes],
    hours: Hours,
    report: Report,
) -> None:
    batch, producer, mac = stored
    try:
        events = await event_store.events_of_batch(tx, batch)
        losses = await event_store.losses_of_batch(tx, batch)
    except DatabaseCorrupt as error:
        report.add(f"{_named(batch, producer)} cannot be read: {error}")
        return
    true_mac = batch_mac(
        key, previous, batch=batch, producer=producer, events=events, losses=losses
    )
    if true_mac != mac:
        report.add(f"{_named(batch, producer)} is not what was committed")
    report.events += len(events)
    report.losses += len(losses)
    last_id = batch.first_event_id + batch.events - 1
    for hour in {event.time_ms // HOUR_MS for event in events}:
        first, _ = hours.get(hour * HOUR_MS, (batch.first_event_id, 0))
        hours[hour * HOUR_MS] = (first, last_id)
    if any(event.flags & HELD for event in events):
        await _verify_held(tx, batch, events, report)


async def _verify_held(
    tx: Tx, batch: BatchRow, events: list[EventRow], report: Report
) -> None:
    """Check when it was learned of held events, which decides what they could be of."""
    learned = await store.held_of(
        tx,
        first_id=batch.first_event_id,
        beyond_id=batch.first_event_id + batch.events,
    )
    expected = [
        (event_id, batch.learned_ms)
        for event_id, event in enumerate(events, batch.first_event_id)
        if event.flags & HELD
    ]
    if learned != expected:
        report.add(f"held_events: what is noted of batch {batch.id} is not what came")


def _compare_hours(true: Hours, stored: Hours, report: Report) -> None:
    for hour_ms in sorted(true.keys() | stored.keys()):
        if true.get(hour_ms) != stored.get(hour_ms):
            report.add(
                f"event_hours: {stored.get(hour_ms)} is stored for hour {hour_ms},"
                f" its events are {true.get(hour_ms)}"
            )


def _noted(
    batch_id: int, mac: bytes, follows: tuple[int, int], hours: Hours, report: Report
) -> Verified:
    return Verified(
        batch_id=batch_id,
        mac=mac,
        follows=follows,
        batches=report.batches,
        events=report.events,
        losses=report.losses,
        hours=hours,
        findings=report.findings,
    )


async def _batches(
    tx: Tx, last_id: int, report: Report
) -> AsyncIterator[tuple[BatchRow, str, bytes]]:
    while True:
        try:
            found = await event_store.batches_after(tx, last_id, limit=BATCHES_PER_READ)
        except DatabaseCorrupt as error:
            report.add(f"batches after {last_id} cannot be read: {error}")
            return
        if not found:
            return
        for item in found:
            yield item
        last_id = found[-1][0].id


def _named(batch: BatchRow, producer: str) -> str:
    return (
        f"batch {batch.id} (producer {producer or '?'}, numbers {batch.first_seq}"
        f" to {batch.last_seq})"
    )
