"""Whatever happens to the files: what is final stays, and every call is paid for once.

Histories have usage, also late, which may wait for a person; changes of plans, prices,
meters, zones and payers, also with dates of their own; events that are void, amended or
back; invoices that are closed in any order, or all at the end of a month, paid, void and
closed again; credits and coupons; restarts; and a process that dies at some statement of
closing, correcting, crediting or paying, and is asked again. After each step all that is
final is as it was. In between and at the end each draft, and each customer's account
(invoices, adjustments, credit notes and payments by currency), is what the reference
comes to; where invoices were void and there are credits it is not said which period
gets these: then all invoices with what they used of credits are what all usage comes to.
Coupons with void invoices are only checked for what is final. Then all invoices, void
ones too, are computed again. Several plans, trials, anchors and what Stripe is told are
played in `test_ways`.
"""

import asyncio
import os
import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.web.again import computed_again
from tests.web.final_model.world import (
    DAY_MS,
    FILTERS,
    PLANS,
    SUBJECTS,
    WHO,
    ZONES,
    World,
)

Step = tuple[str, int, int]
HISTORIES: Final = int(os.environ.get("HISTORIES", "9"))
"""How many are played; for many, give pytest ``--timeout 0``, too."""


def step(what: str, a: int = 0, b: int = 0) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(what), st.integers(0, a), st.integers(0, b))


STEPS: Final = (
    step("use", 4, 30),
    step("odd use", 4, 30),
    step("late", 4, 33),
    step("very late", 4, 150),
    step("wait", 25 * 24),
    step("wait", 25 * 24),
    step("plan", 1, 2),
    step("price", 1, 8),
    step("fee", 9),
    step("own", 1, 9),
    step("zone", 1, 3),
    step("name", 1, 9),
    step("move", 2, 2),
    step("dated plan", 2, 40),
    step("dated own", 9, 40),
    step("dated move", 2, 40),
    step("leave or return", 1),
    step("end", 1, 20),
    step("filter", 2),
    step("second meter", 2),
    step("void", 9, 3),
    step("amend", 9, 4),
    step("revert", 9),
    step("restart"),
    step("close", 1, 9),
    step("close", 1, 9),
)
CREDITS: Final = (
    step("grant", 9, 50),
    step("coupon", 4, 3),
    step("percent coupon", 9, 3),
)
VOIDS: Final = (step("void invoice", 1, 5), step("void invoice", 1, 5))
MONEY: Final = (
    step("month end", 1, 20),
    step("month end", 1, 20),
    step("pay", 1, 99),
    step("give", 1, 9),
    step("late policy"),
    step("accept late", 4),
    step("reject late", 4),
    step("die", 160),
    step("die", 160),
    step("die", 160),
)
"""Of which the process can die in what comes next."""


