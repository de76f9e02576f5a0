# mypy: allow-untyped-calls
# pyright: basic
# selenium types only a part of what it has.
"""Pages in browsers whose language is none, and where a chart cannot be drawn."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from tests.web.browser import IN_BROWSER, logged, seen_as, text, wait_until
from tests.web.live import LiveSidecar
from tests.web.test_browser import chrome, complaints, live, open_listening, portal

__all__ = ["chrome", "live", "portal"]

pytestmark = IN_BROWSER
CHART = "/usage?range=30d"
BROKEN = """
Object.defineProperty(window, "uPlot", {
  get: () => function () { throw new Error("no canvas here"); },
  set: () => {},
});
"""


@contextmanager
def beginning_with(chrome: WebDriver, script: str) -> Iterator[None]:
    """Run a script in each page before its own."""
    if not isinstance(chrome, Chrome):
        pytest.skip("only Chromium's driver can do that")
    name = "Page.addScriptToEvaluateOnNewDocument"
    added = chrome.execute_cdp_cmd(name, {"source": script})
    try:
        yield
    finally:
        chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize(
    "language", ["C", "en-US@posix", "", "x-klingon", "de_DE", "de-AT", None]
)
def test_charts_are_drawn_whatever_the_browser_calls_its_language(
    live: LiveSidecar, chrome: WebDriver, portal: str, language: str | None
) -> None:
    called = json.dumps(language) if language is not None else "undefined"
    script = (
        "Object.defineProperty(Navigator.prototype, 'language',"
        f" {{get: () => {called}, configurable: true}})"
    )
    with beginning_with(chrome, script):
        for path in (CHART, "/", portal):
            logged(chrome, "browser")
            chrome.get(f"{live.url}{path}")
            wait_until(
                chrome, lambda driver: driver.find_elements(By.CSS_SELECTOR, "canvas")
            )
            assert complaints(chrome) == [], path


def test_a_chart_that_cannot_be_drawn_stays_as_the_server_drew_it(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    with beginning_with(chrome, BROKEN):
        logged(chrome, "browser")
        open_listening(chrome, f"{live.url}{CHART}")  # the rest of the page goes on
        with seen_as(chrome, width=500):  # and as it is drawn again
            assert chrome.find_elements(By.CSS_SELECTOR, ".plot svg .bar")

        (said,) = complaints(chrome)

    assert "a chart could not be drawn" in said
    assert text(chrome, "h1") == "Usage"
