"""A ledger with something of everything, most of which is old enough for the archive."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.ledger.archive import Archive, Judge
from meterline_sidecar.ledger.archived import LINES, Archived, Form
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.shelf import DirectoryShelf, OwnShelf
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.store.edge import archive as store
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sqlite.driver import SqliteReader
from meterline_sidecar.usage.aggregate import Aggregator
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_coverage import count_by_property, fill_every_table
from tests.integration.ledger.test_migrations import agreed, key_of
from tests.integration.ledger.test_verify import fill
from tests.producer import NOON_MS, Connection, batch, event

LATER_MS: Final = NOON_MS + 400 * DAY_MS
BEFORE_MS: Final = NOON_MS + 300 * DAY_MS
ANY: Final[Judge] = lambda subject, time_ms: None  # noqa: E731 - a judge who lets all go


async def fill_for_long(sidecar: Sidecar) -> Path:
    """Put something into every table, and a batch that came a year later."""
    path = await fill_every_table(sidecar)
    await count_by_property(sidecar, path)
    await much_later(sidecar)
    return path


async def much_later(sidecar: Sidecar) -> None:
    """Let an event come long after all others, which one of them is late for."""
    sidecar.clock.time_ms = LATER_MS
    async with Connection(sidecar.socket) as app:
        await app.hello("e" * 32)
        await app.ship(batch(event(time_ms=LATER_MS), event()))
    await Aggregator(sidecar.database, agreed(), clock=sidecar.clock).run()


async def fill_days(sidecar: Sidecar, days: int) -> Path:
    """Store a batch on each of some days, and one a year later; all is counted."""
    await fill(sidecar)
    sidecar.clock.time_ms = NOON_MS
    async with Connection(sidecar.socket) as app:
        await app.hello("c" * 32)
        for day in range(days):
            sidecar.clock.time_ms += DAY_MS
            time_ms = sidecar.clock.time_ms
            of_day = [event(time_ms=time_ms), event(time_ms=time_ms, subject="acct_3")]
            await app.ship(batch(*of_day, b"none", first_seq=1 + 3 * day))
    await much_later(sidecar)
    return sidecar.database.path


def archived_at(path: Path, folder: Path) -> Archived:
    """Return what reads the archive of a ledger, and the files of its edges there."""
    shelf = DirectoryShelf(folder)
    return Archived(shelf, key_of(path), of_edges=shelf)


def archive_of(
    sidecar: Sidecar,
    folder: Path,
    *,
    shelf: OwnShelf | None = None,
    judge: Judge = ANY,
    form: Form = LINES,
    before: Callable[[], int | None] = lambda: BEFORE_MS,
) -> Archive:
    """Return what moves events of the ledger into a directory."""
    folder.mkdir(exist_ok=True)
    shelf = shelf or DirectoryShelf(folder)
    key = key_of(sidecar.database.path)

    async def judging(tx: Tx) -> Judge:
        return judge

    return Archive(
        sidecar.database,
        Archived(shelf, key),
        Journal(key),
        form=form,
        clock=sidecar.clock,
        before=before,
        judging=judging,
    )


async def away(sidecar: Sidecar) -> list[NewMove]:
    """Return the files that hold what is away."""
    async with sidecar.database.reading() as tx:
        return await store.files(tx)


async def verified_with(path: Path, folder: Path | None) -> Report:
    """Verify a ledger, with its archive or without."""
    chain = ChainFiles(path)
    reader = await SqliteReader.open_reader(path)
    try:
        return await verify(
            reader,
            key=key_of(path),
            head=chain.head(),
            progress=lambda what, done, total: None,
            archived=None if folder is None else archived_at(path, folder),
        )
    finally:
        await reader.close()


def rows_of(path: Path, *but: str) -> dict[str, list[Any]]:
    """Return every row of every table but some."""
    connection = sqlite3.connect(path)
    try:
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall()
        return {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()
            for (table,) in tables
            if table not in but
        }
    finally:
        connection.close()
