import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from meterline.events import Flag
from meterline_pricing import Calendar
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.lifecycle import check_held
from meterline_sidecar.clock import BELIEVED_AFTER_MS, DAY_MS, MINUTE_MS, JumpWatch
from meterline_sidecar.errors import DiskFull
from meterline_sidecar.ingest.decode import read_records
from meterline_sidecar.ingest.held import AlreadyCounted, Held, NoSuchHeldEvent
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.meters import Meter
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.edge import held as store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.held import Wanted
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import counted
from tests.agreed import claim, keep, terms_of
from tests.clock import FakeClock
from tests.integration.conftest import Sidecar
from tests.producer import (
    NOON_MS,
    PRODUCER,
    WITH_PROPERTIES,
    Connection,
    batch,
    event,
)

METERS = [Meter("calls", "count"), Meter("users", "unique", value="subject")]
NOVEMBER = Calendar().named("2026-11")
AHEAD = event(time_ms=NOON_MS + 6 * MINUTE_MS)
LATE = event(time_ms=NOON_MS - 400 * DAY_MS)  # before 2026: of a clock never set


def _silent(_what: str, _done: int, _of: int) -> None:
    """Tell nobody how far the verification is."""


@dataclass
class Setting:
    sidecar: Sidecar
    held: Held
    aggregator: Aggregator
    key: bytes

    async def ship(self, *events: object, first_seq: int = 1) -> None:
        async with Connection(self.sidecar.socket) as app:
            await app.hello()
            await app.ship(batch(*events, first_seq=first_seq))

    def pass_time(self, ms: int) -> None:
        self.sidecar.clock.time_ms += ms

    async def calls(self, customer: str = "acme") -> int:
        """Count what is there, and return what the customer used."""
        await self.aggregator.run()
        async with self.sidecar.database.reading() as tx:
            at = await counted(tx)
            rows = await usage_store.read_usage(
                tx, at.generation, customer=customer, start=0, end=2**53
            )
        return sum(int(str(row.totals.get("calls", 0))) for row in rows)

    async def decide(self, *, is_accepted: bool, **wanted: object) -> int:
        return await self.held.decide(
            Wanted(**wanted),  # type: ignore[arg-type]  # the fields of Wanted
            is_accepted=is_accepted,
            author="ann",
            reason="looked at it",
        )

    async def states(self) -> list[tuple[int, str]]:
        async with self.sidecar.database.reading() as tx:
            rows = await store.read_held(tx, Wanted(), after=0, limit=100)
        return [(row.event_id, row.state) for row in rows]

    async def findings(self) -> list[str]:
        terms = claim(terms_of(*METERS), "acme", "acct_*")
        await keep(self.sidecar.database, terms, key=self.key)
        report = await verify(
            self.sidecar.database,
            key=self.key,
            head=ChainFiles(self.sidecar.database.path).head(),
            progress=_silent,
        )
        return report.findings

    async def check(self) -> None:
        async with self.sidecar.database.reading() as tx:
            await check_held(tx, "acme", NOVEMBER)


@pytest.fixture
async def at(sidecar: Sidecar) -> Setting:
    key = ChainFiles(sidecar.database.path).key(has_batches=False)
    held = Held(sidecar.database, sidecar.ingest, Journal(key), clock=sidecar.clock)
    aggregator = Aggregator(
        sidecar.database, terms_of(*METERS), clock=sidecar.clock, release=held.release
    )
    await aggregator.start()
    return Setting(sidecar, held, aggregator, key)


async def test_an_event_of_a_clock_that_is_ahead_is_counted_once_its_time_has_come(
    at: Setting,
) -> None:
    await at.ship(event(), *[AHEAD] * 10)
    assert await at.calls() == 1

    at.pass_time(6 * MINUTE_MS)

    assert await at.calls() == 11
    assert await at.calls() == 11
    assert {state for _, state in await at.states()} == {"counted"}
    assert await at.findings() == []


async def test_it_is_let_go_by_the_rule_that_it_was_held_by(at: Setting) -> None:
    await at.ship(AHEAD)

    at.pass_time(MINUTE_MS - 1)
    assert await at.calls() == 0

    at.pass_time(1)
    assert await at.calls() == 1


