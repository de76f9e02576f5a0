"""A ledger that has lived moves to a centre on a server, and back, and nobody can tell."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any, Final

import pytest

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.store.open import open_reader
from tests.clock import FakeClock
from tests.fleet import CENTRE, on_server
from tests.integration.fleet.conftest import Host, World
from tests.integration.fleet.test_centre import BY_HAND
from tests.integration.fleet.test_postgres import (
    CALLS,
    DAY_MS,
    JANUARY_MS,
    SAME,
    ask,
    finalize,
    live,
)
from tests.postgres_server import shared_database
from tests.producer import batch, event
from tests.sidecar_process import METERLINE, meterline
from tests.web.again import computed_again

FEBRUARY_MS: Final = JANUARY_MS + 31 * DAY_MS
MARCH_MS: Final = FEBRUARY_MS + 28 * DAY_MS
WORDS: Final = METERLINE + BY_HAND
NOT_MOVED: Final = {"edge_questions", "packed_events"}
"""What lies there for seconds, and what lies there as events."""


async def send(host: Host, *ids: str) -> None:
    """Send events that have names, some of them again."""
    sent = [
        {
            "id": one,
            "source": "shop",
            "subject": "acct_1",
            "time": "2026-12-20T11:00:00Z",
        }
        for one in ids
    ]
    answer = await host.http.post("/v1/events", json=sent)
    assert answer.status_code == 200, answer.text
    await host.parts.aggregator.run()


BY_HOME: Final = {"batches", "events", "producer_sums"}
"""On a server each process is a producer of its own for what comes over HTTP."""


async def decide(host: Host, path: str, **query: str) -> None:
    answer = await host.post(path, reason="a test", **query)
    assert answer.status_code == 200, answer.text
    await host.parts.aggregator.run()


async def january(host: Host) -> None:
    """Go on with the ledger of ``live``: change what is there, and close a month."""
    await send(host, "e1", "e3")
    await decide(host, "/v1/held/accept", all="true")
    await decide(host, "/v1/corrections/1/revert")
    await ask(host, "/v1/invoices/INV-0002/credit", amount="0.20")
    await ask(host, "/v1/invoices/INV-0002/payments", amount="0.30", day="2026-12-30")
    await ask(host, "/v1/customers/acme/credits", amount="0.40", reason="another")
    host.clock.time_ms = FEBRUARY_MS
    await finalize(host, "2027-01")


async def february(host: Host) -> None:
    """Likewise, of what the last home of the ledger had added."""
    await send(host, "e3", "e4")
    late = [event(time_ms=JANUARY_MS + DAY_MS) for _ in range(5)]
    await host.ship(batch(*late), producer="d" * 32)
    await host.parts.aggregator.run()
    await ask(host, "/v1/invoices/INV-0004/void")
    await finalize(host, "2027-01")
    host.clock.time_ms = MARCH_MS
    await finalize(host, "2027-02")


async def told(host: Host) -> dict[str, Any]:
    """Return what anybody is told of invoices, of an account, and of what was held."""
    found: dict[str, Any] = {}
    for path in (
        "/v1/invoices",
        "/v1/customers/acme/statement",
        "/v1/customers/acme/invoice?period=2026-12",
        "/v1/usage",
        "/v1/held",
        "/v1/corrections",
        "/v1/late",
    ):
        answer = await host.http.get(path)
        assert answer.status_code == 200, answer.text
        found[path] = answer.text
    for number in json.loads(found["/v1/invoices"])["documents"]:
        name = number["number"]
        answer = await host.http.get(f"/v1/invoices/{name}")
        assert answer.status_code == 200, answer.text
        found[name] = answer.text
    return found


def columns_of(file: Path) -> dict[str, str]:
    """Return the columns of each table of a ledger."""
    with closing(sqlite3.connect(file)) as ledger:
        names = ledger.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {
            name: ", ".join(
                one[1] for one in ledger.execute(f"PRAGMA table_info({name})")
            )
            for (name,) in names
            if name not in NOT_MOVED
        }


async def tables_of(
    ledger: Path | PostgresUrl, tables: Mapping[str, str]
) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a ledger that nobody has open, by table."""
    reader = await open_reader(ledger)
    try:
        async with reader.reading() as tx:
            return {
                table: sorted(
                    await tx.fetch_all(f"SELECT {columns} FROM {table}"), key=repr
                )
                for table, columns in tables.items()
            }
    finally:
        await reader.close()


@pytest.fixture
def database() -> PostgresUrl:
    return shared_database()


async def test_a_ledger_that_has_lived_moves_to_a_server_and_back(
    tmp_path: Path, database: PostgresUrl
) -> None:
    stayed, moved = (World(tmp_path / name, clock=FakeClock()) for name in "ab")
    file = moved.folder / "alone" / "meterline.db"
    on_a_server = on_server(database) + 'role = "centre"\n' + CENTRE.format(port=0)

    def alone(world: World) -> AbstractAsyncContextManager[Host]:
        return world.single("alone", WORDS, pricing=CALLS)

    async with alone(stayed) as host:
        await live(host)
    async with alone(moved) as host:
        await live(host)
        before = await told(host)
        number = host.parts.drain.whose.ledger
    tables = columns_of(file)
    rows = await tables_of(file, tables)

    moved.database = database
    config = written(moved.folder / "centre", on_a_server + WORDS)
    command(config, "import", file)
    assert await tables_of(database, tables) == rows
    verified = meterline("verify", "--json", environment=config)
    assert json.loads(verified.stdout)["sound"], verified.stdout
    async with alone(stayed) as host:
        await january(host)
    async with moved.centre(WORDS, pricing=CALLS) as host:
        assert host.parts.drain.whose.ledger == number
        assert await told(host) == before
        await january(host)
        before = await told(host)
        again = await computed_again(host)
        assert (again.findings, again.invoices) == ([], 4)
    rows = await tables_of(database, tables)

    back = moved.folder / "back" / "meterline.db"
    back.parent.mkdir()
    command(config, "export", back)
    assert await tables_of(back, tables) == rows
    async with alone(stayed) as host:
        assert await told(host) == before
        await february(host)
        wanted = await told(host)
    async with moved.single("back", WORDS, pricing=CALLS) as host:
        assert host.parts.drain.whose.ledger == number
        assert await told(host) == before
        await february(host)
        assert await told(host) == wanted
        again = await computed_again(host)
        assert (again.findings, again.invoices) == ([], 6)
    money = {table: columns for table, columns in SAME.items() if table not in BY_HOME}
    there = await tables_of(stayed.folder / "alone" / "meterline.db", money)
    here = await tables_of(back, money)
    for table, found in there.items():
        assert here[table] == found, table


def written(folder: Path, text: str) -> dict[str, str]:
    """Write the files of a sidecar; return what makes a command read them."""
    folder.mkdir()
    (folder / "meterline.toml").write_text(text)
    (folder / "pricing.toml").write_text(CALLS)
    return {"METERLINE_CONFIG": str(folder / "meterline.toml")}


def command(config: dict[str, str], what: str, file: Path) -> None:
    done = meterline("centre", what, str(file), environment=config)
    assert done.returncode == 0, done.stderr
