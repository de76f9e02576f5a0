# mypy: allow-untyped-calls
# pyright: basic
# selenium types only a part of what it has.
"""A browser without a window: Chromium, or whichever ``METERLINE_TEST_BROWSER`` names.

``firefox`` needs ``geckodriver`` beside it, ``webkit`` (the engine of Safari) a display,
such as that of ``xvfb-run``. What only Chromium's driver can pretend or tell is tried
with that alone.

A page that freshens itself may replace what was found on it before it is used. So
what is read or pressed is found and used in one step, here.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.webdriver import (
    Chrome,
    ChromeOptions,
    ChromeService,
    Firefox,
    FirefoxOptions,
    FirefoxService,
    WebKitGTK,
    WebKitGTKOptions,
    WebKitGTKService,
)
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.patience import PATIENCE_S

MINI_BROWSER: Final = "/usr/lib/{}-linux-gnu/webkit2gtk-4.1/MiniBrowser"
PROGRAMS: Final = {
    "chromium": (("chromium",), "chromedriver"),
    "firefox": (("firefox-esr", "firefox"), "geckodriver"),
    "webkit": (
        (MINI_BROWSER.format("x86_64"), MINI_BROWSER.format("aarch64")),
        "WebKitWebDriver",
    ),
}
"""How each engine's browser may be called, and its driver."""
ENGINE: Final = os.environ.get("METERLINE_TEST_BROWSER", "chromium")
BROWSER: Final = next(filter(None, map(shutil.which, PROGRAMS[ENGINE][0])), None)
DRIVER: Final = shutil.which(PROGRAMS[ENGINE][1])
A4_PIXELS: Final = 688  # 210 mm without margins of 14 mm each, at 96 to an inch
IN_BROWSER: Final = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason=f"no {ENGINE} and its driver on this machine"
    ),
]
"""What a module of tests in a browser is marked with."""


@contextmanager
def browser(profile: Path) -> Generator[WebDriver]:
    """Start a browser with a profile of its own, and end it."""
    driver = {"chromium": _chromium, "firefox": _firefox, "webkit": _webkit}[ENGINE](
        profile
    )
    driver.set_page_load_timeout(PATIENCE_S)
    try:
        yield driver
    finally:
        driver.quit()


def _chromium(profile: Path) -> WebDriver:
    options = ChromeOptions()
    assert BROWSER is not None
    options.binary_location = BROWSER
    for argument in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-sync"),
        *("--disable-component-update", "--hide-scrollbars", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={profile}", "--window-size=1440,1000"),
    ):
        options.add_argument(argument)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    return Chrome(options, ChromeService(executable_path=DRIVER))


def _firefox(_profile: Path) -> WebDriver:
    options = FirefoxOptions()
    assert BROWSER is not None
    options.binary_location = BROWSER
    for argument in ("-headless", "--width=1440", "--height=1000"):
        options.add_argument(argument)
    return Firefox(options, FirefoxService(executable_path=DRIVER))


def _webkit(_profile: Path) -> WebDriver:
    options = WebKitGTKOptions()
    assert BROWSER is not None
    assert DRIVER is not None
    options.binary_location = BROWSER
    options.add_argument("--automation")
    # Where the system has no language, the browser calls its own one "C", which is none.
    service = WebKitGTKService(DRIVER, env={**os.environ, "LANG": "en_US.UTF-8"})
    with warnings.catch_warnings():  # selenium warns of its own ways
        warnings.simplefilter("ignore", DeprecationWarning)
        return WebKitGTK(options, service=service)


@contextmanager
def seen_as(
    chrome: WebDriver,
    *,
    is_dark: bool = False,
    width: int = 0,
    is_printed: bool = False,
    wanted: Mapping[str, str] | None = None,
) -> Generator[None]:
    """Let the browser prefer dark pages, or have a screen so many pixels wide.

    Args:
        is_printed: show pages as on a sheet of A4.
        wanted: what else is set in the system, by the media feature's name.
    """
    if not isinstance(chrome, Chrome):
        pytest.skip("only Chromium's driver can pretend that")
    width = A4_PIXELS if is_printed else width
    media = "print" if is_printed else ""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    others = [{"name": name, "value": value} for name, value in (wanted or {}).items()]
    seen = {"media": media, "features": [scheme, *others]}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", seen)
    if width:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": True}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        yield
    finally:
        chrome.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": "", "features": []}
        )
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def logged(chrome: WebDriver, kind: str) -> list[dict[str, Any]]:
    """Return what the browser logged since the last call; only Chromium's tells."""
    return chrome.get_log(kind) if isinstance(chrome, Chrome) else []


def wait_until(chrome: WebDriver, condition: Callable[[WebDriver], object]) -> None:
    """Wait until something holds of the page."""
    WebDriverWait(chrome, PATIENCE_S).until(condition)


def text(chrome: WebDriver, css: str) -> str:
    """Return the text of the first such element."""
    return texts(chrome, css)[0]


def texts(chrome: WebDriver, css: str) -> list[str]:
    """Return the text of every such element."""
    found: list[str] = chrome.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".map(element => element.innerText.trim())",
        css,
    )
    return found


def html(chrome: WebDriver, css: str) -> str:
    """Return the markup of an element."""
    found: str = chrome.execute_script(
        "return document.querySelector(arguments[0]).outerHTML", css
    )
    return found


def press(chrome: WebDriver, css: str) -> None:
    """Press a button or a link, and wait for the page that it leads to."""
    chrome.execute_script(
        "window.isOld = true; document.querySelector(arguments[0]).click()", css
    )
    wait_until(
        chrome,
        lambda driver: driver.execute_script(
            "return !window.isOld && document.readyState == 'complete'"
        ),
    )
