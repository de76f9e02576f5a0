"""Recomputes the chain over all batches, and what is noted of their events."""

import hmac
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from meterline.events import Flag
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.ledger.away import Away, Hours
from meterline_sidecar.ledger.bundle import Stored
from meterline_sidecar.ledger.chain import GENESIS, mac_of_rows
from meterline_sidecar.ledger.erased import Erasing, under_way
from meterline_sidecar.ledger.progress_mark import ProgressMark, Verified
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import integrity as store
from meterline_sidecar.store.edge.erase import seals_of
from meterline_sidecar.store.edge.events import BatchRow, EventRow, mac_of_batch
from meterline_sidecar.store.edge.hashed import Hashed, HashedEvents
from meterline_sidecar.store.port import Tx

BATCHES_PER_READ: Final = 200
EVENTS_PER_READ: Final = 20_000  # and the batch that goes beyond
HELD: Final = int(Flag.HELD)  # arithmetic on enums costs ten times as much


async def verify_batches(
    tx: Tx,
    key: bytes,
    report: Report,
    progress: Progress,
    *,
    mark: ProgressMark | None = None,
    away: Away,
) -> None:
    """Recompute every mac; after a wrong one go on from what is stored.

    Args:
        away: what is known of the batches that left the ledger.
    """
    newest = (await event_store.marks(tx)).batch_id
    previous, last_id = away.begin.mac or GENESIS, away.begin.batch_id
    # The ids of the next batch's first event and first loss.
    follows = (away.begin.event_id + 1, away.begin.loss_id + 1)
    hours = dict(away.hours)
    done = None if mark is None else mark.read()
    if (
        done is not None
        and done.begins_behind == last_id
        and done.has_archive == away.is_read
        and await mac_of_batch(tx, done.batch_id) == done.mac
    ):
        previous, last_id, hours = done.mac, done.batch_id, dict(done.hours)
        report.resumed_at_batch = done.batch_id
        report.batches, report.events = done.batches, done.events
        report.losses = done.losses
        report.findings = list(done.findings)
        follows = done.follows
    erasing = await under_way(tx)
    seals, sealed_to = dict[int, bytes](), last_id
    read = _Events()
    async for batch, producer, mac in _batches(tx, last_id, report, read):
        if batch.id > sealed_to:
            sealed_to = batch.id + BATCHES_PER_READ
            seals = await seals_of(tx, "batches", first=batch.id, last=sealed_to)
        if batch.id != last_id + 1:
            report.add(f"batches {last_id + 1} to {batch.id - 1} are missing")
        if (batch.first_event_id, batch.first_loss_id) != follows:
            report.add(f"{_named(batch, producer)} does not follow on the one before")
        await _verify_batch(
            *(tx, key, previous, (batch, producer, mac), hours, report),
            read=read,
            seal=seals.get(batch.id),
            erasing=erasing,
        )
        previous, last_id = mac, batch.id
        follows = batch.follows
        report.batches += 1
        progress("batches", batch.id, newest)
        if mark is not None and mark.is_due():
            mark.write(_noted(batch.id, mac, follows, hours, report, away))
    if mark is not None:
        mark.clear()
    _compare_hours(hours, await store.hours(tx), report, away)


class _Events:
    """Events of some batches in a row, which are read at once."""

    def __init__(self) -> None:
        self._reader = HashedEvents()
        self._read: Hashed | None = None
        self._following: deque[tuple[int, int]] = deque()

    def follow(self, batches: Iterable[BatchRow]) -> None:
        """Note which batches come next."""
        self._following = deque(
            (batch.first_event_id, batch.first_event_id + batch.events)
            for batch in batches
            if batch.events
        )
        self._read = None

    async def of(self, tx: Tx, batch: BatchRow) -> Hashed | None:
        """Return the events of a batch; ``None``: look at it by itself."""
        first, beyond = batch.first_event_id, batch.first_event_id + batch.events
        while self._following and self._following[0][0] < first:
            self._following.popleft()
        read = self._read
        if read is None or not read.ids or read.ids[-1] < beyond - 1:
            end = beyond
            for start, reaches in self._following:
                if start < end or reaches > first + EVENTS_PER_READ:
                    continue
                if start != end:
                    break
                end = reaches
            try:
                read = await self._reader.between(tx, first, end - 1)
            except DatabaseCorrupt:
                read = None
            self._read = read
            if read is None:
                return None
        part = slice(bisect_left(read.ids, first), bisect_left(read.ids, beyond))
        return read.part(part)


async def _is_plainly_right(
    tx: Tx,
    key: bytes,
    previous: bytes,
    stored: tuple[BatchRow, str, bytes],
    hours: Hours,
    report: Report,
    *,
    read: _Events,
) -> bool:
    """Say whether a batch is what was committed, and count it, if that is seen at once."""
    batch, producer, mac = stored
    if batch.losses:
        return False
    found = await read.of(tx, batch)
    if found is None or not set(found.producer_ids) <= {batch.producer_id}:
        return False
    if any(flags & HELD for flags in set(found.flags)):
        return False
    expected = mac_of_rows(
        key, previous, batch=batch, producer=producer, rows=found.rows, losses=[]
    )
    if not hmac.compare_digest(expected, mac):
        return False
    report.events += len(found.ids)
    _note_hours(hours, batch, _hours_of(found.times))
    return True


