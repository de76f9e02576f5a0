# mypy: allow-untyped-calls
# pyright: basic
# selenium types only a part of what it has.
"""Every form of every page, filled in and sent by a real browser.

A browser sends headers that no HTTP client does. What a form is allowed is therefore
shown here and nowhere else; ``FORMS`` names them all, and a form that is not there fails.
"""

import json
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from tests.fleet import CENTRE, EDGE, make_certificate
from tests.ports import Port
from tests.producer import event
from tests.sidecar_process import SIDECAR, SidecarProcess, meterline, until
from tests.web.browser import (
    ENGINE,
    IN_BROWSER,
    browser,
    press,
    text,
    texts,
    wait_until,
)
from tests.web.live import LiveSidecar
from tests.web.scene import METERLINE, PRICING

pytestmark = IN_BROWSER

LOCKED = "require_token = true\nhttp_requests_per_s = 100000\n"
HOUR_MS = 3_600_000


class Scene(NamedTuple):
    """A sidecar that needs tokens, with one that may write."""

    live: LiveSidecar
    token: str
    reader: str
    centre: "Scene | None" = None
    """Another one: a centre with an edge that is silent, and a month that waits for it."""

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
    token, reader = (
        live.meterline("token", "create", scope, "--scope", scope).stdout.strip()
        for scope in ("write", "read")
    )
    with live, centre_in(tmp_path_factory.mktemp("fleet")) as centre:
        yield Scene(live, token, reader, centre)


LATE = METERLINE.replace(
    'group_by = ["route", "status"]\nbill_through = "meter"', 'late = "report"'
)
LAST_MONTH = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)


def states_of_edges(scene: Scene) -> list[str]:
    listed = json.loads(scene.meterline("edges", "list", "--json"))
    return [edge["state"] for edge in listed["edges"]]


@contextmanager
def centre_in(folder: Path) -> Generator[Scene]:
    """Run a centre of which an edge was there once."""
    make_certificate(folder, "centre")
    for name in ("centre", "edge"):
        (folder / name).mkdir()
    held = Port()
    centre = LiveSidecar(
        folder / "centre",
        meterline=CENTRE.format(port=held.number) + LATE,
        pricing=PRICING,
        sidecar=f'{LOCKED}role = "centre"\n',
    )
    edge = SidecarProcess(
        folder / "edge",
        sidecar=f'{SIDECAR}role = "edge"\n',
        meterline=EDGE.format(port=held.number, name="one"),
        pricing="",
        clock=f"{LAST_MONTH}T00:00:00Z",
    )
    token, reader, of_edges = (
        centre.meterline("token", "create", scope, "--scope", scope).stdout.strip()
        for scope in ("write", "read", "edge")
    )
    (folder / "token").write_text(of_edges)
    with centre:
        scene = Scene(centre, token, reader)
        with edge:
            until(lambda: states_of_edges(scene) == ["connected"])
        given = ("--plan", "scale", "--subject", "payer_*")
        starts = ("--starts", f"{LAST_MONTH:%Y-%m}-01")
        scene.meterline("customers", "add", "payer", *given, *starts)
        yield scene
    held.close()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def chrome(scene: Scene, started: WebDriver) -> WebDriver:
    """The browser of somebody who has not been here before."""
    started.get(f"{scene.live.url}/login")
    started.delete_all_cookies()
    wait_until(started, lambda driver: not driver.get_cookies())
    return started


PRESSED_TWICE: Final = """
    const held = [];
    addEventListener("submit", (event) => {
        held.push(event.defaultPrevented);
        event.preventDefault();  // nothing is to be sent here
    });
    const form = document.querySelector("main form");
    form.requestSubmit();
    form.requestSubmit();
    return held;
"""
"""Says of two presses of a button which ones the page holds back."""


def fill(chrome: WebDriver, inside: str = "body", **fields: str) -> None:
    """Type into the fields of a form."""
    for name, typed in fields.items():
        css = f"{inside} form [name={name}]"
        chrome.find_element(By.CSS_SELECTOR, css).send_keys(typed)


def send(chrome: WebDriver, inside: str = "body", **fields: str) -> None:
    """Fill a form in, press its button, and wait for the page that it leads to."""
    fill(chrome, inside, **fields)
    press(chrome, f"{inside} form button")


