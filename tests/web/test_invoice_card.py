"""What a person reads on the invoice of a customer's page, and of which months."""

import msgspec
import pytest

from meterline.portal import portal_token
from meterline_sidecar.cli.commands.invoice import tell_invoice
from meterline_sidecar.web.answers.invoices import ShownInvoice
from tests.web.test_final import BASIC, CALLS, JAPAN, PRO, Desk, customer, desk

__all__ = ["desk"]

NEW_YORK = 'time_zone = "America/New_York"'


async def page(desk: Desk, period: str) -> str:
    answer = await desk.web.http.get("/customers/acme", params={"period": period})
    assert answer.status_code == 200
    return answer.text


async def portal(desk: Desk, period: str) -> str:
    now_s = desk.web.clock.time_ms // 1000
    token = portal_token("acme", key=desk.web.parts.portal_key, now_s=now_s)
    answer = await desk.web.http.get(
        "/portal", params={"token": token, "period": period}
    )
    assert answer.status_code == 200
    return answer.text


async def test_a_draft_names_what_is_open_before_it_and_the_command_that_closes_it(
    desk: Desk,
) -> None:
    desk.clock("2026-09-20T00:00:00Z")
    await desk.load(CALLS + customer())
    await desk.use("2026-09-15T00:00:00Z", 5)
    desk.clock("2026-11-02T00:00:00Z")

    draft = await page(desk, "2026-11")
    await desk.close("2026-10")
    final = await page(desk, "2026-10")
    await desk.close("2026-09")

    assert '<a href="?period=2026-09">2026-09</a>, <a href="?period=2026-10">' in draft
    assert "meterline invoice acme --period 2026-09 --finalize" in draft
    assert "Made final before 2026-09" in final
    assert "open-before" not in await page(desk, "2026-11")


async def test_no_invoice_is_shown_of_a_month_before_a_customers_first_day(
    desk: Desk,
) -> None:
    await desk.load(CALLS + customer(plan="pro"))
    await desk.use("2026-11-10T00:00:00Z", 5)

    shown, on_portal = await page(desk, "2026-05"), await portal(desk, "2026-05")
    asked = await desk.web.http.get("/v1/customers/acme/invoice?period=2026-05")

    assert "$50.00" not in shown + on_portal
    assert "nothing to bill in 2026-05, as they begin on 2026-11-10" in shown
    assert asked.status_code == 409
    assert "nothing to bill in 2026-05" in asked.json()["detail"]


async def test_the_first_day_of_a_customer_is_one_of_their_own_calendar(
    desk: Desk,
) -> None:
    # The day of UTC begins on 31 October in New York; the first use is in November.
    desk.clock("2026-11-01T10:00:00Z")
    await desk.use("2026-11-01T10:00:00Z", 5)
    await desk.load(CALLS + customer(plan="pro", more=NEW_YORK))

    assert "2026-10" not in await page(desk, "2026-11")
    assert "2026-10" not in await portal(desk, "2026-11")


async def test_what_was_used_on_the_last_evening_of_a_month_is_of_that_month(
    desk: Desk,
) -> None:
    desk.clock("2026-11-01T10:00:00Z")
    await desk.use("2026-11-01T01:00:00Z", 5)
    await desk.load(CALLS + customer(more=NEW_YORK))

    assert '<a href="?period=2026-10">2026-10</a>' in await page(desk, "2026-11")


async def test_hours_before_a_change_in_which_nothing_was_used_are_not_shown(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    files = CALLS + customer(more='time_zone = "Asia/Tokyo"')
    await desk.load(files)
    # A plan changes with the day in UTC: December has begun nine hours before in Tokyo.
    desk.clock("2026-12-01T03:00:00Z")
    await desk.load(files, BASIC.replace('"0.01"', '"0.02"') + PRO)
    desk.clock("2027-01-02T00:00:00Z")
    await desk.use("2026-12-05T00:00:00Z", 10)

    draft = await desk.invoice("2026-12")
    seen = await page(desk, "2026-12") + await portal(desk, "2026-12")
    tell_invoice(msgspec.convert(draft, ShownInvoice, strict=False))
    told = capsys.readouterr().out
    assert (await desk.close("2026-12"))["due"] == "0.20"
    number = (await desk.web.get("/v1/invoices"))["documents"][0]["number"]
    final = await desk.web.get(f"/v1/invoices/{number}")
    paper = await desk.web.http.get(f"/v1/invoices/{number}.html")

    quantities = [line["quantity"] for line in draft["invoice"]["lines"]]
    assert quantities == ["0", "10"]
    assert [line["is_idle"] for line in final["bill"]["lines"]] == [True, False]
    for text in (seen, told, paper.text):
        assert "10 x $0.02" in text
        assert "0 x $0.01" not in text


async def test_an_adjustment_is_shown_in_its_own_currency(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    await desk.load(CALLS + customer(), PRO + JAPAN.replace("japan", "basic"))
    await desk.use("2026-11-10T00:00:00Z", 5)
    desk.clock("2026-12-01T01:00:00Z")
    await desk.close("2026-11")
    await desk.load(CALLS + customer(plan="pro"), PRO + JAPAN.replace("japan", "basic"))
    await desk.use("2026-11-11T00:00:00Z", 60)

    shown, on_portal = await page(desk, "2026-12"), await portal(desk, "2026-12")
    asked = await desk.web.http.get("/v1/customers/acme/invoice?period=2026-12")
    tell_invoice(msgspec.json.decode(asked.content, type=ShownInvoice))
    told = capsys.readouterr().out

    for text in (shown, on_portal):
        assert "¥120" in text
        assert "Also due, in JPY" in text
        assert "$120" not in text
    assert "due: $50.00, and ¥120" in told
