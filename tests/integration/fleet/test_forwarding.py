"""What an edge took in stands at its centre, once, whatever is cut or put back."""

import asyncio
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meterline.events import Flag, Kind
from meterline.spool.scan import FORGOTTEN
from meterline.wire import Bye, Lost, WireError
from meterline_sidecar.errors import SequenceGap
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.store.fleet import update_edge
from tests.all_events import ALL_EVENTS
from tests.fault.oracle import verify_ledger
from tests.integration.fleet.conftest import Host, World, until
from tests.patience import PATIENCE_S
from tests.producer import (
    NOON_MS,
    PRODUCER,
    WITH_PROPERTIES,
    Connection,
    batch,
    event,
)

ROOT = Path(__file__).parents[3]
OTHER = "0" * 31 + "2"
EVENTS = f"""
SELECT p.producer, p.app, p.host, e.seq, e.time_ms, e.kind, s.name, n.method, n.route,
 e.status, e.duration_us, e.bytes_in, e.bytes_out, e.flags & ~{int(Flag.NAMED)}, e.quantities,
 e.properties, xs.name, x.external_id
FROM {ALL_EVENTS} e JOIN producers p ON p.id = e.producer_id
LEFT JOIN subjects s ON s.id = e.subject_id
LEFT JOIN endpoints n ON n.id = e.endpoint_id
LEFT JOIN external_events x ON x.event_id = e.id
LEFT JOIN external_sources xs ON xs.id = x.source_id
ORDER BY p.producer, e.seq
"""
LOSSES = """
SELECT p.producer, l.first_seq, l.last_seq, l.reason, l.payload
FROM losses l JOIN producers p ON p.id = l.producer_id ORDER BY p.producer, l.first_seq
"""
PRODUCERS = """
SELECT producer, recorded_seq, last_seq, ingested, refused, lost, held, is_closed
FROM producers ORDER BY producer
"""


async def is_there(host: Host, n_numbers: int) -> bool:
    found = await host.rows("SELECT coalesce(sum(last_seq), 0) FROM producers")
    return bool(found == [(n_numbers,)])


