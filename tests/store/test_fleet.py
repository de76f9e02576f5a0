"""Edges, whose producers are whose, and what people decided about edges."""

from meterline.wire import Hello
from meterline_sidecar.ingest.producer_row import new_row
from meterline_sidecar.store import fleet, questions
from meterline_sidecar.store.edge.events import add_producer
from meterline_sidecar.store.fleet import EdgeRow
from meterline_sidecar.store.port import Database


def an_edge(name: str) -> EdgeRow:
    return EdgeRow(
        id=0,
        edge=name * 32,
        name=name,
        credential="token 1",
        program="0.1.0",
        first_ms=1,
        seen_ms=2,
        batch=0,
        ahead=0,
        mark=b"",
        low_ms=3,
        skew_ms=-4,
        trouble="",
    )


async def test_an_edge_comes_back_as_it_stands(database: Database) -> None:
    async with database.transaction() as tx:
        one = await fleet.add_edge(tx, an_edge("a"))
        other = await fleet.add_edge(tx, an_edge("b"))
        stands = an_edge("a")._replace(
            id=one, batch=2**53, ahead=7, mark=b"\0m", low_ms=9
        )
        await fleet.update_edge(tx, stands)

    async with database.reading() as tx:
        assert await fleet.list_edges(tx) == [stands, an_edge("b")._replace(id=other)]


async def test_who_speaks_for_an_edge_is_known_and_where(database: Database) -> None:
    async with database.transaction() as tx:
        await fleet.note_speaks(tx, 7, "1" * 32, at="one")
        await fleet.note_speaks(tx, 8, "2" * 32, at="one")
        await fleet.note_speaks(tx, 8, "", at="two")

    async with database.reading() as tx:
        assert [await fleet.speaks_for(tx, n) for n in (7, 8, 9)] == ["1" * 32, "", ""]
        assert await fleet.centres_of_edges(tx) == {7: "one", 8: "two"}


async def test_the_last_decision_about_an_edge_holds(database: Database) -> None:
    async with database.transaction() as tx:
        one = await fleet.add_edge(tx, an_edge("a"))
        other = await fleet.add_edge(tx, an_edge("b"))
        await fleet.add_decision(
            tx, one, "retire", decided_ms=5, author="me", reason="gone"
        )
        await fleet.add_decision(
            tx, other, "retire", decided_ms=5, author="me", reason="gone"
        )
        await fleet.add_decision(
            tx, other, "adopt", decided_ms=5, author="me", reason="back"
        )

    async with database.reading() as tx:
        assert await fleet.retired_edges(tx) == {one}


async def test_a_producer_is_of_the_edge_that_claimed_it(database: Database) -> None:
    async with database.transaction() as tx:
        await fleet.claim_producer(tx, "0" * 32, edge_id=7)

    async with database.reading() as tx:
        assert await fleet.edge_of_producer(tx, "0" * 32) == 7
        assert await fleet.edge_of_producer(tx, "1" * 32) is None
        assert await fleet.edges_of_producers(tx, ["0" * 32, "1" * 32]) == {"0" * 32: 7}

    async with database.transaction() as tx:  # its edge is retired, and it lives on
        await fleet.claim_producer(tx, "0" * 32, edge_id=8)
    async with database.reading() as tx:
        assert await fleet.edge_of_producer(tx, "0" * 32) == 8


async def test_open_workers_are_told_by_the_edge_they_send_to(
    database: Database,
) -> None:
    here, there, ended = "0" * 32, "1" * 32, "2" * 32
    async with database.transaction() as tx:
        edge_id = await fleet.add_edge(tx, an_edge("a"))
        for worker in (here, there, ended):
            hello = Hello(1, worker, "app", "host", 1, 0)
            row = new_row(hello, seen_ms=0)._replace(is_closed=int(worker == ended))
            await add_producer(tx, row)
        for worker in (there, ended):
            await fleet.claim_producer(tx, worker, edge_id=edge_id)

    async with database.reading() as tx:
        names = await fleet.edge_names_of(tx, [here, there, ended])
        assert names == {there: "a", ended: "a"}
        assert await fleet.edge_names_of(tx, []) == {}
        assert await fleet.n_open_at_edges(tx) == 1


async def test_an_edge_is_found_by_the_id_of_its_ledger(database: Database) -> None:
    async with database.transaction() as tx:
        one = await fleet.add_edge(tx, an_edge("a"))

    async with database.reading() as tx:
        assert await fleet.find_edge(tx, "a" * 32) == an_edge("a")._replace(id=one)
        assert await fleet.find_edge(tx, "b" * 32) is None


async def test_the_last_process_that_was_noted_speaks_for_an_edge(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        before = await fleet.speaks_for(tx, 7)
        await fleet.note_speaks(tx, 7, "one")
        await fleet.note_speaks(tx, 8, "other")
        await fleet.note_speaks(tx, 7, "two")

    async with database.reading() as tx:
        assert (before, await fleet.speaks_for(tx, 7)) == ("", "two")


async def test_a_question_is_answered_once_and_there_are_so_many_at_most(
    database: Database,
) -> None:
    names = [str(n) for n in range(questions.QUESTIONS_MAX + 1)]

    async with database.transaction() as tx:
        room = [await questions.add_question(tx, n, 7, b"\0asked") for n in names]
        for told in (b"\0told", b"told again"):
            await questions.answer_question(tx, "1", told)
        await questions.answer_question(tx, "gone", b"told")
        for name in names[2:]:
            await questions.drop_question(tx, name)

    assert room == [True] * questions.QUESTIONS_MAX + [False]
    async with database.reading() as tx:
        assert sorted(await questions.list_questions(tx)) == [
            ("0", 7, b"\0asked", False),
            ("1", 7, b"\0asked", True),
        ]
        found = [await questions.told_of(tx, name) for name in ("0", "1", "2")]
    assert found == [None, b"\0told", None]
