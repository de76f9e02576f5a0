"""From a line of an invoice down to the events that it was counted from."""

import html
import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterline.portal import portal_token
from meterline_sidecar.clock import DAY_MS, parse_time_ms
from tests.plans import HEAD
from tests.producer import NOON_MS, event
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb, Web
from tests.web.test_corrections import correct, revert
from tests.web.test_credits import finalize
from tests.web.test_final import BASIC, CALLS, Desk, customer, november_is_final

DECEMBER_MS = 1_796_083_200_000
METERS = (
    METERLINE
    + """
[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"

[[meter]]
name = "peak"
aggregation = "max"
value = "quantities.tokens"

[[meter]]
name = "users"
aggregation = "unique"
value = "subject"
"""
)
PRICING = HEAD + "".join(
    f'[[plan.price]]\nmeter = "{meter}"\nmodel = "per_unit"\nunit_amount = "{price}"\n'
    for meter, price in (
        *(("api_calls", "0.50"), ("tokens", "0.01")),
        *(("peak", "0.10"), ("users", "1")),
    )
)
PATH = "/v1/customers/acme/invoice/explain"


async def filled(web: Web) -> None:
    await web.ship(
        event(quantities={"tokens": 10}),
        event(subject="acme_2", quantities={"tokens": 30}),
        event(time_ms=NOON_MS - DAY_MS, quantities={"tokens": 5}),
    )


def line_of(found: dict[str, Any], name: str) -> dict[str, Any]:
    found_lines: list[dict[str, Any]] = found["lines"]
    (line,) = (one for one in found_lines if one["line"] == name)
    return line