async def _verify_batch(
    tx: Tx,
    key: bytes,
    previous: bytes,
    stored: tuple[BatchRow, str, bytes],
    hours: Hours,
    report: Report,
    *,
    read: _Events,
    seal: bytes | None,
    erasing: Erasing | None,
) -> None:
    if seal is None and await _is_plainly_right(
        *(tx, key, previous, stored, hours, report), read=read
    ):
        return
    batch, producer, mac = stored
    try:
        events = await event_store.events_of_batch(tx, batch)
        losses = await event_store.losses_of_batch(tx, batch)
    except DatabaseCorrupt as error:
        report.add(f"{_named(batch, producer)} cannot be read: {error}")
        return
    found = Stored(batch, producer, mac, events, losses, seal)
    if not (found.is_right(key, previous) or _will_be(key, found, erasing)):
        report.add(f"{_named(batch, producer)} is not what was committed")
    elif seal is not None and not _fits(key, found, erasing):
        report.add(f"erasure_seals: that of batch {batch.id} is of something else")
    report.events += len(events)
    report.losses += len(losses)
    note_hours(hours, batch, events)
    held = [
        (event_id, batch.learned_ms, event.time_ms, event.subject, producer)
        for event_id, event in enumerate(events, batch.first_event_id)
        if event.flags & HELD
    ]
    if held:
        beyond_id = batch.first_event_id + batch.events
        what = f"batch {batch.id}"
        await verify_held_of(
            tx, batch.first_event_id, beyond_id, held, report, what=what
        )


def _fits(key: bytes, found: Stored, erasing: Erasing | None) -> bool:
    """Say whether a seal is of what is there, or will be when an erasure is done."""
    is_of_this = found.seal == found.seal_of(key, found.events, found.losses)
    return is_of_this or _will_be(key, found, erasing)


def _will_be(key: bytes, found: Stored, erasing: Erasing | None) -> bool:
    """Say whether a batch is right as soon as an erasure is done."""
    if erasing is None or found.seal is None:
        return False
    done = erasing.renamed(found.events), erasing.renamed_losses(found.losses)
    return hmac.compare_digest(found.seal, found.seal_of(key, *done))


def note_hours(hours: Hours, batch: BatchRow, events: list[EventRow]) -> None:
    """Note in which hours the events of a batch happened."""
    _note_hours(hours, batch, _hours_of([event.time_ms for event in events]))


def _hours_of(times: Sequence[int]) -> Iterable[int]:
    """Return the different hours of some times, counted from the first one ever."""
    if not times:
        return ()
    first, last = min(times) // HOUR_MS, max(times) // HOUR_MS
    if last - first <= 1:  # as nearly always: of both there is a time
        return range(first, last + 1)
    return {time_ms // HOUR_MS for time_ms in times}


def _note_hours(hours: Hours, batch: BatchRow, of: Iterable[int]) -> None:
    last_id = batch.first_event_id + batch.events - 1
    for hour in of:
        first, _ = hours.get(hour * HOUR_MS, (batch.first_event_id, 0))
        hours[hour * HOUR_MS] = (first, last_id)


async def verify_held_of(
    tx: Tx,
    first_id: int,
    beyond_id: int,
    held: list[tuple[int, int, int, str | None, str]],
    report: Report,
    *,
    what: str,
) -> None:
    """Check what is noted of held events, and when it was learned of them.

    Args:
        held: ``(event id, learned_ms, time_ms, subject, producer)`` as they came.
        what: they are of, in words.
    """
    if await store.held_of(tx, first_id=first_id, beyond_id=beyond_id) != held:
        report.add(f"held_events: what is noted of {what} is not what came")


def _compare_hours(true: Hours, stored: Hours, report: Report, away: Away) -> None:
    begins = 0 if away.is_read else away.begin.event_id
    for hour_ms in sorted(true.keys() | stored.keys()):
        noted, found = stored.get(hour_ms), true.get(hour_ms)
        if begins and noted is not None and noted[0] <= begins:
            # Its first events are away and were not read: only its end can be told.
            noted, found = (
                (0, max(noted[1], begins)),
                (0, found[1] if found else begins),
            )
        if noted != found:
            report.add(
                f"event_hours: {stored.get(hour_ms)} is stored for hour {hour_ms},"
                f" its events are {true.get(hour_ms)}"
            )


def _noted(
    batch_id: int,
    mac: bytes,
    follows: tuple[int, int],
    hours: Hours,
    report: Report,
    away: Away,
) -> Verified:
    return Verified(
        begins_behind=away.begin.batch_id,
        has_archive=away.is_read,
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
    tx: Tx, last_id: int, report: Report, read: _Events
) -> AsyncIterator[tuple[BatchRow, str, bytes]]:
    while True:
        try:
            found = await event_store.batches_after(tx, last_id, limit=BATCHES_PER_READ)
        except DatabaseCorrupt as error:
            report.add(f"batches after {last_id} cannot be read: {error}")
            return
        if not found:
            return
        whole = [item for item in found if None not in item[0]]
        read.follow(batch for batch, _, _ in whole)
        for batch, _, _ in found:
            if None in batch:  # the schema does not let anybody write that
                report.add(
                    f"batch {batch.id} cannot be read: a number of it is missing"
                )
        for item in whole:
            yield item
        last_id = found[-1][0].id


def _named(batch: BatchRow, producer: str) -> str:
    return (
        f"batch {batch.id} (producer {producer or '?'}, numbers {batch.first_seq}"
        f" to {batch.last_seq})"
    )
