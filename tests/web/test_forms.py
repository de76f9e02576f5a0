# mypy: allow-untyped-calls
# pyright: basic
# selenium types only a part of what it has.
"""Every form of every page, filled in and sent by a real browser.

A browser sends headers that no HTTP client does. What a form is allowed is therefore
shown here and nowhere else; ``FORMS`` names them all, and a form that is not there fails.
"""

import re
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.producer import event
from tests.sidecar_process import meterline, until
from tests.web.browser import CHROMIUM, DRIVER, MISSING, browser
from tests.web.live import LiveSidecar
from tests.web.scene import METERLINE, PRICING

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING),
]

TIMEOUT_S = 20
LOCKED = "require_token = true\nhttp_requests_per_s = 100000\n"
HOUR_MS = 3_600_000


class Scene(NamedTuple):
    """A sidecar that needs tokens, with one that may write."""

    live: LiveSidecar
    token: str
    reader: str

    def now_ms(self) -> int:
        """Return the time, a moment ago: an app's clock is never ahead."""
        return int(time.time() * 1000) - 1_000

    def rows(self) -> str:
        """Return the outbox as it is printed."""
        return self.meterline("outbox", "list")

    def meterline(self, *arguments: str) -> str:
        """Run a command with the token."""
        done = meterline(
            *arguments,
            environment={
                "METERLINE_CONFIG": str(self.live.config),
                "METERLINE_TOKEN": self.token,
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("live")
    live = LiveSidecar(folder, meterline=METERLINE, pricing=PRICING, sidecar=LOCKED)
    made = [
        live.meterline("token", "create", scope, "--scope", scope).stdout.strip()
        for scope in ("write", "read")
    ]
    with live:
        yield Scene(live, *made)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def chrome(scene: Scene, started: Chrome) -> Chrome:
    """The browser of somebody who has not been here before."""
    started.get(f"{scene.live.url}/login")
    started.delete_all_cookies()
    return started


def send(chrome: Chrome, form: WebElement) -> None:
    """Press a form's button, and wait for the page that it leads to."""
    chrome.execute_script("window.isOld = true")
    chrome.execute_script(
        "arguments[0].click()", form.find_element(By.TAG_NAME, "button")
    )
    WebDriverWait(chrome, TIMEOUT_S).until(
        lambda driver: driver.execute_script(
            "return !window.isOld && document.readyState == 'complete'"
        )
    )


def fill(form: WebElement, **texts: str) -> WebElement:
    for name, text in texts.items():
        form.find_element(By.NAME, name).send_keys(text)
    return form


def the_form(chrome: Chrome, inside: str = "body") -> WebElement:
    return chrome.find_element(By.CSS_SELECTOR, f"{inside} form")


def heading(chrome: Chrome) -> str:
    return chrome.find_element(By.TAG_NAME, "h1").text


def enter(scene: Scene, chrome: Chrome, path: str, token: str = "") -> None:
    """Open a page as a person does who has a token."""
    chrome.get(f"{scene.live.url}{path}")
    send(chrome, fill(the_form(chrome), token=token or scene.token))


def log_in(scene: Scene, chrome: Chrome) -> None:
    chrome.get(f"{scene.live.url}/customers")
    assert "/login?next=/customers" in chrome.current_url

    send(chrome, fill(the_form(chrome), token="mtl_wrong"))
    assert chrome.find_element(By.ID, "failed").text.startswith("This token is unknown")
    send(chrome, fill(the_form(chrome), token=scene.token))

    assert chrome.current_url == f"{scene.live.url}/customers"
    assert heading(chrome) == "Customers"


def log_out(scene: Scene, chrome: Chrome) -> None:
    for token in (scene.token, scene.reader):
        enter(scene, chrome, "/pricing", token)
        assert heading(chrome) == "Pricing"

        send(chrome, the_form(chrome, ".about"))

        assert chrome.current_url == f"{scene.live.url}/login"
        chrome.get(f"{scene.live.url}/pricing")
        assert "/login" in chrome.current_url


def retry(scene: Scene, chrome: Chrome) -> None:
    newest = scene.now_ms() - 3 * HOUR_MS
    scene.live.ship(
        event(time_ms=newest, subject="acme_key_1"), producer="0" * 31 + "9"
    )
    until(lambda: scene.meterline("report") and "pending" in scene.rows())
    scene.meterline("outbox", "drop", "1", "--reason", "a test")
    enter(scene, chrome, "/outbox?state=dead")

    send(chrome, the_form(chrome, "#rows"))

    assert chrome.current_url == f"{scene.live.url}/outbox?state=dead"
    assert "There are no such rows" in chrome.page_source
    assert "pending" in scene.rows()


def find_customers(scene: Scene, chrome: Chrome) -> None:
    enter(scene, chrome, "/customers")

    send(chrome, fill(the_form(chrome, "main"), q="glob"))

    assert "q=glob" in chrome.current_url
    names = chrome.find_elements(By.CSS_SELECTOR, "#rows tbody th a")
    assert [name.text for name in names] == ["Globex"]


def find_events(scene: Scene, chrome: Chrome) -> None:
    scene.live.ship(
        event(time_ms=scene.now_ms(), status=503, subject="acme_key_1"),
        event(time_ms=scene.now_ms(), status=200, subject="acme_key_1"),
        producer="0" * 31 + "8",
    )
    enter(scene, chrome, "/events")

    send(chrome, fill(the_form(chrome, "main"), status="5xy", subject="acme_key_1"))
    wrong = chrome.find_element(By.ID, "wrong").text
    form = the_form(chrome, "main")
    assert "5xx, 400-499" in wrong
    assert form.find_element(By.NAME, "subject").get_property("value") == "acme_key_1"
    field = form.find_element(By.NAME, "status")
    assert field.get_property("value") == "5xy"
    field.clear()
    send(chrome, fill(form, status="5xx"))

    shown = chrome.find_elements(By.CSS_SELECTOR, "#rows .status")
    assert [cell.text for cell in shown] == ["503"]


def show_usage(scene: Scene, chrome: Chrome) -> None:
    enter(scene, chrome, "/usage")

    send(chrome, fill(the_form(chrome, "main"), customer="acmee", meter="seats"))
    assert "did you mean acme" in chrome.find_element(By.ID, "wrong").text
    form = the_form(chrome, "main")
    form.find_element(By.NAME, "customer").clear()
    send(chrome, fill(form, customer="acme"))

    caption = chrome.find_element(By.TAG_NAME, "figcaption").text
    assert caption.startswith("0 seats in 24h by acme (highest value)")


Submit = Callable[[Scene, Chrome], None]
FORMS: dict[str, Submit] = {
    "base.html: post /logout": log_out,
    "customers.html: get": find_customers,
    "events.html: get": find_events,
    "login.html: post /login?…": log_in,
    "outbox.html: post /outbox/…/retry…": retry,
    "usage.html: get": show_usage,
}


def forms() -> Iterator[str]:
    """Yield every form of every template, with how and where it is sent."""
    folder = resources.files("meterline_sidecar.web") / "templates"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        html = re.sub(r"{%.*?%}|{{.*?}}", "…", file.read_text(encoding="utf-8"))
        for tag in re.findall(r"<form\b([^>]*)>", html):
            given = dict(re.findall(r'(\w+)="([^"]*)"', tag))
            action = re.sub("…[^/]*", "…", given.get("action", ""))
            yield f"{file.name}: {given['method']} {action}".strip()


def test_every_form_is_sent_by_a_browser_here() -> None:
    assert sorted(forms()) == sorted(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_a_person_can_send_the_form(scene: Scene, chrome: Chrome, name: str) -> None:
    FORMS[name](scene, chrome)


def test_a_form_of_another_site_changes_nothing_and_is_told_on_a_page(
    scene: Scene, chrome: Chrome, tmp_path: Path
) -> None:
    enter(scene, chrome, "/")
    evil = tmp_path / "evil.html"
    evil.write_text(
        f'<form method="post" action="{scene.live.url}/outbox/1/retry">'
        "<button>Win</button></form>"
    )
    for other in (f"file://{evil}", f"data:text/html,{evil.read_text()}"):
        chrome.get(other)

        send(chrome, the_form(chrome))

        assert heading(chrome) == "Forbidden"
        assert "Changes are accepted only from this site" in chrome.page_source


def test_what_cannot_be_sent_again_is_told_on_a_page_that_leads_back(
    scene: Scene, chrome: Chrome
) -> None:
    enter(scene, chrome, "/outbox")

    chrome.execute_script(
        "const form = document.createElement('form');"
        "form.method = 'post'; form.action = '/outbox/99999/retry';"
        "form.innerHTML = '<button>Retry</button>';"
        "document.querySelector('main').prepend(form);"
    )
    send(chrome, the_form(chrome, "main"))

    assert "No row 99999 in the outbox." in chrome.page_source
    chrome.find_element(By.LINK_TEXT, "Back").click()
    WebDriverWait(chrome, TIMEOUT_S).until(
        lambda driver: driver.current_url == f"{scene.live.url}/outbox"
    )


def test_a_token_that_was_revoked_leads_to_the_door_and_not_to_json(
    scene: Scene, chrome: Chrome
) -> None:
    made = scene.live.meterline("token", "create", "short", "--scope", "read", "--json")
    short = dict(re.findall(r'"(\w+)": ?"([^"]*)"', made.stdout))
    enter(scene, chrome, "/", short["token"])
    assert heading(chrome) == "Overview"

    scene.live.meterline("token", "revoke", short["id"])
    chrome.get(f"{scene.live.url}/customers")

    assert chrome.current_url == f"{scene.live.url}/login?next=/customers"
    assert chrome.get_cookies() == []
