"""While usage is counted again the numbers of before are shown, and everything says so."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterline.portal import portal_token
from meterline_sidecar.cli.commands.invoice import tell_invoice
from meterline_sidecar.cli.commands.usage import AllUsage, tell_usage
from meterline_sidecar.terms.keeper import TermsRefused
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.web.answers.invoices import ShownInvoice
from tests.web.conftest import OpenWeb
from tests.web.test_final import BASIC, CALLS, Desk, customer

TOKENS = (
    '[[meter]]\nname = "tokens"\naggregation = "sum"\nvalue = "quantities.tokens"\n'
)
BOTH = """
[[plan]]
name = "both"
currency = "usd"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "0.01"
[[plan.price]]
meter = "tokens"
model = "per_unit"
unit_amount = "0.1"
"""
GOOD = CALLS + 'where = { status = "200-299" }\n'
PAGES = ("/", "/usage", "/customers", "/customers/acme")


@pytest.fixture
async def desk(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Desk]:
    """A sidecar that has begun to count its calls again."""
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        await desk.load(CALLS + customer())
        await desk.use("2026-11-10T00:00:00Z", 2)
        await desk.use("2026-11-10T00:00:00Z", 1, status=404)
        await desk.load(GOOD + customer())
        begun = await web.http.post("/v1/meters/calls/recount")
        assert begun.json()["recounting_percent"] == 0
        yield desk


async def test_every_answer_says_so_until_it_is_done(desk: Desk) -> None:
    async def percents() -> list[int | None]:
        return [
            (await desk.web.get(path))["recounting_percent"]
            for path in (
                "/v1/usage",
                "/v1/usage/unassigned",
                "/v1/customers/acme/invoice",
            )
        ]

    assert await percents() == [0, 0, 0]
    assert (await desk.invoice("2026-11"))["due"] == "0.03"

    await desk.web.parts.aggregator.run()

    assert await percents() == [None, None, None]
    assert (await desk.invoice("2026-11"))["due"] == "0.02"


async def test_a_final_invoice_is_not_being_counted_again(desk: Desk) -> None:
    await desk.web.parts.aggregator.run()
    desk.clock("2026-12-01T00:00:00Z")
    await desk.close("2026-11")

    await desk.web.http.post(
        "/v1/meters/calls/recount", params={"into_final": "to see"}
    )

    assert (await desk.invoice("2026-12"))["recounting_percent"] == 0
    assert (await desk.invoice("2026-11"))["recounting_percent"] is None


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_says_so_until_it_is_done(desk: Desk, path: str) -> None:
    during = (await desk.web.http.get(path)).text
    await desk.web.parts.aggregator.run()
    after = (await desk.web.http.get(path)).text

    assert "Recounting, 0 %" in during
    assert "Recounting" not in after


async def test_the_customers_page_says_so_in_their_words(desk: Desk) -> None:
    now_s = desk.web.clock.now_ms() // 1000
    token = portal_token("acme", key=desk.web.parts.portal_key, now_s=now_s)

    page = (await desk.web.http.get("/portal", params={"token": token})).text
    data = await desk.web.get("/portal/usage.json", token=token)

    assert "These numbers are being counted again, 0 % done." in page
    assert data["recounting_percent"] == 0


async def test_the_commands_say_so(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "recounting, 0 %: the numbers shown are the earlier ones"
    invoice = await desk.invoice("2026-11")
    usage: dict[str, Any] = {**await desk.web.get("/v1/usage"), "unassigned": []}

    tell_invoice(msgspec.convert(invoice, ShownInvoice))
    assert words in capsys.readouterr().out
    tell_usage(msgspec.convert(usage, AllUsage))
    assert words in capsys.readouterr().out


async def test_what_is_given_up_counts_no_more_and_may_be_begun_again(
    desk: Desk,
) -> None:
    aggregator = desk.web.parts.aggregator
    path = "/v1/meters/calls/recount"
    step = await aggregator._read(beside=True)  # pyright: ignore[reportPrivateUsage] - under way
    assert step is not None
    other = await desk.web.http.post("/v1/meters/others/recount/discard")
    assert (other.status_code, "not being counted again (calls)" in other.text) == (
        409,
        True,
    )

    given_up = await desk.web.http.post(f"{path}/discard", params={"reason": "wrong"})

    assert given_up.json() == {"meters": ["calls"]}
    async with desk.web.parts.database.transaction() as tx:
        assert not await aggregator._keep(tx, step=step)  # pyright: ignore[reportPrivateUsage]
    await aggregator.run()
    invoice = await desk.invoice("2026-11")
    assert (invoice["due"], invoice["recounting_percent"]) == ("0.03", None)
    again = await desk.web.http.post(f"{path}/discard")
    assert (again.status_code, "no meter is" in again.text) == (409, True)
    newest = (await desk.web.get("/v1/audit"))["acts"][0]
    assert (newest["author"], newest["what"], newest["reason"]) == (
        "local",
        "counting again given up",
        "wrong",
    )
    async with desk.web.parts.database.reading() as tx:
        left = await tx.fetch_all("SELECT DISTINCT generation FROM usage")
    assert left == [(1,)]
    await desk.use("2026-11-11T00:00:00Z", 1, status=404)
    assert (await desk.invoice("2026-11"))["due"] == "0.03"  # by what it measures now
    await desk.web.http.post(path)
    await aggregator.run()
    assert (await desk.invoice("2026-11"))["due"] == "0.02"
    with pytest.raises(TermsRefused, match="nothing is being counted again"):
        await desk.web.parts.terms.give_up_recount(author="me", reason="")


async def test_it_goes_on_after_a_restart(desk: Desk) -> None:
    parts = desk.web.parts
    again = Aggregator(parts.database, parts.terms.terms, clock=parts.clock)
    await again.start()
    assert (await desk.invoice("2026-11"))["recounting_percent"] == 0

    await again.run()

    assert (await desk.invoice("2026-11"))["due"] == "0.02"


async def test_a_meter_that_is_added_later_is_counted_from_a_day_on(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-15T12:00:00Z")
        await desk.load(CALLS + customer(), BASIC)
        for day in ("2026-10-31", "2026-11-10"):
            await desk.use(f"{day}T00:00:00Z", 2, quantities={"tokens": 30})
        both = customer(plan="both", more="from = 2026-11-01")
        await desk.load(CALLS + TOKENS + both, BASIC + BOTH)
        path = "/v1/meters/tokens/recount"
        assert (await desk.invoice("2026-11"))["due"] == "0.02"

        shown = await web.get(path, since="2026-11-01")

        assert shown["changes"] == [
            {"customer": "acme", "month": "2026-11", "before": 0, "after": 60}
        ]
        (period,) = shown["money"]["periods"]
        assert (period["before"]["amount"], period["after"]["amount"]) == (
            "0.02",
            "6.02",
        )
        await web.http.post(path, params={"since": "2026-11-01"})
        assert (await desk.invoice("2026-11"))["due"] == "0.02"
        await web.parts.aggregator.run()
        assert (await desk.invoice("2026-11"))["due"] == "6.02"
        assert (await desk.invoice("2026-10"))["due"] == "0.02"
