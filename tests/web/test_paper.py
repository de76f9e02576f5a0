# pyright: basic
# selenium types only a part of what it has.
"""Documents in a browser: readable by everybody, wide and narrow, and on paper."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.print_page_options import PrintOptions
from selenium.webdriver.remote.webdriver import WebDriver

from tests.web.browser import ENGINE, IN_BROWSER, browser, press, seen_as, texts
from tests.web.live import LiveSidecar
from tests.web.papers import BUYERS, METERS, PRICING, SELLER, customers
from tests.web.test_browser import AXE, complaints, violations

pytestmark = IN_BROWSER
CM = 2.54  # to an inch
PAGES = (
    *("/invoices", "/invoices?customer=acme&kind=invoice", "/invoices?customer=nobody"),
    *("/invoices/INV-0001?appendix=true", "/invoices/INV-0002", "/invoices/INV-0003"),
    *("/invoices/INV-0004", "/customers/acme?period=2026-10"),
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSidecar]:
    with LiveSidecar(
        tmp_path_factory.mktemp("live"),
        meterline=METERS + customers() + SELLER,
        pricing=PRICING,
        sidecar="http_requests_per_s = 100000\n",
        clock="2026-11-02T12:00:00Z",
    ) as sidecar:
        with sidecar.client() as client:
            for name in BUYERS:
                client.post(
                    f"/v1/customers/{name}/invoice/finalize?period=2026-10"
                ).raise_for_status()
        yield sidecar


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize("path", PAGES)
def test_a_document_has_no_violation_and_no_error(
    live: LiveSidecar, chrome: WebDriver, path: str
) -> None:
    for is_dark in (False, True):
        with seen_as(chrome, is_dark=is_dark):
            chrome.get(live.url + path)
            chrome.execute_script(AXE)

            assert violations(chrome) == []
            assert complaints(chrome) == []


@pytest.mark.parametrize("path", PAGES)
def test_no_document_is_wider_than_a_narrow_screen(
    live: LiveSidecar, chrome: WebDriver, path: str
) -> None:
    with seen_as(chrome, width=390):
        chrome.get(live.url + path)
        width = chrome.execute_script("return document.documentElement.scrollWidth")

    assert width <= 390


def test_on_paper_there_is_the_document_and_nothing_else(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    chrome.get(f"{live.url}/invoices/INV-0004")
    with seen_as(chrome, is_printed=True):
        (shown,) = texts(chrome, "body")

    assert "Service 40" in shown
    for left_out in ("Overview", "Skip to the content", "CSV", "Rehearsal"):
        assert left_out not in shown


@pytest.mark.parametrize("inches", [(8.27, 11.69), (8.5, 11)], ids=["A4", "Letter"])
def test_a_document_prints_on_either_paper(
    live: LiveSidecar, chrome: WebDriver, inches: tuple[float, float], tmp_path: Path
) -> None:
    if ENGINE == "webkit":
        pytest.skip("its driver does not print")
    chrome.get(f"{live.url}/invoices/INV-0001")
    width, height = inches

    paper = PrintOptions()
    paper.page_width, paper.page_height = width * CM, height * CM
    made = chrome.print_page(paper)

    assert made.startswith("JVBERi")  # %PDF-, as base64


def test_the_list_leads_to_a_document_and_back_to_its_customer(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    chrome.get(f"{live.url}/invoices")
    chrome.find_element("css selector", "form [name=customer]").send_keys("acme")
    press(chrome, "main form button")
    assert texts(chrome, "#rows tbody th") == ["INV-0001"]
    chrome.find_element("link text", "INV-0001").click()
    heading = texts(chrome, "h1")

    chrome.find_element("partial link text", "Acme Corporation, 2026-10").click()

    assert heading == ["Invoice\nINV-0001"]
    assert texts(chrome, "h1") == ["Acme Corporation"]
