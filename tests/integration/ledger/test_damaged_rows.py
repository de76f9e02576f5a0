"""A ledger with damage that its database does not see is told of in words."""

import sqlite3
from pathlib import Path
from typing import Final

import pytest

from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.store.sqlite.driver import SqliteReader
from tests.integration.conftest import Sidecar
from tests.integration.ledger.archiving import archive_of, fill_for_long
from tests.integration.ledger.test_coverage import (
    copy_beside,
    note_a_file_of_an_edge,
)
from tests.integration.ledger.test_coverage import filled as filled  # a fixture
from tests.integration.ledger.test_verify import fill, tamper, verified

DAMAGED: Final = "CAST(CAST({} AS BLOB) || x'ff' AS TEXT)"
"""What a flipped bit leaves of a text: no text, which the database takes all the same."""


@pytest.mark.parametrize(
    ("table", "column", "what"),
    [
        ("subjects", "name", "batch "),
        ("endpoints", "route", "batch "),
        ("events", "properties", "batch "),
        ("losses", "reason", "batch 2 (producer ffff"),
        ("producers", "producer", "batches after 0"),
        ("terms", "change", "the journal"),
        ("invoices", "document", "the journal"),
        ("outbox", "identifier", "the outbox"),
        ("stripe_calls", "params", "the outbox"),
        ("usage", "totals", "usage"),
        ("usage_days", "totals", "usage"),
        ("packed_days", "body", "usage"),
        ("day_parts", "body", "usage"),
        ("groups", "labels", "usage"),
        ("external_events", "external_id", "external events"),
        ("generations", "definition", "generations"),
        ("edge_files", "file", "edge_files"),
    ],
)
async def test_a_damaged_text_is_named_by_where_it_is_and_not_shown(
    filled: Path, tmp_path: Path, table: str, column: str, what: str
) -> None:
    copy = tmp_path / "copy.db"
    copy_beside(filled, copy)
    copy.write_bytes(filled.read_bytes())
    tamper(
        copy,
        f"UPDATE {table} SET {column} = {DAMAGED.format(column)}"
        f" WHERE {column} IS NOT NULL",
    )

    findings = (await verified(copy)).findings

    told = [one for one in findings if one.startswith(what) and "cannot be read" in one]
    assert told, findings
    assert "a text in it cannot be read" in told[0]
    assert not any("\\xff" in one or "acct_" in one for one in findings)


async def test_a_damaged_name_of_a_file_is_a_finding_among_others(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = await fill_for_long(sidecar)
    await note_a_file_of_an_edge(sidecar, path)
    await archive_of(sidecar, tmp_path / "archive").run()
    tamper(path, f"UPDATE archive_moves SET file = {DAMAGED.format('file')}")

    findings = (await verified(path)).findings

    assert any(one.startswith("archive_moves cannot be read") for one in findings)
    assert any(one.startswith("the journal cannot be read") for one in findings)


async def test_a_number_that_is_missing_is_told_with_its_batch(
    sidecar: Sidecar,
) -> None:
    await fill(sidecar)
    path = sidecar.database.path
    connection = sqlite3.connect(path, isolation_level=None)
    (schema,) = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE name = 'batches'"
    ).fetchone()
    # The schema lets nobody do it: a bit of the row's header does.
    set_schema = "UPDATE sqlite_schema SET sql = ? WHERE name = 'batches'"
    connection.execute("PRAGMA writable_schema = RESET")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(set_schema, (schema.replace("NOT NULL", ""),))
    connection.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE batches SET losses = NULL WHERE id = 2")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(set_schema, (schema,))
    connection.close()

    findings = (await verified(path)).findings

    assert "batch 2 cannot be read: a number of it is missing" in findings
    assert "batches 2 to 2 are missing" in findings


async def test_a_schema_with_a_byte_that_no_text_has_is_a_damaged_file(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill(sidecar)
    copy = tmp_path / "copy.db"
    await sidecar.database.copy_to(copy)
    content = copy.read_bytes()
    at = content.index(b"CREATE TABLE facts")
    hit = content.index(b"TEXT", at)
    copy.write_bytes(content[: hit + 3] + b"\xd4" + content[hit + 4 :])

    with pytest.raises(DatabaseCorrupt, match=r"a text in it cannot be read.*doctor"):
        await SqliteReader.open_reader(copy)


async def test_bytes_from_elsewhere_that_are_no_text_say_nothing_of_the_ledger(
    sidecar: Sidecar,
) -> None:
    with pytest.raises(UnicodeDecodeError):
        async with sidecar.database.reading():
            b"\xff".decode()
