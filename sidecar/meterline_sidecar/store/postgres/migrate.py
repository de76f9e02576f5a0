"""Numbered migrations of a PostgreSQL ledger: each runs once, in one transaction.

The first one makes all that SQLite's migrations up to its number make. From there on
every number stands in both folders, and a test compares what they come to.
"""

from importlib import resources
from typing import Final, NamedTuple

from meterline_sidecar.errors import ForeignDatabase
from meterline_sidecar.store.postgres.connect import Connection

MARK: Final = "Meterline ledger"  # the comment on the table `writer`: what our own check looks for
LOCK: Final = 0x4D74726C  # "Mtrl": so that one process at a time makes the schema
FIRST: Final = 26

WRITER: Final = """
CREATE TABLE writer (
  id BIGINT PRIMARY KEY CHECK (id = 1),  -- locked by each transaction that writes
  schema_version BIGINT NOT NULL
);
COMMENT ON TABLE writer IS 'Meterline ledger';
INSERT INTO writer (id, schema_version) VALUES (1, 0);
CREATE TABLE lease (  -- who leads; see lease.py
  id BIGINT PRIMARY KEY CHECK (id = 1),
  fence BIGINT NOT NULL DEFAULT 0,  -- the number of the last election
  life TEXT NOT NULL DEFAULT '',
  name TEXT NOT NULL DEFAULT '',
  files TEXT NOT NULL DEFAULT '',
  since TIMESTAMPTZ NOT NULL DEFAULT 'epoch',
  until TIMESTAMPTZ NOT NULL DEFAULT 'epoch'
);
INSERT INTO lease (id) VALUES (1);
"""


class Migration(NamedTuple):
    """One numbered step of the schema."""

    version: int
    name: str
    script: str


def migrations() -> tuple[Migration, ...]:
    """Return every migration of this Meterline, in order, without a hole."""
    folder = resources.files("meterline_sidecar.store.postgres") / "migrations"
    found = sorted(
        _read(entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    )
    assert [step.version for step in found] == list(range(FIRST, FIRST + len(found)))
    return tuple(found)


def newest() -> int:
    """Return the version of the schema that this Meterline reads and writes."""
    return migrations()[-1].version


async def migrate(connection: Connection, place: str) -> None:
    """Bring the database up to this Meterline's schema.

    Raises:
        ForeignDatabase: it is somebody else's, or of a newer Meterline.
    """
    version = await check_origin(connection, place)
    for step in migrations():
        if step.version > version:
            async with connection.transaction():
                # Whatever transactions of others begin as; the lock ends with this one,
                # as all that we hold.
                await connection.execute(
                    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE;"
                    " SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;"
                    f" SELECT pg_advisory_xact_lock({LOCK})"
                )
                if await check_origin(connection, place) >= step.version:
                    continue  # another process was faster
                await _take(connection, step)


async def _take(connection: Connection, step: Migration) -> None:
    if not await _has_writer(connection):
        await connection.execute(WRITER)
    await connection.execute("SELECT id FROM writer FOR UPDATE")
    await connection.execute(step.script)
    await connection.execute("UPDATE writer SET schema_version = $1", step.version)


async def check_origin(connection: Connection, place: str) -> int:
    """Return the version of a database's schema; 0 of one that is empty.

    Raises:
        ForeignDatabase: it is somebody else's, or of a newer Meterline.
    """
    return await _check(connection, place, may_be_empty=True)


async def check_identity(connection: Connection, place: str) -> None:
    """Make sure that a database that will only be read has this Meterline's schema.

    Raises:
        ForeignDatabase: it has not; the text says what to do.
    """
    version = await _check(connection, place, may_be_empty=False)
    if version < newest():
        raise ForeignDatabase(
            f"{place} has schema {version}, this Meterline reads {newest()};"
            " start the sidecar once, which brings it up to date"
        )


async def _check(connection: Connection, place: str, *, may_be_empty: bool) -> int:
    if not await _has_writer(connection):
        tables = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'f')"
            " AND relnamespace = current_schema()::regnamespace"
        )
        if tables and await _has_writer(connection):
            # Another process has made the ledger between the two questions.
            return await _check(connection, place, may_be_empty=may_be_empty)
        if tables or not may_be_empty:
            what = "is empty" if not tables else f"has {tables} tables of somebody else"
            raise ForeignDatabase(
                f"{place} {what} and is no Meterline ledger; "
                + (
                    "start the sidecar once, which makes one"
                    if not tables
                    else "choose another sidecar.database"
                )
            )
        return 0
    version = int(await connection.fetchval("SELECT schema_version FROM writer"))
    if version > newest():
        raise ForeignDatabase(
            f"{place} has schema {version}, this Meterline knows up to {newest()}; "
            "run the newer Meterline that wrote it, or restore a backup from before"
        )
    return version


async def _has_writer(connection: Connection) -> bool:
    mark = await connection.fetchval(
        "SELECT obj_description(c.oid, 'pg_class') FROM pg_class c WHERE"
        " c.relname = 'writer' AND c.relnamespace = current_schema()::regnamespace"
    )
    return bool(mark == MARK)


def _read(name: str, text: str) -> Migration:
    """Return the migration of a file ``NNNN_what.sql``."""
    number, _, what = name.removesuffix(".sql").partition("_")
    return Migration(int(number), what, text)
