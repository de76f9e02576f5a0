"""Two processes of one ledger, as parts: what one has in memory is right when the other wrote."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from msgspec.structs import replace

from meterline import edge_wire
from meterline.edge_wire import Ahead, AskEvents, EdgeHello, EventsTold, Heartbeat
from meterline.wire import VERSION, Hello, WireError
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.fleet import questions
from meterline_sidecar.fleet.asking import Asking, NotTold
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.questions import Questions
from meterline_sidecar.fleet.shared_tokens import SharedTokens
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer, Producer
from meterline_sidecar.ingest.watermarks import SentElsewhere
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store import invoices, terms
from meterline_sidecar.store.edge import events
from meterline_sidecar.store.invoices import NewFinal
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.store.questions import add_question, list_questions
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.terms.moved import TermsMoved
from meterline_sidecar.terms.owners import WantedCustomer
from tests.clock import FakeClock
from tests.patience import PATIENCE_S
from tests.postgres_server import shared_database
from tests.producer import NOON_MS, batch, event

KEY: Final = b"k" * 32
EDGE: Final = "e" * 32
ONE: Final = "1" * 32
TWO: Final = "2" * 32


class Process:
    """What one process has of a ledger."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.clock = FakeClock(NOON_MS)
        journal = Journal(KEY)
        self.keeper = TermsKeeper(ledger, journal, clock=self.clock)
        self.committer = Committer(
            ledger,
            clock=self.clock,
            key=KEY,
            history_of=lambda name: self.keeper.terms.claims.history(name),
            learn=self.keeper.terms.catch_up,
        )
        folder.mkdir()
        chain = ChainFiles(folder / "meterline.db")
        self.ingest = Ingest(
            ledger, self.committer, clock=self.clock, chain=chain, company_s=0
        )
        self.edges = Edges(
            *(ledger, journal),
            clock=self.clock,
            is_valid=lambda _credential: True,
            name=folder.name,
        )

    async def start(self) -> None:
        await self.keeper.start()
        await self.committer.start()
        await self.edges.follow_ledger()

    async def take(self, *subjects: str, first_seq: int) -> int:
        """Take events of a worker that says hello; return the number that is acked."""
        producer = await self.ingest.hello(Hello(VERSION, ONE, "app", "h", 1, 0))
        return await self.go_on(producer, *subjects, first_seq=first_seq)

    async def go_on(self, producer: Producer, *subjects: str, first_seq: int) -> int:
        """Take events of one that said hello."""
        sent = batch(*(event(subject=one) for one in subjects), first_seq=first_seq)
        done = self.ingest.accept(producer, sent)
        await self.ingest.drain()
        return await done


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncGenerator[tuple[Process, Process]]:
    url = shared_database()
    found = [Process(await open_ledger(url), tmp_path / name) for name in ("a", "b")]
    for one in found:
        await one.start()
    yield found[0], found[1]
    for one in found:
        await one.ledger.close()


def wanted(name: str, *subjects: str) -> WantedCustomer:
    return WantedCustomer(id=name, fields={"name": name, "subjects": subjects})


async def owner(ledger: Ledger, subject: str) -> str | None:
    async with ledger.reading() as tx:
        ((subject_id, _),) = await terms.subjects_named(tx, [subject])
        return (await terms.owners_of(tx, [subject_id]))[subject_id][-1][1]


async def test_a_worker_that_changes_processes_and_back_counts_once(
    processes: tuple[Process, Process],
) -> None:
    one, two = processes

    acks = [
        await one.take("a", "b", first_seq=1),
        await two.take("b", "c", "d", first_seq=2),
        await one.take("d", "e", first_seq=4),
    ]

    assert acks == [2, 4, 5]
    async with one.ledger.reading() as tx:
        assert (await events.marks(tx)).event_id == 5


async def test_what_a_worker_sent_to_both_at_once_is_taken_from_one(
    processes: tuple[Process, Process],
) -> None:
    one, two = processes
    hello = Hello(VERSION, ONE, "app", "h", 1, 0)
    at_one, at_two = await one.ingest.hello(hello), await two.ingest.hello(hello)

    assert await one.go_on(at_one, "a", first_seq=1) == 1
    with pytest.raises(SentElsewhere):
        await two.go_on(at_two, "a", first_seq=1)
    assert await two.take("a", "b", first_seq=1) == 2

    async with one.ledger.reading() as tx:
        assert (await events.marks(tx)).event_id == 2


async def test_a_subject_that_is_new_to_one_is_whose_the_other_agreed_it_is(
    processes: tuple[Process, Process],
) -> None:
    one, two = processes
    await one.keeper.change_customer(wanted("acme", "acct_1"), author="me")

    await two.take("acct_1", first_seq=1)

    assert await owner(one.ledger, "acct_1") == "acme"


