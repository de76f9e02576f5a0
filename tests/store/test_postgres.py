"""What only the PostgreSQL driver has to do: errors, odd texts, poolers, kills."""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.errors import (
    DatabaseGone,
    DiskFailed,
    ForeignDatabase,
    MeterlineError,
)
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge.events import add_events
from meterline_sidecar.store.edge.packed import columns_to_pack, n_packed, put_pack
from meterline_sidecar.store.edge.stored import StoredEvent
from meterline_sidecar.store.fence import fenced
from meterline_sidecar.store.open import copy_ledger, open_ledger, open_reader
from meterline_sidecar.store.packs import pack
from meterline_sidecar.store.port import Candidate, Ledger, Tx
from meterline_sidecar.store.postgres import dialect, driver, line, migrate
from meterline_sidecar.store.postgres.connect import Connection, connect
from meterline_sidecar.store.postgres.errors import RAISED
from meterline_sidecar.store.postgres.migrate import newest
from tests.patience import PATIENCE_S
from tests.postgres_server import USER, PostgresServer, pooled, started
from tests.postgres_server import pooler as pooler_program

PUT_FACT = (
    "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE"
    " SET value = excluded.value"
)


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with started(15) as one:
        yield one


@pytest.fixture
async def ledger(server: PostgresServer) -> AsyncGenerator[Ledger]:
    opened = await open_ledger(server.url(server.create()))
    yield opened
    await opened.close()


async def put(ledger: Ledger, name: str, value: str) -> None:
    async with ledger.transaction() as tx:
        await facts.put_fact(tx, name, value)


async def got(ledger: Ledger, name: str) -> str | None:
    async with ledger.reading() as tx:
        return await facts.get_fact(tx, name)


@given(st.text(alphabet=st.sampled_from("\0\x1a01?$ä'")))
@example("\x1a0")
def test_every_text_is_read_as_it_was_stored(text: str) -> None:
    assert "\0" not in dialect.stored(text)
    assert dialect.read(dialect.stored(text)) == text


def test_marks_are_numbered_but_not_those_within_texts() -> None:
    sql = "SELECT '?' , \"a?\", ? WHERE x = ? AND y = 'it''s ?'"

    assert dialect.numbered(sql) == (
        "SELECT '?' , \"a?\", $1 WHERE x = $2 AND y = 'it''s ?'"
    )


def test_a_list_of_marks_is_an_array_and_others_stay_where_they_are() -> None:
    sql = (
        "WITH k (a, b) AS (VALUES (CAST(? AS BIGINT), CAST(? AS BIGINT)), (?, ?)) SELECT"
        " '?' FROM k WHERE a = ? AND b NOT IN (?, ?, ?) OR b IN (?) OR a IN (?, ?)"
    )

    found = dialect.statement(sql)

    assert found.sql == (
        "WITH k (a, b) AS (SELECT * FROM unnest(CAST($1 AS BIGINT[]),"
        " CAST($2 AS BIGINT[]))) SELECT '?' FROM k WHERE a = $3 AND b <> ALL($4)"
        " OR b IN ($5) OR a = ANY($6)"
    )
    assert found.of([1, 2, 3, 4, 5, 6, 7, 8, 9, "a\0", "b"]) == [
        *([1, 3], [2, 4], 5, [6, 7, 8], 9, ["a\x1a0", "b"])
    ]


async def test_a_list_of_nothing_is_one(ledger: Ledger) -> None:
    sql = "SELECT {0} IN (), {0} NOT IN () FROM (VALUES (?)) AS x (y)"

    for value in ("1", "y", "CAST(NULL AS TEXT)"):
        async with ledger.reading() as tx:
            assert await tx.fetch_all(sql.format(value), ("one",)) == [(False, True)]


async def test_a_row_that_is_changed_twice_at_once_is_what_was_said_last(
    ledger: Ledger,
) -> None:
    said = [("a", "1"), ("b", "1"), ("a", "2"), ("c", "\0"), ("a", "3")]
    async with ledger.transaction() as tx:
        await tx.execute_many(PUT_FACT, said)
        await tx.execute_many(PUT_FACT, [(name, "\0") for name in "cdefg"])

    assert [await got(ledger, name) for name in "abcdefg"] == [*"31", *["\0"] * 5]


