# mypy: allow-untyped-calls
# pyright: basic
# selenium types only a part of what it has.
"""The pages in a real browser: alive, readable, and reachable by everybody."""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from tests.producer import event
from tests.web.browser import (
    IN_BROWSER,
    browser,
    html,
    logged,
    press,
    seen_as,
    text,
    texts,
    wait_until,
)
from tests.web.live import LiveSidecar
from tests.web.scene import month, scene

pytestmark = IN_BROWSER


def axe() -> str:
    found = find_spec("axe_core_python")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("axe.min.js").read_text()


AXE = axe()
N_EVENTS = 3_000
NARROW: Final = 320  # pixels, as a window of 1,280 has at 400 %
PAGES = (
    *("/", "/usage?group_by=route&range=30d", "/customers", "/customers/acme"),
    *("/customers/acme/explain", "/invoices", "/invoices/INV-0001?appendix=true"),
    *("/events", "/events/1", "/corrections", "/outbox", "/pricing", "/alerts"),
    *("/late", "/edges", "/close", "/audit", "/imports", "/imports/old?diff=yes"),
    *("/erasures", "/nowhere"),
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSidecar]:
    with scene(tmp_path_factory.mktemp("live")) as sidecar:
        sidecar.ship(*month(N_EVENTS))
        sidecar.until_counted(N_EVENTS)
        last = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)
        given = ("--plan", "scale", "--starts", f"{last:%Y-%m}-01", "--subject", "p_*")
        for done in (
            sidecar.meterline("customers", "add", "payer", *given),
            sidecar.meterline(
                "invoice", "payer", "--period", f"{last:%Y-%m}", "--finalize"
            ),
        ):
            assert done.returncode == 0, done.stderr
        file = sidecar.folder / "old.csv"
        rows = ("e-1,2025-03-01T08:00:00Z,acme_key_1,5", "e-2,in spring,acme_key_1,5")
        file.write_text("\n".join(("id,time,subject,quantities.tokens", *rows)))
        staged = sidecar.meterline("import", str(file), "--stage", "old", "--skip-bad")
        assert staged.returncode == 3, staged.stderr  # a line is left out
        yield sidecar


@pytest.fixture(scope="module")
def portal(live: LiveSidecar) -> str:
    """The address of a customer's own page."""
    made = live.meterline("token", "portal", "--customer", "globex", "--link")
    return made.stdout.strip().removeprefix(live.url)


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def violations(chrome: WebDriver, *rules: str) -> list[str]:
    """Return what axe finds wrong with the page that is open.

    Args:
        rules: only these; all of them by default.
    """
    chrome.execute_script(AXE)
    found: dict[str, Any] = chrome.execute_async_script(
        "const [rules, done] = arguments;"
        "axe.run(rules.length ? {runOnly: rules} : {})"
        ".then(done, error => done({violations: [{id: String(error)}]}))",
        list(rules),
    )
    return [
        f"{violation['id']}: "
        + "; ".join(node["html"][:160] for node in violation.get("nodes", []))
        for violation in found["violations"]
    ]


