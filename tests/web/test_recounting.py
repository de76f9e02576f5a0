"""While usage is counted again the numbers of before are shown, and everything says so."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterline.portal import portal_token
from meterline_sidecar.cli.commands.invoice import tell_invoice
from meterline_sidecar.cli.commands.usage import AllUsage, tell_usage
from meterline_sidecar.web.answers.invoices import ShownInvoice
from tests.web.conftest import OpenWeb
from tests.web.test_final import CALLS, Desk, customer

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

    assert "These numbers are being recounted, 0 % done." in page
    assert data["recounting_percent"] == 0


async def test_the_commands_say_so(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "recounting, 0 %: what is shown was counted before"
    invoice = await desk.invoice("2026-11")
    usage: dict[str, Any] = {**await desk.web.get("/v1/usage"), "unassigned": []}

    tell_invoice(msgspec.convert(invoice, ShownInvoice))
    assert words in capsys.readouterr().out
    tell_usage(msgspec.convert(usage, AllUsage))
    assert words in capsys.readouterr().out