async def test_texts_that_postgresql_has_not_come_back_one_by_one_and_by_the_many(
    ledger: Ledger,
) -> None:
    odd = ["a\0b", "\x1a", "\x1a0", "?", "$1", "ä\U0001f600"]
    async with ledger.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO endpoints (method, route) VALUES (?, ?)",
            [("GET", text) for text in odd],
        )
        await facts.put_fact(tx, "one\0", "two\0")

    async with ledger.reading() as tx:
        rows = await tx.fetch_all("SELECT route FROM endpoints ORDER BY id")
        found = await tx.fetch_one(
            "SELECT id FROM endpoints WHERE route = ?", ("a\0b",)
        )
    assert [row[0] for row in rows] == odd
    assert found == (1,)
    assert await got(ledger, "one\0") == "two\0"


async def test_what_is_rolled_back_leaves_no_hole_among_ids(ledger: Ledger) -> None:
    async def add(route: str, *, fails: bool) -> None:
        async with ledger.transaction() as tx:
            await tx.execute_many(
                "INSERT INTO endpoints (method, route) VALUES (?, ?)",
                [("GET", f"{route}{i}") for i in range(9)],
            )
            if fails:
                raise ZeroDivisionError

    await add("a", fails=False)
    with pytest.raises(ZeroDivisionError):
        await add("given up", fails=True)
    await add("b", fails=False)

    async with ledger.reading() as tx:
        rows = await tx.fetch_all("SELECT id FROM endpoints ORDER BY id")
    assert [row[0] for row in rows] == list(range(1, 19))


async def test_two_processes_write_one_after_the_other(ledger: Ledger) -> None:
    other = await open_ledger(PostgresUrl(ledger.place))
    order: list[str] = []

    async def second() -> None:
        async with other.transaction() as tx:
            order.append("second")
            assert await facts.get_fact(tx, "first") == "done"

    async with ledger.transaction() as tx:
        waiting = asyncio.create_task(second())
        async with asyncio.timeout(PATIENCE_S):
            while not await _is_waiting(other):
                await asyncio.sleep(0.01)
        await facts.put_fact(tx, "first", "done")
        order.append("first")
    await waiting
    await other.close()

    assert order == ["first", "second"]


async def _is_waiting(ledger: Ledger) -> bool:
    async with ledger.reading() as tx:
        row = await tx.fetch_one(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
    return row != (0,)


async def test_a_snapshot_does_not_see_what_is_written_beside_it(
    ledger: Ledger,
) -> None:
    await put(ledger, "name", "old")
    async with ledger.reading() as tx:
        assert await facts.get_fact(tx, "name") == "old"
        await put(ledger, "name", "new")
        assert await facts.get_fact(tx, "name") == "old"
        with pytest.raises(MeterlineError, match="read-only"):
            await facts.put_fact(tx, "name", "x")

    assert await got(ledger, "name") == "new"


async def test_who_goes_on_behind_an_error_is_told_that_nothing_was_kept(
    ledger: Ledger,
) -> None:
    async def careless(tx: Tx) -> None:
        await facts.put_fact(tx, "name", "value")
        with pytest.raises(MeterlineError):
            await tx.execute("SELECT 1 / 0")

    with pytest.raises(MeterlineError, match="nothing was kept"):
        await ledger.write(careless)

    assert await got(ledger, "name") is None


async def test_a_transaction_that_is_cut_off_leaves_the_connection_usable(
    ledger: Ledger,
) -> None:
    async def slow() -> None:
        async with ledger.transaction() as tx:
            await facts.put_fact(tx, "cut", "off")
            # Shorter than one waits for a lock: a cancellation can come between statements,
            # where the server does not hear it.
            await tx.fetch_all("SELECT pg_sleep(5)::text")

    for _ in range(3):
        running = asyncio.create_task(slow())
        await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await put(ledger, "whole", "yes")

    assert await got(ledger, "cut") is None
    assert await got(ledger, "whole") == "yes"


async def test_connections_that_the_server_ended_are_opened_again(
    ledger: Ledger, server: PostgresServer
) -> None:
    await put(ledger, "name", "1")
    assert await got(ledger, "name") == "1"
    end = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'meterline'"
    )
    server.sql("postgres", end)

    assert await got(ledger, "name") == "1"
    await put(ledger, "name", "2")

    async def cut_off(tx: Tx) -> None:
        server.sql("postgres", end)
        await facts.put_fact(tx, "name", "3")

    with pytest.raises(DatabaseGone, match="nothing is lost"):
        await ledger.write(cut_off)
    await put(ledger, "other", "4")
    assert await got(ledger, "name") == "2"


