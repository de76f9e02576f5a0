"""Files that edges wrote: each noted once, and written anew by another row."""

from typing import Final

from meterline.events import Flag
from meterline.wire import SEQ_MAX, Hello
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.fleet.forgotten import n_lost
from meterline_sidecar.ingest.producer_row import new_row
from meterline_sidecar.store import fleet
from meterline_sidecar.store.edge import archive, event_log, forward, roll_ups
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.events import BatchRow, LossRow
from meterline_sidecar.store.edge.forward import Forgotten
from meterline_sidecar.store.edge.roll_ups import EdgeCover, RollUp
from meterline_sidecar.store.port import Database, Tx
from tests.edge_files import a_file
from tests.producer import PRODUCER
from tests.store.rows import add_subjects

ROLLED_UP: Final = int(Flag.ROLLED_UP)


async def test_files_come_back_in_the_order_of_the_chain(database: Database) -> None:
    first = a_file()
    second = a_file(
        file="events-4.jsonl.gz",
        first_batch_id=3,
        last_batch_id=3,
        previous_mac=b"two",
        mac=b"\0\xff",
        events=2**40,
    )
    async with database.transaction() as tx:
        two = await store.add_file(tx, second)
        one = await store.add_file(tx, first)
        await store.add_file(tx, a_file(edge_id=2))

    async with database.reading() as tx:
        assert await store.files_of(tx, 1) == [(one, first), (two, second)]
        assert await store.last_file(tx, 1) == (two, second)
        assert await store.newest_file(tx, 1) == (one, first)
        assert await store.newest_file(tx, 9) is None
        assert await store.file_named(tx, 1, second.file) == (two, second)
        assert await store.file_named(tx, 2, second.file) is None
        sums = await store.sums(tx)
        assert sums[1] == (2, 3 + 2**40, 14, first.learned_ms)
        assert sums.keys() == {1, 2}


async def test_a_ledgers_own_files_and_those_of_its_edges_are_told_apart(
    database: Database,
) -> None:
    own, of_edge = a_file(edge_id=store.OWN, file="own"), a_file(file="theirs")
    async with database.transaction() as tx:
        for file in (own, of_edge, a_file(edge_id=2, file="anothers", mac=b"\1")):
            await store.add_file(tx, file)

    async with database.reading() as tx:
        kept = [
            [one.file for one in await store.kept(tx, is_own=is_own, limit=9)]
            for is_own in (True, False)
        ]
        assert kept == [["own"], ["anothers", "theirs"]]
        is_of_an_edge = [
            await store.is_of_an_edge(tx, file) for file in ("own", "theirs", "none")
        ]
        assert is_of_an_edge == [False, True, False]


async def test_files_that_left_are_found_by_their_hours(database: Database) -> None:
    day = [
        a_file(
            file=f"{hour}",
            first_batch_id=hour,
            last_batch_id=hour,
            first_event_id=hour,
            events=1,
            first_ms=hour * HOUR_MS + 1,
            beyond_ms=(hour + 1) * HOUR_MS,
        ).as_move()
        for hour in range(1, 9)
    ]
    async with database.transaction() as tx:
        for move in day:
            await archive.add_move(tx, move)

    async def found(*hours: int) -> list[str]:
        async with database.reading() as tx:
            files = await archive.files_of_hours(tx, [one * HOUR_MS for one in hours])
        return [move.file for move in files]

    assert await found() == []
    assert await found(0, 9) == []
    assert await found(7, 2) == ["2", "7"]
    assert await found(*range(12)) == [move.file for move in day]


async def test_of_a_file_that_was_written_anew_the_last_row_holds(
    database: Database,
) -> None:
    anew = a_file(file="events-1-anew.jsonl.gz", digest="1" * 64)
    async with database.transaction() as tx:
        before = await store.add_file(tx, a_file())
        other = await store.add_file(tx, a_file(edge_id=2))
        after = await store.add_file(tx, anew)

    async with database.reading() as tx:
        assert await store.files_of(tx, 1) == [(after, anew)]
        assert [row.id for row in await store.files_after(tx, 0, limit=9)] == [
            other,
            after,
        ]
        assert await store.files_after(tx, 0, edge_id=1, limit=9) == [(after, anew)]
        assert await store.files_after(tx, after, limit=9) == []
        assert await store.file_named(tx, 1, a_file().file) == (before, a_file())