async def until_there(host: Host, n_numbers: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await is_there(host, n_numbers):
            await asyncio.sleep(0.01)


def used(number: int, **changes: Any) -> Any:
    return event(kind=Kind.USE, quantities={"n": number}, **changes)


async def test_what_an_edge_took_in_stands_at_the_centre_as_it_is(world: World) -> None:
    async with world.centre() as centre, world.edge() as edge:
        again = used(7, external_id="job-7", source="jobs")
        mixed = batch(
            event(**WITH_PROPERTIES),
            b"\xc1",
            event(subject=None, method=None, route=None),
            again,
            event(time_ms=NOON_MS + 3_600_000),
        )
        await edge.ship(mixed, Lost(6, 9, "spool full"), batch(again, first_seq=10))
        await edge.ship(batch(*(used(n) for n in range(900))), Bye(900), producer=OTHER)

        await until_there(centre, 910)
        await until(lambda: edge.parts.forwarder and not edge.parts.forwarder.behind)
        async with asyncio.timeout(PATIENCE_S):
            while (await centre.rows(PRODUCERS))[-1][-1] != 1:
                await asyncio.sleep(0.01)

        assert await centre.rows(EVENTS) == await edge.rows(EVENTS)
        assert await centre.rows(LOSSES) == await edge.rows(LOSSES)
        assert await centre.rows(PRODUCERS) == await edge.rows(PRODUCERS)
        flags = [row[0] for row in await centre.rows("SELECT flags FROM events")]
        assert sum(f & Flag.HELD > 0 for f in flags) == 1
        assert sum(f & Flag.DUPLICATE > 0 for f in flags) == 1
    database = world.folder / "centre" / "meterline.db"
    report = await asyncio.to_thread(verify_ledger, database)
    assert report.is_sound, report.findings


async def test_what_is_committed_waits_for_no_heartbeat(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.fleet.forwarder.BEAT_EVERY_S", 86_400.0)
    async with world.centre() as centre, world.edge() as edge:
        await until(lambda: edge.parts.forwarder and edge.parts.forwarder.acked_ms)

        await edge.ship(batch(used(1)))

        await until_there(centre, 1)


async def test_ids_of_apps_are_unique_across_hosts(world: World) -> None:
    async with (
        world.centre() as centre,
        world.edge("one") as one,
        world.edge("two") as two,
    ):
        named = used(1, external_id="job-1", source="jobs")
        await one.ship(batch(named))
        await until_there(centre, 1)
        await two.ship(batch(named), producer=OTHER)
        await until_there(centre, 2)

        flags = await centre.rows(
            "SELECT flags & ? FROM events".replace("?", "1048576")
        )
        assert flags == [(0,), (int(Flag.DUPLICATE),)]


class Cutter:
    """A wire that is cut again and again, after a random number of bytes.

    Args:
        stalls: nothing passes any more then, and nobody is told.
    """

    def __init__(
        self, port: int, chance: random.Random, *, bytes_max: int, stalls: bool
    ) -> None:
        self._stalls = stalls
        self._port = port
        self._chance = chance
        self._bytes_max = bytes_max
        self.n_cuts = 0
        self.is_whole = False

    async def start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        n_bytes = self._chance.randrange(self._bytes_max)
        await asyncio.gather(
            self._pass(reader, back, writer, n_bytes),
            self._pass(there, writer, back, n_bytes),
            return_exceptions=True,
        )
        self.n_cuts += not self._stalls

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
        n_left: int,
    ) -> None:
        while data := await source.read(4_096):
            if not self.is_whole and len(data) > n_left:
                target.write(data[:n_left])
                self.n_cuts += self._stalls
                while self._stalls and await source.read(4_096):
                    pass
                break
            n_left -= len(data)
            target.write(data)
        target.close()
        other.close()


@pytest.mark.parametrize("stalls", [False, True])
async def test_a_wire_that_is_cut_anywhere_counts_each_event_once(
    world: World, stalls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.fleet.line.ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr("meterline_sidecar.fleet.line.CONNECT_TIMEOUT_S", 0.3)
    seed = random.randrange(2**32)
    print(f"SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    cutter = Cutter(
        world.held.number, random.Random(seed), bytes_max=20_000, stalls=stalls
    )
    async with world.centre() as centre:
        server = await cutter.start()
        port = server.sockets[0].getsockname()[1]
        async with world.edge(port=port) as edge:
            for i in range(8):
                numbers = range(500 * i, 500 * (i + 1))
                await edge.ship(
                    batch(*(used(n) for n in numbers), first_seq=500 * i + 1)
                )
                await until(lambda: cutter.n_cuts >= 5)
            cutter.is_whole = True
            await until_there(centre, 4_000)
        server.close()

        counted = await centre.rows(
            f"SELECT count(*), count(DISTINCT seq) FROM {ALL_EVENTS}"
        )
        assert counted == [(4_000, 4_000)]


async def test_a_centre_that_was_put_back_is_sent_what_it_lost(world: World) -> None:
    files = LedgerFiles(world.folder / "centre" / "meterline.db")
    async with world.edge() as edge:
        async with world.centre() as centre:
            await edge.ship(batch(used(1), used(2)))
            await until_there(centre, 2)
        shutil.copy(files.database, world.folder / "old.db")
        async with world.centre() as centre:
            await edge.ship(batch(used(3), first_seq=3))
            await until_there(centre, 3)
        shutil.copy(world.folder / "old.db", files.database)
        for path in (files.head, files.wal, files.shm):
            path.unlink(missing_ok=True)

        async with world.centre() as centre:
            await until_there(centre, 3)
            assert await centre.rows("SELECT seq FROM events") == [(1,), (2,), (3,)]


async def test_an_edge_that_was_put_back_is_refused_until_it_is_adopted(
    world: World,
) -> None:
    state = world.folder / "one"
    async with world.centre() as centre:
        async with world.edge() as edge:
            await edge.ship(batch(used(1), used(2)))
            await until_there(centre, 2)
        shutil.copytree(state, world.folder / "copy")
        async with world.edge() as edge:
            await edge.ship(batch(used(3), first_seq=3))
            await until_there(centre, 3)
        (known,) = centre.parts.edges.all() if centre.parts.edges else []
        assert known.row.ahead == 2

        async with world.edge(folder="copy") as edge:
            await edge.ship(batch(used(9), used(10)), producer=OTHER)
            await until(lambda: known.row.trouble)
            assert not await is_there(centre, 5)
            problems = (await centre.http.get("/status")).json()["problems"]
            assert "edge_refused" in [one["code"] for one in problems]

            answer = await centre.post("/v1/edges/one/adopt", reason="restored")
            assert answer.status_code == 200, answer.text
            await until_there(centre, 5)
            assert not known.row.trouble
            found = await centre.rows("SELECT quantities FROM events ORDER BY id")
            assert [row[0] for row in found] == [
                f'{{"n":{n}}}' for n in (1, 2, 3, 9, 10)
            ]


async def test_where_the_mark_of_an_edge_is_wrong_it_sends_all_again(
    world: World,
) -> None:
    async with world.centre() as centre, world.edge() as edge:
        await edge.ship(batch(used(1)))
        await until_there(centre, 1)
    async with world.edge() as edge:  # alone
        for n in (2, 3):
            await edge.ship(batch(used(n), first_seq=n))
        ((mark,),) = await edge.rows("SELECT mac FROM batches WHERE id = 2")
    async with world.centre() as centre:
        (known,) = centre.parts.edges.all() if centre.parts.edges else []
        async with centre.parts.database.transaction() as tx:
            row = known.row._replace(batch=2, ahead=2, mark=mark)
            await update_edge(tx, row)
        async with world.edge() as edge:
            await until_there(centre, 3)
            assert centre.parts.door is not None
            assert centre.parts.door.refusals == {"gap": 1}
            assert not known.row.trouble


async def test_what_is_missing_in_the_ledger_of_an_edge_is_told(world: World) -> None:
    async with world.centre():
        pass  # which makes the token
    async with world.edge() as edge:
        for n in (1, 2, 3):
            await edge.ship(batch(used(n), first_seq=n))
        async with edge.parts.database.transaction() as tx:
            await tx.execute("DELETE FROM batches WHERE id = 2")
    async with world.centre() as centre, world.edge() as edge:
        forwarder = edge.parts.forwarder
        await until(
            lambda: forwarder and "batch 2 is missing" in (forwarder.trouble or "")
        )
        assert await is_there(centre, 0)

        # One that says that it sent all, and did not, is named at the centre.
        assert centre.parts.edges is not None
        (known,) = centre.parts.edges.all()
        gap = SequenceGap("number 3 was sent where 2 must follow", resume_seq=2)
        known.life = None
        with pytest.raises(WireError, match="`meterline verify` there"):
            await centre.parts.edges.ask_for_all(known, gap, sent_from=0)


async def test_a_copy_beside_the_first_is_refused_and_told(world: World) -> None:
    async with world.centre() as centre:
        async with world.edge() as edge:
            await edge.ship(batch(used(1)))
            await until_there(centre, 1)
        shutil.copytree(world.folder / "one", world.folder / "copy")
        async with world.edge() as edge:
            forwarder = edge.parts.forwarder
            await until(lambda: forwarder and forwarder.is_connected)
            async with world.edge(folder="copy") as copy:
                second = copy.parts.forwarder
                await until(lambda: second and "second host" in (second.trouble or ""))
                assert forwarder is not None
                assert forwarder.is_connected


@pytest.mark.parametrize("producer", [PRODUCER, OTHER])
async def test_nobody_speaks_for_anothers_producer(world: World, producer: str) -> None:
    async with world.centre() as centre, world.edge("two") as two:
        await centre.ship(batch(used(1)))
        await two.ship(batch(used(2)), producer=OTHER)
        await until_there(centre, 2)

        async with world.edge("one") as one:
            await one.ship(batch(used(3), used(4)), producer=producer)
            forwarder = one.parts.forwarder
            await until(lambda: forwarder and "copied" in (forwarder.trouble or ""))
            listed = await centre.http.get("/v1/edges")
            (told,) = (e for e in listed.json()["edges"] if e["name"] == "one")
            assert told["state"] == "refused"
            assert "copied from there" in told["trouble"]

        assert await is_there(centre, 2)


async def test_an_app_keeps_its_events_until_the_centre_has_them(world: World) -> None:
    async with world.centre():
        pass  # which makes the token
    for _ in range(2):  # also behind a restart of the edge
        async with world.edge(more='ack = "centre"\n') as edge:
            path = edge.parts.config.sidecar.socket
            async with Connection(path) as app:
                assert await app.hello() == 0
                await app.send(batch(used(1), used(2)))
                async with asyncio.timeout(PATIENCE_S):
                    while not await is_there(edge, 2):
                        await asyncio.sleep(0.01)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(app.receive(), 0.05)

    async with world.centre() as centre, world.edge(more='ack = "centre"\n') as edge:
        async with Connection(edge.parts.config.sidecar.socket) as app:
            await app.hello()
            assert await app.ship(batch(used(1), used(2), used(3))) == 3
        assert await is_there(centre, 3)
        async with Connection(edge.parts.config.sidecar.socket) as app:
            assert await app.hello() == 3


async def test_what_only_a_found_disk_has_is_imported(world: World) -> None:
    """As docs/fleet.md says it: by what both print, and a program of examples/."""
    wide = {"start": "2000-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}

    async def printed(host: Host) -> str:
        answer = await host.http.get("/v1/events", params=wide | {"limit": 1_000})
        path = world.folder / f"{host.parts.config.sidecar.role}.json"
        path.write_text(answer.text)
        return str(path)

    async with world.centre() as centre, world.edge("one", port=1) as edge:
        await centre.ship(batch(used(1), used(2)), producer=OTHER)
        named = used(4, external_id="job-7", source="jobs")
        sent = (used(1), used(2), used(3), named, event(**WITH_PROPERTIES))
        await edge.ship(batch(*sent), producer=OTHER)
        files = [await printed(edge), await printed(centre)]
        program = ROOT / "examples/fleet/only_there.py"
        command = (sys.executable, str(program), *files)
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        answer = await centre.http.post("/v1/events", json=lines)

        assert [line["id"] for line in lines] == [f"{OTHER}-3", "job-7"]
        assert answer.json()["accepted"] == len(lines)
        assert done.returncode == 1
        assert f"event {OTHER}-5: not taken" in done.stderr


async def test_workers_go_on_whose_edge_has_lost_its_disk(world: World) -> None:
    async with world.centre() as centre:
        async with world.edge("one") as edge:
            await edge.ship(batch(used(1), used(2)))
            await until_there(centre, 2)
        async with world.edge("new") as edge:
            # What was acked is forgotten there: a worker says so, and goes on.
            await edge.ship(Lost(1, 2, FORGOTTEN), batch(used(3), first_seq=3))
            forwarder = edge.parts.forwarder
            await until(lambda: forwarder and "is lost" in (forwarder.trouble or ""))
            assert "another edge's, one" in str(forwarder and forwarder.trouble)

            answer = await centre.post(
                "/v1/edges/one/retire", reason="its disk is gone"
            )
            assert answer.status_code == 200, answer.text
            await until_there(centre, 3)
            assert await centre.rows("SELECT seq FROM events") == [(1,), (2,), (3,)]
            assert await centre.rows(LOSSES) == []