async def test_a_server_that_ends_in_the_middle_of_a_commit_leaves_it_unknown(
    ledger: Ledger, server: PostgresServer
) -> None:
    """A commit waits for a standby that there is not, and then the server dies."""
    reached: list[int] = []

    async def count_up() -> None:
        while True:
            reached.append(len(reached))
            await put(ledger, "n", str(reached[-1]))

    server.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    server.sql("postgres", "SELECT pg_reload_conf()")
    running = asyncio.create_task(count_up())
    async with asyncio.timeout(PATIENCE_S):
        while "SyncRep" not in await asyncio.to_thread(
            server.sql, "postgres", "SELECT wait_event FROM pg_stat_activity"
        ):
            await asyncio.sleep(0.01)
    await asyncio.to_thread(server.stop, "immediate")
    with pytest.raises(DiskFailed, match="in the middle of COMMIT"):
        await running
    with pytest.raises(DatabaseGone):
        await got(ledger, "n")

    (server.data / "postgresql.auto.conf").write_text("")
    await asyncio.to_thread(server.start)
    assert await got(ledger, "n") in {None, *map(str, reached[-2:])}
    await put(ledger, "n", "after")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE writer SET schema_version = 9999", "knows up to"),
        ("COMMENT ON TABLE writer IS 'mine'", "somebody else"),
        ("UPDATE writer SET schema_version = 1", "start the sidecar once"),
    ],
)
async def test_a_database_that_is_not_ours_or_not_of_now_is_refused(
    ledger: Ledger, server: PostgresServer, change: str, message: str
) -> None:
    url = PostgresUrl(ledger.place)
    await ledger.close()
    server.sql(url.url.partition("@/")[2].partition("?")[0], change)

    with pytest.raises(ForeignDatabase, match=message):
        await open_reader(url)
    if "once" not in message:
        with pytest.raises(ForeignDatabase, match=message):
            await open_ledger(url)


async def test_what_cannot_be_opened_says_why(
    server: PostgresServer, tmp_path: Path
) -> None:
    empty = server.url(server.create())
    with pytest.raises(ForeignDatabase, match="start the sidecar once"):
        await open_reader(empty)
    with pytest.raises(ForeignDatabase, match="create it"):
        await open_ledger(server.url("nowhere"))
    with pytest.raises(DatabaseGone):
        await open_ledger(PostgresUrl(f"postgresql://{USER}@/x?host={tmp_path}"))
    with pytest.raises(MeterlineError, match="database_password_file"):
        await open_ledger(PostgresUrl(empty.url.replace(USER, "stranger")))
    for content in (b"", b"two\nlines", b"\xff"):
        (tmp_path / "password").write_bytes(content)
        with pytest.raises(MeterlineError, match=r"database_password_file|on one line"):
            await open_ledger(PostgresUrl(empty.url, tmp_path / "password"))
    careless = server.create()
    server.sql("postgres", f"ALTER DATABASE {careless} SET synchronous_commit = off")
    with pytest.raises(ForeignDatabase, match="synchronous_commit"):
        await open_ledger(server.url(careless))


async def test_a_file_that_the_address_names_and_that_cannot_be_read_is_named(
    server: PostgresServer,
) -> None:
    url = server.url(server.create()).url

    with pytest.raises(MeterlineError, match=r"^/not/there: No such file.*sslrootcert"):
        await open_ledger(PostgresUrl(f"{url}&sslmode=prefer&sslrootcert=/not/there"))


