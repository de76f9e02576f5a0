"""Copies the ledger while work goes on, and verifies the copy."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.files import LedgerFiles, put_in_place, replace_file
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.ledger.copies import Backup, note
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.port import LedgerReader


class Receipt(msgspec.Struct, frozen=True):
    """When the last backup was made and what it holds; lies beside the database."""

    finished_ms: int
    file: str
    batches: int
    events: int


def last_backup(database: Path) -> Receipt | None:
    """Return the receipt of the last backup, if one was ever made."""
    try:
        return msgspec.json.decode(
            LedgerFiles(database).receipt.read_bytes(), type=Receipt
        )
    except (FileNotFoundError, ValueError, RecursionError):
        return None


async def backup(
    ledger: LedgerReader,
    database: Path,
    target: Path,
    *,
    reopen: Callable[[Path], Awaitable[LedgerReader]],
    clock: Clock,
    progress: Progress,
) -> Report:
    """Copy a ledger while work goes on, verify the copy, and only then name it.

    Beside ``target`` its key (``.key``) and the head of its chain (``.head``) are
    written: the three files are what a restore needs.

    Args:
        database: where the ledger is.
        reopen: opens the copy for reading.

    Raises:
        MeterlineError: the target exists, or the copy is not sound (it is removed).
    """
    chain, copied = ChainFiles(database), ChainFiles(target)
    for path in (target, copied.key_path, copied.head_path):
        # A link into the void as well: its key and its head would lie behind it.
        if path.exists() or path.is_symlink():
            raise MeterlineError(f"{path} exists already; choose another file")
    if not target.parent.is_dir():
        raise MeterlineError(f"{target.parent} is not a directory")
    head = chain.head()  # before the copy is made, which must hold it
    part = target.with_name(target.name + ".part")
    try:
        part.touch(mode=0o600)  # customers' usage is nobody else's business
        await ledger.copy_to(part)
        copy = await reopen(part)
        try:
            async with copy.reading() as tx:
                marks = await event_store.marks(tx)
            key = chain.key(has_batches=marks.batch_id > 0)
            report = await verify(copy, key=key, head=head, progress=progress)
        finally:
            await copy.close()
        if not report.is_sound:
            raise MeterlineError(
                "the copy is not sound and was removed: " + "; ".join(report.findings)
            )
        replace_file(copied.key_path, key, durably=True)
        if marks.mac is not None:
            copied.write_head(Head(marks.batch_id, marks.mac), durably=True)
        put_in_place(part, target, durably=True)
    finally:
        for leftover in part.parent.glob(part.name + "*"):
            leftover.unlink()
    await _note(database, target, report, finished_ms=clock.now_ms())
    return report


async def _note(
    database: Path, target: Path, report: Report, *, finished_ms: int
) -> None:
    made = Backup(
        finished_ms=finished_ms,
        file=str(target),
        file_bytes=target.stat().st_size,
        digest=await asyncio.to_thread(_digest, target),
        batches=report.batches,
        events=report.events,
    )
    note(database, made)
    receipt = Receipt(finished_ms, str(target), report.batches, report.events)
    written = msgspec.json.encode(receipt)
    replace_file(LedgerFiles(database).receipt, written, durably=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
