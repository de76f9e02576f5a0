"""Who gets in at a centre, and how periods wait for its edges."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from meterline import edge_wire, wire
from meterline.edge_wire import EdgeHello, FromEdge, Resume, Workers
from meterline.wire import Ack, Hello, Refusal, Welcome
from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError, DatabaseGone
from tests.clock import FakeClock
from tests.fleet import make_certificate
from tests.integration.fleet.conftest import Host, World, until
from tests.integration.fleet.test_forwarding import until_there, used
from tests.producer import NOON_MS, PRODUCER, batch
from tests.sidecar_process import METERLINE

DAY_MS = 86_400_000
DECEMBER_MS = 1_796_083_200_000 + DAY_MS  # and the grace is over
USAGE = 'forward = "usage"\n'
BY_HAND = '\n[billing]\nclose = "by_hand"\n'


Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def stranger(world: World) -> AsyncGenerator[Wire]:
    """Connect to the centre, as whoever can."""
    tls = ssl.create_default_context(cafile=str(world.folder / "centre.pem"))
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", world.held.number, ssl=tls
    )
    yield reader, writer
    writer.close()


def send(writer: asyncio.StreamWriter, *frames: FromEdge | bytes) -> None:
    for frame in frames:
        writer.write(frame if isinstance(frame, bytes) else wire.encode_frame(frame))


async def answer_of(reader: asyncio.StreamReader) -> Any:
    """Return what comes next."""
    header = await reader.readexactly(wire.FRAME_HEADER.size)
    body = await reader.readexactly(wire.body_length(header))
    return edge_wire.decode_from_centre(body)


async def answer_to(world: World, *frames: FromEdge | bytes) -> Any:
    """Return the first answer that a stranger gets who sends this."""
    async with stranger(world) as (reader, writer):
        send(writer, *frames)
        return await answer_of(reader)


async def test_a_stranger_gets_nothing_in(world: World) -> None:
    hello = EdgeHello(
        edge_wire.EDGE_VERSION, "a" * 32, "b" * 32, "x", "1", 1, "mtl_wrong"
    )
    async with world.centre() as centre:
        reader = centre.parts.tokens.create("reader", "write", now_ms=1).text
        local = Hello(wire.VERSION, PRODUCER, "app", "host", 1, 1)

        answers = [
            await answer_to(world, hello),
            await answer_to(
                world, EdgeHello(1, "a" * 32, "b" * 32, "x", "1", 1, reader)
            ),
            await answer_to(world, EdgeHello(9, "a" * 32, "b" * 32, "x", "1", 1)),
            await answer_to(world, local),
            await answer_to(world, b"\0\0\0\5hello"),
            await answer_to(world, wire.FRAME_HEADER.pack(1 << 19)),
        ]

        assert all(isinstance(one, Refusal) for one in answers)
        assert [one.code for one in answers] == [
            *("unauthorized", "unauthorized", "version", "unexpected"),
            *("malformed", "frame_too_long"),
        ]
        assert centre.parts.edges is not None
        assert centre.parts.edges.all() == []


async def test_a_certificate_that_is_renewed_is_shown_at_the_next_connection(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "meterline_sidecar.fleet.tls")
    key = world.folder / "centre.key"
    async with world.centre():
        async with world.edge() as edge:
            before = edge.parts.forwarder
            assert before is not None
            await until(lambda: before.is_connected)
        old = key.read_bytes()
        make_certificate(world.folder, "centre")
        new = key.read_bytes()
        # Between the two files nothing fits, and what was shown is shown on.
        key.write_bytes(old)
        async with world.edge() as again:
            forwarder = again.parts.forwarder
            assert forwarder is not None
            await until(lambda: "CERTIFICATE_VERIFY" in (forwarder.trouble or ""))
            key.write_bytes(new)
            await until(lambda: forwarder.is_connected)

    told = [one.getMessage() for one in caplog.records if one.name.endswith(".tls")]
    assert "of before is shown on" in told[0]
    assert "the certificate was renewed" in told[-1]


async def test_a_revoked_token_ends_a_live_connection(world: World) -> None:
    async with world.centre() as centre, world.edge() as edge:
        forwarder = edge.parts.forwarder
        assert forwarder is not None
        await until(lambda: forwarder.is_connected)
        (token,) = centre.parts.tokens.all()

        centre.parts.tokens.revoke(token.id, now_ms=1)

        await until(lambda: "revoked" in (forwarder.trouble or ""))
        found = (await edge.http.get("/status")).json()
        assert "not_forwarded" in [one["code"] for one in found["problems"]]


async def test_a_revoked_token_gets_nothing_more_in_whatever_its_answers_wait_for(
    world: World,
) -> None:
    async with world.centre() as centre, stranger(world) as (reader, writer):
        (token,) = centre.parts.tokens.all()
        hello = EdgeHello(1, "a" * 32, "b" * 32, "x", "1", 1, world.token)
        local = Hello(wire.VERSION, PRODUCER, "app", "host", 1, 1)
        send(writer, hello, Resume(b"", 0), local)
        while not isinstance(await answer_of(reader), Welcome):
            pass
        assert centre.parts.edges is not None
        (edge,) = centre.parts.edges.all()
        async with centre.parts.database.transaction():  # nothing can be committed
            send(writer, batch(used(1)))
            await until(lambda: edge.frames == 2)

            centre.parts.tokens.revoke(token.id, now_ms=1)

            await until(lambda: not centre.parts.ingest.is_here(PRODUCER))
            send(writer, batch(used(2), first_seq=2))
        while not isinstance(answer := await answer_of(reader), Refusal):
            assert answer == Ack(1)
        assert (answer.code, edge.frames) == ("unauthorized", 2)
        await until_there(centre, 1)


async def test_a_database_that_is_away_for_a_moment_lets_no_revoked_token_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.centre() as centre, world.edge(keys=USAGE) as edge:
        forwarder, door = edge.parts.forwarder, centre.parts.door
        assert forwarder is not None
        assert door is not None
        await until(lambda: forwarder.is_connected)
        asked: list[str] = []

        async def gone() -> None:
            asked.append("meters")
            raise DatabaseGone("the server is away")

        with monkeypatch.context() as away:
            away.setattr(door.countings, "meters", gone)
            await until(lambda: asked)
        (token,) = centre.parts.tokens.all()
        centre.parts.tokens.revoke(token.id, now_ms=1)

        await until(
            lambda: any(
                why in (forwarder.trouble or "") for why in ("revoked", "unknown")
            )
        )


@pytest.mark.parametrize(
    "frame",
    [Hello(wire.VERSION, PRODUCER, "app", "host", 1, 1), Workers((PRODUCER,))],
)
async def test_another_edges_token_speaks_for_no_edge_and_no_worker_of_it(
    world: World, frame: FromEdge
) -> None:
    async with world.centre() as centre, world.edge() as edge:
        await edge.ship(batch(used(1)))
        await until_there(centre, 1)
        forwarder = edge.parts.forwarder
        assert forwarder is not None
        other = centre.parts.tokens.create("other", "edge", now_ms=1).text

        def hello(edge_id: str) -> EdgeHello:
            return EdgeHello(1, edge_id, "b" * 32, "x", "1", 1, other)

        answer = await answer_to(world, hello(forwarder.edge))
        assert isinstance(answer, Refusal)
        assert (answer.code, "still holds" in answer.message) == ("unauthorized", True)
        async with stranger(world) as (reader, writer):
            send(writer, hello("a" * 32), Resume(b"", 0), frame, batch(used(2)))
            while not isinstance(answer := await answer_of(reader), Refusal):
                pass
        assert answer.code == "duplicate_producer"
        await edge.ship(batch(used(3), first_seq=2))
        await until_there(centre, 2)
        assert forwarder.is_connected


async def test_a_worker_of_an_edge_is_at_that_edge_and_has_not_disappeared(
    world: World,
) -> None:
    async with world.centre() as centre, world.edge() as edge:
        await edge.ship(batch(used(1)))
        await until_there(centre, 1)

        here = (await centre.http.get("/status")).json()["producers"]
        page = (await centre.http.get("/")).text
        there = (await edge.http.get("/status")).json()["producers"]

    (worker,) = [one for one in here["shown"] if one["ingested"]]
    assert worker["is_open"]
    assert (worker["is_connected"], worker["edge"]) == (False, "one")
    assert (here["open"], here["connected"], here["at_edges"]) == (1, 0, 1)
    assert "1 at edges" in page
    assert "disappeared" not in page
    assert there["at_edges"] == 0
    assert [one["edge"] for one in there["shown"]] == [None]


async def test_a_token_of_an_edge_does_nothing_over_http(world: World) -> None:
    async with world.centre() as centre:
        bearer = {"Authorization": f"Bearer {world.token}"}

        answers = [
            await centre.http.get("/status", headers=bearer),
            await centre.http.post("/v1/events", json={}, headers=bearer),
        ]

        assert [one.status_code for one in answers] == [403, 403]


async def test_an_edge_leaves_to_its_centre_what_is_billed(world: World) -> None:
    async with world.centre(), world.edge() as edge:
        answers = [
            await edge.post("/v1/events"),
            await edge.post("/v1/close"),
            await edge.post("/close"),
        ]

        assert [one.status_code for one in answers] == [409, 409, 409]
        assert "centre on 127.0.0.1" in answers[0].json()["detail"]
        assert (await edge.http.get("/v1/close")).status_code == 200


async def closed(centre: Host, **query: str) -> Any:
    """Close what is due and return the run."""
    answer = await centre.post("/v1/close", **query)
    assert answer.status_code == 200, answer.text
    await centre.parts.closer.run()
    return (await centre.http.get("/v1/close")).json()["asked"]


async def test_a_period_waits_for_an_edge_that_is_away(world: World) -> None:
    async with world.centre(METERLINE + BY_HAND) as centre:
        async with world.edge() as edge:
            await edge.ship(batch(used(1, subject="acct_1")))
            await until_there(centre, 1)
        world.clock.time_ms = DECEMBER_MS

        held = await closed(centre)
        assert held["closed"] == 0
        assert "edge one has not said" in held["held"][0]["why"]
        why = await centre.post("/v1/close", accept_edge="one")
        assert why.status_code == 400

        run = await closed(centre, accept_edge="one", reason="its disk is gone")
        assert (run["closed"], run["held"]) == (1, [])
        state = await centre.rows(
            "SELECT author, cause FROM invoice_states WHERE state = 'final'"
        )
        assert state == [("local", "by hand: its disk is gone")]


async def test_a_period_is_closed_once_all_edges_are_past_its_end(
    world: World,
) -> None:
    async with world.centre() as centre, world.edge() as edge:
        await centre.parts.closer.run()  # from now on it closes by itself
        await edge.ship(batch(used(1)))
        await until_there(centre, 1)
        (known,) = centre.parts.edges.all() if centre.parts.edges else []
        world.clock.time_ms = DECEMBER_MS  # where it stands still
        # A worker announces more than it has sent.
        await edge.ship(wire.Batch(2, 5, b""), recorded_seq=5)
        await until(lambda: known.missing)
        held = await closed(centre)
        assert held["closed"] == 0

        await edge.ship(batch(*(used(n) for n in range(2, 6)), first_seq=2))
        await until(lambda: known.row.low_ms >= DECEMBER_MS)
        await centre.parts.closer.run()
        state = (await centre.http.get("/v1/close")).json()
        assert (state["automatic"]["closed"], state["held"]) == (1, [])


async def test_a_retired_edge_holds_nothing_up_and_is_refused(world: World) -> None:
    async with world.centre() as centre:
        async with world.edge() as edge:
            await edge.ship(batch(used(1)))
            await until_there(centre, 1)
        assert (
            await centre.post("/v1/edges/two/retire", reason="x")
        ).status_code == 404
        answer = await centre.post("/v1/edges/one/retire", reason="sold")
        assert [one["state"] for one in answer.json()["edges"]] == ["retired"]
        world.clock.time_ms = DECEMBER_MS
        assert (await closed(centre))["closed"] == 1

        async with world.edge() as edge:
            forwarder = edge.parts.forwarder
            await until(lambda: forwarder and "retired" in (forwarder.trouble or ""))


async def test_a_wrong_clock_and_silence_are_problems(world: World) -> None:
    async with world.centre() as centre:
        skewed = world.clock
        world.clock = FakeClock(NOON_MS + 60_000)
        async with world.edge() as edge:
            await edge.ship(batch(used(1)))
            await until_there(centre, 1)
            found = (await centre.http.get("/status")).json()
            assert "edge_clock" in [one["code"] for one in found["problems"]]
            assert found["edges"][0]["clock_ms"] == 60_000
        skewed.time_ms += 120_000
        found = (await centre.http.get("/status")).json()
        assert "edge_silent" in [one["code"] for one in found["problems"]]


async def test_a_ledger_that_was_an_edges_never_bills(world: World) -> None:
    async with world.centre(), world.edge():
        pass

    with pytest.raises(ConfigError, match="an edge's"):
        async with world.single("one"):
            pass


def test_what_does_not_belong_to_a_role_is_told_in_words(tmp_path: Path) -> None:
    file = tmp_path / "meterline.toml"
    file.write_text(
        '[sidecar]\nrole = "edge"\n[centre]\nlisten = "0.0.0.0:1"\n[stripe]\n'
    )

    with pytest.raises(ConfigError) as found:
        read_config(file, environment={})

    said = str(found.value)
    assert "centre.listen: is the centre's" in said
    assert "an edge needs centre.url" in said
    assert "an edge needs centre.token_file" in said
    assert "stripe: an edge bills nobody" in said


@pytest.mark.parametrize("name", ["stranger", "api-1"])
async def test_a_certificate_that_the_centre_signed_lets_an_edge_in(
    world: World, name: str
) -> None:
    make_certificate(world.folder, "api-1", signed_by="centre")
    make_certificate(world.folder, "stranger")
    shown = f'tls_certificate = "../{name}.pem"\ntls_key = "../{name}.key"\n'
    async with world.centre(keys='client_ca = "../centre.pem"\n') as centre:
        async with world.edge(name, more=shown, token=False) as edge:
            forwarder = edge.parts.forwarder
            assert forwarder is not None
            await until(lambda: "yet" not in (forwarder.trouble or ""))
            assert forwarder.is_connected == (name == "api-1")
        assert centre.parts.edges is not None
        assert [one.row.credential for one in centre.parts.edges.all()] == (
            ["certificate api-1"] if name == "api-1" else []
        )