def value(chrome: WebDriver, name: str) -> str:
    """Return what stands in a field of the page's form."""
    field = chrome.find_element(By.CSS_SELECTOR, f"main form [name={name}]")
    return str(field.get_property("value"))


def clear(chrome: WebDriver, name: str) -> None:
    chrome.find_element(By.CSS_SELECTOR, f"main form [name={name}]").clear()


def enter(scene: Scene, chrome: WebDriver, path: str, token: str = "") -> None:
    """Open a page as a person does who has a token."""
    chrome.get(f"{scene.live.url}{path}")
    send(chrome, token=token or scene.token)


def log_in(scene: Scene, chrome: WebDriver) -> None:
    chrome.get(f"{scene.live.url}/customers")
    assert "/login?next=/customers" in chrome.current_url

    send(chrome, token="mtl_wrong")
    assert text(chrome, "#failed").startswith("This token is unknown")
    send(chrome, token=scene.token)

    assert chrome.current_url == f"{scene.live.url}/customers"
    assert text(chrome, "h1") == "Customers"


def log_out(scene: Scene, chrome: WebDriver) -> None:
    for token in (scene.token, scene.reader):
        enter(scene, chrome, "/pricing", token)
        assert text(chrome, "h1") == "Pricing"

        send(chrome, ".about")

        assert chrome.current_url == f"{scene.live.url}/login"
        chrome.get(f"{scene.live.url}/pricing")
        assert "/login" in chrome.current_url


def retry(scene: Scene, chrome: WebDriver) -> None:
    newest = scene.now_ms() - 3 * HOUR_MS
    scene.live.ship(
        event(time_ms=newest, subject="acme_key_1"), producer="0" * 31 + "9"
    )
    until(lambda: scene.meterline("report") and "pending" in scene.rows())
    scene.meterline("outbox", "drop", "1", "--reason", "a test")
    enter(scene, chrome, "/outbox?state=dead")

    send(chrome, "#rows")

    assert chrome.current_url == f"{scene.live.url}/outbox?state=dead"
    assert "There are no such rows" in chrome.page_source
    assert "pending" in scene.rows()


def find_customers(scene: Scene, chrome: WebDriver) -> None:
    enter(scene, chrome, "/customers")

    send(chrome, "main", q="glob")

    assert "q=glob" in chrome.current_url
    assert texts(chrome, "#rows tbody th a") == ["Globex"]


def find_events(scene: Scene, chrome: WebDriver) -> None:
    scene.live.ship(
        event(time_ms=scene.now_ms(), status=503, subject="acme_key_1"),
        event(time_ms=scene.now_ms(), status=200, subject="acme_key_1"),
        producer="0" * 31 + "8",
    )
    enter(scene, chrome, "/events")

    send(chrome, "main", status="5xy", subject="acme_key_1")
    assert "5xx, 400-499" in text(chrome, "#wrong")
    assert value(chrome, "subject") == "acme_key_1"
    assert value(chrome, "status") == "5xy"
    clear(chrome, "status")
    send(chrome, "main", status="5xx")

    assert texts(chrome, "#rows .status") == ["503"]


def find_alerts(scene: Scene, chrome: WebDriver) -> None:
    enter(scene, chrome, "/alerts")

    send(chrome, "main", customer="acme", is_open="those")

    assert "customer=acme" in chrome.current_url
    assert "is_open=true" in chrome.current_url
    assert "No such alert" in text(chrome, "#rows")
    assert value(chrome, "customer") == "acme"


def find_decisions(scene: Scene, chrome: WebDriver) -> None:
    enter(scene, chrome, "/audit")
    assert "customer globex" in text(chrome, "#rows")

    send(chrome, "main", customer="acmee")
    assert "Nothing was decided about this customer yet" in text(chrome, "#rows")
    clear(chrome, "customer")
    send(chrome, "main", customer="acme")

    assert "customer=acme" in chrome.current_url
    assert "customer acme" in text(chrome, "#rows")
    assert "globex" not in text(chrome, "#rows")


