"""How long what is left of invoices is overdue: on statements, and at the month end."""

from collections.abc import AsyncGenerator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.billing.ages import Left, by_age, together
from meterline_sidecar.cli.commands.close import tell_collected
from meterline_sidecar.cli.commands.statement import tell_statement
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.web.answers.closing import CollectedMonths
from meterline_sidecar.web.answers.documents import AccountStatement
from tests.web.conftest import OpenWeb
from tests.web.papers import METERS, SELLER
from tests.web.test_collection import HTML, take
from tests.web.test_final import Desk, customer

D = Decimal
AGES: Final = ("not_due", "days_1_30", "days_31_60", "days_61_90", "days_over_90")
PLAIN: Final = """
[[plan]]
name = "basic"
currency = "usd"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "1"
[[plan]]
name = "japan"
currency = "jpy"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "100"
"""
TOKYO: Final = customer(
    "tokyo", "japan", subjects="tokyo_*", more='time_zone = "Asia/Tokyo"'
)


def aged(ages: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return what is there of ages that are not zero, by currency."""
    return {
        one["currency"]: {name: one[name] for name in AGES if D(one[name])}
        for one in ages
    }


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    """Two months of one customer and one of another, all due on 15 December."""
    files = METERS + SELLER + customer(more="starts = 2026-10-01") + TOKYO
    async with open_web(meterline=files, pricing=PLAIN) as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-12-01T12:00:00Z")
        await desk.use("2026-10-10T00:00:00Z", 20)
        await desk.use("2026-11-10T00:00:00Z", 30)
        await desk.use("2026-11-10T00:00:00Z", 4, "tokyo_1")
        assert (await desk.close("2026-10"))["due"] == "20.00"
        assert (await desk.close("2026-11"))["due"] == "30.00"
        assert (await desk.close("2026-11", "tokyo"))["due"] == "400"
        yield desk


async def statement(desk: Desk, name: str = "acme") -> Any:
    return await desk.web.get(f"/v1/customers/{name}/statement")


@pytest.mark.parametrize(
    ("day", "age"),
    [
        ("2026-12-15", "not_due"),
        ("2026-12-16", "days_1_30"),
        ("2027-01-14", "days_1_30"),
        ("2027-01-15", "days_31_60"),
        ("2027-02-13", "days_31_60"),
        ("2027-02-14", "days_61_90"),
        ("2027-03-15", "days_61_90"),
        ("2027-03-16", "days_over_90"),
        ("2030-01-01", "days_over_90"),
    ],
)
async def test_what_is_left_has_the_age_of_its_due_day(
    desk: Desk, day: str, age: str
) -> None:
    desk.clock(f"{day}T12:00:00Z")

    ages = (await statement(desk))["ages"]

    assert aged(ages) == {"usd": {age: "50.00"}}
    assert ages[0]["total"] == "50.00"


async def test_payments_and_credit_notes_lower_it_and_what_is_not_waited_for_is_in_none(
    desk: Desk,
) -> None:
    desk.clock("2027-01-20T12:00:00Z")

    async def ages() -> dict[str, dict[str, str]]:
        return aged((await statement(desk))["ages"])

    await take(desk, "INV-0001", "payments", amount="5.00")
    assert await ages() == {"usd": {"days_31_60": "45.00"}}
    await take(desk, "INV-0002", "credit", amount="12.34")
    assert await ages() == {"usd": {"days_31_60": "32.66"}}
    await take(desk, "INV-0001", "uncollectible")
    assert await ages() == {"usd": {"days_31_60": "17.66"}}
    await take(desk, "INV-0002", "payments", amount="17.66")
    assert await ages() == {}
    await take(desk, "INV-0002", "refunds", amount="0.66", reason="the bank")
    assert await ages() == {"usd": {"days_31_60": "0.66"}}


async def test_a_day_ends_in_the_customers_zone(desk: Desk) -> None:
    # It is the 16th in Tokyo, and the 15th in UTC.
    desk.clock("2026-12-15T16:00:00Z")

    assert aged((await statement(desk, "tokyo"))["ages"]) == {
        "jpy": {"days_1_30": "400"}
    }
    assert aged((await statement(desk))["ages"]) == {"usd": {"not_due": "50.00"}}


async def test_the_month_end_has_all_customers_by_currency(desk: Desk) -> None:
    await take(desk, "INV-0001", "payments", amount="5.00")
    desk.clock("2027-01-20T12:00:00Z")
    await desk.use("2026-12-10T00:00:00Z", 7)
    assert (await desk.close("2026-12"))["due"] == "7.00"

    found = await desk.web.get("/v1/close/months")
    page = (await desk.web.http.get("/close", headers=HTML)).text
    account = (await desk.web.http.get("/customers/acme", headers=HTML)).text

    assert aged(found["ages"]) == {
        "jpy": {"days_31_60": "400"},
        "usd": {"not_due": "7.00", "days_31_60": "45.00"},
    }
    assert [one["total"] for one in found["ages"]] == ["400", "52.00"]
    for shown in (page, account):
        assert '<td class="num" data-label="31-60">$45.00</td>' in shown
        assert '<td class="num" data-label="Total">$52.00</td>' in shown
    assert '<td class="num" data-label="31-60">¥400</td>' in page
    assert "¥400" not in account


async def test_a_terminal_shows_the_ages_below_the_account_and_the_months(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.clock("2027-01-20T12:00:00Z")

    found = await statement(desk)
    months = await desk.web.get("/v1/close/months")

    tell_statement(msgspec.convert(found, AccountStatement, strict=False))
    tell_collected(msgspec.convert(months, CollectedMonths, strict=False))
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    row = ["usd", "$0.00", "$0.00", "$50.00", "$0.00", "$0.00", "$50.00"]
    assert told.count(row) == 2
    assert ["jpy", "¥0", "¥0", "¥400", "¥0", "¥0", "¥400"] in told


@given(
    st.lists(
        st.tuples(
            st.none() | st.dates(date(2026, 1, 1), date(2027, 12, 31)),
            st.sampled_from(["usd", "jpy"]),
            st.integers(-500, 500),
        )
    )
)
def test_ages_add_up_to_what_is_left_currency_by_currency(
    lefts: list[tuple[date | None, str, int]],
) -> None:
    now_ms = parse_time_ms("2027-01-20T12:00:00Z")
    parts = [Left(due, "UTC", {name: D(amount)}) for due, name, amount in lefts]
    half = len(parts) // 2

    found = by_age(parts, now_ms=now_ms)

    for currency, ages in found.items():
        assert ages.total == sum(n for _, name, n in lefts if name == currency)
    halves = [by_age(part, now_ms=now_ms) for part in (parts[:half], parts[half:])]
    assert together(halves) == found
