# mypy: allow-untyped-calls
# pyright: basic
# selenium types only a part of what it has.
"""Nothing is beside a narrow screen: with long names, long amounts and many currencies."""

from collections.abc import Iterator
from typing import Final

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from tests.producer import event
from tests.web.browser import IN_BROWSER, browser, seen_as
from tests.web.live import LiveSidecar
from tests.web.test_browser import in_view

pytestmark = IN_BROWSER

CURRENCIES: Final = ("usd", "eur", "jpy", "kwd", "gbp", "chf", "idr")
LONG_ID: Final = "a-customer-of-a-very-long-identifier-{}-" + "y" * 40
SUBJECTS: Final = [f"{c}_{'k' * 200}" for c in (*CURRENCIES, "nobody")]
AMOUNT: Final = "123456789012"
PLAN: Final = """
[[plan]]
name = "plan-{currency}-{long}"
currency = "{currency}"
[[plan.price]]
name = "Fee {long}"
model = "flat"
amount = "{amount}"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "1234567.891"
[[plan.price]]
meter = "traffic"
model = "per_unit"
unit_amount = "0.001"
[[plan.tax]]
name = "VAT"
percent = "19"
"""
CUSTOMER: Final = """
[[customer]]
id = "{id}"
name = "{name}"
subjects = ["{currency}_*"]
plan = "plan-{currency}-{long}"
time_zone = "America/Argentina/ComodRivadavia"
starts = 2026-09-01
"""
METERS: Final = """
[seller]
payment = ["IBAN DE02 1203 0000 0000 2020 51"]
[[meter]]
name = "calls"
title = "Aufrufe der Programmierschnittstellenverwaltung"
aggregation = "count"
group_by = ["route"]
bill_through = "meter"
[[meter]]
name = "traffic"
aggregation = "sum"
value = "bytes_out"
unit = "bytes"
"""
OCTOBER_MS: Final = 1_792_000_000_000
NOVEMBER_MS: Final = 1_795_000_000_000
BESIDE: Final = """
    const width = document.documentElement.clientWidth;
    const page = document.documentElement.scrollWidth;
    const boxes = [...document.querySelectorAll(".scroll, .card, .paper")].filter(
        (box) => !box.closest("details:not([open])") && box.scrollWidth > box.clientWidth + 1);
    return [...(page > width ? [`page ${page}`] : []),
        ...boxes.map((box) => `${box.className} ${box.scrollWidth}: ${box.innerText.slice(0, 60)}`)];
"""
"""What is wider than its place; numbers behind a chart may be, once they are opened."""