def requested_hosts(chrome: WebDriver) -> set[str]:
    """Return every host that the browser has asked since the last call."""
    hosts: set[str] = set()
    for entry in logged(chrome, "performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url: str = message["params"]["request"]["url"]
            if url.startswith("http"):
                hosts.add(url.split("/")[2])
    return hosts


def open_listening(chrome: WebDriver, url: str) -> None:
    """Open a page, and wait until it will be told of what changes from now on."""
    if not isinstance(chrome, Chrome):
        pytest.skip("only Chromium's driver tells what a page listens to")
    logged(chrome, "performance")
    chrome.get(url)
    wait_until(chrome, _listens)


def _listens(driver: WebDriver) -> bool:
    messages = [entry["message"] for entry in logged(driver, "performance")]
    return any(
        "Network.responseReceived" in message and "/live" in message
        for message in messages
    )


def complaints(chrome: WebDriver) -> list[str]:
    """Return errors of scripts and of the content security policy."""
    return [
        entry["message"]
        for entry in logged(chrome, "browser")
        if entry["level"] == "SEVERE" and " 404 " not in entry["message"]
    ]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_violation_no_error_and_no_other_host(
    live: LiveSidecar, chrome: WebDriver, path: str
) -> None:
    chrome.get(f"{live.url}{path}")

    assert violations(chrome) == []
    assert complaints(chrome) == []
    assert requested_hosts(chrome) <= {live.url.removeprefix("http://")}


def test_the_dark_pages_can_be_read_as_well(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    with seen_as(chrome, is_dark=True):
        for path in PAGES:
            chrome.get(f"{live.url}{path}")
            background = chrome.execute_script(
                "return getComputedStyle(document.body).backgroundColor"
            )
            assert background == "rgb(16, 19, 26)"
            assert violations(chrome, "color-contrast") == [], path


def style(chrome: WebDriver, css: str, name: str) -> str:
    """Return a property of the first such element as it is shown."""
    found: str = chrome.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]",
        *(css, name),
    )
    return found


def test_who_needs_contrast_gets_it(live: LiveSidecar, chrome: WebDriver) -> None:
    for is_dark in (False, True):
        more = {"prefers-contrast": "more"}
        with seen_as(chrome, is_dark=is_dark, wanted=more):
            chrome.get(f"{live.url}/outbox")
            assert style(chrome, ".facts", "color") == style(chrome, "body", "color")
            assert violations(chrome, "color-contrast") == []