async def test_days_and_subjects_add_up_to_what_was_billed(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        await filled(web)
        found = await web.get(PATH, period="2026-11")

        for name in ("api_calls", "tokens"):
            line = line_of(found, name)
            for parts in (line["days"], line["subjects"]):
                total = sum(Decimal(part["quantity"]) for part in parts)
                assert total == Decimal(line["quantity"]) == line["counted_now"]
        tokens = line_of(found, "tokens")
        assert tokens["days"] == [
            {
                "date": f"2026-11-0{day}",
                "start": f"2026-11-0{day}T00:00:00.000Z",
                "end": f"2026-11-0{day + 1}T00:00:00.000Z",
                "quantity": quantity,
            }
            for day, quantity in ((5, 5), (6, 40))
        ]
        assert tokens["subjects"] == [
            {"subject": "acme_2", "quantity": 30},
            {"subject": "acct_1", "quantity": 15},
        ]
        assert tokens["meter"]["value"] == "quantities.tokens"
        peak = line_of(found, "peak")
        assert [day["quantity"] for day in peak["days"]] == [5, 30]
        users = line_of(found, "users")
        assert (users["quantity"], users["counted_now"], users["days"]) == (
            "2",
            None,
            [],
        )


async def test_events_and_proof_are_those_of_the_ledger(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        await web.ship(event(subject="stranger"))
        await filled(web)
        web.clock.time_ms = DECEMBER_MS + 1
        final = await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )
        assert final.status_code == 200

        found = await web.get(PATH, period="2026-11", line="tokens")

        assert [line["line"] for line in found["lines"]] == ["tokens"]
        assert (found["events"]["first"], found["events"]["last"]) == (4, 4)
        path, _, query = found["events"]["list"].partition("?")
        page = (await web.http.get(path, params=query)).json()
        assert len(page["events"]) == 3
        assert [step["state"] for step in found["steps"]] == ["final"]
        event_4 = await web.get("/v1/events/4")
        assert found["proof"]["batch_mac"] == event_4["mac"]
        async with web.parts.database.reading() as tx:
            row = await tx.fetch_one(
                "SELECT id, mac FROM journal WHERE entry = 'invoices'"
            )
        assert row is not None
        assert found["proof"]["journal_link"] == row[0]
        assert found["proof"]["journal_mac"] == row[1].hex()


async def events_of(web: Web, line: str, **asked: Any) -> list[dict[str, Any]]:
    """Return all events of a line, two to a page."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = await web.get(
            "/v1/customers/acme/invoice/events",
            **{"line": line, "after": after, "limit": 2, **asked},
        )
        found += page["events"]
        after = page["next_after"]
    return found


async def test_the_events_of_a_line_are_those_that_were_counted(
    open_web: OpenWeb,
) -> None:
    files = METERS.replace(
        'name = "tokens"\n',
        'name = "tokens"\nwhere = { route = "/v1/items/{id}" }\n',
    )
    async with open_web(meterline=files, pricing=PRICING) as web:
        await web.ship(event(subject="stranger", quantities={"tokens": 1}))
        await filled(web)
        await web.ship(
            event(route="/v1/other", quantities={"tokens": 7}),
            event(subject="stranger", quantities={"tokens": 2}),
            event(),
            event(time_ms=DECEMBER_MS + 1, quantities={"tokens": 9}),
        )
        web.clock.time_ms = DECEMBER_MS + 2
        await web.ship(event(quantities={"tokens": 100}))
        await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )
        await web.ship(event(quantities={"tokens": 1000}))

        asked = {"period": "2026-11"}
        tokens = await events_of(web, "tokens", **asked)
        calls = await events_of(web, "api_calls", **asked)
        late = await events_of(web, "tokens", late=True, **asked)
        day = await events_of(web, "tokens", day="2026-11-05", **asked)
        found = await web.get("/v1/invoices/INV-0001/explain", line="tokens")

        assert [(e["id"], e["counted"]) for e in tokens] == [
            (2, 10),
            (3, 30),
            (4, 5),
            (9, 100),
        ]
        line = line_of(found, "tokens")
        assert sum(e["counted"] for e in tokens) == int(line["quantity"])
        assert [e["id"] for e in calls] == [2, 3, 4, 5, 7, 9]
        assert [(e["id"], e["counted"]) for e in late] == [
            (11, 1000)
        ]  # 8 was ahead, and came again
        assert [e["id"] for e in day] == [4]
        events = line["events"]
        assert (events["first"], events["last"], events["n_events"]) == (2, 9, None)
        assert (events["late_after"], events["late_hours"]) == (8, 1)
        path, _, query = events["list"].partition("?")
        assert len((await web.http.get(path, params=query)).json()["events"]) == 4


async def test_events_are_those_that_corrections_let_count_by_then(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        await filled(web)  # events 1 to 3
        asked = {"period": "2026-11"}
        await correct(web, events=[1])
        amended = await correct(web, events=[3], set={"quantities": {"tokens": 7}})
        web.clock.time_ms = DECEMBER_MS + 1
        await finalize(web, "2026-11")
        billed = line_of(await web.get(PATH, **asked), "tokens")
        await revert(web, amended["correction"]["correction"])
        await correct(web, events=[2])

        for line, quantities in (("tokens", [30, 7]), ("api_calls", [1, 1])):
            found = await events_of(web, line, **asked)
            assert [one["counted"] for one in found] == quantities
        assert found[0]["id"] == 2
        assert billed["quantity"] == "37"
        told = await web.get(PATH, line="api_calls", **asked)
        again = line_of(told, "api_calls")
        assert again["events"]["n_events"] == 2
        assert [again["events"][end] for end in ("first", "last")] == [
            found[0]["id"],
            found[1]["id"],
        ]


async def test_windows_of_a_day_add_up_to_it(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        await filled(web)
        await web.ship(event(time_ms=NOON_MS - 3_600_000, quantities={"tokens": 1}))

        found = await web.get(PATH, line="tokens", day="2026-11-06")
        outside = await web.http.get(PATH, params={"day": "2026-12-01"})

        line = line_of(found, "tokens")
        assert [(w["start"], w["quantity"]) for w in line["windows"]] == [
            ("2026-11-06T11:00:00.000Z", 1),
            ("2026-11-06T12:00:00.000Z", 40),
        ]
        assert outside.status_code == 400
        assert "day=2026-12-01 is not in 2026-11" in outside.json()["detail"]
        for never in ("9999-12-31", "0001-01-01"):
            answer = await web.http.get(
                PATH, params={"period": "2026-11", "day": never}
            )
            assert f"day={never} is not in 2026-11" in answer.json()["detail"]


async def test_the_command_of_a_line_can_be_typed_as_it_stands(
    open_web: OpenWeb,
) -> None:
    named = (
        '[[plan.price]]\nname = "API calls"\nmeter = "api_calls"\nmodel = "per_unit"\n'
    )
    async with open_web(pricing=HEAD + named + 'unit_amount = "0.50"\n') as web:
        await web.ship(event())

        page = await web.http.get(
            "/customers/acme/explain?period=2026-11&line=API+calls"
        )

        command = re.findall(r"<code>(meterline explain [^<]+)</code>", page.text)[0]
        *_, line, option, kind = shlex.split(html.unescape(command))
        assert (line, option, kind) == ("API calls", "--events", "csv")


async def test_a_day_leads_to_the_events_that_it_counts_also_where_a_period_begins(
    open_web: OpenWeb,
) -> None:
    zoned = METERLINE.replace("[[customer]]", "[[customer]]\ntime_zone = 'Asia/Tokyo'")
    first_ms = parse_time_ms("2026-10-31T15:00:00Z")  # of November in Tokyo
    last_ms = parse_time_ms("2026-11-02T00:00:00Z") - 1
    times = (first_ms - 1, first_ms, last_ms - 5, last_ms, last_ms + 1)
    async with open_web(meterline=zoned) as web:
        await web.ship(*(event(time_ms=time_ms) for time_ms in times))
        await web.ship(event(time_ms=last_ms - 5, status=500))

        page = await web.http.get("/customers/acme/explain?period=2026-11")

        days = re.findall(
            r'<a href="(/events[^"]+)">([0-9-]+)</a></th><td class="num">(\d+)',
            page.text,
        )
        assert [day[1:] for day in days] == [
            ("2026-11-01", "1"),
            ("2026-11-02", "3"),
        ]
        assert "days in Asia/Tokyo, times in UTC" in page.text
        for link, _, counted in days:
            events = await web.http.get(html.unescape(link))
            assert events.text.count('<span class="status') == int(counted)


@pytest.mark.parametrize(
    "zone",
    [
        *("UTC", "Asia/Tokyo", "Asia/Kathmandu", "Pacific/Kiritimati"),
        *("America/New_York", "Australia/Lord_Howe"),  # clocks change in these months
    ],
)
@pytest.mark.parametrize("period", ["2026-10", "2026-11"])
async def test_days_are_those_of_the_customers_page(
    open_web: OpenWeb, zone: str, period: str
) -> None:
    zoned = METERS.replace("[[customer]]", f'[[customer]]\ntime_zone = "{zone}"')
    october_ms, hour_ms = parse_time_ms("2026-09-30T00:00:00Z"), 3_600_000
    async with open_web(meterline=zoned, pricing=PRICING) as web:
        web.clock.time_ms = parse_time_ms("2026-12-10T00:00:00Z")
        await web.ship(
            *(
                event(time_ms=october_ms + i * 5 * hour_ms, quantities={"tokens": i})
                for i in range(330)
            )
        )
        key, now_s = web.parts.portal_key, web.clock.time_ms // 1000
        token = portal_token("acme", key=key, now_s=now_s)

        found = await web.get(PATH, period=period)
        theirs = await web.get("/portal/usage.json", token=token, period=period)

        assert found["time_zone"] == theirs["time_zone"] == zone
        for meter in theirs["meters"]:
            days = line_of(found, meter["meter"])["days"]
            if meter["meter"] != "users":  # of different values days do not add up
                assert [(day["date"], day["quantity"]) for day in days] == [
                    (day["date"], day["quantity"])
                    for day in meter["days"]
                    if day["quantity"]
                ]
        (day, *_) = line_of(found, "tokens")["days"][4:]
        windows = line_of(
            await web.get(PATH, period=period, line="tokens", day=day["date"]), "tokens"
        )["windows"]
        assert sum(w["quantity"] for w in windows) == day["quantity"]
        assert all(day["start"] <= w["start"] < day["end"] for w in windows)


async def test_an_event_of_a_subject_that_changed_hands_is_of_who_paid_then(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        for name, subjects in (("one", ["moved"]), ("two", [])):
            made = await web.http.put(
                f"/v1/customers/{name}", json={"subjects": subjects, "plan": "starter"}
            )
            assert made.status_code == 200, made.text
        await web.ship(event(subject="moved", time_ms=NOON_MS))
        web.clock.time_ms = at_ms = NOON_MS + 400_000  # within a window
        for name, subjects in (("one", []), ("two", ["moved"])):
            await web.http.put(f"/v1/customers/{name}", json={"subjects": subjects})
        await web.ship(
            *(event(subject="moved", time_ms=at_ms + ms) for ms in (-1, 0, 1))
        )

        counted: dict[str, list[int]] = {}
        for name in ("one", "two"):
            path = f"/v1/customers/{name}/invoice"
            page = await web.get(f"{path}/events", line="api_calls")
            counted[name] = [one["id"] for one in page["events"]]
            line = line_of(await web.get(f"{path}/explain"), "api_calls")
            assert len(counted[name]) == int(line["quantity"])

    assert sorted(counted["one"] + counted["two"]) == [1, 2, 3, 4]
    assert counted["one"]
    assert counted["two"]


async def test_what_came_later_is_told_beside_what_was_billed(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        await filled(web)
        web.clock.time_ms = DECEMBER_MS + 1
        await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )
        await web.ship(event(quantities={"tokens": 2}))

        found = await web.get(PATH, period="2026-11")

        calls = line_of(found, "api_calls")
        assert (calls["quantity"], calls["counted_now"]) == ("3", 4)
        assert found["pending"] == "0.52"
        page = (
            await web.http.get("/customers/acme/explain", params={"period": "2026-11"})
        ).text
        assert "3 were billed; 4 are counted by now." in page
        assert "more has come in since" in page
        day = re.search(r'href="(/events\?[^"]*start=2026-11-06[^"]*)"', page)
        assert day is not None
        events = await web.http.get(html.unescape(day[1]))
        assert events.text.count("/v1/items/{id}") >= 3


async def a_dearer_november(desk: Desk) -> None:
    """Use something before and behind a change of a price, and close the month."""
    await desk.load(CALLS + customer())
    await desk.use("2026-11-10T00:00:00Z", 3)
    await desk.load(CALLS + customer(), BASIC.replace("0.01", "0.02"))
    await desk.use("2026-11-15T11:00:00Z", 2)
    desk.clock("2026-12-01T01:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "0.07"


async def test_each_side_of_a_change_has_its_own_days_and_events(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        await a_dearer_november(desk)

        found = await web.get("/v1/invoices/INV-0001/explain", line="calls")
        first, second = found["lines"]
        days = [(one["date"], one["quantity"]) for one in first["days"]]
        assert days == [("2026-11-10", 3)]
        assert (first["quantity"], first["counted_now"]) == ("3", 3)
        assert (second["quantity"], second["counted_now"]) == ("2", 2)
        assert [(used["subject"], used["quantity"]) for used in second["subjects"]] == [
            ("acme_1", 2)
        ]
        assert [line["ref"] for line in found["lines"]] == ["1", "2"]
        assert [line["events"]["n_events"] for line in found["lines"]] == [3, 2]
        events = [
            [one["id"] for one in await events_of(web, ref, period="2026-11")]
            for ref in ("1", "2")
        ]
        assert events == [[1, 2, 3], [4, 5]]
        page = await web.http.get("/customers/acme/explain?period=2026-11")
        assert "are counted by now" not in page.text
        assert "period=2026-11&line=2" in html.unescape(page.text)


async def test_of_two_lines_of_one_name_one_has_to_be_chosen(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        await a_dearer_november(desk)
        path = "/v1/customers/acme/invoice/events"

        both = await web.http.get(path, params={"line": "calls", "period": "2026-11"})
        none = await web.http.get(path, params={"line": "3", "period": "2026-11"})

        assert both.status_code == none.status_code == 400
        assert "1 for calls (2026-11-01 to 2026-11-14)" in both.json()["detail"]
        assert none.json()["detail"].endswith("unknown line `3`; known are: calls")


async def test_what_an_invoice_adjusts_is_explained_from_both_sides(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        await november_is_final(desk)
        await desk.use("2026-11-20T00:00:00Z", 4)
        desk.clock("2027-01-01T01:00:00Z")
        await desk.close("2026-12")

        december = await web.get("/v1/invoices/INV-0002/explain")
        november = await web.get("/v1/invoices/INV-0001/explain")

        (adjustment,) = december["adjustments"]
        assert (adjustment["period"], adjustment["amount"]) == ("2026-11", "0.04")
        lines = sum(Decimal(line["amount"]) for line in december["lines"])
        assert lines + Decimal(adjustment["amount"]) == Decimal(december["due"])
        assert november["billed_elsewhere"] == [{"amount": "0.04", "currency": "usd"}]
        assert (november["pending"], november["adjustments"]) == (None, [])
        page = await web.http.get("/customers/acme/explain?period=2026-12")
        assert (
            "$1.00 of it had been billed before; by then the amount was $1.04"
            in page.text
        )
        assert 'href="/customers/acme/explain?period=2026-11"' in page.text
        page = await web.http.get("/customers/acme/explain?period=2026-11")
        assert "$0.04 of it has been billed by other invoices since" in page.text


async def test_a_line_that_is_not_there_is_named_with_the_nearest(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        await filled(web)
        answer = await web.http.get(PATH, params={"line": "token"})
        assert answer.status_code == 400
        assert "did you mean `tokens`" in answer.json()["detail"]


async def test_events_of_a_line_are_those_that_its_invoice_knew_as_not_void(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        await filled(web)
        await correct(web, events=[1])
        web.clock.time_ms = DECEMBER_MS + 1
        await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )
        await correct(web, events=[2])

        page = await web.get(
            "/v1/customers/acme/invoice/events", line="tokens", period="2026-11"
        )
        found = await web.get(PATH, period="2026-11", line="tokens")

        assert [one["id"] for one in page["events"]] == [2, 3]
        assert sum(one["counted"] for one in page["events"]) == 35
        line = line_of(found, "tokens")
        assert (line["quantity"], line["counted_now"]) == ("35", 5)
        assert (line["events"]["first"], line["events"]["last"]) == (2, 3)


async def test_a_void_invoice_is_not_explained_by_the_one_in_its_place(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERS, pricing=PRICING) as web:
        await filled(web)
        web.clock.time_ms = DECEMBER_MS + 1
        finalize = "/v1/customers/acme/invoice/finalize"
        await web.http.post(finalize, params={"period": "2026-11"})
        link = "/customers/acme/explain?period=2026-11"
        assert link in (await web.http.get("/invoices/INV-0001")).text
        void = {"reason": "an error of ours"}
        await web.http.post("/v1/invoices/INV-0001/void", json=void)
        await web.http.post(finalize, params={"period": "2026-11"})

        refused = await web.http.get("/v1/invoices/INV-0001/explain")

        assert refused.status_code == 400
        assert "INV-0001 is void" in refused.json()["detail"]
        assert link not in (await web.http.get("/invoices/INV-0001")).text
        again = await web.get("/v1/invoices/INV-0002/explain")
        assert again["number"] == "INV-0002"
