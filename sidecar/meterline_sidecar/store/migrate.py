"""Numbered migrations: each runs once, in one transaction, and is never edited."""

import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from meterline_sidecar.errors import ForeignDatabase
from meterline_sidecar.store.port import Tx

APPLICATION_ID: Final = 0x4D74726C  # "Mtrl": what `file` and our own check look for


class Migration(NamedTuple):
    """One numbered step of the schema."""

    version: int
    name: str
    statements: tuple[str, ...]


def migrations() -> tuple[Migration, ...]:
    """Return every migration of this Meterline, in order, without a hole."""
    folder = resources.files("meterline_sidecar.store") / "migrations"
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
    application, version = await _identity(tx)
    tables = await tx.fetch_one("SELECT count(*) FROM sqlite_schema")
    if application != APPLICATION_ID and (application or tables != (0,)):
        raise ForeignDatabase(
            f"{path} is not a Meterline database (application_id {application:#x}); "
            "choose another sidecar.database"
        )
    steps = migrations()
    if version > len(steps):
        raise ForeignDatabase(
            f"{path} has schema {version}, this Meterline knows up to {len(steps)}; "
            "run the newer Meterline that wrote it, or restore a backup from before"
        )
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
            await tx.execute("ROLLBACK")
            raise


async def _identity(tx: Tx) -> tuple[int, int]:
    application = await tx.fetch_one("PRAGMA application_id")
    version = await tx.fetch_one("PRAGMA user_version")
    assert application is not None
    assert version is not None
    return application[0], version[0]


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
