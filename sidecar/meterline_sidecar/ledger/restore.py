"""Puts a backup in the place of a ledger, and says what is missing since."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from meterline_sidecar.errors import DatabaseCorrupt, MeterlineError, NoLedger
from meterline_sidecar.files import LedgerFiles, put_in_place, replace_file, sync
from meterline_sidecar.ledger import erased_list
from meterline_sidecar.ledger.chain import ChainFiles, HeadDamaged
from meterline_sidecar.ledger.erased_list import Listed
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.ledger.verify import raise_alarm, verify
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import invoices
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.events import ProducerRow
from meterline_sidecar.store.port import Ledger, LedgerReader, Readable, Tx

WORKERS_MAX: Final = 100_000  # compared one by one; the newest of them
WORKERS_NAMED_MAX: Final = 20
FINALS_NAMED_MAX: Final = 100


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger had of one worker and the backup has not."""

    producer: str
    app: str
    host: str
    pid: int
    events: int


class Missing(msgspec.Struct, kw_only=True):
    """What was in the ledger before and is not in the one that was put back."""

    batches: int | None = None
    """By the newest head that is here; ``None`` where there is none, or none to read."""
    events: int | None = None
    """``None`` where the ledger that was here cannot be read."""
    workers: list[Gap] = []
    """Those with most events; the others are in ``events``."""
    finals: list[str] = []
    """Final invoices, by customer and period."""
    unknown: str | None = None
    """Why it is not known what is missing."""

    def __str__(self) -> str:
        """Return it in words, for the alarm."""
        if self.unknown is not None:
            at_least = f"{n_of(self.batches, 'batch')}, and " if self.batches else ""
            return f"missing are {at_least}what nobody can tell: {self.unknown}"
        words = [n_of(self.batches or 0, "batch"), n_of(self.events or 0, "event")]
        if self.finals:
            words.append(f"the final invoices {', '.join(self.finals)}")
        return f"missing are {', '.join(words)}"


class Later(msgspec.Struct, kw_only=True):
    """What was stored again from files of the archive: it came after the backup."""

    events: int = 0
    files: list[str] = []
    """Those that they are of."""
    ended: str | None = None
    """Why not more of what files have; ``None``: as far as is known they have no more."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was put in place, and what became of the ledger that was there."""

    batches: int
    events: int
    missing: Missing
    alarm: str
    from_files: Later
    erased: int
    """How many names are in it that were erased since: they are erased again."""
    erased_words: int
    """How many other words were erased with these: they have to be named again."""
    put_aside: str | None
    """Where the ledger that was there is now."""


Continue = Callable[[Ledger, bytes], Awaitable[Later]]
"""Stores what came later, with the chain's key, and says what that was."""


async def nothing_later(ledger: Ledger, key: bytes) -> Later:
    """Store nothing."""
    return Later()


class Openers(msgspec.Struct, frozen=True):
    """How ledgers are opened: for reading, and for the one who writes."""

    reader: Callable[[Path], Awaitable[LedgerReader]]
    writer: Callable[[Path], Awaitable[Ledger]]


def check_there(source: Path) -> None:
    """Check that there is a backup, before anything is touched.

    Raises:
        MeterlineError: there is none.
    """
    if not source.is_file():
        raise MeterlineError(f"{source} does not exist, or is not a file")


async def restore(
    source: Path,
    database: Path,
    *,
    openers: Openers,
    progress: Progress,
    go_on: Continue = nothing_later,
) -> Restored:
    """Put a verified copy of ``source`` in the place of the ledger.

    The caller holds the ledger's lock. The heads that are here stay: they, and an alarm
    inside the ledger, keep anything from being billed until a person has accepted what
    is missing. What was here is put aside and never deleted.

    Args:
        go_on: stores in the copy what files have that came later.

    Raises:
        MeterlineError: ``source`` is no ledger or is not sound; nothing was changed.
    """
    files, backup = LedgerFiles(database), LedgerFiles(source)
    if files.database == backup.database:
        raise MeterlineError(f"{source} is the ledger itself; name a backup of it")
    check_there(source)
    part = files.database.with_name(files.database.name + ".restoring")
    try:
        key, report = await _copied(backup, files, part, openers, progress)
        later = await _later(part, key, openers, go_on)
        missing = await _missing(part, files, openers)
        undone = await _erased(part, files, key, openers)
        alarm = f"restored from {source}: {missing}"
        ledger = await openers.writer(part)
        try:
            alarm = await raise_alarm(ledger, alarm)
        finally:
            await ledger.close()
        put_aside = _put_aside(files)
        replace_file(files.key, key, durably=True)
        put_in_place(part, files.database, durably=True)
    finally:
        for leftover in part.parent.glob(part.name + "*"):
            leftover.unlink()
    return Restored(
        batches=report.batches,
        events=report.events,
        missing=missing,
        alarm=alarm,
        from_files=later,
        erased=len(undone),
        erased_words=sum(len(listed.also) for listed in undone),
        put_aside=None if put_aside is None else str(put_aside),
    )