async def test_what_is_agreed_at_both_in_turn_is_known_to_both(
    processes: tuple[Process, Process],
) -> None:
    one, two = processes
    heard: list[int] = []

    async def listen(_terms: object) -> None:
        heard.append(one.keeper.terms.row_id)

    one.keeper.on_change(listen)
    await one.keeper.change_customer(wanted("acme", "acct_1"), author="me")
    await two.keeper.change_customer(wanted("beta", "acct_2"), author="me")
    await one.keeper.follow_ledger()
    await one.keeper.follow_ledger()

    for keeper in (one.keeper, two.keeper):
        assert set(keeper.terms.names("customer")) == {"acme", "beta"}
    assert len(heard) == 2


@pytest.mark.parametrize("what", ["terms", "invoice"])
async def test_what_was_found_before_another_wrote_is_not_agreed_to(
    processes: tuple[Process, Process], what: str
) -> None:
    one, two = processes
    await one.keeper.change_customer(wanted("acme", "acct_1"), author="me")
    await two.keeper.follow_ledger()
    diff = await one.keeper.preview_customer(wanted("acme", "acct_1", "acct_2"))
    if what == "terms":
        await two.keeper.change_customer(wanted("beta", "acct_3"), author="me")
    else:
        async with two.ledger.transaction() as tx:
            final = NewFinal("acme", 0, NOON_MS, 1, "{}", "2026-10")
            await invoices.add_final(tx, final)

    with pytest.raises(TermsMoved, match="try again"):
        await one.keeper.agree(diff, author="me")


def edge_hello(life: str) -> EdgeHello:
    return EdgeHello(edge_wire.EDGE_VERSION, EDGE, life, "api-1", "0.1.0", NOON_MS)


async def test_an_edge_that_changes_processes_is_known_to_both_as_it_stands(
    processes: tuple[Process, Process],
) -> None:
    one, two = processes
    at_one = await one.edges.enter(edge_hello(ONE), "token 1")
    await one.edges.ahead(at_one, Ahead(7, b"mark"), life=ONE)

    at_two = await two.edges.enter(edge_hello(ONE), "token 1")
    await two.edges.ahead(at_two, Ahead(9, b"next"), life=ONE)
    # The connection that is left over ends late, and changes nothing.
    await one.edges.leave(at_one, ONE)
    again = await one.edges.enter(edge_hello(ONE), "token 1")

    assert (at_two.row.ahead, at_two.row.id) == (9, at_one.row.id)
    assert (again.row.ahead, again.row.mark) == (9, b"next")

    # Where another one leads, it waits for an edge's counting, and for no longer.
    await one.edges.beat(again, Heartbeat(9, NOON_MS, NOON_MS, generations=("g", "h")))
    await two.edges.leave(at_two, ONE)
    await two.edges.follow_ledger()
    assert two.edges.named("api-1").generations == {"g": 0, "h": 0}


async def test_of_two_hosts_that_speak_as_one_edge_the_second_is_refused_anywhere(
    processes: tuple[Process, Process],
) -> None:
    one, two = processes
    at_one = await one.edges.enter(edge_hello(ONE), "token 1")
    await two.edges.follow_ledger()
    seen = two.edges.named("api-1")
    seen.is_elsewhere, at_one.stored_s = False, 0.0  # as after some seconds of silence
    await one.edges.beat(at_one, Heartbeat(0, NOON_MS, NOON_MS))
    await two.edges.follow_ledger()
    assert seen.is_elsewhere, "it spoke, though the clock stands still"

    with pytest.raises(WireError, match="a second host"):
        await two.edges.enter(edge_hello(TWO), "token 1")
    await one.edges.leave(at_one, ONE)
    assert (await two.edges.enter(edge_hello(TWO), "token 1")).life == TWO


class Told:
    """An edge that is connected to one process, and is asked at the other one."""

    def __init__(self, one: Process, two: Process) -> None:
        self.at_one, self.at_two = one.edges.named("api-1"), two.edges.named("api-1")
        self.at_one.asking = self._asking = Asking(self._tell)
        self.at_one.tells = True
        self.here, self.there = (
            Questions(of.ledger, of.edges, clock=of.clock) for of in (one, two)
        )
        self._ledger = one.ledger
        self.answer: dict[str, Any] | None = {}
        """What it tells; ``None``: its connection is cut instead."""
        self.asked: list[AskEvents] = []
        self.now_s = 0.0

    async def _tell(self, question: AskEvents) -> None:
        self.asked.append(question)
        if self.answer is None:
            self.at_one.life = None
            self._asking.end()
            self.now_s += PATIENCE_S  # and nobody answers in time
        else:
            self._asking.told(EventsTold(question.number, **self.answer))

    async def until_asked(self, n: int) -> None:
        """Wait until so many questions are in the ledger."""

        async def n_there() -> int:
            async with self._ledger.reading() as tx:
                return len(await list_questions(tx))

        while await n_there() != n:
            await asyncio.sleep(0.01)

    async def ask(self, *, timeout_s: float = PATIENCE_S) -> EventsTold:
        """Ask at the other process, while the first one looks once."""
        asking = asyncio.ensure_future(
            self.there.ask(self.at_two, QUESTION, timeout_s=timeout_s)
        )
        await self.until_asked(1)
        await self.here.answer()
        return await asking