def find_documents(scene: Scene, chrome: WebDriver) -> None:
    enter(scene, chrome, "/invoices")
    assert "No invoice is final yet" in text(chrome, "#rows")

    send(chrome, "main", customer="acme", period="2026-10")

    assert "No such document" in text(chrome, "#rows")
    assert (value(chrome, "customer"), value(chrome, "period")) == ("acme", "2026-10")


def show_usage(scene: Scene, chrome: WebDriver) -> None:
    enter(scene, chrome, "/usage")

    send(chrome, "main", customer="acmee", meter="seats")
    assert "did you mean acme" in text(chrome, "#wrong")
    clear(chrome, "customer")
    send(chrome, "main", customer="acme")

    caption = text(chrome, "figcaption")
    assert caption.startswith("0 seats in 24h by acme (highest value)")


def close_periods(scene: Scene, chrome: WebDriver) -> None:
    enter(scene, chrome, "/close", scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, "/close")

    press(chrome, "main form button[name=dry_run]")

    assert chrome.current_url == f"{scene.live.url}/close"
    wait_until(chrome, lambda _: "would become final" in text(chrome, "#runs"))


def grant_credit(scene: Scene, chrome: WebDriver) -> None:
    enter(scene, chrome, "/customers/globex", scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, "/customers/globex")
    fill(chrome, "main", amount="five", reason="an outage")
    press(chrome, "main form button")
    assert "five is no number: write digits" in text(chrome, "#wrong")
    assert (value(chrome, "amount"), value(chrome, "reason")) == ("five", "an outage")
    assert chrome.switch_to.active_element.get_attribute("name") == "amount"

    chrome.get(f"{scene.live.url}/customers/globex")
    fill(chrome, "main", amount="12.50", reason="an outage")
    assert chrome.execute_script(PRESSED_TWICE) == [False, True]

    chrome.get(f"{scene.live.url}/customers/globex")
    fill(chrome, "main", amount="12.50", reason="an outage")
    press(chrome, "main form button")

    assert chrome.current_url == f"{scene.live.url}/customers/globex#credits"
    assert "an outage, by write" in text(chrome, "section[aria-labelledby=credits]")
    assert "12.50" in scene.meterline("credit", "globex")
    go_back_and_send_again(scene, chrome)


def go_back_and_send_again(scene: Scene, chrome: WebDriver) -> None:
    """Go back to a form that was sent: it is empty by then, or its key was used."""
    chrome.back()
    wait_until(chrome, lambda driver: not driver.current_url.endswith("#credits"))
    chrome.execute_script("document.querySelector('main form').submit();")
    wait_until(
        chrome,
        lambda _: (
            chrome.find_elements(By.CSS_SELECTOR, "#wrong")
            or text(chrome, "h1") == "This form was sent before"
        ),
    )
    assert scene.meterline("credit", "globex").count("an outage") == 1


