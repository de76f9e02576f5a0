# pyright: basic
# selenium types only a part of what it has.
"""A headless Chromium, where there is one.

A page that freshens itself may replace what was found on it before it is used. So
what is read or pressed is found and used in one step, here.
"""

import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

from tests.patience import PATIENCE_S

CHROMIUM: Final = shutil.which("chromium")
DRIVER: Final = shutil.which("chromedriver")
A4_PIXELS: Final = 688  # 210 mm without margins of 14 mm each, at 96 to an inch
MISSING: Final = "no chromium and chromedriver on this machine"


@contextmanager
def browser(profile: Path) -> Generator[Chrome]:
    """Start a browser with a profile of its own, and end it."""
    options = ChromeOptions()
    assert CHROMIUM is not None
    options.binary_location = CHROMIUM
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
    driver = Chrome(options, ChromeService(executable_path=DRIVER))
    driver.set_page_load_timeout(PATIENCE_S)
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def seen_as(
    chrome: Chrome,
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


def wait_until(chrome: Chrome, condition: Callable[[Chrome], object]) -> None:
    """Wait until something holds of the page."""
    WebDriverWait(chrome, PATIENCE_S).until(condition)


def text(chrome: Chrome, css: str) -> str:
    """Return the text of the first such element."""
    return texts(chrome, css)[0]


def texts(chrome: Chrome, css: str) -> list[str]:
    """Return the text of every such element."""
    found: list[str] = chrome.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".map(element => element.innerText.trim())",
        css,
    )
    return found


def html(chrome: Chrome, css: str) -> str:
    """Return the markup of an element."""
    found: str = chrome.execute_script(
        "return document.querySelector(arguments[0]).outerHTML", css
    )
    return found


def press(chrome: Chrome, css: str) -> None:
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
