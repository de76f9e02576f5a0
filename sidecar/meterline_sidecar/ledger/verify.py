"""Checks that the ledger is what was written to it, from the first batch to the head.

SQLite's own check sees broken pages, but neither a changed value, nor rows that are
gone together with the WAL they were in, nor an old copy put back in place.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from meterline.events import Flag
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.ledger.chain import (
    GENESIS,
    ChainFiles,
    Head,
    HeadDamaged,
    batch_mac,
)
from meterline_sidecar.ledger.journal import journal_findings
from meterline_sidecar.meters import Aggregation, Totals, merge
from meterline_sidecar.store import facts
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import held
from meterline_sidecar.store.edge import integrity as store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.events import BatchRow
from meterline_sidecar.store.port import Database, LedgerReader, Tx
from meterline_sidecar.store.rollups import DAYS, WINDOWS, Rollup, RollupKey
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.fold import Folder, Place

BATCHES_PER_READ: Final = 200
EVENTS_PER_STEP: Final = 50_000
USAGE_PER_READ: Final = 10_000
FINDINGS_MAX: Final = 50  # then the rest is surely wrong as well

ALARM: Final = "integrity_alarm"
"""The fact that keeps an alarm until a person has looked at it."""

Progress = Callable[[str, int, int], None]
"""Is told what is being checked, how much is done, and of how much."""


class _Checkable(Database, Protocol):
    """A ledger that is written, and that can be asked what is damaged."""

    async def check(self) -> list[str]: ...


class Report(msgspec.Struct):
    """What a verification found."""

    batches: int = 0
    events: int = 0
    losses: int = 0
    usage_rows: int = 0
    head_batch_id: int | None = None
    findings: list[str] = []
    """What is wrong, in words, in the order in which it was found."""

    @property
    def is_sound(self) -> bool:
        """Say whether everything is as it was written."""
        return not self.findings

    def add(self, finding: str) -> None:
        """Note something that is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


async def check_head(tx: Tx, head: Head | None) -> str | None:
    """Return what is wrong with the ledger's end, or ``None``.

    The head outside the database was written after a batch was committed: a ledger
    that does not hold that very batch has lost its tail, or is another one.
    """
    if head is None:
        return None
    mac = await store.batch_mac(tx, head.batch_id)
    newest = (await event_store.marks(tx)).batch_id
    if mac == head.mac:
        return None
    if mac is None and newest < head.batch_id:
        return (
            f"the ledger ends with batch {newest}, but batch {head.batch_id} was"
            f" committed: {head.batch_id - newest} batch(es) are missing (a deleted"
            " WAL, or an old copy put back)"
        )
    return f"batch {head.batch_id} is not the one that was committed"


async def _broken_pages(ledger: _Checkable | LedgerReader) -> list[str]:
    """Return what the database finds wrong with its pages, if it can look at all."""
    try:
        return await ledger.check()
    except DatabaseCorrupt as error:
        return [str(error)]


async def alarm_at_start(database: _Checkable, chain: ChainFiles) -> str | None:
    """Return the standing alarm: why nothing may be billed until a person has looked.

    A new one is kept in the ledger, and the head that gave it away beside it: from
    now on the head is written anew.

    Raises:
        DatabaseCorrupt: what gave the alarm has also left pages that do not fit
            together. A checkpoint that readers hold up moves some pages and leaves
            others in the WAL; whoever deletes the WAL then leaves such a file.
    """
    async with database.reading() as tx:
        standing = await facts.get_fact(tx, ALARM)
        try:
            finding = await check_head(tx, chain.newest())
        except HeadDamaged as error:
            finding = str(error)
    if finding is None:
        return standing
    broken = await _broken_pages(database)
    if broken:
        raise DatabaseCorrupt(f"{finding}; the database: {broken[0]}")
    # In this order: whoever is killed in between finds it once more, and not never.
    alarm = await raise_alarm(database, finding)
    chain.keep_head()
    return alarm


async def raise_alarm(database: Database, finding: str) -> str:
    """Bill nothing from now on until a person has looked; return the whole alarm."""
    async with database.transaction() as tx:
        standing = await facts.get_fact(tx, ALARM)
        if standing is None:
            alarm = finding
        elif finding in standing:
            return standing
        else:
            alarm = f"{standing}; then: {finding}"
        await facts.put_fact(tx, ALARM, alarm)
    return alarm


async def verify(
    ledger: LedgerReader,
    *,
    key: bytes,
    head: Head | None,
    progress: Progress,
) -> Report:
    """Recompute the whole chain, the watermarks, and usage; return what differs.

    All of it is read in one snapshot, so that a sidecar may go on writing.

    Args:
        head: as it was *before* this was called, and the snapshot taken.
    """
    report = Report(head_batch_id=None if head is None else head.batch_id)
    for text in await _broken_pages(ledger):
        report.add(f"the database: {text}")
    async with ledger.reading() as tx:
        await _verify_chain(tx, key, report, progress)
        if finding := await check_head(tx, head):
            report.add(finding)
        try:
            for finding in await journal_findings(tx, key):
                report.add(finding)
            await _verify_sums(tx, report)
            await _verify_released(tx, report)
            await _verify_usage(tx, report, progress)
        except DatabaseCorrupt as error:
            report.add(f"usage cannot be read: {error}")
    return report


