"""Checks that the ledger is what was written to it, from the first batch to the head.

SQLite's own check sees broken pages, but neither a changed value, nor rows that are
gone together with the WAL they were in, nor an old copy put back in place. What is
compared with what, table by table, stands in ``coverage``.
"""

from collections.abc import Awaitable, Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from meterline_sidecar.errors import (
    DatabaseCorrupt,
    DiskFailed,
    LedgerWentBack,
    MeterlineError,
    RetryLater,
)
from meterline_sidecar.ledger.archive_check import look_at_archive
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.away import Away
from meterline_sidecar.ledger.batches import verify_batches
from meterline_sidecar.ledger.chain import ChainFiles, Head, HeadDamaged
from meterline_sidecar.ledger.corrections import verify_corrections
from meterline_sidecar.ledger.derived import (
    read_terms,
    verify_erasures,
    verify_generation,
    verify_held,
    verify_owners,
    verify_sums,
)
from meterline_sidecar.ledger.edge_files_check import look_at_edge_files
from meterline_sidecar.ledger.external import verify_names
from meterline_sidecar.ledger.garbage import seldom_collected
from meterline_sidecar.ledger.journal import verify_journal
from meterline_sidecar.ledger.packing import verify_packs
from meterline_sidecar.ledger.progress_mark import ProgressMark
from meterline_sidecar.ledger.recount import verify_usage
from meterline_sidecar.ledger.recount_apart import RecountApart, is_worth_it
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.ledger.runs import NoScratchRoom
from meterline_sidecar.ledger.seals import verify_seals
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.events import mac_of_batch
from meterline_sidecar.store.port import Database, LedgerReader, Tx

ALARM: Final = "integrity_alarm"
"""The fact that keeps an alarm until a person has looked at it."""

WENT_BACK: Final = (
    "{finding}; did the server fail over to a standby that lacked them? This process"
    " exits, so that nothing is billed from what it remembers; the next start says"
    " what to do"
)
UNREADABLE: Final = (
    MeterlineError,
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,
)
"""How reading answers what nobody wrote; each is a finding."""


class _Checkable(Database, Protocol):
    """A ledger that is written, and that can be asked what is damaged."""

    async def check(self) -> list[str]: ...


async def check_head(tx: Tx, head: Head | None) -> str | None:
    """Return what is wrong with the ledger's end, or ``None``.

    The head outside the database was written after a batch was committed: a ledger
    that does not hold that very batch has lost its tail, or is another one.
    """
    if head is None:
        return None
    mac = await mac_of_batch(tx, head.batch_id)
    if mac == head.mac:
        return None
    newest = (await event_store.marks(tx)).batch_id
    left = await begin(tx)
    if head.batch_id < left.batch_id or (head.batch_id, head.mac) == (
        left.batch_id,
        left.mac,
    ):
        return None  # It left for the archive, and the chain goes on from there.
    if mac is None and newest < head.batch_id:
        n_missing = head.batch_id - newest
        return (
            f"the ledger ends with batch {newest}, but batch {head.batch_id} was"
            f" committed: {n_of(n_missing, 'batch')}"
            f" {'is' if n_missing == 1 else 'are'} missing (a deleted WAL, or a"
            " restored old copy)"
        )
    return f"batch {head.batch_id} is not the one that was committed"


async def check_goes_on(database: Database, chain: ChainFiles) -> None:
    """Make sure that the ledger still has what it had, while this process runs.

    A server may have failed over to a standby that lacked the last commits. What is kept
    in memory of those is not true then, and the next start gives the alarm.

    Raises:
        LedgerWentBack: it has not.
    """
    head = _newest(chain)  # before the snapshot: it is written behind a commit
    async with database.reading() as tx:
        await check_kept(tx, head)


async def check_newest(tx: Tx, *, chain: ChainFiles) -> None:
    """Do the same in a transaction that writes what this process remembers.

    Raises:
        LedgerWentBack: it is not true any more.
    """
    await check_kept(tx, _newest(chain))


