"""Whatever is cut, repeated, put in another order or killed: usage is that of one host."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterline.edge_wire import (
    EDGE_VERSION,
    Covered,
    EdgeHello,
    Epochs,
    Heartbeat,
    Workers,
)
from meterline.wire import VERSION, Batch, Hello, Lost, WireError, split_records
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.errors import SequenceGap
from meterline_sidecar.fleet.backlog import Place, read_slice
from meterline_sidecar.fleet.batches import Batches
from meterline_sidecar.fleet.countings import Countings
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.filing import Filing
from meterline_sidecar.fleet.roller import Roller
from meterline_sidecar.fleet.taking_over import covers_in
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.decode import EDGES_FLAGS
from meterline_sidecar.ledger.archive import Archive, Judge
from meterline_sidecar.ledger.archived import LINES, Archived
from meterline_sidecar.ledger.edge_files import EdgeFiles, Reached
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.leaving_copies import LeavingCopies
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge.edge_files import OWN, last_file
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.rolled_up import OWN_APP
from meterline_sidecar.where import Where
from tests.agreed import agree_to, terms_of
from tests.integration.conftest import Sidecar, sidecar_at
from tests.integration.fleet.test_usage import usage_of
from tests.integration.ledger.archiving import ANY, archived_at
from tests.patience import PATIENCE_S
from tests.producer import NOON_MS, batch, event

METERS: Final = (
    Meter("calls", "count"),
    Meter("out", "sum", value="bytes_out", group_by=("route",)),
    Meter("top", "max", value="bytes_out"),
    Meter("low", "min", value="bytes_out"),
    Meter("users", "unique", value="subject"),
    Meter("routes", "unique", value="route", group_by=("site",)),
    Meter("seats", "latest", value="quantities.seats"),
    Meter("energy", "sum", value="quantities.kwh", group_by=("site",), scale=3),
)
EVENTS: Final = 12
"""Of one worker's batch."""


async def no_pause(_worked_s: float) -> None:
    """Let nobody go first."""


@dataclass
class Host:
    """An edge."""

    number: int
    sidecar: Sidecar
    roller: Roller
    edge: Edge
    archived: Archived
    filing: Filing
    archive: Archive
    acked: Place = field(default_factory=lambda: Place(0))
    seqs: dict[str, int] = field(default_factory=dict[str, int])