async def test_what_left_for_an_edges_file_is_found_by_its_batches(
    database: Database,
) -> None:
    own = a_file(edge_id=store.OWN)
    second = own._replace(
        file="events-4.jsonl.gz", first_batch_id=3, last_batch_id=4, mac=b"four"
    )
    async with database.transaction() as tx:
        await store.add_file(tx, a_file(first_batch_id=3))
        await store.add_file(tx, own)
        two = await store.add_file(tx, second)
        await archive.add_move(tx, own.as_move())

    async with database.reading() as tx:
        assert await archive.file_of_batch(tx, 2) == own.as_move()
        assert await archive.file_of_batch(tx, 3) is None
        assert await store.file_behind(tx, store.OWN, 2) == (two, second)
        assert await store.file_behind(tx, store.OWN, 3) is None
        assert await store.copies_after(tx, 0, limit=9) == [(two, second)]
        assert await store.copies_after(tx, two, limit=9) == []


async def test_what_left_was_sent_and_counted_before_what_is_here(
    database: Database,
) -> None:
    hello = Hello(1, PRODUCER, "app", "host", 1, 0)
    other = Hello(1, "f" * 32, "app", "host", 1, 0)
    roll_up = RollUp("g", "", 9, 1)
    async with database.transaction() as tx:
        here = await event_store.add_producer(
            tx, new_row(hello, seen_ms=0)._replace(last_seq=8)
        )
        gone = await event_store.add_producer(
            tx, new_row(other, seen_ms=0)._replace(last_seq=2)
        )
        # Batches 1 and 2 left, with three events; the next one begins with number 6.
        await archive.add_move(tx, a_file().as_move())
        await event_store.add_batch(
            tx, BatchRow(3, here, 6, 8, 4, 3, 2, 0, 0), b"three"
        )
        for after_id, up_to_id, first_id in ((0, 2, 3), (2, 4, 5)):
            await roll_ups.add_roll(
                tx, roll_ups.Roll("g", after_id, up_to_id, first_id, 1)
            )
        await roll_ups.add_rolled_up_before(tx, [(PRODUCER, 3), (PRODUCER, 2)])

    async with database.reading() as tx:

        async def seq(producer_id: int, batch_id: int) -> int:
            return await forward.last_seq_by(tx, producer_id, batch_id=batch_id)

        assert [await seq(here, 2), await seq(here, 3)] == [5, 8]
        assert await seq(gone, 3) == 2

        async def counted(batch_id: int) -> int:
            return await roll_ups.rolled_up_to(tx, roll_up, batch_id=batch_id)

        assert [await counted(at) for at in (0, 1, 2, 3)] == [0, 0, 2, 9]
        assert await roll_ups.all_rolled_up_before(tx) == {PRODUCER: 3}

        async def batch_by(event_id: int, after: int = 2) -> int:
            return await forward.batch_by_event(tx, event_id, after=after)

        assert [await batch_by(at) for at in (3, 5, 6)] == [2, 2, 3]
        assert await batch_by(5, after=3) == 3
        assert await forward.last_seqs_between(tx, 2, 3) == {here: 8}
        assert await forward.last_seqs_between(tx, 3, 3) == {}

        found = [await roll_ups.has_batch_of(tx, PRODUCER, at) for at in (5, 6, 8, 9)]
        assert found == [False, True, True, False]


