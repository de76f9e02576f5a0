"""Whatever happens to the files: what is final stays, and every call is paid for once."""

import asyncio
import os
import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from hypothesis import given, settings
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
HISTORIES: Final = int(os.environ.get("HISTORIES", "15"))
"""How many are played; for many, give pytest ``--timeout 0``, too."""


def step(what: str, a: int = 0, b: int = 0) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(what), st.integers(0, a), st.integers(0, b))


STEPS: Final = st.lists(
    st.one_of(
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
        step("grant", 9, 50),
        step("coupon", 4, 3),
        step("percent coupon", 9, 3),
        step("filter", 2),
        step("second meter", 2),
        step("void", 9, 3),
        step("void", 9, 3),
        step("revert", 9),
        step("restart"),
        step("close", 1, 9),
        step("close", 1, 9),
    ),
    min_size=6,  # a shorter one hardly closes anything
    max_size=24,
)


@settings(max_examples=HISTORIES, deadline=None)
@given(STEPS)
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
        assert report.invoices == len(world.finals)
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
        case "revert":
            await world.revert(a)
        case "restart":
            await world.restart()
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
