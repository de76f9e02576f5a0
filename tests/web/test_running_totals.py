from decimal import Decimal

from tests.producer import event
from tests.web.conftest import OpenWeb

NAMES = ("ann", "bob", "cyd", "dan")
CUSTOMERS = """
[[meter]]
name = "calls"
aggregation = "count"
""" + "".join(
    f'[[customer]]\nid = "{name}"\nsubjects = ["{name}"]\nplan = "{plan}"\n'
    for name, plan in zip(NAMES, ("dollar", "euro", "dollar", "dollar"), strict=True)
)
PRICING = "".join(
    f'[[plan]]\nname = "{name}"\ncurrency = "{currency}"\n'
    '[[plan.price]]\nmeter = "calls"\nmodel = "per_unit"\nunit_amount = 1\n'
    for name, currency in (("dollar", "usd"), ("euro", "eur"))
)


async def test_ranks_and_totals_follow_every_change(open_web: OpenWeb) -> None:
    async with open_web(meterline=CUSTOMERS, pricing=PRICING) as web:
        standings = web.parts.standings
        seen: list[list[str]] = []
        totals: list[dict[str, Decimal]] = []
        for used in ("bob cyd cyd", "ann ann ann", "dan", "cyd cyd"):
            await web.ship(*[event(subject=name) for name in used.split()])
            await standings.refresh()
            seen.append([standing.customer for standing in standings.ranked(10)])
            totals.append(standings.totals())

    assert seen == [
        ["cyd", "bob", "ann", "dan"],
        ["ann", "cyd", "bob", "dan"],
        ["ann", "cyd", "bob", "dan"],
        ["cyd", "ann", "bob", "dan"],
    ]
    dollars = [int(total["usd"]) for total in totals]
    assert dollars == [2, 5, 6, 8]
    assert all(total["eur"] == 1 for total in totals)
    assert [s.customer for s in standings.ranked(2)] == ["cyd", "ann"]
