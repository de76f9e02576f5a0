"""What a change would do to money is said before it is made, and is what it does then."""

from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.billing import moved
from meterline_sidecar.usage import recount as recounting
from tests.web.conftest import configure
from tests.web.test_final import (
    BASIC,
    CALLS,
    PRO,
    Desk,
    customer,
    desk,
    november_is_final,
)

__all__ = ["desk"]

GOOD = CALLS + 'where = { status = "200-299" }\n'
BERLIN = customer(more='time_zone = "Europe/Berlin"')


async def reload(
    desk: Desk, folder: Path, meterline: str, pricing: str = BASIC + PRO, **query: str
) -> Any:
    configure(folder, meterline=meterline, pricing=pricing)
    return (await desk.web.http.post("/v1/reload", params=query)).json()


def amounts(found: Any) -> list[tuple[str | None, ...]]:
    return [
        (
            one["customer"],
            one["period"],
            one["status"],
            *(one[side] and one[side]["amount"] for side in ("before", "after")),
        )
        for one in found["money"]["periods"]
    ]


async def recount(desk: Desk, meter: str = "calls", **query: str) -> Any:
    return await desk.web.get(f"/v1/meters/{meter}/recount", **query)


async def apply(desk: Desk, meter: str = "calls", **query: str) -> None:
    answer = await desk.web.http.post(f"/v1/meters/{meter}/recount", params=query)
    assert answer.status_code == 200, answer.text
    await desk.web.parts.aggregator.run()