@pytest.mark.parametrize(
    "setting",
    [
        "standard_conforming_strings = off",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "lock_timeout = '1ms'",
        "timezone = 'Pacific/Chatham'",
        "datestyle = 'SQL, DMY'",
        "bytea_output = 'escape'",
        "client_encoding = 'LATIN1'",
        "row_security = off",
    ],
)
async def test_whatever_a_database_sets_for_others_a_ledger_is_made_and_kept(
    server: PostgresServer, setting: str
) -> None:
    name = server.create()
    server.sql("postgres", f"ALTER DATABASE {name} SET {setting}")

    ledger = await open_ledger(server.url(name))
    try:
        await put(ledger, "what", "a\0b \\ 'c' \u20ac")
        async with ledger.reading() as tx:
            found = await facts.get_fact(tx, "what")
    finally:
        await ledger.close()

    assert found == "a\0b \\ 'c' \u20ac"


async def test_a_statement_takes_as_long_as_it_needs_whatever_the_server_allows_others(
    server: PostgresServer,
) -> None:
    name = server.create()
    server.sql("postgres", f"ALTER DATABASE {name} SET statement_timeout = '1s'")
    ledger = await open_ledger(server.url(name))
    try:
        async with ledger.reading() as tx:
            await tx.fetch_one("SELECT pg_sleep(1.5)")
        async with ledger.transaction() as writing:
            await writing.fetch_one("SELECT pg_sleep(1.5)")
    finally:
        await ledger.close()


async def test_two_that_open_an_empty_database_at_once_make_one_ledger(
    server: PostgresServer,
) -> None:
    url = server.url(server.create())

    opened = await asyncio.gather(*(open_ledger(url) for _ in range(3)))

    async with opened[0].reading() as tx:
        assert await tx.fetch_all("SELECT schema_version FROM writer") == [(newest(),)]
    for one in opened:
        await one.close()