async def test_a_late_event_waits_for_a_person(at: Setting) -> None:
    await at.ship(LATE)
    at.pass_time(400 * DAY_MS)
    assert await at.calls() == 0

    assert await at.decide(is_accepted=True, event=1) == 1

    assert await at.calls() == 1
    assert await at.findings() == []


async def test_what_a_wrong_clock_of_ours_held_is_judged_again_when_it_is_mended(
    at: Setting,
) -> None:
    await at.ship(LATE)
    assert await at.calls() == 0
    at.pass_time(-20_000 * DAY_MS)  # of a clock that was never set
    assert await at.calls() == 0
    at.pass_time(LATE.time_ms - at.sidecar.clock.time_ms)

    assert await at.calls() == 1
    assert await at.calls() == 1


async def test_nothing_is_judged_by_a_clock_that_has_just_jumped(at: Setting) -> None:
    clock, steady = at.sidecar.clock, FakeClock()
    watch = JumpWatch(clock, steady=steady.now_ms)
    held = Held(
        *(at.sidecar.database, at.sidecar.ingest, Journal(at.key)),
        clock=clock,
        watch=watch,
    )
    await at.ship(LATE)
    at.pass_time(LATE.time_ms - NOON_MS)  # now it is possible

    assert await held.release() == 0
    for moved in (clock, steady):
        moved.time_ms += BELIEVED_AFTER_MS + 1
    assert await held.release() == 1


def test_all_is_held_while_our_clock_is_not_known() -> None:
    for is_right, n_held in ((True, 0), (False, 1)):
        intake, _ = read_records(
            batch(event()).records,
            first_seq=1,
            skip=0,
            now_ms=NOON_MS,
            is_clock_right=is_right,
        )
        assert intake.held == n_held


async def test_what_was_let_go_has_the_facts_of_what_was_held(at: Setting) -> None:
    await at.ship(event(time_ms=LATE.time_ms, **WITH_PROPERTIES))
    await at.decide(is_accepted=True, customer="acme")

    async with at.sidecar.database.reading() as tx:
        (row,) = await store.read_held(tx, Wanted(), after=0, limit=10)
        assert row.counted_as is not None
        came = await event_log.read_event(tx, row.event_id)
        counts = await event_log.counts(tx)
        instead = await event_log.read_event(tx, row.counted_as)
    assert came is not None
    assert instead is not None
    same: dict[str, Any] = {"id": 0, "producer": "", "seq": 0, "flags": 0}
    assert came.event._replace(**same) == instead.event._replace(**same)
    assert came.event.properties
    assert (came.event.flags, instead.event.flags) == (Flag.HELD, Flag.RELEASED)
    assert (row.author, row.reason) == ("ann", "looked at it")
    assert (counts.recorded, counts.ingested, counts.held) == (1, 1, 0)


async def test_what_was_rejected_is_never_counted_by_itself(at: Setting) -> None:
    await at.ship(AHEAD, LATE)

    assert await at.decide(is_accepted=False, producer=PRODUCER) == 2

    at.pass_time(DAY_MS)
    assert await at.calls() == 0
    assert await at.states() == [(1, "rejected"), (2, "rejected")]


async def test_what_was_rejected_can_be_accepted_by_its_id(at: Setting) -> None:
    await at.ship(AHEAD, LATE)
    await at.decide(is_accepted=False, customer="acme")

    assert await at.decide(is_accepted=True, customer="acme") == 0
    assert await at.decide(is_accepted=True, event=2) == 1

    assert await at.calls() == 1
    assert await at.states() == [(1, "rejected"), (2, "counted")]
    assert await at.findings() == []


async def test_what_is_counted_stays_counted(at: Setting) -> None:
    await at.ship(event(), LATE)
    await at.decide(is_accepted=True, event=2)

    with pytest.raises(AlreadyCounted, match="event 2 is counted already, as event 3"):
        await at.decide(is_accepted=False, event=2)
    with pytest.raises(NoSuchHeldEvent, match="event 1 is not held"):
        await at.decide(is_accepted=False, event=1)
    assert await at.calls() == 2


async def test_a_decision_takes_those_that_are_meant_and_no_others(at: Setting) -> None:
    await at.ship(LATE, event(time_ms=LATE.time_ms, subject="other"))

    assert await at.decide(is_accepted=True, customer="acme") == 1

    assert await at.states() == [(1, "counted"), (2, "waiting")]


