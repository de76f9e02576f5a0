import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from meterline.portal import portal_token
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store import outbox
from meterline_sidecar.store.outbox import NewRow, State
from meterline_sidecar.web.dashboard import routes as dashboard
from meterline_sidecar.web.documents import routes as documents
from meterline_sidecar.web.query import billing_period, find_customer
from meterline_sidecar.web.static import FILES
from tests.plans import starter_each
from tests.producer import NOON_MS, event
from tests.sidecar_process import METERLINE, SIDECAR
from tests.web.conftest import OpenWeb, Web, form
from tests.web.test_browser import PAGES as OPENED
from tests.web.test_paper import PAGES as PRINTED

NO_PAGES = ("/customers-like", "/login")  # for scripts; where nobody has a token
ROUTES = [
    route
    for route in (*dashboard.ROUTES, *documents.PAGES)
    if "GET" in (route.methods or ()) and route.path not in NO_PAGES
]
ALONE = [route.path for route in ROUTES if not route.param_convertors]
PAGES = (
    *ALONE,
    "/?range=30d",
    "/customers?q=acm&sort=name",
    "/customers/acme",
    "/customers/acme?period=2026-10",
    "/invoices?customer=acme&period=2026-10",
    "/events?status=200&kind=request",
    "/events/1",
    "/outbox?state=dead",
)
DESCRIBED = Path(__file__).parents[2] / "docs" / "dashboard.md"
HTML = {"Accept": "text/html"}
UPLOT = {  # uPlot 1.6.32 as the npm registry has it
    "uplot.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
DECEMBER_MS = 1_796_083_200_000
DOLLAR_EACH = starter_each("1")
EVIL = "<script>alert(1)</script>"


async def page(web: Web, path: str) -> str:
    response = await web.http.get(path, headers=HTML)
    assert response.status_code == 200, (path, response.text)
    return response.text


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_needs_no_other_host_and_no_inline_script(
    web: Web, path: str
) -> None:
    await web.parts.standings.refresh()

    html = await page(web, path)

    assert html.startswith("<!doctype html>")
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\s(style|on\w+)=", html)
    assert not re.search(r"(src|href|action)=.?(https?:)?//", html)


@pytest.mark.parametrize("path", PAGES)
async def test_an_empty_ledger_has_every_page_too(open_web: OpenWeb, path: str) -> None:
    async with open_web(meterline="", pricing="") as web:
        response = await web.http.get(path, headers=HTML)

    assert response.status_code == (404 if re.search(r"/acme|/1$", path) else 200)


def test_every_page_is_opened_in_a_browser() -> None:
    opened = [urlsplit(path).path for path in (*OPENED, *PRINTED)]
    missing = [
        route.path
        for route in ROUTES
        if not any(route.path_regex.match(path) for path in opened)
    ]

    assert missing == [], "add it to PAGES of test_browser.py"


async def test_every_page_is_described(web: Web) -> None:
    rows = re.findall(r"^\| ([^|]+) \|", DESCRIBED.read_text(), re.MULTILINE)

    for path in ALONE:
        found = re.search("<title>(.+) · Meterline", await page(web, path))
        assert found is not None, path
        assert found[1] in rows, f"describe {path} in docs/dashboard.md"


async def test_nothing_recorded_looks_ready_and_not_broken(open_web: OpenWeb) -> None:
    async with open_web() as web:
        html = await page(web, "/")

    assert "Everything is ready; nothing has been recorded yet" in html
    assert "Everything is working" in html


async def test_a_broken_ledger_is_said_on_every_page(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.parts.ingest.storing, "trouble", "no room on the disk")

    for path in ("/", "/events", "/pricing"):
        assert "Events cannot be stored" in await page(web, path)


async def test_names_from_outside_cannot_become_markup(open_web: OpenWeb) -> None:
    toml = f"""
[[meter]]
name = "calls"
aggregation = "count"
group_by = ["route"]

[[customer]]
id = "evil"
name = "{EVIL}"
subjects = ["{EVIL}"]
"""
    async with open_web(meterline=toml, pricing="") as web:
        await web.ship(event(subject=EVIL, route=f"/{EVIL}", method="<B>"))
        await web.parts.standings.refresh()
        for path in (
            *("/", "/customers", "/customers/evil", "/events", "/events/1"),
            "/usage?group_by=route&customer=evil",
            f"/customers?q={EVIL}",
            f"/events?subject={EVIL}",
        ):
            html = await page(web, path)
            assert EVIL not in html, path
            assert "&lt;script&gt;" in html, path


async def test_no_name_lets_the_words_around_it_run_backwards(
    open_web: OpenWeb,
) -> None:
    backwards = "\u202elive"
    toml = f"""
[[customer]]
id = "evil"
name = "{backwards}"
subjects = ["{backwards}"]
"""
    async with open_web(meterline=toml, pricing="") as web:
        await web.ship(event(subject=backwards, route=f"/{backwards}"))
        await web.parts.standings.refresh()
        pages = [
            await page(web, path)
            for path in ("/customers", "/customers/evil", "/events", "/events/1")
        ]
        filtered = await page(web, f"/events?subject={backwards}")
        fields = form(subject=backwards, reason="asked for", do="look")
        looked = await web.http.post(
            "/erasures", data=fields, headers={"accept": "text/html"}
        )

    for html in pages:
        assert "\u202e" not in html
        assert "\\u202elive" in html
    # A field holds what is sent again.
    assert f'value="{backwards}"' in filtered
    assert f'value="{backwards}"' in looked.text


async def test_what_programs_add_to_a_link_changes_no_page(web: Web) -> None:
    await web.ship(event())
    for path in PAGES:
        mark = "&" if "?" in path else "?"
        plain = await web.http.get(path, headers=HTML)
        added = await web.http.get(
            f"{path}{mark}utm_source=chat&fbclid=x&fbclid=y", headers=HTML
        )
        assert (plain.status_code, added.status_code) == (200, 200), path

    for path in ("/v1/events", "/v1/customers", "/v1/invoices/INV-1.pdf"):
        refused = await web.http.get(f"{path}?utm_source=chat")
        assert refused.status_code == 400, path
        assert "utm_source" in refused.json()["detail"]


async def test_a_mistake_in_the_address_gets_a_page_with_words(web: Web) -> None:
    for path, status in (
        ("/nowhere", 404),
        ("/customers/acmee", 404),
        ("/usage?meter=nope", 400),
        ("/events?status=many", 400),
        ("/customers?page=0", 400),
    ):
        response = await web.http.get(path, headers=HTML)
        assert response.status_code == status, path
        assert "<h1" in response.text
        assert (await web.http.get(path)).headers["content-type"] == (
            "application/problem+json"
        )


@pytest.mark.parametrize("n_meters", [5, 6])
async def test_the_list_of_customers_has_room_for_their_totals_beside_many_meters(
    open_web: OpenWeb, n_meters: int
) -> None:
    meters = "".join(
        f'[[meter]]\nname = "m{i}"\naggregation = "count"\n' for i in range(n_meters)
    )
    acme = '[[customer]]\nid = "acme"\nsubjects = ["acct_1"]\n'
    async with open_web(meterline=meters + acme, pricing="") as web:
        shown = await page(web, "/customers")
        of_one = await page(web, "/customers/acme")

    assert re.findall(r"wraps\">(m\d)<", shown) == [f"m{i}" for i in range(5)]
    assert ("Usage of 5 of 6 meters" in shown) == (n_meters == 6)
    assert set(re.findall(r'data-meter="(m\d)"', of_one)) == {
        f"m{i}" for i in range(n_meters)
    }


async def test_the_periods_of_a_customer_are_told_apart_by_their_titles(
    web: Web,
) -> None:
    here = "/customers/acme"
    titles = [
        (await page(web, path)).partition("<title>")[2].partition("</title>")[0]
        for path in (here, f"{here}?period=2026-10", f"{here}/explain?period=2026-10")
    ]

    assert titles == [
        "Acme Corp · Meterline",
        "Acme Corp, 2026-10 · Meterline",
        "Acme Corp, 2026-10: how it was calculated · Meterline",
    ]


async def test_a_customers_page_explains_each_charge(web: Web) -> None:
    html = await page(web, "/customers/acme")

    assert "3 x $0.00" in html
    assert 'href="/events?customer=acme&amp;period=2026-11"' in html


@pytest.mark.parametrize(
    ("query", "n_steps"),
    [("range=7d", 7 * 24 + 1), ("range=7d&customer=acme", 8), ("customer=acme", 97)],
)
async def test_a_week_of_one_customer_is_shown_by_day(
    web: Web, query: str, n_steps: int
) -> None:
    html = await page(web, f"/usage?{query}")
    table = html[html.index("(UTC)</th>") : html.index("</tbody>")]

    assert table.count('<th scope="row">') == n_steps


async def test_a_price_of_thirty_digits_is_shown(open_web: OpenWeb) -> None:
    vast = starter_each("9" * 30)
    async with open_web(pricing=vast) as web:
        assert "999,990,000.00<" in await page(web, "/pricing")


async def test_an_earlier_period_shows_what_was_billed_and_what_came_later(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=DOLLAR_EACH) as web:
        await web.ship(event(), event())
        web.clock.time_ms = DECEMBER_MS
        acme = find_customer(web.parts, "acme")
        november = billing_period(web.parts, acme, "2026-11")
        await web.parts.invoices.finalize(
            acme, november, accept_gap=True, author="finance"
        )
        await web.ship(event())  # late
        december = await page(web, "/customers/acme")
        final = await page(web, "/customers/acme?period=2026-11")
        token = portal_token(
            "acme", key=web.parts.portal_key, now_s=DECEMBER_MS // 1000
        )
        theirs = await web.get("/portal/usage.json", token=token)

    assert re.search(r"2026-11</a> <span[^>]*>final</span></th>\D*\$2\.00<", december)
    assert "Adjustment of 2026-11" in december
    assert '<strong id="total">$1.00<' in december
    assert "Final invoice 2026-11" in final
    assert '<strong id="total">$2.00<' in final
    assert theirs["total"] == "1.00"
    assert theirs["earlier"][0]["total"] == "2.00"
    assert theirs["earlier"][0]["is_final"]


async def test_every_earlier_period_is_reached_from_the_current_one(
    open_web: OpenWeb,
) -> None:
    year = METERLINE.replace(
        'plan = "starter"', 'plan = "starter"\nstarts = 2026-01-01'
    )
    names = [f"2026-{month:02d}" for month in range(1, 13)]
    async with open_web(meterline=year, pricing=DOLLAR_EACH) as web:
        web.clock.time_ms = DECEMBER_MS
        token = portal_token(
            "acme", key=web.parts.portal_key, now_s=DECEMBER_MS // 1000
        )
        linked = {}
        listed = {}
        for name in names:
            html = await page(web, f"/customers/acme?period={name}")
            links = re.findall(r'scope="row"><a href="\?period=([\d-]+)"', html)
            linked[name] = links
            theirs = await web.get("/portal/usage.json", token=token, period=name)
            listed[name] = [one["period"] for one in theirs["earlier"]]

    before = {name: names[:i][::-1][:6] for i, name in enumerate(names)}
    assert linked == before
    assert listed == before


async def test_the_list_of_customers_shows_each_draft_total(web: Web) -> None:
    await web.parts.standings.refresh()

    html = await page(web, "/customers")

    assert "Acme Corp" in html
    assert "$0.00" in html


async def test_older_events_are_reached_page_by_page(web: Web) -> None:
    await web.ship(*[event(route=f"/r{i}") for i in range(120)])
    seen: list[str] = []
    path: str | None = "/events"
    while path is not None:
        html = await page(web, path)
        seen += re.findall(r'<a href="/events/(\d+)"', html)
        older = re.search(r'href="(\?[^"]*before=\d+[^"]*)">Older', html)
        path = f"/events{older[1]}" if older else None

    assert seen == [str(i) for i in range(125, 0, -1)]


async def test_static_files_are_kept_for_ever_under_a_name_of_their_content(
    web: Web,
) -> None:
    html = await page(web, "/")
    urls = re.findall(r'(?:src|href)="(/static/[^"]+)"', html)

    assert len(urls) >= 4
    for url in urls:
        response = await web.http.get(url)
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]
    assert (await web.http.get("/static/000000000000/app.css")).status_code == 404


