"""Every table of the schema: what is done to a row of it is found, or named as free."""

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from meterline_sidecar.cli.doc_tables import with_tables
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ingest.correction_plans import Search, void
from meterline_sidecar.ingest.corrections import Asked, Corrections
from meterline_sidecar.ingest.external import External
from meterline_sidecar.ingest.late import Late
from meterline_sidecar.ingest.names import Name
from meterline_sidecar.ledger import packing
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.coverage import COVERAGE
from meterline_sidecar.ledger.erase import Eraser
from meterline_sidecar.ledger.erase_begin import Wanted
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.packing import Packer
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge import day_parts, edge_files, packed_days
from meterline_sidecar.store.sqlite.migrate import migrations
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.definition import decode
from tests.agreed import agree_to, keep
from tests.clock import FakeClock
from tests.edge_files import a_file
from tests.integration.conftest import Sidecar, sidecar_at
from tests.integration.ledger.test_migrations import agreed, fill_newest, key_of
from tests.integration.ledger.test_verify import is_found, verified
from tests.producer import Connection, batch, event

PAGE: Final = Path(__file__).parents[3] / "docs" / "backup.md"
COVERED: Final = [
    name for name, cover in COVERAGE.items() if cover.how != "not covered"
]
ELSEWHERE: Final = "archive_moves"
"""A table that is looked at together with the files that it names."""
REFUSED: Final = {
    "outbox_cursor": {"id", "insert"},
    "producer_sums": {"id", "insert"},
}
"""What the schema itself does not let happen."""
DIGIT: Final = re.compile(r"[0-8](?![0-9])")
POSITIONS: Final = 250
CHOICES: Final = re.compile(r"'(\w+)'")


async def fill_every_table(sidecar: Sidecar) -> Path:
    """Put rows into every table, with events that came over HTTP."""
    path = await fill_newest(sidecar)
    external = External(
        sidecar.database,
        sidecar.ingest,
        clock=sidecar.clock,
        watch=None,
        key=key_of(path),
    )
    names = [Name("jobs", "1"), Name("jobs", "2"), Name("cron", "7")]
    events = [external.prepare(name, event(), is_timed=True) for name in names]
    await external.take(events, n_bytes=0)
    other = external.prepare(names[0], event(status=500), is_timed=True)
    await external.take([other], n_bytes=0)
    aggregator = Aggregator(sidecar.database, agreed(), clock=sidecar.clock)
    await aggregator.run()
    corrections = Corrections(
        *(sidecar.database, sidecar.ingest, Journal(key_of(path)), aggregator),
        clock=sidecar.clock,
    )
    plan = await void(sidecar.database, Search((1, 2)))
    await corrections.make(plan, Asked("ann", "a test", key="one"))
    late = (await void(sidecar.database, Search((3,))))._replace(kind="late")
    made = await corrections.make(late, Asked("schedule", "came late"))
    deciding = Late(
        sidecar.database, corrections, Journal(key_of(path)), clock=sidecar.clock
    )
    await deciding.reject(made.id, author="ann", reason="too late")
    return path


async def pack_some(sidecar: Sidecar, path: Path) -> None:
    """Pack the first events, and a day."""
    packer = Packer(
        sidecar.database, Archived(None, key_of(path)), clock=FakeClock(NEVER_MS)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "IDS_MAX", 2)
        assert await packer.step()
        assert await packer.step()
    async with sidecar.database.transaction() as tx:
        served = await newest_generation(tx)
        assert served is not None
        row = await tx.fetch_one(
            "SELECT subject_id, day_ms FROM usage_days WHERE generation = ?"
            " AND totals <> '{}' ORDER BY day_ms, subject_id",
            (served.id,),
        )
        assert row is not None
        aggregations = decode(served.definition).aggregations
        day = packed_days.Day(*row)
        assert await packed_days.pack_day(tx, served.id, day, aggregations)
        noon_ms = day.day_ms + DAY_MS // 2
        spans = [(day.day_ms, noon_ms), (noon_ms, day.day_ms + DAY_MS)]
        parts = await day_parts.parts_of(
            tx, served.id, day.subject_id, spans, aggregations
        )
        assert await day_parts.put_days(
            tx, served.id, {day: parts}, cursor=served.cursor
        )


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger with rows in every table, which each worker fills once."""
    return asyncio.run(whole_in(tmp_path_factory.mktemp("filled")))


async def whole_in(folder: Path) -> Path:
    async with sidecar_at(folder) as sidecar:
        source = await fill_every_table(sidecar)
        await note_a_file_of_an_edge(sidecar, source)
        await count_by_property(sidecar, source)
        await pack_some(sidecar, source)
        await erase_a_name(sidecar, source)
        assert (await verified(source)).findings == []
        whole = folder / "whole.db"
        await sidecar.database.copy_to(whole)
        copy_beside(source, whole)
    return whole


def tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table'"
        " AND name NOT LIKE 'sqlite_%' ORDER BY name"
    )
    return [row[0] for row in rows]


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]


def unique_columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns of the primary key, and of every other unique index."""
    found = [
        str(row[1])
        for row in connection.execute(f"PRAGMA table_info({table})")
        if row[5]
    ]
    for index in connection.execute(f"PRAGMA index_list({table})").fetchall():
        if index[2]:
            named = connection.execute(f"PRAGMA index_info({index[1]})")
            found += [str(row[2]) for row in named]
    return list(dict.fromkeys(found))