@dataclass
class Fleet:
    """A centre with its edges, and one host that gets all events as well."""

    centre: Sidecar
    alone: Sidecar
    terms: Terms
    edges: Edges
    countings: Countings
    counting: list[Aggregator]
    hosts: list[Host]
    dice: Random
    n_events: int = 0
    n_left: int = 0
    """Files that events of edges left for."""

    async def record(self, host: Host) -> None:
        """Have a worker of an edge, and one of the single host, record the same."""
        dice = self.dice
        worker = f"{host.number}{dice.randrange(3):031x}"
        events = [
            event(
                # No two at one moment: which of them is the last is not told apart.
                time_ms=NOON_MS - 7 * (self.n_events + i) * dice.randrange(1, 9_999),
                subject=dice.choice(["acct_1", "acct_2", "stranger", None]),
                route=dice.choice(["/a", "/b", None]),
                bytes_out=dice.randrange(1_000),
                quantities=dice.choice(
                    [None, {"seats": dice.randrange(9)}, {"kwh": "0.125"}]
                ),
                properties=dice.choice([None, {"site": "north"}]),
            )
            for i in range(EVENTS)
        ]
        self.n_events += EVENTS
        first = host.seqs.get(worker, 0) + 1
        host.seqs[worker] = first + EVENTS - 1
        for sidecar in (host.sidecar, self.alone):
            await ingested(sidecar.ingest, worker, batch(*events, first_seq=first))

    async def connect(self, host: Host) -> None:
        """Let an edge and the centre agree, as at each new connection."""
        meters = await self.countings.meters()
        epochs = await host.roller.epochs()
        await host.roller.settle(await self.countings.covered(host.edge, epochs))
        await host.roller.follow(meters)

    async def roll(self, host: Host) -> bool:
        """Roll up what an edge has; say whether anything is left."""

        async def ask(workers: Workers) -> Covered:
            return await self.countings.covered_elsewhere(host.edge, workers)

        return await host.roller.run(ask, is_urgent=True)

    async def ship(self, host: Host, *, n_frames: int = 1 << 20) -> None:
        """Send frames from somewhere behind what was acked, and lose those behind some."""
        place = Place(self.dice.randrange(host.acked.batch + 1))
        batches = Batches(host.sidecar.database, host.archived, is_rolled_up=True)
        part = await batches.behind(place)
        frames = part.frames[:n_frames]
        if n_frames < len(part.frames) and self.dice.random() < 0.3:
            self.dice.shuffle(frames)
        ingest, producer = self.centre.ingest, None
        for frame in frames:
            match frame:
                case Hello():
                    await self.edges.claim(host.edge, frame.producer)
                    producer = await ingest.hello(frame, flags_kept=EDGES_FLAGS)
                case Batch() | Lost():
                    if producer is None:
                        return  # refused: nobody has said hello
                    try:
                        accepted = ingest.accept(producer, frame)
                    except SequenceGap:
                        return
                    if self.dice.random() < 0.5:
                        await accepted
        if n_frames >= len(part.frames):
            await ingest.drain()
            host.acked = max(host.acked, part.end)

    async def leave(self, host: Host) -> None:
        """Have a file written of what is at the centre, and all of it leave that may."""
        async with host.sidecar.database.reading() as tx:
            rolled_up_to, _ = await host.roller.standing(tx, host.acked.batch)
        reached = Reached(host.acked.batch, rolled_up_to)
        host.filing.reached = reached
        while await host.filing.write_next(is_urgent=True) is not None:
            pass
        async with host.sidecar.database.reading() as tx:
            last = await last_file(tx, OWN)
        await host.filing.begin("" if last is None else last.what.file)
        host.filing.reached = reached
        await Aggregator(host.sidecar.database, Terms(), clock=host.sidecar.clock).run()
        while (await host.archive.step(by_hand=True)).moved is not None:
            self.n_left += 1

    async def finish(self) -> None:
        """Let everything arrive, and be counted."""
        for host in self.hosts:
            await self.connect(host)
            while await self.roll(host):
                pass
            last = (await rows(host.sidecar, "SELECT max(id) FROM batches"))[0][0] or 0
            while host.acked.batch < last:
                await self.ship(host)
            async with host.sidecar.database.reading() as tx:
                _, generations = await host.roller.standing(tx, last)
            beat = Heartbeat(last, NOON_MS, NOON_MS, generations=generations)
            await self.edges.beat(host.edge, beat)
        for aggregator in self.counting:
            await aggregator.run()

    async def change(self, name: str, *, reaches_back: bool) -> None:
        """Agree to another meter, once all that there is was counted by the one before."""
        await self.finish()
        meter = Meter(
            name, "count", where=Where(route=(self.dice.choice(["/a", "/b", "/*"]),))
        )
        learned_ms = NOON_MS if reaches_back else 0
        agree_to(self.terms, name, meter, from_ms=0, learned_ms=learned_ms)
        for aggregator in self.counting:
            await aggregator.follow(self.terms)
        for host in self.hosts:
            await self.connect(host)


async def ingested(ingest: Ingest, producer: str, message: Batch) -> None:
    """Take in what a worker sends, and wait for its commit."""
    hello = Hello(VERSION, producer, "tests", "host", 1, NOON_MS)
    await ingest.accept(await ingest.hello(hello), message)


async def rows(sidecar: Sidecar, sql: str) -> list[tuple[int | None, ...]]:
    """Return what a query finds."""
    async with sidecar.database.reading() as tx:
        return await tx.fetch_all(sql)