async def test_a_plan_from_a_past_day_says_by_how_much_the_open_period_changes(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.load(CALLS + customer())
    await desk.use("2026-11-10T00:00:00Z", 100)
    files = CALLS + customer(plan="pro", more="from = 2026-11-01")

    asked = await reload(desk, tmp_path, files, dry_run="true")
    before = await desk.invoice("2026-11")
    done = await reload(desk, tmp_path, files)
    after = await desk.invoice("2026-11")

    assert amounts(asked) == [("acme", "2026-11", "open", "1.00", "55.00")]
    assert asked["money"]["summary"] == ["open periods come to $54.00 more"]
    assert asked == done
    assert (before["due"], after["due"]) == ("1.00", "55.00")


async def test_a_price_that_is_edited_in_place_says_whom_it_touches(
    desk: Desk, tmp_path: Path
) -> None:
    files = (
        CALLS
        + customer()
        + customer("beta", "pro", "beta_*")
        + customer("gamma", "pro", "g_*")
    )
    await desk.load(files)
    await desk.use("2026-11-15T00:00:00Z", 100, subject="beta_1")

    found = await reload(
        desk, tmp_path, files, BASIC + PRO.replace('"0.05"', '"0.02"'), dry_run="true"
    )

    assert amounts(found) == [("beta", "2026-11", "open", "55.00", "52.00")]
    assert found["money"]["open"] == [{"amount": "-3.00", "currency": "usd"}]


async def test_what_changes_no_money_says_so(desk: Desk, tmp_path: Path) -> None:
    await desk.load(CALLS + customer())
    await desk.use("2026-11-10T00:00:00Z", 100)

    found = await reload(
        desk, tmp_path, CALLS + customer(more='name = "Acme"'), dry_run="true"
    )

    assert found["changes"]
    assert found["money"] == {
        "periods": [],
        "n_periods": 0,
        "open": [],
        "adjustments": [],
        "summary": [],
    }


async def test_currencies_are_never_added_up(desk: Desk, tmp_path: Path) -> None:
    japan = BASIC.replace("basic", "japan").replace("usd", "jpy").replace("0.01", "2")
    await desk.load(CALLS + customer(), BASIC + japan)
    await desk.use("2026-11-10T00:00:00Z", 100)

    found = await reload(
        desk,
        tmp_path,
        CALLS + customer(plan="japan", more="from = 2026-11-01"),
        BASIC + japan,
        dry_run="true",
    )

    assert found["money"]["open"] == [
        {"amount": "-1.00", "currency": "usd"},
        {"amount": "200", "currency": "jpy"},
    ]


async def test_a_correction_of_what_is_final_says_what_is_billed_later(
    desk: Desk, tmp_path: Path
) -> None:
    await november_is_final(desk)
    files = CALLS + customer(plan="pro", more="from = 2026-11-01")

    refused = await reload(desk, tmp_path, files, dry_run="true")
    asked = await reload(desk, tmp_path, files, dry_run="true", into_final="promised")
    await reload(desk, tmp_path, files, into_final="promised")

    assert "would reach into a period that is final" in refused["detail"]
    assert ("acme", "2026-11", "final", "1.00", "55.00") in amounts(asked)
    assert ("acme", "2026-12", "open", "0.00", "50.00") in amounts(asked)
    december = await desk.invoice("2026-12")
    assert [one["amount"] for one in december["adjustments"]] == ["54.00"]
    assert december["due"] == "104.00"


async def test_counting_again_says_what_open_and_final_periods_would_come_to(
    desk: Desk,
) -> None:
    await desk.load(CALLS + BERLIN)
    # In Berlin these are of November; in UTC of October.
    await desk.use("2026-10-31T23:30:00Z", 10, status=404)
    await desk.use("2026-11-10T00:00:00Z", 90)
    desk.clock("2026-12-01T01:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "1.00"
    desk.clock("2026-12-10T00:00:00Z")
    await desk.use("2026-12-02T00:00:00Z", 7, status=404)
    await desk.load(GOOD + BERLIN)

    found = await recount(desk)

    assert amounts(found) == [
        ("acme", "2026-11", "final", "1.00", "0.90"),
        ("acme", "2026-12", "open", "0.07", "0.00"),
    ]
    assert found["money"]["open"] == [{"amount": "-0.07", "currency": "usd"}]
    assert found["money"]["adjustments"] == [{"amount": "-0.10", "currency": "usd"}]
    assert "--into-final" in found["refused"][0]
    assert (await desk.invoice("2026-12"))["due"] == "0.07"

    await apply(desk, into_final="wrong since October")
    december = await desk.invoice("2026-12")
    assert december["adjustments"][0]["amount"] == "-0.10"
    assert december["due"] == "-0.10"
    assert (await recount(desk))["money"]["periods"] == []


async def test_counting_again_rates_each_part_of_a_period_by_its_plan(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer())
    await desk.use("2026-11-03T00:00:00Z", 10, status=404)
    await desk.use("2026-11-12T00:00:00Z", 10, status=404)
    plan = customer(plan="pro", more="from = 2026-11-11")
    await desk.load(CALLS + plan)
    drafted = (await desk.invoice("2026-11"))["due"]
    await desk.load(GOOD + plan)

    found = await recount(desk, since="2026-11-02")
    await apply(desk, since="2026-11-02")

    ((*_, before, after),) = amounts(found)
    assert before == drafted
    assert after == (await desk.invoice("2026-11"))["due"]
    assert found["money"]["open"] == [{"amount": "-0.60", "currency": "usd"}]


async def test_different_values_of_a_period_are_counted_once(desk: Desk) -> None:
    users = '[[meter]]\nname = "users"\naggregation = "unique"\nvalue = "subject"\n'
    plan = BASIC.replace('"calls"', '"users"').replace("0.01", "10")
    await desk.load(users + customer(), plan)
    desk.clock("2026-11-20T00:00:00Z")
    for day in ("16", "18"):
        await desk.use(f"2026-11-{day}T00:00:00Z", 2)
        await desk.use(f"2026-11-{day}T00:00:00Z", 1, subject="acme_2", status=404)
    await desk.load(users + 'where = { status = "200-299" }\n' + customer(), plan)

    found = await recount(desk, "users")
    await apply(desk, "users")

    assert amounts(found) == [("acme", "2026-11", "open", "20.00", "10.00")]
    assert (await desk.invoice("2026-11"))["due"] == "10.00"


async def test_a_meter_from_a_past_day_in_the_files_says_what_it_does_to_money(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.load(CALLS + customer())
    await desk.use("2026-11-05T00:00:00Z", 10, status=404)
    await desk.use("2026-11-12T00:00:00Z", 10, status=404)
    files = GOOD + "from = 2026-11-10\n" + customer()

    found = await reload(desk, tmp_path, files)
    await desk.web.parts.aggregator.run()

    assert amounts(found) == [("acme", "2026-11", "open", "0.20", "0.10")]
    assert (await desk.invoice("2026-11"))["due"] == "0.10"


MOVED = (
    CALLS
    + customer(subjects="x_*", more="from = 2026-11-05")
    + customer("beta", "pro", subjects="acme_*", more="from = 2026-11-05")
)


async def two_customers(desk: Desk) -> None:
    """Have one of them use something on both sides of the fifth."""
    await desk.load(CALLS + customer() + customer("beta", "pro", subjects="beta_*"))
    await desk.use("2026-11-03T00:00:00Z", 30)
    await desk.use("2026-11-10T00:00:00Z", 100)
    desk.clock("2026-11-15T13:00:00Z")


async def test_what_a_subject_used_that_moves_is_in_the_amounts_of_both_payers(
    desk: Desk, tmp_path: Path
) -> None:
    await two_customers(desk)

    found = await reload(desk, tmp_path, MOVED)

    assert sorted(amounts(found)) == [
        ("acme", "2026-11", "open", "1.30", "0.30"),
        ("beta", "2026-11", "open", "50.00", "55.00"),
    ]
    assert found["money"]["summary"] == ["open periods come to $4.00 more"]
    assert (await desk.invoice("2026-11"))["due"] == "0.30"
    assert (await desk.invoice("2026-11", "beta"))["due"] == "55.00"


async def test_what_moves_into_a_final_period_says_what_is_billed_later(
    desk: Desk, tmp_path: Path
) -> None:
    await two_customers(desk)
    desk.clock("2026-12-01T01:00:00Z")
    assert (await desk.close("2026-11"))["due"] == "1.30"

    found = await reload(desk, tmp_path, MOVED, into_final="it was beta all along")

    assert sorted(amounts(found)) == [
        ("acme", "2026-11", "final", "1.30", "0.30"),
        ("beta", "2026-11", "open", "50.00", "55.00"),
    ]
    (late,) = (await desk.invoice("2026-12"))["adjustments"]
    assert late["amount"] == "-1.00"


async def test_what_a_new_customer_takes_of_the_past_is_in_the_amounts(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.load(CALLS + customer())
    await desk.use("2026-11-10T00:00:00Z", 100, subject="new_1")
    await desk.use("2026-11-10T00:00:00Z", 7)

    found = await reload(
        desk, tmp_path, CALLS + customer() + customer("new", subjects="new_*")
    )

    assert amounts(found) == [("new", "2026-11", "open", None, "1.00")]
    assert (await desk.invoice("2026-11", "new"))["due"] == "1.00"


async def test_a_claim_that_is_dated_back_is_in_the_amounts(
    desk: Desk, tmp_path: Path
) -> None:
    before = customer("beta", subjects="beta_*")
    await desk.load(CALLS + customer() + before)
    await desk.use("2026-11-10T00:00:00Z", 100)
    kept = customer(subjects="x_*", more="from = 2026-11-12")
    taken = customer("beta", subjects="acme_*", more="from = 2026-11-12")
    desk.clock("2026-11-15T13:00:00Z")
    assert amounts(await reload(desk, tmp_path, CALLS + kept + taken)) == []

    dated_back = taken.replace("11-12", "11-05")
    found = await reload(desk, tmp_path, CALLS + kept + dated_back)

    assert sorted(amounts(found)) == [
        ("acme", "2026-11", "open", "1.00", "0.00"),
        ("beta", "2026-11", "open", "0.00", "1.00"),
    ]


@pytest.mark.parametrize(
    "limit",
    [
        (moved, "SUBJECTS_MAX"),
        (recounting, "EVENTS_READ_MAX"),
        (recounting, "EVENTS_COUNTED_MAX"),
    ],
)
async def test_more_than_can_be_looked_at_is_told_with_its_number(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[Any, str]
) -> None:
    monkeypatch.setattr(*limit, 1)
    await two_customers(desk)
    await desk.use("2026-11-11T00:00:00Z", 1, subject="acme_2")

    found = await reload(desk, tmp_path, MOVED)

    assert amounts(found) == []
    assert found["money"]["summary"] == [
        "2 subjects may change hands for a time that is past: what they used is not in"
        " these amounts"
    ]