def test_uplot_is_what_its_author_published() -> None:
    for name, checksum in UPLOT.items():
        assert sha256(FILES[name][0]).hexdigest() == checksum, name


async def test_a_person_logs_in_with_a_token_and_out_again(open_web: OpenWeb) -> None:
    async with open_web(sidecar=SIDECAR + "require_token = true\n") as web:
        token = web.tokens.create("me", "read", now_ms=0).text

        sent_away = await web.http.get("/customers?sort=name", headers=HTML)
        assert sent_away.headers["location"] == "/login?next=/customers%3Fsort%3Dname"
        wrong = await web.http.post("/login", data={"token": "mtl_wrong"})
        assert wrong.status_code == 401
        entered = await web.http.post("/login?next=/customers", data={"token": token})
        assert entered.headers["location"] == "/customers"
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "Acme Corp" in await page(web, "/customers")
        await web.http.post("/logout")
        web.http.cookies.clear()
        assert (await web.http.get("/customers", headers=HTML)).status_code == 303


async def test_a_token_that_may_not_read_is_told_so_at_the_door(
    open_web: OpenWeb,
) -> None:
    async with open_web(sidecar=SIDECAR + "require_token = true\n") as web:
        token = web.tokens.create("probe", "status", now_ms=0).text

        answer = await web.http.post("/login", data={"token": token})

    assert answer.status_code == 401
    assert "cannot read" in answer.text