async def _verify_chain(tx: Tx, key: bytes, report: Report, progress: Progress) -> None:
    """Recompute every mac; after a wrong one go on from what is stored."""
    newest = (await event_store.marks(tx)).batch_id
    previous = GENESIS
    expected = 1
    async for batch, producer, mac in _batches(tx, report):
        if batch.id != expected:
            report.add(f"batches {expected} to {batch.id - 1} are missing")
        expected = batch.id + 1
        try:
            events = await event_store.events_of_batch(tx, batch)
            losses = await event_store.losses_of_batch(tx, batch)
        except DatabaseCorrupt as error:
            report.add(f"{_named(batch, producer)} cannot be read: {error}")
        else:
            true_mac = batch_mac(
                key,
                previous,
                batch=batch,
                producer=producer,
                events=events,
                losses=losses,
            )
            if true_mac != mac:
                report.add(f"{_named(batch, producer)} is not what was committed")
            report.events += len(events)
            report.losses += len(losses)
        previous = mac
        report.batches += 1
        progress("batches", batch.id, newest)


async def _batches(
    tx: Tx, report: Report
) -> AsyncIterator[tuple[BatchRow, str, bytes]]:
    last_id = 0
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


async def _verify_sums(tx: Tx, report: Report) -> None:
    stray = await store.stray_events(tx)
    if stray:
        report.add(f"{abs(stray)} event(s) {'too many' if stray > 0 else 'too few'}")
    for producer, watermark, true in await store.wrong_watermarks(tx):
        report.add(
            f"producer {producer}: its counts (up to {watermark}) do not agree with"
            f" its batches (up to {true})"
        )
    for subject in await store.wrong_owners(tx):
        report.add(f"who pays for {subject} does not agree with who paid before")


async def _verify_released(tx: Tx, report: Report) -> None:
    """Check that what stands for a held event stands for exactly one."""
    for event_id in await held.wrong_releases(tx, released_flag=Flag.RELEASED):
        report.add(f"event {event_id} does not stand for one event that was held")


async def _verify_usage(tx: Tx, report: Report, progress: Progress) -> None:
    """Add all events up again, by the same meters, and compare with what is stored."""
    generation = await usage_store.newest_generation(tx)
    if generation is None:
        return  # Nothing was counted yet.
    definition = decode(generation.definition)
    cuts = await counting.cuts_between(tx, 0, NEVER_MS)
    true = Recount(
        Folder(definition, await counting.endpoints(tx), cuts), definition.aggregations
    )
    cursor = 0
    while cursor < generation.cursor:
        events, reached = await counting.events_after(
            tx,
            cursor,
            skip_flags=Flag.HELD,
            limit=min(EVENTS_PER_STEP, generation.cursor - cursor),
        )
        if reached == cursor:  # the last events are gone
            break
        cursor = reached
        true.add(events)
        progress("usage", cursor, generation.cursor)
    for rollup in (WINDOWS, DAYS):  # what is billed from
        await _compare_totals(tx, generation.id, rollup, true.at(rollup), report)
    distinct = {where: len(values) for where, values in true.unique.items()}
    if await store.unique_counts(tx, generation.id) != distinct:
        report.add("distinct values are not what the events come to")


class Recount:
    """Usage added up from the first event on, in memory."""

    def __init__(self, folder: Folder, aggregations: Mapping[str, Aggregation]) -> None:
        self._folder = folder
        self._aggregations = aggregations
        self._totals: dict[Place, Totals] = {}
        self.unique: dict[tuple[int, int, str, str], set[str]] = {}

    def add(self, events: Sequence[counting.EventFacts]) -> None:
        """Add more events."""
        for place, delta in self._folder.fold(events).items():
            merge(
                self._totals.setdefault(place, {}),
                more=delta.totals,
                aggregations=self._aggregations,
            )
            for name, values in delta.unique.items():
                where = (place.subject_id, place.window_ms, place.labels, name)
                self.unique.setdefault(where, set()).update(values)

    def at(self, rollup: Rollup) -> dict[tuple[RollupKey, str], Totals]:
        """Return what the table of ``rollup`` must hold, by key and labels."""
        found: dict[tuple[RollupKey, str], Totals] = {}
        for place, totals in self._totals.items():
            values = {
                "subject_id": place.subject_id,
                "window_ms": place.window_ms,
                "day_ms": place.window_ms // DAY_MS * DAY_MS,
            }
            key = tuple(values[name] for name in rollup.columns if name != "group_id")
            merge(
                found.setdefault((key, place.labels), {}),
                more=totals,
                aggregations=self._aggregations,
            )
        return found


async def _compare_totals(
    tx: Tx,
    generation: int,
    rollup: Rollup,
    true: dict[tuple[RollupKey, str], Totals],
    report: Report,
) -> None:
    last: RollupKey = (-1,) * len(rollup.columns)
    while rows := await store.totals_after(
        tx, rollup, generation, last, limit=USAGE_PER_READ
    ):
        last = rows[-1][0]
        for key, labels, totals in rows:
            report.usage_rows += 1
            expected = true.pop((key[:-1], labels), {})
            if totals != expected:
                report.add(
                    f"{rollup.table}: {totals} is stored for {_where(rollup, key)},"
                    f" the events come to {expected}"
                )
    for key, _labels in true:
        report.add(f"{rollup.table}: {_where(rollup, key)} is missing")


def _where(rollup: Rollup, key: RollupKey) -> str:
    """Return a key in words; the group is left out."""
    named = zip(rollup.columns, key, strict=False)
    return ", ".join(f"{name} {value}" for name, value in named if name != "group_id")