async def _copied(
    backup: LedgerFiles,
    files: LedgerFiles,
    part: Path,
    openers: Openers,
    progress: Progress,
) -> tuple[bytes, Report]:
    """Copy the backup, bring its schema up to date, and verify it; return its key."""
    copy = LedgerFiles(part)
    for path in (copy.database, copy.wal, copy.shm):
        path.unlink(missing_ok=True)
    part.touch(mode=0o640)
    shutil.copyfile(backup.database, part)
    if backup.wal.exists():  # a plain copy of a ledger that was in use
        shutil.copyfile(backup.wal, copy.wal)
    try:
        await (await openers.writer(part)).close()
    except (NoLedger, DatabaseCorrupt) as error:
        state = "is no ledger" if isinstance(error, NoLedger) else "is damaged"
        raise MeterlineError(
            f"{backup.database} {state}, and nothing was changed: `meterline backups`"
            " lists the backups"
        ) from error
    # A copy that was made by hand may come without its key: mostly it is the same.
    owner = backup if backup.key.exists() else files
    key = ChainFiles(owner.database).key(has_batches=True)
    head = ChainFiles(backup.database).head()
    reader = await openers.reader(part)
    try:
        report = await verify(reader, key=key, head=head, progress=progress)
    finally:
        await reader.close()
    if not report.is_sound:
        raise MeterlineError(
            f"{backup.database} is not sound, and nothing was changed: "
            + "; ".join(report.findings)
        )
    return key, report


async def _later(part: Path, key: bytes, openers: Openers, go_on: Continue) -> Later:
    """Store what came later in the copy."""
    ledger = await openers.writer(part)
    try:
        return await go_on(ledger, key)
    finally:
        await ledger.close()


async def _erased(
    part: Path, files: LedgerFiles, key: bytes, openers: Openers
) -> list[Listed]:
    """Return the erasures of names that will be here again."""
    listed = erased_list.read(files.erased)
    restored = await openers.reader(part)
    try:
        async with restored.reading() as tx:
            return [one for one, _ in await erased_list.undone(tx, key, listed)]
    finally:
        await restored.close()


async def _missing(part: Path, files: LedgerFiles, openers: Openers) -> Missing:
    """Compare what will be here with what was."""
    missing = Missing()
    restored = await openers.reader(part)
    try:
        async with restored.reading() as tx:
            marks = await event_store.marks(tx)
            try:
                head = ChainFiles(files.database).newest()
            except HeadDamaged as error:
                missing.unknown = str(error)
            else:
                if head is not None:
                    missing.batches = max(0, head.batch_id - marks.batch_id)
            if not _has_ledger(files):
                missing.unknown = "there was no ledger here"
                return missing
            try:
                before = await openers.reader(files.database)
            except MeterlineError as error:
                missing.unknown = f"the ledger that was here cannot be read ({error})"
                return missing
            try:
                await _compare(missing, before, tx)
            except MeterlineError as error:
                missing.unknown = f"the ledger that was here is damaged ({error})"
            finally:
                await before.close()
    finally:
        await restored.close()
    return missing


async def _compare(missing: Missing, before: Readable, restored: Tx) -> None:
    async with before.reading() as tx:
        producers = await event_store.list_producers(
            tx, limit=WORKERS_MAX, open_first=False
        )
        gaps = [
            gap for row in producers if (gap := await _gap(restored, row)) is not None
        ]
        finals = [
            f"{final.customer} {final.period}"
            for customer in await invoices.final_ends(tx)
            for final in await _finals_gone(tx, restored, customer)
        ]
    gaps.sort(key=lambda gap: -gap.events)
    missing.events = sum(gap.events for gap in gaps)
    missing.workers = gaps[:WORKERS_NAMED_MAX]
    missing.finals = finals[:FINALS_NAMED_MAX]


async def _gap(restored: Tx, row: ProducerRow) -> Gap | None:
    known = await event_store.find_producer(restored, row.producer)
    n_events = row.ingested - (0 if known is None else known.ingested)
    if n_events <= 0:
        return None
    return Gap(
        producer=row.producer,
        app=row.app,
        host=row.host,
        pid=row.pid,
        events=n_events,
    )


async def _finals_gone(tx: Tx, restored: Tx, customer: str) -> list[invoices.FinalRow]:
    kept = {final.period for final in await invoices.finals_of(restored, customer)}
    finals = await invoices.finals_of(tx, customer)
    return [final for final in finals if final.period not in kept]


def _put_aside(files: LedgerFiles) -> Path | None:
    """Move the ledger that is here into a directory; return it."""
    if not _has_ledger(files):
        return None
    number = 1
    while (folder := _aside(files, number)).exists():
        number += 1
    folder.mkdir(mode=0o700)
    # The WAL last: without its database it is found by nobody.
    for path in (files.database, files.wal, files.shm):
        if path.exists():
            path.rename(folder / path.name)
    if files.key.exists():
        shutil.copy2(files.key, folder / files.key.name)
    sync(folder)
    return folder


def _has_ledger(files: LedgerFiles) -> bool:
    """Say whether there is one: the lock alone makes an empty file."""
    return files.database.exists() and files.database.stat().st_size > 0


def _aside(files: LedgerFiles, number: int) -> Path:
    return files.database.with_name(f"{files.database.name}.before-restore-{number}")
