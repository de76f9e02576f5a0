"""Numbered migrations: each runs once, in one transaction, and is never edited."""

import contextlib
import sqlite3
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from meterline_sidecar.errors import ForeignDatabase, NoLedger
from meterline_sidecar.store.port import Row, Tx

APPLICATION_ID: Final = 0x4D74726C  # "Mtrl": what `file` and our own check look for
COLUMNS: Final = (
    'SELECT m.name, c.name, c.type, c."notnull", c.pk'
    " FROM sqlite_schema m, pragma_table_info(m.name) c"
    " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"
)
BESIDE_TABLES: Final = (
    "SELECT type, name, tbl_name FROM sqlite_schema"
    " WHERE type <> 'table' AND name NOT LIKE 'sqlite%'"
)


class Migration(NamedTuple):
    """One numbered step of the schema."""

    version: int
    name: str
    statements: tuple[str, ...]


@cache
def migrations() -> tuple[Migration, ...]:
    """Return every migration of this Meterline, in order, without a hole."""
    folder = resources.files("meterline_sidecar.store.sqlite") / "migrations"
    found = sorted(
        _read(entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    )
    assert [step.version for step in found] == list(range(1, len(found) + 1))
    return tuple(found)


async def migrate(tx: Tx, path: Path) -> None:
    """Bring the database up to this Meterline's schema.

    ``tx`` is a connection outside any transaction: each step opens its own.

    Raises:
        ForeignDatabase: the file is somebody else's, or of a newer Meterline.
    """
    version = await check_origin(tx, path)
    steps = migrations()
    for step in steps[version:]:
        await tx.execute("BEGIN IMMEDIATE")
        try:
            for statement in step.statements:
                await tx.execute(statement)
            # PRAGMA takes no parameters; both are integers of ours.
            await tx.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            await tx.execute(f"PRAGMA user_version = {step.version}")
            await tx.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have done so already
                await tx.execute("ROLLBACK")
            raise


async def misshapen(tx: Tx) -> list[str]:
    """Return which tables, indexes and triggers are not as this Meterline makes them."""
    meant, made = _fresh()
    found = _by_table(await tx.fetch_all(COLUMNS))
    beside = set(await tx.fetch_all(BESIDE_TABLES))
    return [
        f"the columns of table {table} are not those that Meterline made"
        for table in sorted(found.keys() | meant.keys())
        if found.get(table) != meant.get(table)
    ] + [
        f"the {kind} {name} of table {table} is missing, or is not Meterline's"
        for kind, name, table in sorted(beside ^ made)
    ]


Columns = dict[str, set[tuple[object, ...]]]


@cache  # a ledger is looked at again and again, and this takes longer
def _fresh() -> tuple[Columns, set[Row]]:
    """Return what a database consists of in which each step has just run."""
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        for step in migrations():
            for statement in step.statements:
                fresh.execute(statement)
        columns = _by_table(fresh.execute(COLUMNS))
        return columns, set(fresh.execute(BESIDE_TABLES))


def _by_table(rows: Iterable[Row]) -> Columns:
    found: Columns = {}
    for table, *column in rows:
        found.setdefault(str(table), set()).add(tuple(column))
    return found


async def check_origin(tx: Tx, path: Path, *, may_be_empty: bool = True) -> int:
    """Return the version of a database's schema; 0 of one that is empty.

    It only reads.

    Raises:
        ForeignDatabase: the file is somebody else's, or of a newer Meterline.
        NoLedger: it is none, or empty, where it may not be.
    """
    return await _check(tx, path, may_be_empty=may_be_empty)


async def check_identity(tx: Tx, path: Path) -> None:
    """Make sure that a database that will only be read has this Meterline's schema.

    Raises:
        ForeignDatabase: it has not; the text says what to do.
    """
    version = await _check(tx, path, may_be_empty=False)
    if version < len(migrations()):
        raise ForeignDatabase(
            f"{path} has schema {version}, this Meterline reads {len(migrations())};"
            " start the sidecar once, which brings it up to date"
        )


async def _check(tx: Tx, path: Path, *, may_be_empty: bool) -> int:
    """Return the schema's version of a database that is ours, or may become so."""
    application = await _pragma(tx, "application_id")
    tables = await tx.fetch_one("SELECT count(*) FROM sqlite_schema")
    is_empty = may_be_empty and application == 0 and tables == (0,)
    if application != APPLICATION_ID and not is_empty:
        raise NoLedger(
            f"{path} is not a Meterline database (application_id {application:#x}); "
            "choose another sidecar.database"
        )
    version = await _pragma(tx, "user_version")
    newest = len(migrations())
    if version > newest:
        raise ForeignDatabase(
            f"{path} has schema {version}, this Meterline knows up to {newest}; "
            "run the newer Meterline that wrote it, or restore a backup from before"
        )
    return version


async def _pragma(tx: Tx, name: str) -> int:
    row = await tx.fetch_one(f"PRAGMA {name}")
    assert row is not None
    return int(row[0])


def _read(name: str, text: str) -> Migration:
    """Return the migration of a file ``NNNN_what.sql``."""
    number, _, what = name.removesuffix(".sql").partition("_")
    statements: list[str] = []
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    assert not pending.strip(), f"{name}: the last statement has no semicolon"
    return Migration(int(number), what, tuple(statements))