def test_with_the_few_colors_of_a_system_lines_say_what_colors_did(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    with seen_as(chrome, wanted={"forced-colors": "active"}):
        chrome.get(f"{live.url}/outbox")

        assert style(chrome, ".side [aria-current]", "outlineStyle") == "solid"
        assert style(chrome, ".tabs", "borderTopStyle") == "solid"
        assert style(chrome, "#fresh .dot", "forcedColorAdjust") == "none"


def test_no_page_is_wider_than_a_narrow_screen(
    live: LiveSidecar, chrome: WebDriver, portal: str
) -> None:
    with seen_as(chrome, width=NARROW):
        for path in (*PAGES, portal):
            chrome.get(f"{live.url}{path}")
            chrome.execute_script(  # names are of others, and any length
                "for (const e of document.querySelectorAll('h1:not(.paper h1), main h2, main p, .facts'))"
                " e.append(' ', 'W'.repeat(250))"
            )
            # Not innerWidth: a phone zooms out until all of it is seen.
            width = chrome.execute_script("return document.documentElement.scrollWidth")
            assert width <= NARROW, path


EDGES: Final = """
    const light = (color) => color.match(/[0-9.]+/g).slice(0, 3).map(Number)
        .map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0.05);
    return [...document.querySelectorAll("input:not([type=hidden]), select")].map((field) => {
        const edge = light(getComputedStyle(field).borderTopColor);
        const card = light(getComputedStyle(field.closest(".card")).backgroundColor);
        return Math.max(edge, card) / Math.min(edge, card);
    });
"""
"""The contrast of the edge of each field to what it stands on."""


def test_where_a_field_is_can_be_seen(live: LiveSidecar, chrome: WebDriver) -> None:
    for is_dark in (False, True):
        with seen_as(chrome, is_dark=is_dark):
            chrome.get(f"{live.url}/customers/acme")
            edges = chrome.execute_script(EDGES)

            assert edges
            assert min(edges) >= 3  # WCAG 1.4.11


def test_a_date_has_room_for_its_year(live: LiveSidecar, chrome: WebDriver) -> None:
    chrome.set_window_size(1280, 900)
    for path in ("/customers/acme", "/invoices/INV-0001"):
        chrome.get(f"{live.url}{path}")
        has, needs = chrome.execute_script(
            "const field = document.querySelector('[type=date]');"
            "const has = field.offsetWidth;"
            "field.style.width = 'max-content';"
            "return [has, field.offsetWidth]"
        )
        assert has >= needs, path
    chrome.set_window_size(1440, 1000)


def test_the_menu_has_room_for_larger_text(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    chrome.get(f"{live.url}/customers/acme")

    chrome.execute_script("document.body.style.fontSize = '30px'")  # as if set to 200 %

    lines = chrome.execute_script(
        "const range = document.createRange();"
        "return [...document.querySelectorAll('.side li a span')].map(name => {"
        " range.selectNodeContents(name); return range.getClientRects().length })"
    )
    assert set(lines) == {1}


def in_view(chrome: WebDriver, css: str) -> bool:
    """Say whether the last such element is seen whole, without moving its table."""
    found: bool = chrome.execute_script(
        "const element = [...document.querySelectorAll(arguments[0])].at(-1);"
        "const card = element.closest('.card').getBoundingClientRect();"
        "const seen = element.getBoundingClientRect();"
        "return seen.width > 0 && seen.left >= card.left && seen.right <= card.right",
        css,
    )
    return found


@pytest.mark.parametrize(
    ("path", "css", "width"),
    [
        ("/customers/payer", "[aria-labelledby=account] tbody td", 1280),
        ("/invoices", "#rows tbody td", NARROW),
        ("/close", "#months tbody td", NARROW),
    ],
)
def test_what_it_comes_to_is_in_view(
    live: LiveSidecar, chrome: WebDriver, path: str, css: str, width: int
) -> None:
    with seen_as(chrome, width=width):
        chrome.get(f"{live.url}{path}")

        assert "$" in texts(chrome, css)[-1]
        assert in_view(chrome, css)


def test_all_of_an_event_is_in_view_on_a_tablet(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    with seen_as(chrome, width=1024):
        chrome.get(f"{live.url}/events")

        assert texts(chrome, "#rows thead th")[-1] == "Quantities"
        assert in_view(chrome, "#rows thead th")


CUT_ON_PAPER: Final = """
    const width = document.documentElement.clientWidth;
    const shown = (element) => element.getClientRects().length > 0;
    const all = [...document.querySelectorAll("main *")].filter(shown);
    return [
        ...all.filter((element) => !element.closest(".sr, caption")
            && element.getBoundingClientRect().right > width + 1),
        ...all.filter((element) => element.scrollWidth > element.clientWidth + 1
            && getComputedStyle(element).overflowX != "visible"
            && !element.matches(".sr, caption")),
        ...document.querySelectorAll(".side, form, .pager, .skip:focus"),
    ].filter(shown).map((element) => element.outerHTML.slice(0, 120));
"""


def test_nothing_is_cut_on_paper_and_nothing_is_there_to_press(
    live: LiveSidecar, chrome: WebDriver, portal: str
) -> None:
    with seen_as(chrome, is_printed=True):
        for path in (*PAGES, portal):
            chrome.get(f"{live.url}{path}")

            assert chrome.execute_script(CUT_ON_PAPER) == [], path


def test_a_chart_is_as_wide_as_its_paper_and_its_colors_are_there(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    chrome.get(f"{live.url}/usage?group_by=route&range=30d")  # drawn for the screen
    wait_until(
        chrome, lambda driver: driver.find_elements(By.CSS_SELECTOR, ".plot canvas")
    )
    # Paper has another width than the window, which keeps its own: nothing is drawn again.
    chrome.execute_script(
        "Object.defineProperty(window, 'innerWidth', {value: innerWidth})"
    )
    with seen_as(chrome, is_printed=True):
        cut = chrome.execute_script(CUT_ON_PAPER)
        kept = chrome.execute_script(
            "return getComputedStyle(document.querySelector('.key i')).printColorAdjust"
        )

    assert cut == []
    assert kept == "exact"


def test_an_invoice_is_printed_alone_and_its_total_once(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    with seen_as(chrome, is_printed=True):
        chrome.get(f"{live.url}/invoices/INV-0001")
        assert text(chrome, "body").startswith("Invoice")
        assert "Status and payments" not in text(chrome, "body")

        chrome.get(f"{live.url}/customers/acme")
        # A footer would be printed again on each page that its table goes over.
        assert (
            chrome.execute_script(
                "return getComputedStyle(document.querySelector('tfoot')).display"
            )
            == "table-row-group"
        )


def test_a_new_event_appears_without_a_reload(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    open_listening(chrome, f"{live.url}/customers/acme")
    shown = '[data-meter="api_calls"]'
    before = text(chrome, shown)
    chrome.execute_script("window.notReloaded = true")

    live.ship(*month(50, days=1, seed=2), producer="0" * 31 + "2")

    wait_until(chrome, lambda driver: text(driver, shown) != before)
    assert chrome.execute_script("return window.notReloaded")


def test_an_invoice_line_leads_to_its_events(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    chrome.get(f"{live.url}/customers/acme")

    press(chrome, "#invoice td a")

    assert "/events?" in chrome.current_url
    assert set(texts(chrome, "#rows td:nth-child(3)")) == {"acme"}


def test_the_keyboard_reaches_the_content_first(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    chrome.get(f"{live.url}/")
    body = chrome.find_element(By.TAG_NAME, "body")

    body.send_keys(Keys.TAB)
    assert chrome.switch_to.active_element.text == "Skip to the content"
    chrome.switch_to.active_element.send_keys(Keys.ENTER)

    assert chrome.execute_script("return document.activeElement.id") == "main"


def test_charts_are_drawn_by_uplot_and_read_without_it(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    chrome.get(f"{live.url}/usage?range=30d")
    wait_until(
        chrome, lambda driver: driver.find_elements(By.CSS_SELECTOR, ".plot canvas")
    )
    with live.client() as client:
        html = client.get("/usage?range=30d").text

    assert "<svg viewBox" in html
    assert '<path class="bar c0" d="M' in html


def test_the_customers_page_opens_with_its_link_and_for_nobody_else(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    made = live.meterline("token", "portal", "--customer", "globex", "--link")
    link = made.stdout.strip()

    chrome.get(link)
    assert text(chrome, "h1") == "Globex"
    assert "Acme" not in chrome.page_source
    assert violations(chrome) == []
    assert complaints(chrome) == []

    chrome.get(f"{live.url}/portal?token={link.partition('token=')[2][:-3]}AAA")
    assert text(chrome, "h1") == "This page cannot be opened"
    assert violations(chrome) == []


def test_who_reads_off_days_of_a_customer_reads_their_zone(
    live: LiveSidecar, chrome: WebDriver, portal: str
) -> None:
    chrome.get(f"{live.url}{portal}")
    wait_until(chrome, lambda driver: texts(driver, ".plot .u-over"))
    plot = chrome.find_element(By.CSS_SELECTOR, ".plot .u-over")

    ActionChains(chrome).move_to_element(plot).perform()

    wait_until(chrome, lambda driver: text(driver, "[data-at]"))
    assert re.fullmatch(r"[0-9-]{10} Europe/Berlin", text(chrome, "[data-at]"))


def test_a_page_whose_sidecar_has_ended_says_so_and_recovers(
    tmp_path: Path, chrome: WebDriver
) -> None:
    with scene(tmp_path) as sidecar:
        sidecar.ship(*month(20))
        sidecar.until_counted(20)
        chrome.get(f"{sidecar.url}/")
        note = chrome.find_element(By.ID, "away")
        assert not note.is_displayed()
        before = text(chrome, "#fresh")

        sidecar.kill()

        wait_until(chrome, lambda _driver: note.is_displayed())
        assert re.fullmatch(
            r"No connection since \d\d:\d\d\. What is shown here may be old\.",
            note.text,
        )
        assert violations(chrome, "color-contrast") == []
        wait_until(chrome, lambda driver: text(driver, "#fresh") != before)
        sidecar.start()
        wait_until(chrome, lambda _driver: not note.is_displayed())


def test_a_chart_that_is_read_stays_until_the_pointer_leaves(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    open_listening(chrome, f"{live.url}/usage?range=30d&meter=tokens")
    wait_until(chrome, lambda driver: texts(driver, ".plot .u-over"))
    total = text(chrome, ".key b")
    caption = text(chrome, "figcaption")
    wait_until(chrome, _is_read)
    plot = chrome.find_element(By.CSS_SELECTOR, ".plot .u-over")
    at = chrome.find_element(By.CSS_SELECTOR, "[data-at]")
    read = text(chrome, ".key b")
    fresh = html(chrome, "#fresh")

    live.ship(*month(60, days=1, seed=3), producer="0" * 31 + "3")
    wait_until(chrome, lambda driver: html(driver, "#fresh") != fresh)

    assert plot.is_displayed()  # The very same: it was not drawn anew.
    assert at.text.endswith(" UTC")
    assert text(chrome, ".key b") == read != total
    ActionChains(chrome).move_to_element(
        chrome.find_element(By.TAG_NAME, "h1")
    ).perform()
    wait_until(chrome, lambda driver: text(driver, "figcaption") != caption)


def _is_read(driver: WebDriver) -> bool:
    """Put the pointer on the chart; tell whether it says now what is there."""
    with contextlib.suppress(StaleElementReferenceException):  # drawn anew meanwhile
        plot = driver.find_element(By.CSS_SELECTOR, ".plot .u-over")
        ActionChains(driver).move_to_element(plot).perform()
    return text(driver, "[data-at]").endswith(" UTC")


def test_the_legend_of_a_highest_value_is_no_sum(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    chrome.get(f"{live.url}/customers/acme?meter=seats")
    wait_until(
        chrome, lambda driver: driver.find_elements(By.CSS_SELECTOR, ".plot canvas")
    )
    tile = text(chrome, '[data-meter="seats"]')

    assert text(chrome, ".key b") == tile
    assert f"{tile} seats by day in UTC (highest value)" in chrome.page_source


def test_long_numbers_are_short_and_never_broken(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    live.ship(
        event(
            time_ms=int(time.time() * 1000) - 1_000,
            subject="globex_prod",
            quantities={"tokens": 275_649_815},
        ),
        producer="0" * 31 + "4",
    )
    link = live.meterline("token", "portal", "--customer", "globex", "--link")
    for width in (1440, 800, 360):
        with seen_as(chrome, width=width):
            for url in (f"{live.url}/customers/globex", link.stdout.strip()):
                chrome.get(url)
                wait_until(chrome, _is_counted)
                lines = chrome.execute_script(
                    "return [...document.querySelectorAll('.kpi strong')].filter("
                    "e => e.scrollWidth > e.clientWidth || e.clientHeight > 60)"
                    ".map(e => e.textContent)"
                )
                assert lines == [], (width, url)


def _is_counted(driver: WebDriver) -> bool:
    exact = driver.find_elements(By.CSS_SELECTOR, '.kpi data[title^="275,"]')
    if not exact:
        driver.refresh()
    return bool(exact)


def test_bad_news_look_unlike_good_news_in_the_dark_as_well(
    live: LiveSidecar, chrome: WebDriver
) -> None:
    for is_dark in (False, True):
        with seen_as(chrome, is_dark=is_dark):
            chrome.get(f"{live.url}/")
            colours = [
                chrome.execute_script(
                    "const e = document.getElementById('verdict');"
                    "e.dataset.health = arguments[0];"
                    "return getComputedStyle(e).color",
                    health,
                )
                for health in ("good", "warn", "bad")
            ]
            assert len(set(colours)) == 3, is_dark
            assert violations(chrome, "color-contrast") == []