async def test_what_is_forgotten_is_told_with_what_was_counted_before(
    database: Database,
) -> None:
    hello = Hello(1, PRODUCER, "app", "host", 1, 0)
    other = Hello(1, "f" * 32, "app", "host", 1, 0)
    async with database.transaction() as tx:
        first = await event_store.add_producer(
            tx, new_row(hello, seen_ms=0)._replace(lost=SEQ_MAX, refused=1)
        )
        second = await event_store.add_producer(
            tx, new_row(other, seen_ms=0)._replace(lost=SEQ_MAX)
        )
        losses = [
            (first, LossRow(1, 5, "gone", None)),
            (first, LossRow(6, 6, "gone", b"refused")),
            (second, LossRow(1, 2, "gone", None)),
            (second, LossRow(3, 4, "dropped", None)),
        ]
        for i, (producer_id, loss) in enumerate(losses, 1):
            await event_store.add_losses(
                tx, first_id=i, producer_id=producer_id, losses=[loss]
            )
        await roll_ups.add_rolled_up_before(tx, [(PRODUCER, 3)])

    async with database.reading() as tx:
        assert await forward.forgotten(tx, reason="gone") == [
            Forgotten(PRODUCER, 1, 5, 3),
            Forgotten("f" * 32, 1, 2, 0),
        ]
        assert await forward.n_lost(tx) == 2 * SEQ_MAX + 1
        # No more than a heartbeat can say, whatever workers have announced.
        assert await n_lost(tx) == SEQ_MAX


async def test_what_a_retired_edge_announced_is_waited_for_no_more(
    database: Database,
) -> None:
    hellos = [Hello(1, c * 32, "app", "", 1, 0, recorded_seq=9) for c in "ab"]

    async def recorded(tx: Tx) -> list[int]:
        rows = [await event_store.find_producer(tx, one.producer) for one in hellos]
        return [row.recorded_seq for row in rows if row is not None]

    async with database.transaction() as tx:
        for edge_id, hello in enumerate(hellos, 1):
            row = new_row(hello, seen_ms=0)._replace(last_seq=8)
            await event_store.add_producer(tx, row)
            await fleet.claim_producer(tx, hello.producer, edge_id=edge_id)
        assert await recorded(tx) == [9, 9]
        await roll_ups.expect_no_more(tx, 1, app="another")
        assert await recorded(tx) == [9, 9]
        await roll_ups.expect_no_more(tx, 1, app="app")
        assert await recorded(tx) == [8, 9]


async def test_files_of_a_span_are_those_of_edges_with_events_in_it(
    database: Database,
) -> None:
    file = a_file()
    async with database.transaction() as tx:
        one = await store.add_file(tx, file)
        two = await store.add_file(tx, file._replace(edge_id=2))
        await store.add_file(tx, file._replace(edge_id=store.OWN))
        await store.add_file(tx, file._replace(edge_id=3, first_ms=0, beyond_ms=0))

    async with database.reading() as tx:

        async def found(start: int, end: int, **more: int) -> list[int]:
            given = {"after": 0, "limit": 9, **more}
            files = await store.files_of_span(tx, start, end, **given)
            return [row.id for row in files]

        at_ms = file.first_ms
        assert await found(at_ms, at_ms + 1) == [one, two]
        assert await found(at_ms, at_ms + 1, edge_id=2) == [two]
        assert await found(at_ms, at_ms + 1, after=one) == [two]
        assert await found(at_ms, at_ms + 1, limit=1) == [one]
        assert await found(at_ms + 1, at_ms + 2) == []
        assert await found(0, at_ms) == []


