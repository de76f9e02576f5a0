"""A centre on PostgreSQL is the centre that it is on SQLite, to the last byte."""

import asyncio
from pathlib import Path
from typing import Any, Final

from tests.clock import FakeClock
from tests.fleet import Fleet
from tests.integration.fleet.conftest import Host, World
from tests.integration.fleet.test_centre import BY_HAND, DECEMBER_MS
from tests.patience import PATIENCE_S
from tests.postgres_server import shared_database
from tests.producer import NOON_MS, PRODUCER, batch, event
from tests.sidecar_process import METERLINE

DAY_MS: Final = 86_400_000
JANUARY_MS: Final = DECEMBER_MS + 31 * DAY_MS
CALLS: Final = """
[[plan]]
name = "starter"
version = 1
effective = 2026-01-01
currency = "usd"
[[plan.price]]
meter = "api_calls"
model = "per_unit"
unit_amount = "0.07"
"""
SAME: Final = {
    "adjustments": "*",
    "batches": "id, producer_id, first_seq, last_seq, first_event_id, events, losses",
    "corrected_events": "*",
    "corrections": "id, kind, query, reverts, first_event_id, event_id, events, reason",
    "credits": "*",
    "documents": "*",
    "endpoints": "*",
    "event_hours": "*",
    "events": "*",
    "external_events": "event_id, source_id, external_id, is_timed",
    "generations": "id, cursor, last_success_ms, is_complete",
    "held_events": "*",
    "invoice_states": "*",
    "invoices": "*",
    "journal": "id, entry, row_id",
    "late_usage": "*",
    "payments": "*",
    "producer_sums": "*",
    "subjects": "*",
    "term_uses": "*",
    "terms": "*",
    "usage": "*",
    "usage_days": "*",
    "usage_totals": "*",
}
"""What two ledgers of one history have in common, by table: no keyed digest, no random name."""


async def ask(host: Host, path: str, **body: Any) -> Any:
    answer = await host.http.post(path, json={"reason": "a test"} | body)
    assert answer.status_code == 200, answer.text
    await host.parts.aggregator.run()
    return answer.json()


async def finalize(host: Host, period: str) -> None:
    answer = await host.http.post(
        "/v1/customers/acme/invoice/finalize", params={"period": period}
    )
    assert answer.status_code == 200, answer.text


async def live(host: Host) -> dict[str, list[tuple[Any, ...]]]:
    """Play two months with all that can happen to them; return what is in the ledger."""
    await ask(host, "/v1/customers/acme/credits", amount="1.50", reason="a gift")
    plain = [event(route=f"/{i % 3}\0", bytes_out=i) for i in range(60)]
    await host.ship(
        batch(*plain), batch(event(time_ms=NOON_MS + 9 * DAY_MS), first_seq=61)
    )
    events = [
        {
            "specversion": "1.0",
            "id": f"e{i}",
            "source": "shop",
            "type": "request",
            "subject": "acct_1",
            "time": "2026-11-06T11:00:00Z",
            "data": {"status": 200},
        }
        for i in (1, 2, 1)
    ]
    await host.http.post(
        "/v1/events",
        json=events,
        headers={"content-type": "application/cloudevents-batch+json"},
    )
    await host.parts.aggregator.run()
    await ask(host, "/v1/corrections", events=[3, 4], reason="a load test")
    host.clock.time_ms = DECEMBER_MS
    await finalize(host, "2026-11")
    await ask(host, "/v1/invoices/INV-0001/credit", amount="0.10")
    await ask(host, "/v1/invoices/INV-0001/void")
    await host.ship(batch(*[event() for _ in range(10)]), producer="b" * 32)  # late
    await host.parts.aggregator.run()
    await finalize(host, "2026-11")
    await host.ship(batch(event(), event(time_ms=DECEMBER_MS)), producer="c" * 32)
    await host.parts.aggregator.run()
    host.clock.time_ms = JANUARY_MS
    await finalize(host, "2026-12")
    return {
        table: sorted(await host.rows(f"SELECT {columns} FROM {table}"), key=repr)
        for table, columns in SAME.items()
    }


async def test_two_months_come_to_the_same_rows_and_invoices_on_either_database(
    tmp_path: Path,
) -> None:
    found: list[dict[str, list[tuple[Any, ...]]]] = []
    for name, database in (("file", None), ("server", shared_database())):
        (tmp_path / name).mkdir()
        world = World(tmp_path / name, database=database, clock=FakeClock())
        world.held.close()
        async with world.centre(METERLINE + BY_HAND, pricing=CALLS) as centre:
            found.append(await live(centre))

    on_file, on_server = found
    for table, rows in on_file.items():
        assert on_server[table] == rows, table
    assert len(on_file["invoices"]) == 3
    assert len(on_file["adjustments"]) == 1
    for table, rows in on_file.items():
        assert rows or table == "payments", table


async def test_edges_send_to_a_centre_on_postgresql(world: World) -> None:
    world.database = shared_database()
    async with world.centre() as centre, world.edge("one") as one:
        await one.ship(batch(*[event() for _ in range(40)]))
        async with asyncio.timeout(PATIENCE_S):
            while await centre.rows("SELECT count(*) FROM events") != [(40,)]:
                await asyncio.sleep(0.02)
        assert await centre.rows("SELECT producer FROM producers") == [(PRODUCER,)]


def test_a_centre_that_was_killed_leads_as_soon_as_it_is_back(tmp_path: Path) -> None:
    with Fleet(tmp_path, database=shared_database()) as fleet:
        centre = fleet.centre
        first = centre.get("/status")["leader"]
        centre.kill()
        centre.start()
        second = centre.get("/status")["leader"]

    assert (first["is_here"], second["is_here"]) == (True, True)
    assert second["election"] == first["election"] + 1
