"""Documents and the customer's page are written for whom the seller says."""

import sys
from decimal import Decimal
from pathlib import Path

import pytest

from meterline.portal import portal_token
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.local import local_number, written_for
from tests.web.conftest import OpenWeb, configure
from tests.web.papers import METERS, PRICING, SELLER, customers, issue_all
from tests.web.test_final import Desk

GERMAN = SELLER + 'locale = "de-DE"\n'
HTML = {"Accept": "text/html"}


async def texts_of(open_web: OpenWeb, folder: Path, seller: str) -> list[str]:
    """Return a document as HTML, a page, the customer's page, JSON and CSV."""
    async with open_web(meterline=METERS + seller, pricing="") as web:
        desk = Desk(web, folder)
        desk.clock("2026-11-01T00:00:00Z")
        await issue_all(desk)
        number = "INV-0001"
        customer = (await web.get(f"/v1/invoices/{number}"))["customer"]
        now_s, key = web.clock.time_ms // 1000, web.parts.portal_key
        token = portal_token(customer, key=key, ttl_s=600, now_s=now_s)
        paths = (
            *(f"/v1/invoices/{number}.html", f"/invoices/{number}"),
            f"/portal?token={token}&period=2026-10",
            *(f"/v1/invoices/{number}", f"/v1/invoices/{number}.csv"),
        )
        headers = [{}, HTML, HTML, {}, {}]
        return [
            (await web.http.get(path, headers=headers[i])).text
            for i, path in enumerate(paths)
        ]


async def test_paper_and_portal_follow_the_locale_and_data_does_not(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    german = await texts_of(open_web, tmp_path, GERMAN)

    for text in german[:2]:
        assert "1. Oktober 2026 \N{EN DASH} 31. Oktober 2026" in text
    for text in german[:3]:
        assert "\N{NO-BREAK SPACE}$" in text
    for text in german[3:]:
        assert "\N{NO-BREAK SPACE}$" not in text


def test_a_locale_that_there_is_not_is_refused(tmp_path: Path) -> None:
    for wrong in ("german", "xx-YY", ""):
        seller = SELLER + f'locale = "{wrong}"\n'
        with pytest.raises(ConfigError, match="locale"):
            configure(tmp_path, meterline=METERS + seller, pricing="")


async def test_a_customers_own_locale_stands_above_the_sellers(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web(meterline=METERS + GERMAN, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-01T00:00:00Z")
        await issue_all(desk)
        file = "/v1/invoices/INV-0001.html"
        assert "1. Oktober 2026" in (await web.http.get(file)).text
        await desk.load(METERS + customers('locale = "fr-FR"\n'), PRICING)
        assert "1 octobre 2026" in (await web.http.get(file)).text

        path = "/v1/customers/new"
        made = await web.http.put(path, json={"locale": "en-GB"})
        assert made.json()["customer"]["locale"] == "en-GB"
        refused = await web.http.put(path, json={"locale": "xx-YY"})
        assert "unknown locale" in refused.json()["detail"]
        made = await web.http.put(path, json={"locale": None})
        assert made.json()["customer"]["locale"] is None


def test_a_locale_that_cannot_be_written_any_more_costs_no_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "babel", None)
    with written_for("fr-FR"):
        assert local_number(Decimal("1234.5")) is None
