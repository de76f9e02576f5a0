import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from meterline_sidecar.billing import running_totals
from meterline_sidecar.billing.standing import Standing
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.terms.customers import CustomerIndex
from tests.producer import event
from tests.web.conftest import OpenWeb, configure

NAMES = ("ann", "bob", "cyd", "dan")
HTML = {"Accept": "text/html"}
METER = """
[[meter]]
name = "calls"
aggregation = "count"
"""
CUSTOMERS = METER + "".join(
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


async def test_a_page_of_customers_looks_at_no_other(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = "".join(
        f'[[customer]]\nid = "c{i:03}"\nname = "Number {i}"\nplan = "dollar"\n'
        f'subjects = ["c{i:03}"]\n'
        for i in range(130)
    )
    async with open_web(meterline=METER + customers, pricing=PRICING) as web:
        await web.ship(event(subject="c077"))
        standings, looked_at = web.parts.standings, Counter[str]()
        known = CustomerIndex.get

        def counted(index: CustomerIndex, customer_id: str) -> Customer | None:
            looked_at[customer_id] += 1
            return known(index, customer_id)

        while standings.n_missing:
            await standings.refresh()
        monkeypatch.setattr(CustomerIndex, "get", counted)
        pages = [
            re.findall(
                r'href="/customers/(c\d+)"',
                (await web.http.get(f"/customers{query}", headers=HTML)).text,
            )
            for query in ("", "?page=3", "?sort=name&page=2", "?q=number+7")
        ]

    assert pages[0][:3] == ["c077", "c000", "c001"]
    assert pages[1] == [f"c{i:03}" for i in range(100, 130)]
    assert pages[2] == [f"c{i:03}" for i in range(50, 100)]
    assert pages[3] == ["c077", "c007", *(f"c{i:03}" for i in range(70, 80) if i != 77)]
    assert sum(looked_at.values()) == 50 + 30 + 50


async def test_a_meter_that_was_just_added_has_no_quantity_yet(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=CUSTOMERS, pricing=PRICING) as web:
        await web.ship(event(subject="ann"))
        await web.parts.standings.refresh()
        more = METER.replace('"calls"', '"more"')
        configure(tmp_path, meterline=CUSTOMERS + more, pricing=PRICING)
        assert (await web.http.post("/v1/reload")).status_code == 200

        page = await web.http.get("/customers", headers=HTML)

    assert page.status_code == 200
    row = page.text.partition(">ann</a>")[2].partition("</tr>")[0]
    assert re.findall(r'num roomy">([^<]*)<', row) == ["1", "\N{EN DASH}"]


async def test_who_used_something_does_not_wait_for_everybody_else(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = "".join(
        f'[[customer]]\nid = "c{i:03}"\nplan = "dollar"\nsubjects = ["c{i:03}"]\n'
        for i in range(40)
    )
    renewed: list[str] = []

    async def renew(customer: Customer, standing: Standing) -> None:
        renewed.append(customer.id)

    async with open_web(meterline=METER + customers, pricing=PRICING) as web:
        web.parts.standings.listen(renew)
        monkeypatch.setattr(running_totals, "RUN_S_MAX", 0)
        await web.parts.standings.refresh()
        monkeypatch.setattr(running_totals, "RUN_S_MAX", 1)
        await web.ship(event(subject="c030"), event(subject="c035"))
        while web.parts.standings.n_missing:
            await web.parts.standings.refresh()

    assert renewed[:5] == ["c030", "c000", "c035", "c001", "c002"]
    assert len(renewed) == 40


async def test_while_many_come_who_used_something_is_asked_now_and_then(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_totals, "BUSY_EVENTS", 2)
    totals: list[Decimal] = []
    async with open_web(meterline=CUSTOMERS, pricing=PRICING) as web:
        standings = web.parts.standings
        for n_events in (2, 2, 2, 1):
            await web.ship(*[event(subject="ann")] * n_events)
            await standings.refresh()
            totals.append(standings.totals()["usd"])

    assert totals == [2, 4, 4, 7]


async def test_who_used_something_and_waits_long_is_made_before_all_others(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = "".join(
        f'[[customer]]\nid = "c{i:03}"\nplan = "dollar"\nsubjects = ["c{i:03}"]\n'
        for i in range(40)
    )
    renewed: list[str] = []

    async def renew(customer: Customer, standing: Standing) -> None:
        renewed.append(customer.id)

    async with open_web(meterline=METER + customers, pricing=PRICING) as web:
        web.parts.standings.listen(renew)
        monkeypatch.setattr(running_totals, "BUSY_EVENTS", 0)  # events always come
        monkeypatch.setattr(running_totals, "RUN_S_MAX_BUSY", 0)
        await web.parts.standings.refresh()
        await web.ship(event(subject="c030"), event(subject="c035"))
        await web.parts.standings.refresh()
        assert renewed == []
        web.clock.time_ms += running_totals.LATE_MS + 1
        await web.parts.standings.refresh()

    assert renewed == ["c030", "c035"]