async def dead_row(web: Web, state: State = "dead") -> int:
    row = NewRow(
        customer="acme",
        stripe_customer="cus_1",
        meter="api_calls",
        event_name="api_calls",
        mode="delta",
        hour_ms=NOON_MS - HOUR_MS,
        part=0,
        value=7,
        identifier=state,
        created_ms=NOON_MS,
        state=state,
        reason="no such meter",
    )
    async with web.parts.database.transaction() as tx:
        await outbox.start(tx, "install")
        return await outbox.add(tx, row)


async def test_what_stripe_refused_goes_again_at_a_click(web: Web) -> None:
    row_id = await dead_row(web)
    html = await page(web, "/outbox?state=dead")
    (action,) = re.findall(r'action="(/outbox/[^"]+)"', html)

    back = await web.http.post(action, data=form())

    assert action == f"/outbox/{row_id}/retry?state=dead"
    assert (back.status_code, back.headers["location"]) == (303, "/outbox?state=dead")
    row = await web.get(f"/v1/outbox/{row_id}")
    assert row["state"] == "pending"
    assert "Retry" not in await page(web, "/outbox")


async def test_what_may_count_twice_is_not_sent_again_but_explained(web: Web) -> None:
    row_id = await dead_row(web, "confirmed")

    answer = await web.http.post(f"/outbox/{row_id}/retry", data=form(), headers=HTML)

    assert answer.status_code == 409
    assert "run <code>meterline reconcile</code> first" in answer.text


async def test_who_may_only_read_is_offered_no_retry(open_web: OpenWeb) -> None:
    async with open_web(sidecar=SIDECAR + "require_token = true\n") as web:
        row_id = await dead_row(web)
        reader = {
            "Authorization": f"Bearer {web.tokens.create('r', 'read', now_ms=0).text}"
        }
        writer = {
            "Authorization": f"Bearer {web.tokens.create('w', 'write', now_ms=0).text}"
        }
        offered = [
            "Retry" in (await web.http.get("/outbox", headers=headers)).text
            for headers in (reader, writer)
        ]
        refused = await web.http.post(f"/outbox/{row_id}/retry", headers=reader)

    assert offered == [False, True]
    assert refused.status_code == 403


async def test_login_leads_to_no_other_site(open_web: OpenWeb) -> None:
    async with open_web(sidecar=SIDECAR + "require_token = true\n") as web:
        token = web.tokens.create("me", "read", now_ms=0).text
        for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
            response = await web.http.post(
                "/login", params={"next": target}, data={"token": token}
            )
            assert response.headers["location"] == "/", target
