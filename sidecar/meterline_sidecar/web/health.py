"""What is wrong with a running sidecar, from every room, the worst first."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from meterline_sidecar.clock import DAY_MS, MINUTE_MS, format_time_ms, lasting
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ingest.imports import Imports
from meterline_sidecar.ingest.request_keys import RequestKeys
from meterline_sidecar.ledger.archive import Archive
from meterline_sidecar.ledger.archive_watch import ArchiveWatch
from meterline_sidecar.ledger.backup import Receipt
from meterline_sidecar.ledger.erase import Eraser
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Found, n_of
from meterline_sidecar.store.edge.event_log import Counts
from meterline_sidecar.store.edge.external import Conflicts
from meterline_sidecar.store.edge.gaps import SilentGaps
from meterline_sidecar.store.edge.imports import ImportRow
from meterline_sidecar.web.answers.status import AggregationStatus
from meterline_sidecar.web.parts import Parts

DISK_FREE_LOW: Final = 1 << 30
DISK_FREE_FULL: Final = 100 << 20
BACKUP_AGE_MS_MAX: Final = 2 * DAY_MS
SILENT_GAP_MS: Final = MINUTE_MS
"""What a worker recorded and has not sent may be on its way for that long."""
FUTURE_MS_MAX: Final = MINUTE_MS
BEHIND_MS_MAX: Final = MINUTE_MS
WAITING_S_MAX: Final = 10.0
"""From the acceptance of a batch to its commit, which takes milliseconds."""


def running_problems(
    parts: Parts,
    counts: Counts,
    silent: SilentGaps,
    conflicts: Conflicts,
    imports: Sequence[ImportRow],
    *,
    usage: AggregationStatus,
    last_event_ms: int | None,
    disk_free_bytes: int,
    backed_up: Receipt | None,
) -> Iterator[Found]:
    """Yield what is wrong with events, the ledger and the host."""
    now_ms, database = parts.clock.now_ms(), parts.config.sidecar.database
    yield from _storing(parts)
    yield from _left_out(counts)
    yield from _conflicts(conflicts)
    yield from _imports(parts.imports, imports)
    yield from _forgotten(parts.ingest.keys, now_ms=now_ms)
    yield from _silent(silent, now_ms=now_ms)
    yield from _clock(parts, last_event_ms)
    yield from _archive(parts.archive, parts.archive_watch)
    yield from disk_problems(disk_free_bytes, at=str(database.parent))
    if parts.clock.rehearsal is None:  # ages are real
        if parts.config.server is None:  # a server has backups of its own
            yield from backup_problems(database, backed_up, now_ms=now_ms)
        yield from _late(usage, started_ms=parts.started_ms, now_ms=now_ms)
    yield from _erased(parts.eraser)
    yield from _recounting(usage)
    for name, job in parts.schedule.jobs.items():
        if job.error is not None:
            times = n_of(job.failures, "time")
            yield found(
                "job_failing", f"job {name} failed {times} in a row: {job.error}"
            )


def disk_problems(free_bytes: int, *, at: str) -> Iterator[Found]:
    """Yield what is wrong with the space on the ledger's disk.

    Args:
        at: where the ledger is.
    """
    text = f"{free_bytes / (1 << 30):.1f} GiB free at {at}"
    if free_bytes < DISK_FREE_FULL:
        yield found("disk_full", text)
    elif free_bytes < DISK_FREE_LOW:
        yield found("disk_low", text)


def backup_problems(
    database: Path, receipt: Receipt | None, *, now_ms: int
) -> Iterator[Found]:
    """Yield what is wrong with the backups of a ledger that is old enough for one."""
    if receipt is not None:
        age_ms = now_ms - receipt.finished_ms
        if age_ms > BACKUP_AGE_MS_MAX:
            text = f"the last backup, {receipt.file}, is {lasting(age_ms)} old"
            yield found("backup_old", text)
        return
    key = LedgerFiles(database).key  # as old as the ledger
    if key.exists() and now_ms - key.stat().st_mtime * 1000 > BACKUP_AGE_MS_MAX:
        yield found("backup_missing", f"there is no backup of {database} yet")


def _storing(parts: Parts) -> Iterator[Found]:
    if parts.ingest.storing.trouble is not None:
        text = f"events cannot be stored: {parts.ingest.storing.trouble}"
        yield found("events_not_stored", text)
    elif parts.ingest.waiting_s > WAITING_S_MAX:
        yield found(
            "events_not_stored",
            f"what arrived {parts.ingest.waiting_s:.0f} s ago is not stored yet: the"
            " disk is slow, or the database is busy",
        )
    if parts.alarm is not None:
        yield found("ledger_not_trusted", f"nothing is billed: {parts.alarm}")
    if parts.ingest.head_trouble is not None:
        text = f"the chain's head cannot be written: {parts.ingest.head_trouble}"
        yield found("chain_head_not_written", text)
    if parts.drain.trouble is not None:
        text = f"spools of dead workers cannot be read: {parts.drain.trouble}"
        yield found("spools_not_read", text)
    if parts.drain.left_alone is not None:
        yield found("spools_of_another_ledger", parts.drain.left_alone)


def _archive(archive: Archive, watch: ArchiveWatch) -> Iterator[Found]:
    if watch.trouble is not None:
        yield found("archive_not_readable", watch.trouble)
    if archive.trouble is not None:
        text = f"events cannot leave for the archive: {archive.trouble}"
        yield found("archive_not_written", text)
    if archive.waits is not None:
        text = f"events that are old enough stay in the ledger: {archive.waits}"
        yield found("archive_waits", text)


def _erased(eraser: Eraser) -> Iterator[Found]:
    for alias, words in eraser.missing.items():
        yield found(
            "erased_words_missing",
            f"the ledger was put back, and {n_of(len(words), 'word')} may be here again"
            f" that went with {alias}: `meterline erase {alias} --also WORD --reason"
            " ...`",
        )


def _left_out(counts: Counts) -> Iterator[Found]:
    """Yield what is stored or recorded, and not billed."""
    if counts.lost:
        yield found("events_lost", f"{_were(counts.lost)} lost at the apps")
    if counts.refused:
        yield found("events_refused", f"{_were(counts.refused)} refused as invalid")
    if counts.held:
        yield found(
            "events_held",
            f"{_are(counts.held)} held out of billing: their time is more than"
            " 5 minutes ahead, or before 2026",
        )
    if counts.bad_quantities:
        yield found(
            "quantity_not_taken",
            f"{n_of(counts.bad_quantities, 'event')} had a quantity or a property that"
            " was left out",
        )
    if counts.memory:
        workers = n_of(counts.memory, "worker")
        yield found(
            "events_in_memory",
            f"{workers} with events in memory only: their spool directory cannot be"
            " written",
        )


def _conflicts(conflicts: Conflicts) -> Iterator[Found]:
    if conflicts.events:
        yield found(
            "external_id_conflict",
            f"{n_of(conflicts.events, 'event')} came under an id that another event"
            f" has, the last one as {conflicts.external_id} of {conflicts.source},"
            f" which is event {conflicts.event_id}",
        )


def _imports(imports: Imports, waiting: Sequence[ImportRow]) -> Iterator[Found]:
    for row in waiting:
        since = format_time_ms(row.at_ms)
        yield found("import_waits", f"import {row.name} is {row.state} since {since}")
    if imports.trouble is not None:
        yield found("import_stuck", f"an import does not go on: {imports.trouble}")


def _forgotten(keys: RequestKeys, *, now_ms: int) -> Iterator[Found]:
    kept_since_ms = keys.kept_since_ms
    if kept_since_ms is not None and now_ms - kept_since_ms < keys.kept_ms:
        yield found(
            "request_keys_forgotten",
            f"keys of requests are kept for {lasting(now_ms - kept_since_ms)} only",
        )


def _were(n_events: int) -> str:
    return f"{n_of(n_events, 'event')} {'was' if n_events == 1 else 'were'}"


def _are(n_events: int) -> str:
    return f"{n_of(n_events, 'event')} {'is' if n_events == 1 else 'are'}"


def _silent(gaps: SilentGaps, *, now_ms: int) -> Iterator[Found]:
    latest = gaps.latest
    if latest is None:
        return
    yield found(
        "events_missing",
        f"{n_of(gaps.events, 'event')} recorded by"
        f" {n_of(gaps.producers, 'silent worker')}"
        f" {'has' if gaps.events == 1 else 'have'} not arrived: {latest.app}, process"
        f" {latest.pid} on {latest.host} (producer {latest.producer}), silent for"
        f" {lasting(now_ms - latest.seen_ms)}",
    )


def _clock(parts: Parts, last_event_ms: int | None) -> Iterator[Found]:
    if parts.clock.rehearsal is not None:
        yield found("clock_rehearsal", f"the time is not real: {parts.clock.rehearsal}")
        return
    jump_ms = 0 if parts.watch is None else parts.watch.jump_ms()
    if jump_ms:
        way = "ahead" if jump_ms > 0 else "back"
        yield found(
            "clock_jumped",
            f"this machine's clock jumped {way} by {lasting(abs(jump_ms))}: new events"
            " are held until it is back, or has been steady for 10 minutes",
        )
    if parts.absence is not None and (unknown_ms := parts.absence.ahead_ms()):
        yield found(
            "clock_unconfirmed",
            f"this machine's clock is {lasting(unknown_ms)} ahead of the last time that"
            " the ledger knows: nothing closes by itself in the first 10 minutes",
        )
    ahead_ms = (last_event_ms or 0) - parts.clock.now_ms()
    if ahead_ms > FUTURE_MS_MAX:
        text = f"the newest event is {lasting(ahead_ms)} in the future"
        yield found("clock_behind_events", text)


def _recounting(usage: AggregationStatus) -> Iterator[Found]:
    if usage.recounting_percent is not None:
        yield found(
            "recounting",
            f"recounting, {usage.recounting_percent} %: the earlier numbers are shown"
            " until it is complete",
        )


def _late(usage: AggregationStatus, *, started_ms: int, now_ms: int) -> Iterator[Found]:
    since_ms = max(usage.last_success_ms or 0, started_ms)
    if usage.behind_events and now_ms - since_ms > BEHIND_MS_MAX:
        yield found(
            "usage_behind",
            f"{n_of(usage.behind_events, 'event')} not added up for"
            f" {lasting(now_ms - since_ms)}",
        )
