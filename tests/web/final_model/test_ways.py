"""However something was learned, it comes to the same, and Stripe is told so.

Histories have plans of other lengths, add-ons, trials, anchors and time zones; events
that are late, void, moved or back; months that are closed, void and closed again; a
process that dies. They are played twice: as they come, and with all that counts in the
end known from the start (`ways`). No reference says what it must be.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.web.again import computed_again
from tests.web.final_model.ways import (
    ADDONS,
    DAY_MS,
    PLANS,
    WHO,
    ZONES,
    Way,
)

Step = tuple[str, int, int]
HISTORIES: Final = int(os.environ.get("HISTORIES", "2"))
"""How many are played; for many, give pytest ``--timeout 0``, too."""
AGREED: Final = ("plan", "addon", "anchor", "zone")
"""What happens in both ways, at the same time."""
LEARNED: Final = (
    *("use", "use", "use", "odd use", "late", "late"),
    *("correct", "move", "revert", "void", "close void", "die", "die"),
)
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from((*AGREED, *LEARNED, "month end", "month end", "wait")),
        st.integers(0, 29),
        st.integers(0, 99),
    ),
    min_size=8,
    max_size=24,
)


@settings(max_examples=HISTORIES, deadline=None)
@example(
    [
        ("use", 0, 30),
        ("anchor", 0, 15),
        ("use", 1, 30),
        ("addon", 1, 0),
        ("month end", 5, 0),
        ("late", 0, 20),
        ("plan", 1, 1),
        ("die", 9, 3),
        ("void", 0, 0),
        ("zone", 1, 3),
        ("odd use", 1, 9),
        ("die", 9, 9),
        ("month end", 4, 0),
        ("move", 0, 4),
        ("plan", 0, 2),
        ("close void", 0, 0),
        ("month end", 9, 0),
    ]
)
@given(STEPS)
def test_however_it_is_learned_it_comes_to_the_same(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        asyncio.run(play(Path(one), Path(other), steps))


async def play(one: Path, other: Path, steps: list[Step]) -> Way:
    as_it_came = Way(one)
    async with as_it_came.opened():
        final: list[bytes] = []
        for step in steps:
            await take(as_it_came, *step)
            before, final = final, await as_it_came.all_documents()
            assert final[: len(before)] == before
        await end(as_it_came)
        owed = {who: await as_it_came.account(who) for who in WHO}
        assert {who: await as_it_came.told(who) for who in WHO} == owed
        assert (await computed_again(as_it_came.web)).findings == []
    in_the_end = [call for _, call in as_it_came.known]
    at_once = Way(other, knows=in_the_end)
    async with at_once.opened():
        for step in steps:
            await take(at_once, *step)
        await at_once.ship(sorted(in_the_end))
        await end(at_once)
        assert owed == {who: await at_once.account(who) for who in WHO}
    return as_it_came


async def end(way: Way) -> None:
    """Close all that is over, whatever it waits for."""
    way.wait(100 * 24)
    way.fuse = None
    await way.close_void()
    await way.close(skips_grace=True)


async def take(way: Way, what: str, a: int, b: int) -> None:
    who = WHO[a % 2]
    said = way.said[who]
    match what:
        case "month end":
            way.wait((27 + a) * 24)
        case "wait":
            way.wait(a * 12)
        case "plan":
            said.plan = PLANS[b % len(PLANS)]
            said.has_addon = said.has_addon and said.plan in ADDONS
            await way.load()
        case "addon":
            said.has_addon = not said.has_addon and said.plan in ADDONS
            await way.load()
        case "anchor":
            said.anchor_day = b % 31 + 1 if b < 90 else None
            await way.load()
        case "zone":
            said.zone = ZONES[b % len(ZONES)]
            await way.load()
        case _:
            pass
    if way.knows is None:
        await learn(way, what, a, b)


async def learn(way: Way, what: str, a: int, b: int) -> None:
    who = WHO[a % 2]
    match what:
        case "month end":
            await way.close()
        case "use" | "odd use":
            status = 200 if what == "use" else 500
            await way.use(who, b // 3 + 1, status=status, ago_ms=1)
        case "late":
            await way.use(who, 5, status=200, ago_ms=(b % 70) * DAY_MS + 1)
        case "correct" | "move":
            await way.correct(b % 10, a % 5 + 1, moves=what == "move")
        case "revert":
            await way.revert(b)
        case "void":
            await way.void(who, b)
        case "close void":
            await way.close_void()
        case "die":
            way.fuse = a * 5 + b % 5 + 1
        case _:
            pass