@asynccontextmanager
async def fleet_of(folder: Path, n_edges: int, dice: Random) -> AsyncGenerator[Fleet]:
    """Open all of them."""
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> Sidecar:
            (folder / name).mkdir()
            return await stack.enter_async_context(sidecar_at(folder / name))

        centre, alone, terms = await opened("c"), await opened("a"), terms_of(*METERS)
        edges = Edges(
            centre.database,
            Journal(b"k" * 32),
            clock=centre.clock,
            is_valid=lambda _: True,
        )
        countings = Countings(centre.database, edges)
        counting = [
            Aggregator(s.database, terms, clock=s.clock) for s in (centre, alone)
        ]
        counting[0].count_with(countings)
        for aggregator in counting:
            await aggregator.start()
        hosts: list[Host] = []
        for i in range(n_edges):
            sidecar = await opened(f"e{i}")
            await Aggregator(sidecar.database, Terms(), clock=sidecar.clock).start()
            hello = EdgeHello(
                *(EDGE_VERSION, f"{i:032x}", f"{i:032x}", f"edge{i}", "1", NOON_MS),
                forward="usage",
            )
            edge = await edges.enter(hello, "token 1")
            hosts.append(host_of(i, sidecar, edge))
        fleet = Fleet(centre, alone, terms, edges, countings, counting, hosts, dice)
        for host in hosts:
            await fleet.connect(host)
        yield fleet


def host_of(number: int, sidecar: Sidecar, edge: Edge) -> Host:
    """Return an edge whose events may leave its ledger at any age."""
    folder = sidecar.database.path.parent / "archive"
    folder.mkdir()
    archived = archived_at(sidecar.database.path, folder)
    database, journal, clock = sidecar.database, Journal(b"k" * 32), sidecar.clock
    files = EdgeFiles(
        *(database, archived, journal), form=LINES, clock=clock, is_trusted=True
    )
    filing = Filing(database, files)
    archive = Archive(
        *(database, archived, journal),
        form=LINES,
        clock=clock,
        before=lambda: NOON_MS + DAY_MS,
        judging=anyone,
        copies=LeavingCopies(filing),
    )
    roller = roller_of(sidecar, archived)
    return Host(number, sidecar, roller, edge, archived, filing, archive)


async def anyone(_: Tx) -> Judge:
    """Let all go."""
    return ANY


def roller_of(sidecar: Sidecar, archived: Archived) -> Roller:
    """Return a roller that has not begun anything, as after a kill."""
    among = (sidecar.database, sidecar.ingest, archived)
    return Roller(*among, clock=sidecar.clock, pause=no_pause)