async def test_many_are_decided_and_stored_in_steps(
    at: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.ingest.held.STEP_EVENTS", 3)
    await at.ship(*[LATE] * 10)

    assert await at.decide(is_accepted=True, customer="acme") == 10

    assert await at.calls() == 10
    assert await at.findings() == []


async def test_a_recount_counts_what_was_let_go_once(at: Setting) -> None:
    await at.ship(event(), LATE, AHEAD)
    await at.decide(is_accepted=True, event=2)
    assert await at.calls() == 2

    async with at.sidecar.database.transaction() as tx:
        newest = await usage_store.newest_generation(tx)
        assert newest is not None
        await counting.add_generation(tx, newest.definition)

    assert await at.calls() == 2


async def test_nothing_is_stored_twice_when_the_disk_is_full(
    at: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.ship(AHEAD)
    at.pass_time(DAY_MS)
    with monkeypatch.context() as full:

        async def refuse(*_: object) -> None:
            raise DiskFull("no room")

        full.setattr("meterline_sidecar.store.edge.events.add_batch", refuse)
        with pytest.raises(DiskFull):
            await at.held.release()
    assert await at.states() == [(1, "waiting")]

    assert await at.calls() == 1
    assert await at.findings() == []


async def test_who_is_cancelled_while_it_is_stored_leaves_it_to_be_stored_once(
    at: Setting,
) -> None:
    await at.ship(AHEAD)
    at.pass_time(DAY_MS)
    for n_steps in range(40):
        releasing = asyncio.create_task(at.held.release())
        for _ in range(n_steps):
            await asyncio.sleep(0)
        releasing.cancel()
        await asyncio.wait([releasing])

    assert await at.calls() == 1
    assert await at.findings() == []


async def test_nothing_is_let_go_while_nobody_commits(at: Setting) -> None:
    await at.ship(AHEAD)
    at.pass_time(DAY_MS)
    at.sidecar.ingest.is_running = False

    assert await at.held.release() == 0


async def test_a_period_is_not_final_over_what_could_be_of_it(at: Setting) -> None:
    await at.check()
    await at.ship(*[LATE] * 2)

    with pytest.raises(NotBillable) as refused:
        await at.check()

    text = str(refused.value)
    assert "2 events" in text
    assert PRODUCER in text
    assert "meterline held accept --customer acme" in text
    await at.decide(is_accepted=False, customer="acme")
    await at.check()


@pytest.mark.parametrize(
    "time_ms",
    [
        0,  # a clock that starts in 1970
        LATE.time_ms,  # of 2025, but who knows
        NOON_MS + 6 * MINUTE_MS,
        2**52,  # the year 144683, or the day on which it came
    ],
)
async def test_when_a_held_event_happened_is_not_known(
    at: Setting, time_ms: int
) -> None:
    await at.ship(event(time_ms=time_ms))

    with pytest.raises(NotBillable):
        await at.check()


async def test_what_cannot_be_of_the_period_does_not_stand_in_its_way(
    at: Setting,
) -> None:
    at.pass_time(30 * DAY_MS)  # 6 December
    ahead = at.sidecar.clock.now_ms() + DAY_MS
    await at.ship(
        event(time_ms=ahead),
        event(time_ms=LATE.time_ms, subject="other"),
    )

    await at.check()


async def test_a_decision_that_is_changed_afterwards_is_named(at: Setting) -> None:
    await at.ship(LATE)
    await at.decide(is_accepted=False, event=1)

    async with at.sidecar.database.transaction() as tx:
        await tx.execute("UPDATE held_decisions SET author = 'bob'")

    assert await at.findings() == [
        "row 1 of held_decisions was changed, or a link before it"
    ]


async def test_an_app_cannot_set_what_is_ours_to_say(at: Setting) -> None:
    await at.ship(event(flags=int(Flag.RELEASED | Flag.HELD | Flag.ERROR)))

    async with at.sidecar.database.reading() as tx:
        row = await tx.fetch_one("SELECT flags FROM events")
    assert row == (Flag.ERROR,)
    assert await at.calls() == 1


async def test_events_with_a_bad_quantity_are_counted(at: Setting) -> None:
    await at.ship(event(flags=int(Flag.BAD_QUANTITY)), event())

    async with at.sidecar.database.reading() as tx:
        counts = await event_log.counts(tx)
    assert counts.bad_quantities == 1