def others(value: Any, schema: str) -> list[Any]:
    """Return values to put in place of one, the first that the schema takes is put."""
    match value:
        case None:
            return [1, "x", b"x"]
        case int():
            return [value + 1, value - 1, value + 1_000]
        case str():
            choices = [text for text in CHOICES.findall(schema) if text != value]
            # Another number in it first: what cannot be read at all is found anyway.
            digit = DIGIT.search(value)
            number = [] if digit is None else [with_other(value, digit)]
            return [*number, value + "x", *choices]
        case _:
            return [bytes([value[0] ^ 1]) + value[1:]]


def with_other(text: str, digit: re.Match[str]) -> str:
    other = (int(digit[0]) + 1) % 10 or 1
    return f"{text[: digit.start()]}{other}{text[digit.end() :]}"


def changes(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    """Do everything to the first and the last row of a table, and name each.

    Whoever takes the next one takes back what was done.
    """
    (schema,) = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE name = ?", (table,)
    ).fetchone()
    names = columns(connection, table)
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    for row in dict.fromkeys((rows[0], rows[-1])):
        where = " AND ".join(f"{name} IS ?" for name in names)
        for name, value in zip(names, row, strict=True):
            if put_one_of(
                connection,
                f"UPDATE {table} SET {name} = ? WHERE {where}",
                [[other, *row] for other in others(value, schema)],
            ):
                yield name
        connection.execute(f"DELETE FROM {table} WHERE {where}", row)
        yield "delete"
        yield from inserted(connection, table, names, row)


def inserted(
    connection: sqlite3.Connection, table: str, names: Sequence[str], row: Sequence[Any]
) -> Iterator[str]:
    """Add a copy under another key: one of its columns, or all, are others.

    Where the schema takes no copy at all, of another customer, or of another invoice.
    """
    unique = unique_columns(connection, table)
    insert = f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})"
    other = [[*unique, "customer"]] if table == "invoices" else [["id", "invoice_id"]]
    for changed in [[name] for name in unique] + [unique] + other:
        copy = [
            others(value, "")[0] if name in changed else value
            for name, value in zip(names, row, strict=True)
        ]
        if put_one_of(connection, insert, [copy]):
            yield "insert"


def put_one_of(
    connection: sqlite3.Connection, sql: str, given: Sequence[Sequence[Any]]
) -> bool:
    for values in given:
        try:
            connection.execute(sql, values)
        except (sqlite3.IntegrityError, OverflowError):
            continue
        return True
    return False


def test_every_table_of_the_schema_is_named_as_covered_or_not(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "empty.db")
    from_schema(connection)

    assert sorted(COVERAGE) == tables(connection)
    for table, cover in COVERAGE.items():
        known = {*columns(connection, table), "insert", "delete"}
        assert set(cover.free) <= known, table
        assert cover.how != "not covered" or not cover.free, table
    connection.close()


def from_schema(connection: sqlite3.Connection) -> None:
    for step in migrations():
        for statement in step.statements:
            connection.execute(statement)


def test_the_page_says_what_is_covered() -> None:
    page = PAGE.read_text()

    assert with_tables(page) == page, "run: make docs"