def histories(*steps: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    # A shorter one hardly closes anything.
    return st.lists(st.one_of(*STEPS, *steps), min_size=6, max_size=24)


@settings(max_examples=HISTORIES, deadline=None)
@example(
    [
        ("use", 0, 30),
        ("use", 1, 10),
        ("month end", 0, 0),
        ("late", 0, 20),
        ("close", 1, 0),
        ("void", 0, 1),
        ("void invoice", 0, 0),
        ("use", 0, 4),
        ("month end", 0, 0),
        ("close", 0, 0),
        ("amend", 0, 2),
        ("void invoice", 0, 1),
    ]
)
@example(
    [
        ("late policy", 0, 0),
        ("use", 0, 20),
        ("give", 0, 3),
        ("die", 90, 0),
        ("month end", 0, 0),
        ("late", 0, 20),
        ("pay", 0, 4),
        ("die", 20, 0),
        ("void invoice", 0, 0),
        ("late", 0, 25),
        ("die", 40, 0),
        ("amend", 0, 2),
        ("accept late", 0, 0),
        ("die", 30, 0),
        ("month end", 0, 2),
        ("late", 0, 33),
    ]
)
@given(
    st.one_of(
        histories(*CREDITS),
        histories(*VOIDS),
        histories(*CREDITS, *VOIDS, *MONEY),
        histories(*VOIDS, *MONEY),
    )
)
def test_every_call_is_paid_for_once_at_the_price_of_its_day(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(play(Path(name), steps))


async def play(folder: Path, steps: list[Step]) -> None:
    world = World(folder)
    await world.begin()
    try:
        for one in steps:
            await take(world, *one)
            await world.check_finals()
        await world.check_owed()
        # Everything that can be closed is, and what is left is owed once.
        world.wait(40 * 24)
        for who in WHO:
            for period in world.closable(who):
                await world.close_period(who, period)
        await world.check_finals()
        await world.check_owed()
        report = await computed_again(world.web)
        assert report.findings == []
        assert report.invoices == len(world.finals) + world.n_void
    finally:
        await world.close()


async def take(world: World, what: str, a: int, b: int) -> None:
    who = WHO[min(a, len(WHO) - 1)]
    said = world.customers[who]
    match what:
        case "use" | "odd use":
            status = 200 if what == "use" else 500
            await world.use(SUBJECTS[a], b + 1, status=status)
        case "late":
            await world.use(SUBJECTS[a], 3, status=200, ago_ms=b * DAY_MS + 1)
        case "very late":
            await world.use(SUBJECTS[a], 3, status=200, ago_ms=(34 + b) * DAY_MS)
        case "dated plan" | "dated own" | "dated move":
            await take_dated(world, what, a, b)
        case "wait":
            world.wait(a)
        case "void":
            await world.void(a, b + 1)
        case "amend":
            await world.amend(a, b + 1, SUBJECTS[b])
        case "void invoice":
            await world.void_invoice(who, b)
        case "revert":
            await world.revert(a)
        case "restart":
            await world.restart()
        case "month end":
            await world.month_end(b)
        case "pay":
            await world.pay(who, b // 10, b % 10 + 1)
        case "give":
            await world.give(who, b + 1)
        case "die":
            world.fuse = a + 1
        case "accept late" | "reject late":
            await world.decide_late(a, what.partition(" ")[0])
        case "close":
            closable = world.closable(who)
            if closable:
                await world.close_period(who, closable[b % len(closable)])
        case _:
            match what:
                case "plan":
                    said.plan, said.from_day = PLANS[b], None
                case "price":
                    plan = PLANS[a]
                    unit = Decimal(b + 1) / 100
                    world.plans[plan] = replace(world.plans[plan], unit=unit)
                case "fee":
                    fee = Decimal(40 + a)
                    world.plans["pro"] = replace(world.plans["pro"], fee=fee)
                case "own":
                    if said.is_here:
                        said.from_day = None
                        said.own = Decimal(b) / 1000 if b else None
                case "zone":
                    said.zone, said.from_day = ZONES[b], None
                case "name":
                    said.name = f"{who} {b}"
                case "move":
                    world.move(SUBJECTS[2 + a], b)
                case "leave or return":
                    world.leave_or_return(who)
                case "end":
                    world.end(who, b)
                case "grant":
                    world.grant(a + 1, b)
                case "percent coupon":
                    world.percent_coupon(10 * a + 5, b + 1)
                case "coupon":
                    world.coupon(a + 1, b + 1)
                case "late policy":
                    world.reports_late = not world.reports_late
                case "filter":
                    world.calls_filter = FILTERS[a]
                case _:
                    world.second_meter(FILTERS[a])
            await world.load()


async def take_dated(world: World, what: str, a: int, b: int) -> None:
    """Have a change hold from a day on: one that is past, or one to come."""
    who = WHO[b % 2]
    said = world.customers[who]
    if not said.is_here:
        return
    match what:
        case "dated plan":
            said.plan = PLANS[a]
        case "dated own":
            said.own = Decimal(a) / 1000 if a else None
        case _:
            world.move(SUBJECTS[2 + a], b % 2)
    await world.load_dated(who, b - 25)