def final_invoice(scene: Scene) -> str:
    """Return the page of an invoice that is final, and nobody has paid."""
    today = datetime.now(UTC).date()
    month = (today.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    if "payer" not in scene.meterline("customers", "list"):
        given = ("--plan", "scale", "--starts", f"{month}-01", "--subject", "payer_*")
        scene.meterline("customers", "add", "payer", *given)
        scene.meterline("invoice", "payer", "--period", month, "--finalize")
    return "/invoices/INV-0001"


def take_step(scene: Scene, chrome: WebDriver) -> None:
    path = final_invoice(scene)
    enter(scene, chrome, path, scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, path)
    inside = "form[action$=steps]"

    chrome.find_element(By.CSS_SELECTOR, f"{inside} [name=reason]").send_keys("a test")
    press(chrome, f"{inside} button")

    assert chrome.current_url == f"{scene.live.url}{path}#steps"
    assert "sent since" in text(chrome, ".steps")
    assert "sent since" in scene.meterline("invoice", "INV-0001")


def record_payment(scene: Scene, chrome: WebDriver) -> None:
    path = final_invoice(scene)
    enter(scene, chrome, path)
    inside = "form[action$=payments]"

    chrome.find_element(By.CSS_SELECTOR, f"{inside} [name=amount]").send_keys("1.00")
    chrome.find_element(By.CSS_SELECTOR, f"{inside} [name=reference]").send_keys("t 7")
    press(chrome, f"{inside} button")

    assert chrome.current_url == f"{scene.live.url}{path}#steps"
    assert "t 7" in text(chrome, "section[aria-labelledby=steps]")
    assert "paid on" in scene.meterline("invoice", "INV-0001")


def credit_part(scene: Scene, chrome: WebDriver) -> None:
    enter(scene, chrome, final_invoice(scene))
    inside = "form[action$=credit]"

    chrome.find_element(By.CSS_SELECTOR, f"{inside} [name=amount]").send_keys("0.01")
    chrome.find_element(By.CSS_SELECTOR, f"{inside} [name=reason]").send_keys("a test")
    press(chrome, f"{inside} button")

    assert "/invoices/CN-" in chrome.current_url
    assert "Credit of invoice INV-0001" in text(chrome, "main")
    assert "credited by CN-" in scene.meterline("invoice", "INV-0001")


def void_event(scene: Scene, chrome: WebDriver) -> None:
    scene.live.ship(
        event(time_ms=scene.now_ms(), subject="acme_key_1"), producer="0" * 31 + "7"
    )
    enter(scene, chrome, "/events/1", scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, "/events/1")

    send(chrome, "main", reason="a test of ours")

    assert chrome.current_url == f"{scene.live.url}/events/1#what"
    assert "correction 1" in text(chrome, "main")
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    assert "a test of ours" in scene.meterline("correct", "--list")


def take_back(scene: Scene, chrome: WebDriver) -> None:
    listed = json.loads(scene.meterline("correct", "--list", "--json"))
    if not any(one["reverted_by"] is None for one in listed["corrections"]):
        void_event(scene, chrome)
        send(chrome, ".about")
    enter(scene, chrome, "/corrections", scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, "/corrections")

    send(chrome, "main", correction="1", reason="it was none")

    assert chrome.current_url == f"{scene.live.url}/corrections"
    assert "taken back by 2" in text(chrome, "main")
    assert "it was none, by write" in text(chrome, "main")


def of_centre(scene: Scene) -> Scene:
    assert scene.centre is not None
    return scene.centre


def accept_gap(scene: Scene, chrome: WebDriver) -> None:
    scene = of_centre(scene)
    with scene.live.client() as client:
        client.headers["Authorization"] = f"Bearer {scene.token}"
        client.post("/v1/close", params={"skip_grace": "true"})
        until(lambda: client.get("/v1/close").json()["asked"])
    enter(scene, chrome, "/close")
    inside = "form[action$=gap]"

    assert "edge one has not said" in text(chrome, "main")
    chrome.find_element(By.CSS_SELECTOR, f"{inside} [name=reason]").send_keys("gone")
    press(chrome, f"{inside} button[name=dry_run]")

    assert chrome.current_url == f"{scene.live.url}/close"
    wait_until(chrome, lambda _: "would become final" in text(chrome, "#runs"))


def decide_edge(scene: Scene, chrome: WebDriver) -> None:
    scene = of_centre(scene)
    enter(scene, chrome, "/edges", scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, "/edges")

    fill(chrome, "main", reason="sold")
    press(chrome, "main form button[value=retire]")

    assert chrome.current_url == f"{scene.live.url}/edges"
    assert "retired" in text(chrome, "#edges")
    assert "sold" in scene.meterline("audit")
    fill(chrome, "main", reason="it is back")
    press(chrome, "main form button[value=adopt]")
    assert "silent" in text(chrome, "#edges")


def decide_late(scene: Scene, chrome: WebDriver) -> None:
    scene = of_centre(scene)
    given = ("--skip-grace", "--accept-gap", "one", "--reason", "gone")
    scene.meterline("close", *given)
    noon = datetime.combine(LAST_MONTH, datetime.min.time(), UTC) + timedelta(hours=12)
    late = event(time_ms=int(noon.timestamp() * 1000), subject="payer_1")
    scene.live.ship(late, producer="0" * 31 + "6")
    until(lambda: "payer" in scene.meterline("late", "list"))
    enter(scene, chrome, "/late", scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, "/late?customer=payer")

    fill(chrome, "main", reason="too late")
    press(chrome, "main form button[value=reject]")

    assert f"{scene.live.url}/late#late-" in chrome.current_url
    assert "too late, by write" in text(chrome, "#rows")
    assert "rejected" in scene.meterline("late", "list")


def put_aside(scene: Scene, chrome: WebDriver) -> None:
    file = scene.live.folder / "old.csv"
    row = "id,time,subject,quantities.tokens\ne-1,2025-03-01T08:00:00Z,acme_key_1,5\n"
    file.write_text(row)
    enter(scene, chrome, "/imports", scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, "/imports")

    fill(chrome, "main", name="old", reason="moved here", file=str(file))
    press(chrome, "main form button")

    assert chrome.current_url == f"{scene.live.url}/imports/old?diff=yes"
    assert "1 event would count" in text(chrome, "main")
    assert "2025-03" in text(chrome, "section[aria-labelledby=diff]")
    assert "staged" in scene.meterline("import", "list")


def decide_import(scene: Scene, chrome: WebDriver) -> None:
    if "old" not in scene.meterline("import", "list"):
        put_aside(scene, chrome)
        send(chrome, ".about")
    enter(scene, chrome, "/imports/old?diff=yes")

    press(chrome, "main form button[value=discard]")

    assert chrome.current_url == f"{scene.live.url}/imports/old"
    assert "discarded" in text(chrome, "#state")
    assert "discarded" in scene.meterline("import", "list")


def erase_name(scene: Scene, chrome: WebDriver) -> None:
    scene.live.ship(
        event(time_ms=scene.now_ms(), subject="glob_jane_doe"), producer="0" * 31 + "7"
    )
    enter(scene, chrome, "/erasures", scene.reader)
    assert not chrome.find_elements(By.CSS_SELECTOR, "main form")
    send(chrome, ".about")
    enter(scene, chrome, "/erasures")

    send(chrome, "main", subject="glob_jane_doe", reason="request 7")
    assert "1 event, and all sums, would be" in text(chrome, "#answer")
    assert value(chrome, "subject") == "glob_jane_doe"
    fill(chrome, "main", again="glob_jane_doe")
    press(chrome, "main form button[value=erase]")

    assert "The name is erased" in text(chrome, "#answer")
    assert "request 7, by write" in text(chrome, "main")
    assert "glob_jane_doe" not in chrome.page_source


Submit = Callable[[Scene, WebDriver], None]
FORMS: dict[str, Submit] = {
    "alerts.html: get": find_alerts,
    "audit.html: get": find_decisions,
    "base.html: post /logout": log_out,
    "close.html: post /close": close_periods,
    "close.html: post /close/gap": accept_gap,
    "edges.html: post /edges": decide_edge,
    "late.html: post /late": decide_late,
    "import.html: post /imports/…": decide_import,
    "imports.html: post /imports": put_aside,
    "event.html: post /events/…/void": void_event,
    "corrections.html: post /corrections": take_back,
    "erasures.html: post /erasures": erase_name,
    "customer.html: post /customers/…/credits": grant_credit,
    "customers.html: get": find_customers,
    "events.html: get": find_events,
    "invoices.html: get": find_documents,
    "invoice.html: post /invoices/…/credit": credit_part,
    "invoice.html: post /invoices/…/payments": record_payment,
    "invoice.html: post /invoices/…/steps": take_step,
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
def test_a_person_can_send_the_form(scene: Scene, chrome: WebDriver, name: str) -> None:
    FORMS[name](scene, chrome)


def test_a_form_of_another_site_changes_nothing_and_is_told_on_a_page(
    scene: Scene, chrome: WebDriver, tmp_path: Path
) -> None:
    enter(scene, chrome, "/")
    evil = tmp_path / "evil.html"
    evil.write_text(
        f'<form method="post" action="{scene.live.url}/outbox/1/retry">'
        "<button>Win</button></form>"
    )
    for other in (f"file://{evil}", f"data:text/html,{evil.read_text()}"):
        chrome.get(other)

        send(chrome)

        assert text(chrome, "h1") == "Forbidden"
        assert "Changes are accepted only from this site" in chrome.page_source


def test_who_comes_back_to_a_form_that_was_refused_is_asked_nothing(
    scene: Scene, chrome: WebDriver
) -> None:
    enter(scene, chrome, "/customers/initech?meter=tokens")
    page = chrome.current_url
    send(chrome, "section[aria-labelledby=credits]", amount="five", reason="an outage")
    assert "five is no number" in text(chrome, "#wrong")
    assert chrome.current_url == page
    assert chrome.title == "Not done: Initech \N{MIDDLE DOT} Meterline"

    clear(chrome, "amount")
    send(chrome, "section[aria-labelledby=credits]", amount="5.50")
    assert chrome.current_url.endswith("/customers/initech#credits")
    chrome.back()

    # A page that only a form leads to would be "Confirm Form Resubmission" here.
    wait_until(chrome, lambda driver: driver.current_url == page)
    wait_until(chrome, lambda _: texts(chrome, "h1") == ["Initech"])
    assert scene.meterline("credit", "initech").count("an outage") == 1


def test_who_was_logged_out_meanwhile_logs_in_beside_it_and_loses_nothing(
    scene: Scene, chrome: WebDriver
) -> None:
    enter(scene, chrome, "/customers/umbrella")
    fill(chrome, "main", amount="7.25", reason="a long reason")
    chrome.delete_all_cookies()

    press(chrome, "main form button")
    assert "let your browser send it again" in text(chrome, "main")
    before = chrome.current_window_handle
    chrome.find_element(By.LINK_TEXT, "Log in").click()
    wait_until(chrome, lambda driver: len(driver.window_handles) == 2)
    chrome.switch_to.window(next(one for one in chrome.window_handles if one != before))
    send(chrome, token=scene.token)
    chrome.close()
    chrome.switch_to.window(before)
    chrome.refresh()
    if ENGINE == "firefox":  # asks; drivers of the others say yes by themselves
        chrome.switch_to.alert.accept()

    wait_until(chrome, lambda driver: "#credits" in driver.current_url)
    assert "a long reason, by write" in text(chrome, "main")


def test_who_has_logged_out_and_goes_back_sees_no_page(
    scene: Scene, chrome: WebDriver
) -> None:
    enter(scene, chrome, "/customers/umbrella")
    assert text(chrome, "h1") == "Umbrella Health"
    send(chrome, ".about")

    chrome.back()

    wait_until(
        chrome, lambda driver: "/login?next=/customers/umbrella" in driver.current_url
    )


def test_a_page_that_a_browser_kept_is_asked_for_again(
    scene: Scene, chrome: WebDriver
) -> None:
    enter(scene, chrome, "/customers/umbrella")
    key = "return document.querySelector('main [name=once]')?.value"
    before = chrome.execute_script(key)

    chrome.execute_script(  # as it comes to a page that was kept, on going back to it
        "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
    )

    wait_until(chrome, lambda driver: driver.execute_script(key) not in (None, before))


def test_what_cannot_be_sent_again_is_told_on_its_page(
    scene: Scene, chrome: WebDriver
) -> None:
    enter(scene, chrome, "/outbox")

    chrome.execute_script(
        "const form = document.createElement('form');"
        "form.method = 'post'; form.action = '/outbox/99999/retry';"
        "form.innerHTML = '<input name=once value=1><button>Retry</button>';"
        "document.querySelector('main').prepend(form);"
    )
    send(chrome, "main")

    said = text(chrome, "[role=alert].wrong")
    assert said.startswith("No row 99999 in the outbox; meterline outbox list has")
    assert text(chrome, "h1") == "Outbox"


def test_a_token_that_was_revoked_leads_to_the_door_and_not_to_json(
    scene: Scene, chrome: WebDriver
) -> None:
    made = scene.live.meterline("token", "create", "short", "--scope", "read", "--json")
    short = dict(re.findall(r'"(\w+)": ?"([^"]*)"', made.stdout))
    enter(scene, chrome, "/", short["token"])
    assert text(chrome, "h1") == "Overview"

    scene.live.meterline("token", "revoke", short["id"])
    chrome.get(f"{scene.live.url}/customers")

    assert chrome.current_url == f"{scene.live.url}/login?next=/customers"
    assert chrome.get_cookies() == []
