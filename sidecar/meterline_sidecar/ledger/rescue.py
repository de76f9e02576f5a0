"""Saves what an open ledger holds whose files were taken away from under it."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from shlex import quote

from meterline_sidecar.errors import (
    DatabaseCorrupt,
    DiskFailed,
    LedgerGone,
    MeterlineError,
)
from meterline_sidecar.files import LedgerFiles, put_in_place, replace_file
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.ledger.verify import raise_alarm
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.port import Ledger


@contextlib.asynccontextmanager
async def rescuing(
    ledger: Ledger, database: Path, chain: ChainFiles
) -> AsyncGenerator[None]:
    """Save what an open ledger holds if its files are taken away during the block.

    Raises:
        LedgerGone: they were; the text says where what it held is.
    """
    try:
        yield
    except (DiskFailed, DatabaseCorrupt) as error:
        gone = _taken_away(ledger, error)
        if gone is None:
            raise
        saved = await _rescue(ledger, database, chain, why=str(gone))
        raise LedgerGone(f"{gone}\n{saved}") from error


def _taken_away(ledger: Ledger, error: BaseException) -> LedgerGone | None:
    if isinstance(error, LedgerGone):
        return error
    try:
        # A job that met files of which one is gone says that the disk failed.
        ledger.check_places()
    except LedgerGone as found:
        return found
    return None


async def _rescue(
    ledger: Ledger, database: Path, chain: ChainFiles, *, why: str
) -> str:
    """Copy an open ledger beside where it was; return in words what became of it.

    As long as this process has it open, all of it can still be read. Whoever is asked
    to bill from it again, here or in the copy, waits for a person. It is copied once,
    until a person has taken the copy away.
    """
    target = rescued(database)
    if target.exists():
        return f"{target} is an earlier one and was left as it is: nothing was saved"
    part = target.with_name(target.name + ".part")
    try:
        with contextlib.suppress(LedgerGone):  # The alarm is written all the same.
            await raise_alarm(ledger, f"{why}; batches may be missing")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        await ledger.copy_to(part)
        async with ledger.reading() as tx:
            marks = await event_store.marks(tx)
        copied = ChainFiles(target)
        if marks.mac is not None:
            key = chain.key(has_batches=True)
            replace_file(copied.key_path, key, durably=True)
            copied.write_head(Head(marks.batch_id, marks.mac), durably=True)
        put_in_place(part, target, durably=True)
    except (OSError, MeterlineError) as error:
        part.unlink(missing_ok=True)
        return f"What it held could not be saved: {error}"
    restore = f"meterline restore {quote(str(target))}"
    return f"All that it held was saved as {target}; `{restore}` puts it back"


def rescued(database: Path) -> Path:
    """Return where the copy of a ledger is whose files were taken away."""
    path = LedgerFiles(database).database
    return path.with_name(path.name + ".rescued")