async def play(folder: Path, n_edges: int, story: Sequence[str], seed: int) -> None:
    """Play a story, and compare."""
    dice = Random(seed)
    async with asyncio.timeout(PATIENCE_S), fleet_of(folder, n_edges, dice) as fleet:
        for i, step in enumerate(story):
            host = dice.choice(fleet.hosts)
            match step:
                case "record":
                    await fleet.record(host)
                case "roll":
                    await fleet.roll(host)
                case "ship":
                    await fleet.ship(host, n_frames=dice.randrange(1, 5))
                case "count":
                    await fleet.counting[0].run()
                case "kill":
                    host.roller = roller_of(host.sidecar, host.archived)
                    await fleet.connect(host)
                case "leave":
                    await fleet.leave(host)
                case "change":
                    await fleet.change(f"m{i % 3}", reaches_back=False)
                case _:
                    await fleet.change(f"m{i % 3}", reaches_back=True)
        await fleet.finish()

        found = await usage_of(fleet.centre.database)
        assert found == await usage_of(fleet.alone.database)


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(
    n_edges=st.integers(1, 4),
    story=st.lists(
        st.sampled_from(
            ["record"] * 4
            + ["roll", "ship"] * 3
            + ["count", "kill", "leave", "change", "reaches back"]
        ),
        min_size=8,
        max_size=24,
    ),
    seed=st.integers(0, 2**32),
)
def test_usage_of_edges_is_that_of_one_host(
    n_edges: int, story: list[str], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(play(Path(name), n_edges, story, seed))


async def test_numbers_that_a_lost_life_announced_are_waited_for_no_more(
    tmp_path: Path,
) -> None:
    async with fleet_of(tmp_path, 1, Random(1)) as fleet:
        (host,) = fleet.hosts
        await fleet.record(host)
        await fleet.finish()
        ((epoch, seq),) = await names(
            fleet.centre, "SELECT producer, last_seq FROM producers"
        )
        announced = Hello(VERSION, epoch, OWN_APP, "", 0, NOON_MS, seq + 9)
        await fleet.centre.ingest.hello(announced, flags_kept=EDGES_FLAGS)
        gap = "SELECT recorded_seq - last_seq FROM producers"

        # What an edge that was put back had counted cannot be told of what left.
        async with fleet.centre.database.transaction() as tx:
            await tx.execute("UPDATE batches SET first_seq = first_seq + 1", ())
        with pytest.raises(WireError, match="in its archive"):
            await fleet.countings.covered(host.edge, Epochs({epoch: 0}))

        # As far as the ledger has them they may still come.
        await fleet.countings.covered(host.edge, Epochs({epoch: seq + 4}))
        assert await rows(fleet.centre, gap) == [(4,)]
        await fleet.countings.covered(host.edge, Epochs({epoch: seq - 1}))
        assert await rows(fleet.centre, gap) == [(0,)]


async def names(sidecar: Sidecar, sql: str) -> list[tuple[str, int]]:
    """Return what a query for names with numbers finds."""
    async with sidecar.database.reading() as tx:
        return await tx.fetch_all(sql)


async def test_what_is_rolled_up_at_once_crosses_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.fleet.roller.WHOLE_BYTES", 20_000)
    monkeypatch.setattr("meterline_sidecar.fleet.backlog.FRAME_BYTES", 6_000)
    async with fleet_of(tmp_path, 1, Random(1)) as fleet:
        (host,) = fleet.hosts
        events = [event(subject=f"acct_{i}") for i in range(150)]
        await ingested(host.sidecar.ingest, "a" * 32, batch(*events))
        while await fleet.roll(host):
            pass
        async with host.sidecar.database.reading() as tx:
            part = await read_slice(tx, Place(0), is_rolled_up=True)
        frames = [frame for frame in part.frames if isinstance(frame, Batch)]
        rolled = await rows(
            host.sidecar, "SELECT first_seq, last_seq FROM batches WHERE id > 1"
        )

    spans = [
        (one.first_seq, one.first_seq + len(list(split_records(one.records))) - 1)
        for one in frames
    ]
    assert len(rolled) > 2
    assert {first for first, _ in spans} <= {first for first, _ in rolled}
    assert {last for _, last in spans} <= {last for _, last in rolled}
    assert max(len(one.records) for one in frames) <= 20_000
    assert len(covers_in(frames[-1], edge_id=1, after_seq=0)) == 1
    assert covers_in(frames[-1], edge_id=1, after_seq=spans[-1][1]) == []


async def test_what_takes_long_to_roll_up_is_sent_before_all_of_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.fleet.roller.FIRST_EVENTS", 10)
    monkeypatch.setattr("meterline_sidecar.fleet.roller.EVERY_S", 0.0)
    async with fleet_of(tmp_path, 1, Random(1)) as fleet:
        (host,) = fleet.hosts
        events = [event(subject="acct_1") for _ in range(25)]
        await ingested(host.sidecar.ingest, "a" * 32, batch(*events))
        await fleet.roll(host)  # asks about the worker

        is_left = await fleet.roll(host)

        (cursor,) = (await rows(host.sidecar, "SELECT cursor FROM roll_ups"))[0]
        assert (cursor, is_left) == (10, True)
