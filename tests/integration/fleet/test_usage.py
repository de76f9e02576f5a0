"""What edges that forward usage count comes to the same as one host that has all events."""

import asyncio
import json
import random
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest

from meterline.events import Kind
from meterline.spool.scan import FORGOTTEN
from meterline.wire import Batch, Bye, Lost
from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.port import Readable
from meterline_sidecar.usage.counted import counted
from tests.fault.oracle import verify_ledger
from tests.integration.fleet.conftest import Host, World, until
from tests.integration.fleet.test_centre import DECEMBER_MS, closed
from tests.integration.fleet.test_forwarding import Cutter
from tests.patience import PATIENCE_S
from tests.producer import NOON_MS, Connection, batch, event
from tests.web.again import computed_again

USAGE: Final = 'forward = "usage"\n'
METERS: Final = """
[[meter]]
name = "api_calls"
aggregation = "count"

[[meter]]
name = "out"
aggregation = "sum"
value = "bytes_out"
group_by = ["route"]

[[meter]]
name = "top"
aggregation = "max"
value = "bytes_out"

[[meter]]
name = "low"
aggregation = "min"
value = "bytes_out"

[[meter]]
name = "users"
aggregation = "unique"
value = "subject"

[[meter]]
name = "routes"
aggregation = "unique"
value = "route"

[[meter]]
name = "seats"
aggregation = "latest"
value = "quantities.seats"

[[meter]]
name = "energy"
aggregation = "sum"
value = "quantities.kwh"
group_by = ["site"]
scale = 3

[[customer]]
id = "acme"
subjects = ["acct_1", "acct_2"]
"""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Roll up whenever there is something."""
    monkeypatch.setattr("meterline_sidecar.fleet.roller.EVERY_S", 0.02)


def used(dice: random.Random, n_events: int) -> list[Any]:
    return [
        event(
            time_ms=NOON_MS - dice.randrange(7_200_000),
            subject=dice.choice(["acct_1", "acct_2", "stranger", None]),
            route=dice.choice(["/a", "/b", None]),
            bytes_out=dice.randrange(1_000),
            quantities=dice.choice(
                [None, {"seats": dice.randrange(9)}, {"kwh": "0.125"}]
            ),
            properties=dice.choice([None, {"site": "north"}]),
        )
        for _ in range(n_events)
    ]


async def usage_at(host: Host) -> Mapping[str, object]:
    """Count what is there, and return usage of everybody."""
    await host.parts.aggregator.run()
    return await usage_of(host.parts.database)


async def usage_of(database: Readable) -> Mapping[str, object]:
    """Return usage of everybody as it is read, but for the numbers of events."""
    async with database.reading() as tx:
        generation = (await counted(tx)).generation
        rows = await tx.fetch_all(
            "SELECT coalesce(s.name, ''), u.window_ms, g.labels, u.totals FROM usage u"
            " JOIN groups g ON g.id = u.group_id LEFT JOIN subjects s ON s.id ="
            " u.subject_id WHERE u.generation = ? ORDER BY 1, 2, 3",
            (generation,),
        )
        unique = await store.count_unique(
            tx, generation, customer="acme", start=0, end=NOON_MS + 1
        )
    found: dict[str, object] = {"unique": sorted(unique)}
    for name, window_ms, labels, totals in rows:
        row = msgspec.json.decode(totals)
        found[f"{name} {window_ms} {labels}"] = {
            meter: total[:2] if isinstance(total, list) else total
            for meter, total in sorted(row.items())
        }
    return found


async def until_all_is_there(centre: Host, *edges: Host) -> None:
    """Wait until each edge has rolled up and sent all that it has."""

    async def is_there(edge: Host) -> bool:
        (last,) = await edge.rows("SELECT coalesce(max(id), 0) FROM events")
        rolls = await edge.rows("SELECT min(cursor), min(is_complete) FROM roll_ups")
        wanted = await edge.rows(
            "SELECT p.producer, p.last_seq FROM producers p JOIN epochs e"
            " ON e.producer = p.producer"
        )
        there = dict(await centre.rows("SELECT producer, last_seq FROM producers"))
        return rolls == [(last[0], 1)] and all(
            there.get(producer, 0) >= seq for producer, seq in wanted
        )

    async with asyncio.timeout(PATIENCE_S):
        for edge in edges:
            while not await is_there(edge):
                await asyncio.sleep(0.01)


async def test_usage_of_edges_comes_to_that_of_one_host(world: World) -> None:
    dice = random.Random(1)
    parts = [used(dice, 60) for _ in range(4)]
    # Of one moment the last that came counts, so that there they come in this order.
    async with (
        world.centre(METERS) as centre,
        world.edge("one", keys=USAGE) as one,
        world.edge("two", keys=USAGE) as two,
    ):
        for i, part in enumerate(parts):
            edge = (one, two)[i % 2]
            producer = f"{i + 1:032x}"
            await edge.ship(batch(*part), Bye(60), producer=producer)
            await until_all_is_there(centre, one, two)
        found = await usage_at(centre)
    report = await asyncio.to_thread(
        verify_ledger, world.folder / "centre" / "meterline.db"
    )
    assert report.is_sound, report.findings

    alone = World(world.folder / "alone")
    alone.folder.mkdir(exist_ok=True)
    async with alone.centre(METERS) as host:
        for i, part in enumerate(parts):
            await host.ship(batch(*part), Bye(60), producer=f"{i + 1:032x}")
        assert await usage_at(host) == found


N: Final = """
[[meter]]
name = "api_calls"
aggregation = "count"

