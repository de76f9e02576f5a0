"""Leading: jobs run while a process leads, under its number, and end with its lease."""

import asyncio
from dataclasses import dataclass, field

import pytest

from meterline_sidecar.errors import DatabaseGone, LeaseLost, NotTheLeader
from meterline_sidecar.fleet.leading import Leading
from meterline_sidecar.store.fence import fence
from meterline_sidecar.store.port import Candidate, Turn
from tests.patience import PATIENCE_S

ME = Candidate("1" * 32, "one (process 1)")
OTHER = Candidate("2" * 32, "two (process 2)")
LEASE_S = 0.4


@dataclass
class Row:
    """A lease without a database."""

    life: str = ""
    name: str = ""
    fence: int = 0
    is_away: bool = False
    left_ms: int | None = None
    """``None``: all of the lease is left at each look."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def turn(self, me: Candidate, *, lease_s: float) -> Turn:
        self.asked.set()
        if self.is_away:
            raise DatabaseGone("no answer")
        if not self.life:
            self.elect(me)
        left_ms = int(lease_s * 1000) if self.left_ms is None else self.left_ms
        return Turn(self.fence, self.life, self.name, me.files, 0, left_ms)

    async def give_up(self, me: Candidate) -> None:
        if self.life == me.life or me.follows(self.life):
            self.life = ""

    def elect(self, who: Candidate) -> None:
        self.life, self.name, self.fence = who.life, who.name, self.fence + 1

    async def until_asked(self) -> None:
        self.asked.clear()
        await self.asked.wait()
        await asyncio.sleep(0)  # and taken in


class Work:
    """A job that goes on until it is cut off."""

    def __init__(self) -> None:
        self.fences: list[int | None] = []
        self.begun = asyncio.Event()
        self.was_cut_off = False

    async def run(self) -> None:
        self.fences.append(fence())
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cut_off = True
            raise


async def test_alone_a_job_is_the_job_itself() -> None:
    work = Work()

    async with Leading(None, ME) as leading:
        assert leading.only(work.run) == work.run
        assert leading.is_leader
        with leading.as_leader():
            assert fence() is None


async def test_who_leads_runs_its_jobs_under_its_number() -> None:
    row, work = Row(fence=6), Work()

    async with Leading(row, ME, lease_s=LEASE_S) as leading:
        running = asyncio.ensure_future(leading.only(work.run)())
        await work.begun.wait()
        with leading.as_leader():
            assert fence() == 7
        assert fence() is None
    await running

    assert work.fences == [7]
    assert work.was_cut_off
    assert row.life == ""


async def test_who_follows_runs_none_and_says_who_leads() -> None:
    row, work = Row(), Work()
    row.elect(OTHER)

    async with Leading(row, ME, lease_s=LEASE_S) as leading:
        await leading.only(work.run)()
        with (
            pytest.raises(NotTheLeader, match=r"ask two \(process 2\)"),
            leading.as_leader(),
        ):
            pass

    assert work.fences == []
    assert row.life == OTHER.life


async def test_a_leader_that_hears_of_another_one_cuts_its_jobs_off() -> None:
    row, work = Row(), Work()

    async with Leading(row, ME, lease_s=LEASE_S) as leading:
        running = asyncio.ensure_future(leading.only(work.run)())
        await work.begun.wait()
        row.elect(OTHER)
        await running

        assert not leading.is_leader
    assert work.was_cut_off


async def test_a_leader_that_hears_nothing_stops_when_its_lease_is_over() -> None:
    row, work = Row(), Work()

    async with Leading(row, ME, lease_s=LEASE_S) as leading:
        running = asyncio.ensure_future(leading.only(work.run)())
        await work.begun.wait()
        row.is_away = True
        await running

        assert not leading.is_leader
        assert leading.trouble == "no answer"
        row.is_away = False
        await row.until_asked()
        assert leading.is_leader
        assert leading.trouble is None


async def test_a_job_whose_transaction_is_refused_ends_and_so_does_leading() -> None:
    row = Row()

    async def late() -> None:
        row.elect(OTHER)
        raise LeaseLost("election 1 is over")

    async with Leading(row, ME, lease_s=LEASE_S) as leading:
        await leading.only(late)()

        assert not leading.is_leader


async def test_who_was_killed_and_starts_again_leads_at_once() -> None:
    row = Row()
    row.elect(Candidate("here-1", "one (process 1)", seat="here-"))
    me = Candidate("here-2", "one (process 2)", seat="here-")

    async with Leading(row, me, lease_s=LEASE_S) as leading:
        assert leading.is_leader
        # As by a mistake: it is let lead, until its lease is over.
        row.elect(Candidate("here-3", "two (process 3)", seat="here-"))
        await row.until_asked()
        await row.until_asked()
        assert not leading.is_leader
    assert row.life == "here-3"


async def test_who_follows_looks_again_when_the_lease_is_over() -> None:
    row = Row(left_ms=1)
    row.elect(OTHER)

    async with Leading(row, ME, lease_s=3_600) as leading:
        row.life = ""
        async with asyncio.timeout(PATIENCE_S):
            await row.until_asked()
        assert leading.is_leader


@pytest.mark.parametrize("seat", ["here-", ""])
async def test_who_starts_elsewhere_waits_for_the_lease(seat: str) -> None:
    row = Row()
    row.elect(Candidate("there-1", "two (process 1)", seat="there-"))

    async with Leading(
        row, Candidate(f"{seat}2", "one (process 2)", seat=seat), lease_s=LEASE_S
    ) as leading:
        assert not leading.is_leader
    assert row.life == "there-1"


async def test_an_error_of_a_job_is_the_jobs() -> None:
    async def bad() -> None:
        raise ZeroDivisionError

    async with Leading(Row(), ME, lease_s=LEASE_S) as leading:
        with pytest.raises(ZeroDivisionError):
            await leading.only(bad)()

        assert leading.is_leader


async def test_who_is_elected_behind_another_makes_ready_once_before_its_jobs() -> None:
    row = Row()
    row.elect(OTHER)
    done: list[str] = []

    async def ready() -> None:
        done.append(f"ready {fence()}")

    async def job() -> None:
        done.append(f"job {fence()}")

    async with Leading(row, ME, lease_s=LEASE_S) as leading:
        leading.when_elected(ready)
        led = leading.only(job)
        await led()
        row.life = ""
        await row.until_asked()
        await asyncio.gather(led(), led())

    assert done == ["ready 2", "job 2", "job 2"]


async def test_who_is_the_first_has_read_all_and_makes_nothing_ready() -> None:
    async def ready() -> None:
        raise AssertionError

    async def job() -> None:
        pass

    async with Leading(Row(), ME, lease_s=LEASE_S) as leading:
        leading.when_elected(ready)
        await leading.only(job)()