QUESTION: Final = AskEvents(0, 5, 9, "", 0, 10, subjects=(("a", "b"),))


async def test_an_edge_is_asked_through_the_process_that_it_is_connected_to(
    processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = processes
    await one.edges.enter(edge_hello(ONE), "token 1")
    await two.edges.follow_ledger()
    edge = Told(one, two)
    edge.answer = {"next_after": 3}

    assert (await edge.ask()).next_after == 3
    assert [replace(asked, number=0) for asked in edge.asked] == [QUESTION]
    edge.answer = {"trouble": "it tells no events"}
    with pytest.raises(NotTold, match="tells no events"):
        await edge.ask()
    await edge.until_asked(0)

    # Who asked died: what it left lies there until a process has seen it for long.
    async with two.ledger.transaction() as tx:
        assert await add_question(tx, "left", edge.at_two.row.id, b"of another form")
    await edge.here.answer()
    await edge.until_asked(1)
    monkeypatch.setattr(questions, "LEFT_S", -1)
    await edge.here.answer()
    await edge.until_asked(0)
    monkeypatch.undo()

    # Its connection is cut: the process that has it next would answer.
    edge.answer = None
    time = SimpleNamespace(monotonic=lambda: edge.now_s)
    monkeypatch.setattr(questions, "time", time)
    with pytest.raises(
        NotTold, match=r"the centre a, which did not answer within 0\.1"
    ):
        await edge.ask(timeout_s=0.1)
    monkeypatch.setattr("meterline_sidecar.store.questions.QUESTIONS_MAX", 0)
    with pytest.raises(NotTold, match="asked too much"):
        await edge.there.ask(edge.at_two, QUESTION, timeout_s=0.1)
    await edge.until_asked(0)


async def test_who_was_retired_or_adopted_elsewhere_is_so_everywhere(
    processes: tuple[Process, Process],
) -> None:
    one, two = processes
    at_one = await one.edges.enter(edge_hello(ONE), "token 1")
    await one.edges.ahead(at_one, Ahead(7, b"mark"), life=ONE)
    await two.edges.follow_ledger()

    await two.edges.retire("api-1", author="me", reason="sold")
    await one.edges.follow_ledger()
    with pytest.raises(WireError, match="retired"):
        one.edges.check(at_one, ONE, "token 1")
    await two.edges.adopt("api-1", author="me", reason="back")
    with pytest.raises(WireError, match="a newer connection"):
        await one.edges.ahead(at_one, Ahead(8, b"next"), life=ONE)

    again = await one.edges.enter(edge_hello(TWO), "token 1")
    assert (again.row.ahead, again.row.batch) == (0, 0)


async def test_tokens_that_were_made_and_revoked_on_one_host_are_so_on_all(
    processes: tuple[Process, Process], tmp_path: Path
) -> None:
    here, there = (
        TokenFile(tmp_path / name / "meterline.db.tokens", is_shared=True)
        for name in ("a", "b")
    )
    at_one, at_two = (
        SharedTokens(file, process.ledger)
        for file, process in zip((here, there), processes, strict=True)
    )
    made = [here.create("one", "read", now_ms=1), there.create("two", "edge", now_ms=2)]

    for one in (at_one, at_two, at_one):
        await one.run()
    assert names(here) == ["one", "two"] == names(there)

    # Of one that both hosts know, it is enough that one revokes it.
    assert there.revoke(made[0].token.id, now_ms=3) is not None
    assert there.find(made[0].text) is None
    for one in (at_one, at_two, at_one):
        await one.run()
    assert here.find(made[0].text) is None
    assert here.find(made[1].text) == made[1].token
    assert names(here) == ["two"] == names(there)


async def test_the_oldest_revoked_tokens_are_forgotten_and_never_hold_again(
    processes: tuple[Process, Process],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meterline_sidecar.fleet.shared_tokens.REVOKED_MAX", 2)
    here, away = (
        TokenFile(tmp_path / name / "meterline.db.tokens", is_shared=True)
        for name in ("a", "b")
    )
    at_one, at_two = (
        SharedTokens(file, process.ledger)
        for file, process in zip((here, away), processes, strict=True)
    )
    made = [here.create(str(n), "edge", now_ms=n) for n in range(1, 6)]
    for one in (at_one, at_two):
        await one.run()
    alone = away.create("never told of", "edge", now_ms=6)
    for n, token in enumerate(made[:4], 11):
        here.revoke(token.token.id, now_ms=n)
    late = here.create("late", "edge", now_ms=20)

    for _ in range(3):
        await at_one.run()
    assert len((tmp_path / "a" / "meterline.db.tokens").read_text().split("id")) == 5
    # Who was away meanwhile has them all as if they held.
    assert away.find(made[0].text) is not None
    await at_two.run()
    assert names(away) == ["5", "late"] == names(here)
    assert [away.find(one.text) for one in (*made[:4], alone)] == [None] * 5
    assert away.find(late.text) == late.token
    await at_one.run()
    assert names(here) == ["5", "late"]


def names(file: TokenFile) -> list[str]:
    return [token.name for token in file.all()]