[[meter]]
name = "n"
aggregation = "sum"
value = "quantities.n"

[[customer]]
id = "acme"
subjects = ["acct_1"]
"""
OTHER: Final = "0" * 31 + "2"
SILENT: Final = "0" * 31 + "5"
AWAY: Final = 2 * 10**9
"""What two uses of the silent one come to."""


def numbers(*found: int, first_seq: int = 1) -> Batch:
    """Return a batch of uses, a number each."""
    return batch(
        *(event(kind=Kind.USE, quantities={"n": 10**n}) for n in found),
        first_seq=first_seq,
    )


async def sum_at(centre: Host, meter: str = "n") -> int:
    """Return the usage of a meter, by which each number shows how often it counts."""
    await centre.parts.aggregator.run()
    async with centre.parts.database.reading() as tx:
        generation = (await counted(tx)).generation
        rows = await tx.fetch_all(
            "SELECT totals FROM usage WHERE generation = ?", (generation,)
        )
    return sum(json.loads(row[0]).get(meter, 0) for row in rows)


async def until_sum(centre: Host, wanted: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await sum_at(centre) != wanted:
            await asyncio.sleep(0.01)


async def test_a_wire_that_is_cut_anywhere_counts_usage_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.fleet.line.ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr("meterline_sidecar.fleet.line.CONNECT_TIMEOUT_S", 0.3)
    seed = random.randrange(2**32)
    print(f"SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    dice = random.Random(seed)
    cutter = Cutter(world.held.number, dice, bytes_max=12_000, stalls=False)
    async with world.centre(METERS) as centre:
        server = await cutter.start()
        port = server.sockets[0].getsockname()[1]
        async with world.edge(port=port, keys=USAGE) as edge:
            for i in range(6):
                await edge.ship(batch(*used(dice, 100), first_seq=100 * i + 1))
            await until(lambda: cutter.n_cuts >= 5)
            cutter.is_whole = True
            await until_all_is_there(centre, edge)
        server.close()
        assert await sum_at(centre, "api_calls") == 600


async def test_a_centre_that_was_put_back_is_sent_the_usage_that_it_lost(
    world: World,
) -> None:
    files = LedgerFiles(world.folder / "centre" / "meterline.db")
    async with world.edge(keys=USAGE) as edge:
        async with world.centre(N) as centre:
            await edge.ship(numbers(0, 1))
            await until_sum(centre, 11)
        shutil.copy(files.database, world.folder / "old.db")
        async with world.centre(N) as centre:
            await edge.ship(numbers(2, first_seq=3))
            await until_sum(centre, 111)
        shutil.copy(world.folder / "old.db", files.database)
        for path in (files.head, files.wal, files.shm):
            path.unlink(missing_ok=True)

        async with world.centre(N) as centre:
            await until_sum(centre, 111)


async def test_a_counting_that_a_centre_has_lost_is_counted_once(
    world: World,
) -> None:
    files = LedgerFiles(world.folder / "centre" / "meterline.db")
    async with world.edge(keys=USAGE) as edge:
        async with world.centre(N) as centre:
            await edge.ship(numbers(0, 1))
            await until_sum(centre, 11)
        shutil.copy(files.database, world.folder / "old.db")
        async with world.centre(N) as centre:
            await recount(centre, "n", edge)
            await edge.ship(numbers(2, first_seq=3))
            await until_sum(centre, 111)
        shutil.copy(world.folder / "old.db", files.database)
        for path in (files.head, files.wal, files.shm):
            path.unlink(missing_ok=True)

        async with world.centre(N) as centre:
            await edge.ship(numbers(3, first_seq=4))
            await until_sum(centre, 1111)
            await recount(centre, "n", edge)
            assert await sum_at(centre) == 1111


async def test_usage_of_an_edge_that_was_put_back_is_that_of_both_its_lives(
    world: World,
) -> None:
    async with world.centre(N) as centre:
        async with world.edge(keys=USAGE) as edge:
            await edge.ship(numbers(0, 1))
            await until_sum(centre, 11)
        shutil.copytree(world.folder / "one", world.folder / "copy")
        async with world.edge(keys=USAGE) as edge:
            await edge.ship(numbers(2, first_seq=3))
            await edge.ship(numbers(3), producer=OTHER)
            await until_sum(centre, 1111)

        async with world.edge(folder="copy", keys=USAGE) as edge:
            # What a spool that was put back as well has once more, and what is new.
            await edge.ship(numbers(2, 4, first_seq=3))
            await edge.ship(numbers(5), producer="0" * 31 + "3")
            known = centre.parts.edges.all()[0] if centre.parts.edges else None
            assert known is not None
            await until(lambda: known.row.trouble)
            answer = await centre.post("/v1/edges/one/adopt", reason="restored")
            assert answer.status_code == 200, answer.text
            await until_sum(centre, 111111)
            await until_all_is_there(centre, edge)
            assert await sum_at(centre) == 111111

            # What the first life had counted stands in another counting as well.
            await recount(centre, "n", edge)
            assert await sum_at(centre) == 111111


async def test_what_a_lost_edge_had_counted_does_not_count_again_at_another(
    world: World,
) -> None:
    async with world.centre(N) as centre:
        async with world.edge("lost", keys=USAGE) as edge:
            await edge.ship(numbers(0, 1))
            await edge.ship(numbers(9, 9), producer=SILENT)
            await until_sum(centre, 11 + AWAY)
        async with world.edge("new", keys=USAGE) as edge:
            # One has nothing more to say, but was acked more than was counted.
            await edge.ship(Lost(1, 5, FORGOTTEN), producer=SILENT)
            # The worker was acked its first event, and has the second one still.
            lost = Lost(1, 1, FORGOTTEN)
            await edge.ship(lost, numbers(1, 2, first_seq=2))
            await edge.ship(numbers(3), producer=OTHER)
            forwarder = edge.parts.forwarder
            await until(lambda: forwarder and "is lost" in (forwarder.trouble or ""))
            assert await sum_at(centre) == 11 + AWAY

            answer = await centre.post("/v1/edges/lost/retire", reason="its disk")
            assert answer.status_code == 200, answer.text
            await until_sum(centre, 1111 + AWAY)
            await edge.ship(numbers(4, first_seq=4))
            await until_sum(centre, 11111 + AWAY)
            assert (
                len(await edge.rows("SELECT id FROM events WHERE flags < 65536")) == 4
            )

            # What was acked and counted is no loss, whoever says that it is forgotten.
            assert centre.parts.edges is not None
            known = centre.parts.edges.named("new")
            await until(lambda: known.lost == 3)
            status = (await edge.http.get("/status")).json()
            told = [one["text"] for one in status["problems"]]
            assert "3 events were lost at the apps" in told
            assert status["events"]["lost"] == 6

            await recount(centre, "n", edge)
            assert await sum_at(centre) == 11111 + AWAY

        # Whoever was retired too soon is not heard, of what another edge has by now.
        assert centre.parts.edges is not None
        await centre.post("/v1/edges/lost/adopt", reason="it is there after all")
        async with world.edge("lost", keys=USAGE) as edge:
            await edge.ship(numbers(2, first_seq=3))
            forwarder = edge.parts.forwarder
            await until(
                lambda: forwarder and "another edge's, new" in (forwarder.trouble or "")
            )
            assert await sum_at(centre) == 11111 + AWAY


async def test_an_edge_that_comes_back_counts_what_no_other_one_has(
    world: World,
) -> None:
    """Nothing of its workers is left out that it has alone, nor counts twice."""

    async def decide(centre: Host, gone: str, back: str) -> None:
        for path in (f"{gone}/retire", f"{back}/adopt"):
            answer = await centre.post(f"/v1/edges/{path}", reason="its disk")
            assert answer.status_code == 200, answer.text

    async with world.centre(N) as centre:
        async with world.edge("old", keys=USAGE) as edge:
            await edge.ship(numbers(0, 1))
            await until_sum(centre, 11)
        async with world.edge("old", keys=USAGE, port=world.second.number) as edge:
            await edge.ship(numbers(2, 3, first_seq=3))  # which nobody hears of
        await centre.post("/v1/edges/old/retire", reason="its disk")
        async with world.edge("new", keys=USAGE) as edge:
            # Of number 4 the worker had no ack.
            await edge.ship(Lost(1, 3, FORGOTTEN), numbers(3, 4, first_seq=4))
            await until_sum(centre, 11_011)
        async with world.edge("new", keys=USAGE, port=world.second.number) as edge:
            await edge.ship(numbers(5, first_seq=6))

        await decide(centre, "new", "old")
        async with world.edge("old", keys=USAGE) as edge:
            await edge.ship(Lost(5, 6, FORGOTTEN), numbers(6, first_seq=7))
            await until_sum(centre, 1_011_111)
            await until_all_is_there(centre, edge)
            await recount(centre, "n", edge)
            assert await sum_at(centre) == 1_011_111
        await decide(centre, "old", "new")
        async with world.edge("new", keys=USAGE) as edge:
            await edge.ship(Lost(7, 7, FORGOTTEN), numbers(7, first_seq=8))
            await until_sum(centre, 11_111_111)
            await until_all_is_there(centre, edge)
            assert centre.parts.edges is not None
            assert await sum_at(centre) == 11_111_111
            known = centre.parts.edges.named("new")
            # Of 1 to 3 the last one is told by nobody as counted before that comes.
            await until(lambda: known.lost <= 1)


async def test_an_app_keeps_its_events_until_the_centre_has_what_they_come_to(
    world: World,
) -> None:
    keys = f'{USAGE}ack = "centre"\n'
    async with world.centre(N):
        pass  # which makes the token
    for _ in range(2):  # also behind a restart of the edge
        async with (
            world.edge(keys=keys) as edge,
            Connection(edge.parts.config.sidecar.socket) as app,
        ):
            assert await app.hello() == 0
            await app.send(numbers(0, 1))
            async with asyncio.timeout(PATIENCE_S):
                while await edge.rows("SELECT count(*) FROM events") != [(2,)]:
                    await asyncio.sleep(0.01)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(app.receive(), 0.05)

    async with world.centre(N) as centre:
        async with world.edge(keys=keys) as edge:
            async with Connection(edge.parts.config.sidecar.socket) as app:
                await app.hello()
                assert await app.ship(numbers(0, 1, 2)) == 3
            async with Connection(edge.parts.config.sidecar.socket) as app:
                assert await app.hello() == 3
            assert await sum_at(centre) == 111
            # Of what comes to nothing there is no ack to wait for.
            await edge.ship(batch(b"\xc1", first_seq=4))
        # Its disk is lost, and its apps have heard of the first event alone; that of
        # the next one is lost before it has sent anything.
        shutil.rmtree(world.folder / "one")
        async with world.edge(keys=keys) as edge:
            forwarder = edge.parts.forwarder
            assert forwarder is not None
            await until(partial(getattr, forwarder, "is_connected"))
        shutil.rmtree(world.folder / "one")
        assert centre.parts.edges is not None
        for lost in centre.parts.edges.all():
            path = f"/v1/edges/{lost.row.edge}/retire"
            done = await centre.post(path, reason="its disk is gone")
            assert done.status_code == 200, done.text
        async with world.edge(keys=keys) as edge:
            await edge.ship(Lost(1, 1, FORGOTTEN), numbers(1, 2, 3, first_seq=2))
            assert await sum_at(centre) == 1_111
            await recount(centre, "n", edge)
            assert await sum_at(centre) == 1_111


async def recount(centre: Host, meter: str, *edges: Host) -> None:
    """Have a meter counted again from the first event on, and wait for it."""
    async with centre.parts.database.reading() as tx:
        before = (await counted(tx)).generation
    await centre.parts.terms.recount_meter(
        meter, from_ms=0, author="tests", reason="tried"
    )

    async def served() -> int:
        await centre.parts.aggregator.run()
        async with centre.parts.database.reading() as tx:
            return (await counted(tx)).generation

    async with asyncio.timeout(PATIENCE_S):
        while await served() == before:
            await asyncio.sleep(0.01)
    await until_all_is_there(centre, *edges)


async def test_another_counting_is_read_once_all_edges_have_it(world: World) -> None:
    async with world.centre(N) as centre:
        async with world.edge("gone", keys=USAGE) as gone:
            await gone.ship(numbers(3), producer=OTHER)
            await until_sum(centre, 1000)
        async with world.edge("one", keys=USAGE) as one:
            await one.ship(numbers(0, 1))
            await until_sum(centre, 1011)
            await centre.parts.terms.recount_meter(
                "n", from_ms=0, author="tests", reason="tried"
            )
            await until_all_is_there(centre, one)
            await one.ship(numbers(2, first_seq=3))
            await until_sum(centre, 1111)
            async with centre.parts.database.reading() as tx:
                assert (await counted(tx)).recounting_percent is not None

            answer = await centre.post("/v1/edges/gone/retire", reason="sold")
            assert answer.status_code == 200, answer.text
            async with asyncio.timeout(PATIENCE_S):
                while await counting_again(centre):
                    await centre.parts.aggregator.run()
                    await asyncio.sleep(0.01)
            assert await sum_at(centre) == 1111
            await one.ship(numbers(4, first_seq=4))
            await until_sum(centre, 11111)


async def counting_again(centre: Host) -> bool:
    async with centre.parts.database.reading() as tx:
        return (await counted(tx)).recounting_percent is not None


async def test_a_meter_that_changes_counts_so_from_then_on_everywhere(
    world: World,
) -> None:
    more = N.replace('"quantities.n"', '"quantities.n"\nwhere = { route = "/b" }')
    file = world.folder / "centre" / "meterline.toml"
    async with world.centre(N) as centre, world.edge(keys=USAGE) as edge:
        await edge.ship(numbers(0, 1))
        await until_sum(centre, 11)
        file.write_text(file.read_text().replace(N, more))
        answer = await centre.http.post("/v1/reload")
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(PATIENCE_S):
            while (
                "/b" not in (await edge.rows("SELECT definition FROM roll_ups"))[0][0]
            ):
                await asyncio.sleep(0.01)
        b = event(kind=Kind.USE, route="/b", quantities={"n": 10_000})
        await edge.ship(batch(b, *[event()] * 2, first_seq=3))
        await edge.ship(numbers(2, first_seq=6))
        await until_all_is_there(centre, edge)
        assert await sum_at(centre) == 10_011


def test_what_does_not_go_with_forwarding_usage_is_told(tmp_path: Path) -> None:
    file = tmp_path / "meterline.toml"
    file.write_text(
        '[sidecar]\nrole = "edge"\n[centre]\nurl = "tls://localhost:1"\n'
        'token_file = "token"\nforward = "usage"\n'
        '[[meter]]\nname = "n"\naggregation = "count"\n'
    )

    with pytest.raises(ConfigError) as caught:
        read_config(file, environment={})

    assert "counts by the meters of its centre" in str(caught.value)


async def test_single_events_of_an_edge_are_corrected_by_what_it_has_counted(
    world: World,
) -> None:
    async with world.centre(N) as centre, world.edge(keys=USAGE) as edge:
        await edge.ship(numbers(0))
        await until_sum(centre, 1)
        await edge.ship(numbers(1, first_seq=2))
        await until_sum(centre, 11)
        (rows, _) = await centre.rows("SELECT id FROM events ORDER BY id")

        search = {"subject": "acct_1", "period": "2026-11", "reason": "tried"}
        refused = await centre.http.post("/v1/corrections", json=search)
        assert refused.status_code == 409, refused.text
        assert "`meterline events` at the edge" in refused.json()["detail"]

        named = {"events": [rows[0]], "reason": "tried"}
        made = await centre.http.post("/v1/corrections", json=named)
        assert made.status_code == 200, made.text
        assert await sum_at(centre) == 10


async def test_held_events_are_decided_about_where_they_are(world: World) -> None:
    async with world.centre(N) as centre, world.edge(keys=USAGE) as edge:
        ahead = event(kind=Kind.USE, time_ms=NOON_MS + 3_600_000, quantities={"n": 100})
        await edge.ship(batch(ahead, first_seq=1))
        await edge.ship(numbers(0, first_seq=2), Lost(3, 9, "spool full"))
        await until_sum(centre, 1)
        known = centre.parts.edges.all()[0] if centre.parts.edges else None
        assert known is not None
        await until(lambda: known.held == 1 and known.lost == 7)
        assert "1 event held" in known.missing[-1]
        problems = (await centre.http.get("/status")).json()["problems"]
        codes = {one["code"] for one in problems}
        assert {"events_held", "events_lost"} <= codes

        answer = await edge.post("/v1/held/accept", all="true", reason="our clock")
        assert answer.status_code == 200, answer.text
        world.clock.time_ms = NOON_MS + 3_600_000
        await edge.parts.held.release()
        await until_sum(centre, 101)


async def test_an_edge_sends_what_it_always_has(world: World) -> None:
    async with world.centre(N) as centre:
        async with world.edge() as edge:
            await edge.ship(numbers(0))
            await until_sum(centre, 1)
        with pytest.raises(ConfigError, match="has forwarded events"):
            async with world.edge(keys=USAGE):
                raise AssertionError("it must not start")


WORKED_EXAMPLE: Final = """
[[meter]]
name = "api_calls"
aggregation = "sum"
value = "quantities.calls"

