"""A ledger of an earlier version is cut off at every statement that brings it up to date."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Final

import pytest

from meterline_sidecar.errors import DiskFull
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.sqlite import migrate
from meterline_sidecar.store.sqlite.migrate import Migration
from tests.integration.conftest import sidecar_at
from tests.integration.ledger.test_migrations import (
    NEWEST,
    copy_in_schema,
    fill_all,
    open_and_count,
)

FROM: Final = 1
KILLED: Final = 77
FULL: Final = "database or disk is full"
MIGRATIONS: Final = migrate.migrations


class Cut(tuple[str, ...]):
    """Statements of which those behind a place never run."""

    place: int
    end: Callable[[], None]

    def __iter__(self) -> Iterator[str]:
        for i, statement in enumerate(super().__iter__()):
            if i == self.place:
                self.end()
            yield statement
        if self.place == len(self):
            self.end()


def cut_at(version: int, place: int, end: Callable[[], None]) -> tuple[Migration, ...]:
    """Return all migrations, of which one ends before a statement, or before its COMMIT."""
    steps = list(MIGRATIONS())
    step = steps[version - 1]
    statements = Cut(step.statements)
    statements.place, statements.end = place, end
    steps[version - 1] = step._replace(statements=statements)
    return tuple(steps)


def killed(path: Path, version: int, place: int) -> int:
    """Open a ledger in a process that dies there; return how it ended."""
    steps = cut_at(version, place, lambda: os._exit(KILLED))
    pid = os.fork()
    if not pid:
        try:
            migrate.migrations = lambda: steps  # type: ignore[assignment]
            asyncio.run(_opened(path))
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def _opened(path: Path) -> None:
    await (await open_ledger(path)).close()


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def places() -> Iterator[tuple[int, int]]:
    for step in migrate.migrations()[FROM:]:
        for place in range(len(step.statements) + 1):
            yield step.version, place


async def two_earlier(folder: Path) -> tuple[Path, Path]:
    """Return two ledgers of the first version with the same rows."""
    earlier, uncut = folder / "earlier.db", folder / "uncut.db"
    async with sidecar_at(folder) as sidecar:
        source = await fill_all(sidecar)
        for path in (earlier, uncut):
            copy_in_schema(source, path, version=FROM)
    return earlier, uncut


async def opened_and_counted(*paths: Path) -> list[dict[str, object]]:
    return [await open_and_count(path) for path in paths]


def test_a_kill_at_any_statement_of_a_migration_leaves_a_whole_step(
    tmp_path: Path,
) -> None:
    # No thread is left of this when it forks.
    earlier, uncut = asyncio.run(two_earlier(tmp_path))

    for version, place in places():
        assert killed(earlier, version, place) == KILLED, (version, place)
        assert version_of(earlier) == version - 1, (version, place)

    found, expected = asyncio.run(opened_and_counted(earlier, uncut))
    assert found == expected
    assert version_of(earlier) == NEWEST


async def test_a_disk_that_is_full_at_any_statement_of_a_migration_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, uncut = await two_earlier(tmp_path)

    def full() -> None:
        error = sqlite3.OperationalError(FULL)
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    for version, place in places():
        with monkeypatch.context() as patch:
            steps = partial(cut_at, version, place, full)
            patch.setattr(migrate, "migrations", cache(steps))
            with pytest.raises(DiskFull):
                await open_ledger(earlier)
        assert version_of(earlier) == version - 1, (version, place)

    found, expected = await opened_and_counted(earlier, uncut)
    assert found == expected
