"""A new ledger has the same tables under either database."""

import re
import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.postgres.migrate import FIRST
from meterline_sidecar.store.postgres.migrate import migrations as of_postgres
from meterline_sidecar.store.sqlite.migrate import migrations as of_sqlite
from tests.postgres_server import PostgresServer, shared

TYPES: Final = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}
DRIVERS_OWN: Final = {"writer", "lease"}
ROWID: Final = "rowid"  # of tables without an id, where SQLite numbers rows by itself


class Table(NamedTuple):
    """What must be the same of a table."""

    columns: dict[str, tuple[str, bool]]
    """The type of each, and whether it may be empty."""
    defaults: dict[str, str]
    key: tuple[str, ...]
    indexes: set[str]
    """Name, columns and condition; those of constraints have no name."""


def of_file(path: Path) -> dict[str, Table]:
    database = sqlite3.connect(path)
    tables: dict[str, Table] = {}
    for (name,) in database.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall():
        info = database.execute(f"PRAGMA table_info({name})").fetchall()
        keys = sorted((row[5], row[1]) for row in info if row[5])
        tables[name] = Table(
            # A column of a primary key is never empty, whatever SQLite says of it.
            {row[1]: (TYPES[row[2]], not row[3] and not row[5]) for row in info},
            {row[1]: row[4] for row in info if row[4] is not None},
            tuple(column for _, column in keys),
            set(indexes_of_file(database, name)),
        )
    database.close()
    return tables


def indexes_of_file(database: sqlite3.Connection, table: str) -> list[str]:
    found: list[str] = []
    for row in database.execute(f"PRAGMA index_list({table})").fetchall():
        name, unique, origin = row[1:4]
        if origin == "pk":
            continue
        (sql,) = database.execute(
            "SELECT sql FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchone()
        if origin == "u":
            columns = ", ".join(
                one[2] for one in database.execute(f"PRAGMA index_info({name})")
            )
            found.append(f"unique ({columns})")
        else:
            found.append(plain(sql, unique=bool(unique)))
    return found


def plain(sql: str, *, unique: bool) -> str:
    """Return what an index is, in the form that both databases come to."""
    sql = " ".join(sql.split())
    parts = re.fullmatch(
        r"CREATE (?:UNIQUE )?INDEX (\w+) ON (?:public\.)?\w+ (?:USING btree )?"
        r"\(([^)]*)\)(?: WHERE (.*))?",
        sql,
    )
    assert parts is not None, sql
    name, columns, condition = parts.groups()
    condition = re.sub(r"[()]|::text", "", condition or "")
    return f"{name} {'unique ' if unique else ''}({columns}) {condition}".strip()


def of_server(server: PostgresServer, database: str) -> dict[str, Table]:
    def rows(sql: str) -> list[list[str]]:
        return [line.split("|") for line in server.sql(database, sql).splitlines()]

    tables: dict[str, Table] = {}
    for table, column, kind, may_be_empty, default in rows(
        "SELECT table_name, column_name, CASE WHEN data_type = 'text'"
        " AND collation_name IS DISTINCT FROM 'C' THEN 'text of a language'"
        " ELSE data_type END, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'public'"
    ):
        one = tables.setdefault(table, Table({}, {}, (), set()))
        if column == ROWID:
            continue
        one.columns[column] = (kind, may_be_empty == "YES")
        if default and not default.startswith("next_id("):
            one.defaults[column] = default.replace("::text", "")
    for table, name, kind, unique, sql in rows(
        "SELECT c.relname, i.relname, coalesce(k.contype::text, ''),"
        " x.indisunique, pg_get_indexdef(x.indexrelid)"
        " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
        " JOIN pg_class c ON c.oid = x.indrelid"
        " LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid"
        " AND k.contype IN ('p', 'u') WHERE c.relnamespace = 'public'::regnamespace"
    ):
        listed = sql[sql.index("(") + 1 : sql.index(")")]
        if kind == "p":
            tables[table] = tables[table]._replace(key=tuple(listed.split(", ")))
        elif kind == "u":
            tables[table].indexes.add(f"unique ({listed})")
        else:
            assert name in sql
            tables[table].indexes.add(plain(sql, unique=unique == "t"))
    return tables


async def test_both_databases_have_the_same_tables_columns_keys_and_indexes(
    tmp_path: Path,
) -> None:
    server = shared(15)
    database = server.create()
    for place in (tmp_path / "meterline.db", server.url(database)):
        ledger = await open_ledger(place)
        await ledger.close()

    ours, theirs = of_file(tmp_path / "meterline.db"), of_server(server, database)

    assert len(ours) > 50
    assert theirs.keys() - ours.keys() == DRIVERS_OWN
    assert {name: theirs[name] for name in ours} == ours


def test_both_databases_count_their_migrations_alike() -> None:
    numbers = {step.version: step.name for step in of_sqlite() if step.version > FIRST}

    assert {
        step.version: step.name for step in of_postgres() if step.version > FIRST
    } == numbers