@pytest.mark.parametrize("table", [name for name in COVERED if name != ELSEWHERE])
async def test_whatever_is_done_to_a_row_of_a_covered_table_is_found(
    filled: Path, tmp_path: Path, table: str
) -> None:
    whole = tmp_path / "whole.db"
    shutil.copyfile(filled, whole)
    copy_beside(filled, whole)

    done, unseen = await done_and_unseen(whole, table, verified)

    refused = REFUSED.get(table, set())
    assert {*done} == {*columns_of(whole, table), "delete", "insert"} - refused
    assert unseen == []


async def done_and_unseen(
    whole: Path, table: str, verify: Callable[[Path], Awaitable[Report]]
) -> tuple[list[str], list[str]]:
    """Do everything to rows of a table; return what, and what of it was not found."""
    copy = whole.with_name("copy.db")
    copy_beside(whole, copy)
    free = COVERAGE[table].free
    done: list[str] = []
    unseen: list[str] = []
    connection = sqlite3.connect(":memory:", isolation_level=None)
    sqlite3.connect(whole).backup(connection)
    connection.execute("BEGIN")
    for what in changes(connection, table):
        done.append(what)
        if what not in free:
            copy.write_bytes(connection.serialize())
            if (await verify(copy)).is_sound:
                unseen.append(what)
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
    connection.close()
    return done, unseen


async def count_by_property(sidecar: Sidecar, source: Path) -> None:
    """Count events of two values of a property, of which one is told apart."""
    by_model = Meter("by_model", "count", group_by=("model",))
    terms = agree_to(agreed(), "by_model", by_model, from_ms=0)
    await keep(sidecar.database, terms, key=key_of(source))
    aggregator = Aggregator(sidecar.database, terms, clock=sidecar.clock, values_max=1)
    await aggregator.start()
    async with Connection(sidecar.socket) as app:
        await app.hello("9" * 32)
        models = ({"model": name} for name in ("large", "small"))
        await app.ship(batch(*(event(properties=model) for model in models)))
    await aggregator.run()


async def note_a_file_of_an_edge(sidecar: Sidecar, source: Path) -> None:
    """Note a file that an edge wrote, as a centre does."""
    async with sidecar.database.transaction() as tx:
        row_id = await edge_files.add_file(tx, a_file())
        await Journal(key_of(source)).link(tx, "edge_files", row_id)


async def erase_a_name(sidecar: Sidecar, source: Path) -> None:
    """Take the name of a subject out of a batch."""
    terms = Terms()
    async with sidecar.database.reading() as tx:
        await terms.catch_up(tx)
    key = key_of(source)
    eraser = Eraser(
        sidecar.database,
        Archived(None, key),
        Journal(key),
        terms=terms,
        forget=sidecar.ingest.forget_subjects,
        files=LedgerFiles(source),
        spool_dir=source.parent / "spool",
        clock=sidecar.clock,
        key=key,
    )
    await eraser.erase(Wanted("acct_1", (), "ann", "asked for"))


def copy_beside(source: Path, target: Path) -> None:
    """Copy the key and the head."""
    theirs, ours = ChainFiles(source), ChainFiles(target)
    ours.key_path.write_bytes(theirs.key_path.read_bytes())
    ours.head_path.write_bytes(theirs.head_path.read_bytes())


def columns_of(path: Path, table: str) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return columns(connection, table)
    finally:
        connection.close()


async def test_every_flipped_bit_is_found_or_changes_nothing(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    """A bit in the unused part of a page means nothing; any other one is found.

    But for what is not covered: there it may be anything.
    """
    source = await fill_every_table(sidecar)
    await pack_some(sidecar, source)
    whole, flipped = tmp_path / "whole.db", tmp_path / "flipped.db"
    await sidecar.database.copy_to(whole)
    copy_beside(source, flipped)
    pristine = whole.read_bytes()
    contents = dump(whole)
    silent = [
        position
        for position in range(100, len(pristine), len(pristine) // POSITIONS)
        if not await is_found(flipped, pristine, position) and dump(flipped) != contents
    ]

    assert silent == []


def dump(path: Path) -> list[Any]:
    """Return every row of every covered table, without what is free of them."""
    connection = sqlite3.connect(path)
    try:
        return [
            row
            for table in COVERED
            for row in connection.execute(
                f"SELECT {', '.join(covered_columns(connection, table))} FROM {table}"
            )
        ]
    finally:
        connection.close()


def covered_columns(connection: sqlite3.Connection, table: str) -> list[str]:
    free = COVERAGE[table].free
    return [name for name in columns(connection, table) if name not in free]