async def test_raw_events_and_what_they_came_to_are_told_apart(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await add_subjects(
            tx, [(1, "acme_1", None), (2, "acme_2", None), (3, "b", None)]
        )
        hello = Hello(1, PRODUCER, "app", "host", 1, 0)
        producer_id = await event_store.add_producer(tx, new_row(hello, seen_ms=0))
        await fleet.claim_producer(tx, PRODUCER, edge_id=7)
        endpoint = (await event_store.intern_endpoints(tx, [("GET", "/")]))["GET", "/"]
        of_none = (None, None)
        of_each = [(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 1, ROLLED_UP)]
        await event_store.add_events(
            tx,
            [
                (
                    one,
                    producer_id,
                    one,
                    5,
                    0,
                    who,
                    endpoint,
                    200,
                    *(0, 0, 0),
                    flags,
                    *of_none,
                )
                for one, who, flags in of_each
            ],
        )
        await event_store.note_hours(tx, [(0, 1, 4)])

    async with database.reading() as tx:
        wanted = event_log.Filter(
            subjects='[["acme_", "acme_\U0010ffff"]]', without=ROLLED_UP
        )
        page = await event_log.read_events(
            tx, wanted, start=0, end=10, after=0, limit=9
        )
        states = await roll_ups.states_of_edges(tx, 0, 9, flags=ROLLED_UP)
        none = await roll_ups.states_of_edges(tx, 4, 9, flags=ROLLED_UP)
    assert [one.id for one in page.events] == [1, 2]
    assert [(edge, seq, state.id) for edge, _, seq, state in states] == [(7, 4, 4)]
    assert none == []


async def test_how_far_edges_are_with_a_worker_never_goes_back(
    database: Database,
) -> None:
    one, other = "1" * 32, "2" * 32
    covers = [
        EdgeCover(one, "a" * 8, "g", 7, 5),
        EdgeCover(one, "a" * 8, "h", 7, 4),
        EdgeCover(other, "b" * 8, "g", 8, 2**53),
    ]
    async with database.transaction() as tx:
        await roll_ups.add_edge_covers(tx, covers)
        await roll_ups.add_edge_covers(tx, [covers[0]._replace(last_seq=3)])
        for worker, edge_id in ((one, 7), (other, 8)):
            await fleet.claim_producer(tx, worker, edge_id=edge_id)
        before = await roll_ups.edges_that_took_over(tx, app="usage")
        await fleet.claim_producer(tx, one, edge_id=9)

    async with database.reading() as tx:
        assert sorted(await roll_ups.edge_covers(tx, [one])) == covers[:2]
        assert await roll_ups.edge_covers(tx, [other, "3" * 32]) == covers[2:]
        after = await roll_ups.edges_that_took_over(tx, app="usage")
        hello = Hello(1, other, "app", "host", 1, 0)
    async with database.transaction() as tx:
        row = new_row(hello, seen_ms=0)._replace(last_seq=1)
        await event_store.add_producer(tx, row)
        sent = await roll_ups.edges_that_took_over(tx, app="usage")
    assert (before, after, sent) == (set(), {9}, {8, 9})


async def test_what_events_cover_is_known_by_batches_and_within_them(
    database: Database,
) -> None:
    workers = ["1" * 32, "2" * 32]
    async with database.transaction() as tx:
        ids = [
            await event_store.add_producer(
                tx, new_row(Hello(1, worker, "app", "host", 1, 0), seen_ms=0)
            )
            for worker in workers
        ]
        endpoint = (await event_store.intern_endpoints(tx, [("GET", "/")]))["GET", "/"]
        of_none = (0, 0, 0, 0, None, None)
        # Of each batch: whose it is, its numbers, and of how many of them there are events.
        batches = [(0, 1, 3, 3), (1, 1, 9, 2), (0, 4, 4, 0), (0, 5, 7, 3)]
        event_id = 0
        for i, (who, first, last, n_events) in enumerate(batches, 1):
            batch = BatchRow(
                *(i, ids[who], first, last, event_id + 1, n_events, 1, 0),
                learned_ms=0,
            )
            await event_store.add_batch(tx, batch, b"mac")
            rows = [
                (
                    event_id + 1 + n,
                    ids[who],
                    first + n,
                    5,
                    0,
                    0,
                    endpoint,
                    200,
                    *of_none,
                )
                for n in range(n_events)
            ]
            await event_store.add_events(tx, rows)
            event_id += n_events

    one, other = workers
    async with database.reading() as tx:
        found = [
            await roll_ups.covered(tx, *span)
            for span in ((0, 1), (0, 3), (2, 4), (3, 5), (0, 8), (5, 7), (7, 8))
        ]
    assert found == [
        *({one: 1}, {one: 3}, {one: 3, other: 1}, {other: 9}),
        *({one: 7, other: 9}, {one: 6}, {one: 7}),
    ]
    async with database.reading() as tx:
        parts = [
            await roll_ups.events_of_part(tx, one, (2, 6), among)
            for among in ((0, 8), (2, 6), (6, 6))
        ]
    assert parts == [{2, 3, 6, 7}, {3, 6}, set()]