def ids() -> list[str]:
    return [LONG_ID.format(currency) for currency in CURRENCIES]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSidecar]:
    long = "x" * 45
    meterline = METERS + "".join(
        CUSTOMER.format(
            id=id_,
            name="W" * 60 if i % 2 else "Gesellschaft mit beschränkter Haftung " * 3,
            currency=currency,
            long=long,
        )
        for i, (id_, currency) in enumerate(zip(ids(), CURRENCIES, strict=True))
    )
    pricing = "".join(
        PLAN.format(currency=currency, long=long, amount=AMOUNT)
        for currency in CURRENCIES
    )
    with LiveSidecar(
        tmp_path_factory.mktemp("live"),
        meterline=meterline,
        pricing=pricing,
        sidecar="http_requests_per_s = 100000\n",
        clock="2026-11-20T12:00:00Z",
    ) as sidecar:
        used = [
            event(
                time_ms=time_ms,
                subject=subject,
                route="/v1/" + "r" * 80,
                bytes_out=18_384_055_723,
            )
            for subject in SUBJECTS
            for time_ms in (OCTOBER_MS, NOVEMBER_MS)
        ]
        sidecar.ship(*used)
        sidecar.until_counted(len(used))
        with sidecar.client() as client:
            for id_ in ids()[:-1]:  # the last one is held up
                client.post(
                    f"/v1/customers/{id_}/invoice/finalize?period=2026-10"
                ).raise_for_status()
            reason = {"reason": "r" * 300}
            for step, body in (
                ("INV-0001/void", reason),
                ("INV-0002/payments", {"amount": "1", "reference": "r" * 190}),
                ("INV-0003/credit", {"amount": AMOUNT, **reason}),
            ):
                client.post(f"/v1/invoices/{step}", json=body).raise_for_status()
        granted = sidecar.meterline(
            *("credit", ids()[0], AMOUNT, "--prepaid", "--reason", "r" * 90)
        )
        assert granted.returncode == 0, granted.stderr
        yield sidecar


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def pages(live: LiveSidecar) -> list[str]:
    made = live.meterline("token", "portal", "--customer", ids()[0], "--link")
    portal = made.stdout.strip().removeprefix(live.url)
    return [
        *("/", "/usage?group_by=route&range=30d", f"/usage?customer={ids()[0]}"),
        *(
            "/customers",
            "/close",
            "/audit",
            "/pricing",
            "/outbox",
            "/events",
            "/events/1",
        ),
        *("/invoices", "/alerts", "/late", "/corrections", "/imports", "/erasures"),
        *("/invoices/INV-0001", "/invoices/INV-0002?appendix=true", "/edges"),
        *("/invoices/CN-0001", "/invoices/CN-0002", "/invoices/INV-0003"),
        *(f"/customers/{id_}" for id_ in ids()[:3]),
        f"/customers/{ids()[0]}/explain",
        f"/events?customer={ids()[0]}",
        *(portal, f"{portal}&period=2026-10"),
    ]


@pytest.mark.parametrize("width", [320, 375])
def test_nothing_is_beside_a_narrow_screen(
    live: LiveSidecar, chrome: WebDriver, width: int
) -> None:
    beside: dict[str, list[str]] = {}
    with seen_as(chrome, width=width):
        for path in pages(live):
            chrome.get(f"{live.url}{path}")
            beside[path] = chrome.execute_script(BESIDE)

    assert {path: found for path, found in beside.items() if found} == {}


@pytest.mark.parametrize("width", [768, 1024])
def test_no_amount_of_a_month_end_is_beside_a_tablet(
    live: LiveSidecar, chrome: WebDriver, width: int
) -> None:
    beside: dict[str, list[str]] = {}
    with seen_as(chrome, width=width):
        for path in ("/close", f"/customers/{ids()[0]}"):
            chrome.get(f"{live.url}{path}")
            beside[path] = chrome.execute_script(BESIDE)

    assert {path: found for path, found in beside.items() if found} == {}


@pytest.mark.parametrize("width", [768, 1024])
def test_what_a_draft_comes_to_is_in_view(
    live: LiveSidecar, chrome: WebDriver, width: int
) -> None:
    with seen_as(chrome, width=width):
        for path, css in (
            ("/customers", "#rows tbody td.strong"),
            (f"/customers/{ids()[0]}", "#invoice tfoot td"),
        ):
            chrome.get(f"{live.url}{path}")

            assert in_view(chrome, css), path


def test_on_a_narrow_screen_each_amount_is_called_as_its_column_is(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    wide, narrow = (1280, 320)
    called: dict[int, list[str]] = {}
    for width in (wide, narrow):
        with seen_as(chrome, width=width):
            chrome.get(f"{live.url}/close")
            called[width] = chrome.execute_script(
                "const row = document.querySelector('#desk tbody tr');"
                "return [...row.querySelectorAll('td')].map(cell =>"
                " getComputedStyle(cell, '::before').content)"
            )
            heads = chrome.execute_script(
                "return [...document.querySelectorAll('#desk thead th')]"
                ".slice(1).map(cell => JSON.stringify(cell.textContent))"
            )

    assert called[narrow] == heads
    assert set(called[wide]) == {"none"}