async def test_a_ledger_that_another_process_makes_meanwhile_is_nobody_elses(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url(server.create())
    known = migrate._has_writer  # pyright: ignore[reportPrivateUsage]

    async def just_before(connection: Connection) -> bool:
        monkeypatch.undo()
        there = await known(connection)
        await (await open_ledger(url)).close()
        return there

    monkeypatch.setattr(migrate, "_has_writer", just_before)
    ledger = await open_ledger(url)

    async with ledger.reading() as tx:
        assert await tx.fetch_all("SELECT schema_version FROM writer") == [(newest(),)]
    await ledger.close()


async def test_a_ledger_on_a_server_is_not_copied_to_a_file(
    ledger: Ledger, tmp_path: Path
) -> None:
    with pytest.raises(MeterlineError, match="pg_dump"):
        await ledger.copy_to(tmp_path / "copy.db")

    assert await ledger.checkpoint()
    assert await ledger.empty_wal()
    assert not await ledger.give_back()
    assert await ledger.size_bytes() > 1_000_000
    assert await ledger.check() == []
    async with ledger.transaction() as tx:
        await tx.execute("ALTER TABLE producers DISABLE TRIGGER producers_summed")
    assert await ledger.check() == ["the trigger producers_summed is not in use"]


def plain(i: int) -> StoredEvent:
    """Return an event that can be packed."""
    said = f'{{"tokens":{i}}}'
    return StoredEvent(
        i, 1, i, 1_780_000_000_000 + i, 0, 2, 3, 200, 9, 0, 7, 0, said, None
    )


async def test_a_whole_ledger_is_moved_in_once(
    server: PostgresServer, tmp_path: Path
) -> None:
    file = await open_ledger(tmp_path / "meterline.db")
    async with file.transaction() as tx:
        await facts.put_fact(tx, "name", "a\0b")
        await tx.execute_many(
            "INSERT INTO endpoints (method, route) VALUES (?, ?)",
            [("GET", f"/{i}") for i in range(7_000)],
        )
        await add_events(tx, [plain(i) for i in range(1, 21)])
        columns, texts = await columns_to_pack(tx, 1, 10)
        await put_pack(tx, 1, 10, events=len(columns[0]), body=pack(columns, texts))
        for invoice_id in (1, 2):  # the first one is void
            await tx.execute(
                "INSERT INTO invoices (id, customer, period_start_ms, period_end_ms,"
                " finalized_ms, document, period) VALUES (?, 'acme', 1, 2, 3, '{}', 'p')",
                (invoice_id,),
            )
            if invoice_id == 1:
                await tx.execute(
                    "INSERT INTO invoice_states (invoice_id, state, at_ms, author, cause)"
                    " VALUES (1, 'void', 1, '', '')"
                )
    await file.close()
    url = server.url(server.create())
    told: list[tuple[str, int, int]] = []

    def tell(table: str, done: int, total: int) -> None:
        told.append((table, done, total))

    rows = await copy_ledger(tmp_path / "meterline.db", url, progress=tell)

    assert (rows["endpoints"], rows["invoices"], rows["events"]) == (7_000, 2, 20)
    assert ("endpoints", 5_000, 7_000) in told
    reader = await open_reader(url)
    async with reader.reading() as tx:
        assert await facts.get_fact(tx, "name") == "a\0b"
        moved = await tx.fetch_all("SELECT * FROM events ORDER BY id")
        assert moved == [plain(i) for i in range(1, 21)]
        assert await n_packed(tx) == 0
    await reader.close()
    with pytest.raises(ForeignDatabase, match="already"):
        await copy_ledger(tmp_path / "meterline.db", url, progress=tell)


@pytest.fixture
def pooler(server: PostgresServer) -> Generator[str]:
    """Run PgBouncer in front of the server: each transaction may get another session."""
    if pooler_program() is None:
        pytest.skip("PgBouncer is not installed: see .ci/run")
    with pooled(server, size=3) as port:
        yield f"postgresql://{USER}@127.0.0.1:{port}/NAME?sslmode=disable"


async def test_a_pooler_may_give_each_transaction_another_session(
    server: PostgresServer, pooler: str
) -> None:
    url = PostgresUrl(pooler.replace("NAME", server.create()))
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                ledgers = [await open_ledger(url) for _ in range(4)]
            except DatabaseGone:
                await asyncio.sleep(0.05)  # it does not listen yet
            else:
                break

    led: set[str] = set()

    async def count_up(ledger: Ledger) -> None:
        me = Candidate(os.urandom(16).hex(), "one of four")
        assert ledger.lease is not None
        for _ in range(10):
            turn = await ledger.lease.turn(me, lease_s=PATIENCE_S)
            if turn.life == me.life:
                led.add(me.life)
                with fenced(turn.fence):
                    await ledger.write(partial(facts.put_fact, name="led", value="by"))
            async with ledger.transaction() as tx:
                n = int(await facts.get_fact(tx, "n") or 0)
                await tx.execute_many(
                    "INSERT INTO endpoints (method, route) VALUES (?, ?)",
                    [(os.urandom(8).hex(), str(i)) for i in range(5)],
                )
                await facts.put_fact(tx, "n", str(n + 1))
            await got(ledger, "n")

    await asyncio.gather(*(count_up(ledger) for ledger in ledgers))

    assert await got(ledgers[0], "n") == "40"
    assert (await got(ledgers[0], "led"), len(led)) == ("by", 1)
    for ledger in ledgers:
        await ledger.close()


async def test_who_has_the_lock_and_sleeps_between_two_messages_is_ended(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url(server.create())
    ledger, asleep = await open_ledger(url), await connect(url)
    sleeping = await asleep.prepare("SELECT id FROM writer FOR UPDATE", name="")
    await asleep.execute("BEGIN")
    await sleeping.fetch()
    monkeypatch.setattr(driver, "WRITE", driver.WRITE.replace("'12s'", "'200ms'"))
    with pytest.raises(MeterlineError):  # it has not been silent for long enough
        await put(ledger, "one", "1")
    monkeypatch.setattr(line, "END_FROZEN", line.END_FROZEN.replace("'10 s'", "'0 s'"))

    with pytest.raises(MeterlineError):
        await put(ledger, "one", "1")
    await put(ledger, "one", "1")

    assert await got(ledger, "one") == "1"
    with pytest.raises(RAISED):
        await asleep.execute("COMMIT")
    await ledger.close()