[[customer]]
id = "acme"
name = "Acme Corp"
subjects = ["acct_1"]
plan = "starter"

[billing]
close = "by_hand"
grace_hours = 0
"""


def calls(n_calls: int, *, first_seq: int = 1) -> Batch:
    return batch(
        event(kind=Kind.USE, quantities={"calls": n_calls}), first_seq=first_seq
    )


async def test_what_comes_late_of_an_edge_is_an_adjustment(world: World) -> None:
    async with (
        world.centre(WORKED_EXAMPLE) as centre,
        world.edge("one", keys=USAGE) as one,
        world.edge("two", keys=USAGE) as two,
    ):

        async def invoice(period: str) -> dict[str, Any]:
            path = f"/v1/customers/acme/invoice?period={period}"
            found = await centre.http.get(path)
            assert found.status_code == 200, found.text
            return cast("dict[str, Any]", found.json())

        await one.ship(calls(60_000))
        await two.ship(calls(60_000), producer=OTHER)
        async with asyncio.timeout(PATIENCE_S):
            while await sum_at(centre, "api_calls") != 120_000:
                await asyncio.sleep(0.01)
        edges = centre.parts.edges
        assert edges is not None
        world.clock.time_ms = DECEMBER_MS
        await until(lambda: all(e.row.low_ms >= DECEMBER_MS for e in edges.all()))

        assert (await closed(centre))["closed"] == 1
        assert (await invoice("2026-11"))["due"] == "70.00"

        await two.ship(calls(1_000, first_seq=2), producer=OTHER)
        async with asyncio.timeout(PATIENCE_S):
            while await sum_at(centre, "api_calls") != 121_000:
                await asyncio.sleep(0.01)
        (late,) = (await invoice("2026-12"))["adjustments"]
        assert (late["period"], late["amount"]) == ("2026-11", "1.00")
        assert (await invoice("2026-11"))["due"] == "70.00"
        assert (await computed_again(centre)).findings == []

        path = "/v1/customers/acme/invoice/events?period=2026-11&line=api_calls"
        found = (await centre.http.get(path)).json()["events"]
        assert sorted((one["edge"], one["counted"]) for one in found) == [
            ("one", 60_000),
            ("two", 60_000),
        ]
        assert found[0]["usage"]["totals"] == {"api_calls": 60_000}
        assert (
            "events at edge two"
            in (await centre.http.get("/events?period=2026-11")).text
        )
