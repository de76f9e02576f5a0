"""Copies the ledger while work goes on, and verifies the copy."""

import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.ledger.verify import Progress, Report, verify
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.port import Tx


class Receipt(msgspec.Struct, frozen=True):
    """When the last backup was made and what it holds; lies beside the database."""

    finished_ms: int
    file: str
    batches: int
    events: int


def receipt_path(database: Path) -> Path:
    """Return where the receipt of the last backup lies."""
    return database.with_name(database.name + ".backup")


def last_backup(database: Path) -> Receipt | None:
    """Return the receipt of the last backup, if one was ever made."""
    try:
        return msgspec.json.decode(receipt_path(database).read_bytes(), type=Receipt)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class Ledger(Protocol):
    """A ledger that can be read and copied."""

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        """Open a snapshot."""
        ...

    async def copy_to(self, target: Path) -> None:
        """Write one consistent copy."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...


async def backup(
    ledger: Ledger,
    database: Path,
    target: Path,
    *,
    reopen: Callable[[Path], Awaitable[Ledger]],
    meters: Sequence[Meter],
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
        if path.exists():
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
                report = await verify(
                    tx, key=key, head=head, meters=meters, progress=progress
                )
        finally:
            await copy.close()
        if not report.is_sound:
            raise MeterlineError(
                "the copy is not sound and was removed: " + "; ".join(report.findings)
            )
        shutil.copy2(chain.key_path, copied.key_path)
        if marks.mac is not None:
            copied.write_head(Head(marks.batch_id, marks.mac), durably=True)
        _sync(part)
        part.replace(target)
    finally:
        for leftover in part.parent.glob(part.name + "*"):
            leftover.unlink()
    _sync(target.parent)
    receipt = Receipt(clock.now_ms(), str(target), report.batches, report.events)
    receipt_path(database).write_bytes(msgspec.json.encode(receipt))
    return report


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