def _newest(chain: ChainFiles) -> Head | None:
    try:
        return chain.newest()
    except HeadDamaged:
        return None  # It is written anew, and a start would tell.


async def check_kept(tx: Tx, head: Head | None) -> None:
    """Make sure that the batch which a head names is there.

    Raises:
        LedgerWentBack: it is not.
    """
    finding = await check_head(tx, head)
    if finding is not None:
        raise LedgerWentBack(WENT_BACK.format(finding=finding))


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
    mark: ProgressMark | None = None,
    archived: Archived | None = None,
    apart: Path | None = None,
) -> Report:
    """Compare every table with what it must hold; return what differs.

    All of it is read in one snapshot, so that a sidecar may go on writing.

    Args:
        head: as it was *before* this was called, and the snapshot taken.
        mark: keeps how far the chain is verified, so that another run can go on.
        archived: the files of what left the ledger; without them, what they hold is
            not looked at, and the report says how much that is.
        apart: the ledger's file, where usage may be added up in another process meanwhile.
    """
    report = Report(head_batch_id=None if head is None else head.batch_id)
    async with AsyncExitStack() as others:
        others.enter_context(seldom_collected())
        recount = None
        if apart is not None and await ledger.read(
            is_worth_it
        ):  # first: it takes longest
            recount = others.enter_context(RecountApart(apart))
        for text in await _broken_pages(ledger):
            report.add(f"the database: {text}")
        tx = await others.enter_async_context(ledger.reading())
        away = Away(await begin(tx), is_read=False)
        with _looking("archive_moves", report):
            away = await look_at_archive(tx, key, report, progress, archived)
        with _looking("edge_files", report):
            await look_at_edge_files(tx, report, progress, archived)
        await verify_batches(tx, key, report, progress, mark=mark, away=away)
        if finding := await check_head(tx, head):
            report.add(finding)
        read = archived if away.is_read else None
        await _verify_rest(
            *(tx, key, report, progress), away=away, archived=read, recount=recount
        )
    return report


@contextmanager
def _looking(what: str, report: Report) -> Generator[None]:
    """Make what cannot be read a finding, which stops nothing else."""
    try:
        yield
    except (NoScratchRoom, DiskFailed, RetryLater):
        raise  # It says nothing about the ledger.
    except UNREADABLE as error:
        report.add(f"{what} cannot be read: {error}")


async def _verify_rest(
    tx: Tx,
    key: bytes,
    report: Report,
    progress: Progress,
    *,
    away: Away,
    archived: Archived | None,
    recount: RecountApart | None,
) -> None:
    """Verify what stands beside the chain; what cannot be read stops nothing else."""

    async def look(what: str, looking: Awaitable[None]) -> None:
        with _looking(what, report):
            await looking

    async def look_at_terms() -> None:
        terms = await read_terms(tx)
        await look("subjects", verify_owners(tx, terms, report, progress))
        await look("generations", verify_generation(tx, report, terms))

    await look("packed events", verify_packs(tx, report, progress))
    await look("the journal", verify_journal(tx, key, report.add, progress))
    await look("the outbox", verify_seals(tx, key, report.add, progress))
    await look("counts", verify_sums(tx, report, away))
    await look("erasures", verify_erasures(tx, report))
    await look("held events", verify_held(tx, report, away))
    await look("corrections", verify_corrections(tx, report))
    begins = away.begin.event_id
    names = verify_names(tx, key, report, progress, begins_behind=begins)
    await look("external events", names)
    await look("terms", look_at_terms())
    found = None
    if recount is not None:
        found = await recount.found(progress, (await event_store.marks(tx)).event_id)
    if found is None:
        usage = verify_usage(tx, report, progress, away=away, archived=archived)
        await look("usage", usage)
        return
    report.usage_rows += found.usage_rows
    for finding in found.findings:
        report.add(finding)
