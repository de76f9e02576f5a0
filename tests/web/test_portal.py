import base64
import csv
import hmac
import io
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline.portal import (
    KEY_BYTES_MIN,
    TTL_S_MAX,
    InvalidToken,
    portal_customer,
    portal_token,
    read_portal_key,
)
from meterline_sidecar.web.view.render import portal_refused_page
from tests.producer import NOON_MS, event
from tests.sidecar_process import METERLINE, SIDECAR, meterline
from tests.web.conftest import OpenWeb, Web, configure
from tests.web.test_final import CALLS, Desk, customer

LOCKED = SIDECAR + "require_token = true\n"
NOW_S = NOON_MS // 1000
KEY = b"k" * KEY_BYTES_MIN
HTML = {"Accept": "text/html"}
GET_PAGES = [
    "/portal",
    "/portal/usage.json",
    "/portal/usage.csv",
    "/portal/groups.csv",
]
TWO = (
    METERLINE
    + """
[[customer]]
id = "globex"
name = "Globex Secret Plc"
subjects = ["globex"]
plan = "starter"
time_zone = "Asia/Kathmandu"

[portal]
frame_origins = ["https://app.example.com"]
"""
)


def token_of(web: Web, customer: str, *, ttl_s: int = 600) -> str:
    return portal_token(customer, key=web.parts.portal_key, ttl_s=ttl_s, now_s=NOW_S)


def signed(header: object, claims: object, key: bytes = KEY) -> str:
    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    body = ".".join(part(json.dumps(piece).encode()) for piece in (header, claims))
    return f"{body}.{part(hmac.digest(key, body.encode(), sha256))}"


GOOD: dict[str, Any] = {
    "aud": "meterline-portal",
    "sub": "acme",
    "iat": NOW_S,
    "exp": NOW_S + 60,
}


@given(customer=st.text(min_size=1, max_size=100), ttl_s=st.integers(1, TTL_S_MAX))
def test_a_token_shows_its_customer_until_it_expires(customer: str, ttl_s: int) -> None:
    token = portal_token(customer, key=KEY, ttl_s=ttl_s, now_s=NOW_S)

    assert portal_customer(token, key=KEY, now_s=NOW_S + ttl_s - 1) == customer
    with pytest.raises(InvalidToken, match="expired"):
        portal_customer(token, key=KEY, now_s=NOW_S + ttl_s)


@given(place=st.integers(0, 10_000), letter=st.sampled_from("Aa0-_.x="))
def test_a_token_with_one_letter_changed_shows_nothing(place: int, letter: str) -> None:
    token = portal_token("acme", key=KEY, now_s=NOW_S)
    place %= len(token)
    forged = token[:place] + letter + token[place + 1 :]
    if forged == token:
        return

    with pytest.raises(InvalidToken):
        portal_customer(forged, key=KEY, now_s=NOW_S)


@given(text=st.text(max_size=300))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    with pytest.raises(InvalidToken):
        portal_customer(text, key=KEY, now_s=NOW_S)


@pytest.mark.parametrize(
    "forged",
    [
        signed({"alg": "none"}, GOOD),
        signed({"alg": "HS256"}, GOOD, key=b"x" * 32),
        signed({"alg": "none"}, GOOD).rpartition(".")[0] + ".",
        signed({"alg": "HS512"}, GOOD),
        signed({"alg": "HS256"}, {**GOOD, "aud": "something-else"}),
        signed({"alg": "HS256"}, {**GOOD, "exp": NOW_S + TTL_S_MAX + 1}),
        signed({"alg": "HS256"}, {**GOOD, "iat": NOW_S + 120, "exp": NOW_S + 180}),
        signed({"alg": "HS256"}, {**GOOD, "exp": "never"}),
        signed({"alg": "HS256"}, {**GOOD, "sub": ["acme", "globex"]}),
        signed({"alg": "HS256"}, [GOOD]),
        signed("HS256", GOOD),
        "a" * 10_000 + ".b.c",
    ],
)
def test_a_forged_token_shows_nothing(forged: str) -> None:
    with pytest.raises(InvalidToken):
        portal_customer(forged, key=KEY, now_s=NOW_S)


def test_a_good_one_made_by_another_library_is_taken() -> None:
    token = signed({"typ": "JWT", "alg": "HS256"}, {**GOOD, "jti": "1"})

    assert portal_customer(token, key=KEY, now_s=NOW_S) == "acme"


def test_a_short_key_or_a_long_life_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter than 32"):
        portal_token("acme", key=b"short")
    with pytest.raises(ValueError, match="a day"):
        portal_token("acme", key=KEY, ttl_s=TTL_S_MAX + 1)


async def test_a_customer_sees_their_own_page(open_web: OpenWeb) -> None:
    async with open_web(meterline=TWO) as web:
        await web.ship(*[event() for _ in range(7)], event(subject="globex"))
        response = await web.http.get(
            "/portal", params={"token": token_of(web, "acme")}, headers=HTML
        )

    assert response.status_code == 200
    assert "Acme Corp" in response.text
    assert "Globex" not in response.text
    policy = response.headers["content-security-policy"]
    assert "frame-ancestors https://app.example.com" in policy
    assert response.headers["cache-control"] == "private, no-store"


PORTAL = ("/portal", "/portal/usage.json", "/portal/usage.csv")
ELSEWHERE = (
    *("/portal/globex", "/portal/../customers/globex", "/portal//"),
    *("/customers/globex", "/v1/usage", "/v1/customers/globex", "/live"),
    *("/v1/customers/globex/invoice", "/v1/events", "/status", "/"),
)


def is_acmes(path: str, answer: httpx.Response) -> bool:
    """Tell whether a portal's answer shows what acme used, by what each form has."""
    if path.endswith(".json"):
        data = answer.json()
        return (data["customer"], data["lines"][0]["quantity"]) == ("acme", "7")
    if path.endswith(".csv"):
        used = sum(
            int(row[1]) for row in list(csv.reader(io.StringIO(answer.text)))[1:]
        )
        return used == 7 and "usage-acme-" in answer.headers["content-disposition"]
    return "Acme Corp" in answer.text


async def test_nobody_sees_another_customer_however_they_ask(
    open_web: OpenWeb,
) -> None:
    tries: list[tuple[str, bool, httpx.Response]] = []
    async with open_web(meterline=TWO, sidecar=LOCKED) as web:
        await web.ship(*[event() for _ in range(7)], event(subject="globex"))
        mine = token_of(web, "acme")
        bearer = {"Authorization": f"Bearer {mine}"}
        asked: list[tuple[dict[str, Any], dict[str, str]]] = [
            (params, headers)
            for params in (
                {"token": mine, "customer": "globex"},
                {"token": mine, "sub": "globex"},
                {"token": [mine, token_of(web, "globex")]},
                {"token": mine},
                {"period": "2026-11"},
            )
            for headers in ({}, bearer, {**bearer, "X-Customer": "globex"})
        ]
        for path in (*PORTAL, *ELSEWHERE):
            for i, (params, headers) in enumerate(asked):
                # From an address each: who is wrong too often is only told to wait.
                transport = httpx.ASGITransport(app=web.app, client=(f"10.0.0.{i}", 1))
                async with httpx.AsyncClient(
                    transport=transport, base_url="http://localhost"
                ) as client:
                    answer = await client.get(path, params=params, headers=headers)
                # What is added names nobody: it is not looked at.
                is_mine = params.get("token") == mine or (
                    "period" in params and headers
                )
                tries.append((path, path in PORTAL and bool(is_mine), answer))

    for path, shows_mine, answer in tries:
        assert "Globex" not in answer.text
        if shows_mine:
            assert answer.status_code == 200
            assert is_acmes(path, answer)
        else:
            assert answer.status_code in (307, 400, 401, 404)
    assert sum(shows_mine for _, shows_mine, _ in tries) == len(PORTAL) * 11


@pytest.mark.parametrize(("mode", "next_unit"), [("restart", "0"), ("continue", "0.2")])
async def test_the_next_unit_costs_what_it_does_by_the_price_that_holds_now(
    open_web: OpenWeb, tmp_path: Path, mode: str, next_unit: str
) -> None:
    def tiered(amount: str) -> str:
        return (
            f'[[plan]]\nname = "basic"\ncurrency = "usd"\ntiers_on_change = "{mode}"\n'
            '[[plan.price]]\nmeter = "calls"\nmodel = "graduated"\n'
            f'tiers = [{{ up_to = 10 }}, {{ unit_amount = "{amount}" }}]\n'
        )

    async with open_web(meterline=CALLS, pricing="") as web:
        desk = Desk(web, tmp_path)
        desk.clock("2026-11-06T12:00:00Z")
        await desk.load(CALLS + customer(), tiered("0.1"))
        await desk.use("2026-11-03T00:00:00Z", 12)
        await desk.load(CALLS + customer(), tiered("0.2"))
        await desk.use("2026-11-06T11:00:00Z", 3)

        data = await web.get("/portal/usage.json", token=token_of(web, "acme"))

    before, now = data["lines"]
    assert (before["next_unit"], now["next_unit"]) == (None, next_unit)
    assert [line["tiers"][1]["unit_amount"] for line in data["lines"]] == ["0.1", "0.2"]


async def test_the_json_says_what_it_costs_and_what_the_next_unit_costs(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO) as web:
        await web.ship(*[event() for _ in range(7)])
        data = await web.get("/portal/usage.json", token=token_of(web, "acme"))

    assert data["customer"] == "acme"
    assert data["fresh_as_of"] is not None
    assert data["total"] == "0.00"
    (line,) = data["lines"]
    assert (line["quantity"], line["tier"], line["next_unit"]) == ("7", 1, "0")
    (meter,) = data["meters"]
    assert meter["quantity"] == sum(day["quantity"] for day in meter["days"]) == 7
    assert [d["date"] for d in meter["days"] if d["quantity"]] == ["2026-11-06"]
    assert len(meter["days"]) == 6  # those to come are no days without usage


async def test_days_are_those_of_the_customers_own_calendar(open_web: OpenWeb) -> None:
    late_ms = NOON_MS + 7 * 3_600_000  # 19:00 UTC is 00:45 in Kathmandu
    async with open_web(meterline=TWO) as web:
        web.clock.time_ms = late_ms
        await web.ship(
            event(subject="globex"), event(subject="globex", time_ms=late_ms)
        )
        token = portal_token("globex", key=web.parts.portal_key, now_s=late_ms // 1000)
        answer = await web.http.get("/portal/usage.csv", params={"token": token})
        page = await web.http.get("/portal", params={"token": token}, headers=HTML)
        ours = await web.http.get("/customers/globex", headers=HTML)

    # An operator who is asked sees the days that the customer sees.
    (chart,) = re.findall(r'id="usage-chart".*?</figure>', ours.text, re.DOTALL)
    assert "2 api_calls by day in Asia/Kathmandu" in chart
    for day, n in (("05", "0"), ("06", "1"), ("07", "1")):
        row = rf'<th scope="row">2026-11-{day}</th><td class="num">{n}</td>'
        assert re.search(row, chart), day
    assert '<th scope="col">Day (Asia/Kathmandu)</th>' in page.text
    assert '<th scope="row">2026-11-07</th>' in page.text
    assert "UTC" not in page.text
    rows = dict(csv.reader(io.StringIO(answer.text)))
    assert rows["2026-11-06"] == "1"
    assert rows["2026-11-07"] == "1"  # today is the last one
    assert (list(rows)[1], list(rows)[-1]) == ("2026-11-01", "2026-11-07")
    assert answer.headers["content-disposition"].endswith('globex-2026-11.csv"')


async def test_without_a_good_token_the_page_says_so_and_no_more(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO) as web:
        old = portal_token(
            "acme", key=web.parts.portal_key, ttl_s=60, now_s=NOW_S - 3600
        )
        gone = token_of(web, "vanished")
        for token in ("", "x.y.z", old, gone):
            html = await web.http.get("/portal", params={"token": token}, headers=HTML)
            api = await web.http.get("/portal/usage.json", params={"token": token})
            assert (html.status_code, api.status_code) == (401, 401)
            assert "acme" not in (html.text + api.text).lower()


@pytest.mark.parametrize("path", GET_PAGES)
async def test_what_programs_add_to_a_link_is_not_looked_at(
    open_web: OpenWeb, path: str
) -> None:
    async with open_web(meterline=TWO) as web:
        token = token_of(web, "acme")
        plain = await web.http.get(path, params={"token": token}, headers=HTML)
        added = (
            f"token={token}&utm_source=mail&fbclid=x&utm_source=again&customer=globex"
        )
        same = await web.http.get(f"{path}?{added}", headers=HTML)
        twice = await web.http.get(f"{path}?token={token}&token={token}", headers=HTML)
        api = await web.http.get("/v1/usage?utm_source=mail")

    assert (plain.status_code, same.status_code) == (200, 200)
    assert same.text == plain.text
    assert twice.status_code == 400
    assert api.status_code == 400
    assert "utm_source" in api.json()["detail"]


@pytest.mark.parametrize("path", GET_PAGES)
@pytest.mark.parametrize(
    "behind",
    [".", ")", ">", "%3E", "%22", "*", "_", "',", ").", "%E2%80%9D", "%0A", "-x"],
)
async def test_what_stands_behind_a_link_in_a_text_is_no_part_of_it(
    open_web: OpenWeb, path: str, behind: str
) -> None:
    async with open_web(meterline=TWO, sidecar=LOCKED) as web:
        token = token_of(web, "acme")
        whole = await web.http.get(f"{path}?token={token}", headers=HTML)
        with_more = await web.http.get(f"{path}?token={token}{behind}", headers=HTML)

    assert with_more.status_code == 200
    assert with_more.text == whole.text  # its own links have the token alone


@pytest.mark.parametrize("between", ["%20", "+", "%0D%0A", "%0A%20%20", "%C2%A0"])
async def test_a_link_that_was_broken_into_lines_opens_all_the_same(
    open_web: OpenWeb, between: str
) -> None:
    async with open_web(meterline=TWO, sidecar=LOCKED) as web:
        token = token_of(web, "acme")
        whole = await web.http.get(f"/portal?token={token}", headers=HTML)
        for place in (1, 20, 76, len(token) - 1):
            broken = f"{token[:place]}{between}{token[place:]}"
            answer = await web.http.get(f"/portal?token={broken}", headers=HTML)
            assert answer.status_code == 200
            assert answer.text == whole.text


async def test_a_link_that_was_cut_off_says_that_it_may_have_been(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO, sidecar=LOCKED) as web:
        token = token_of(web, "acme")
        for length in range(1, len(token)):
            answer = await web.http.get(f"/portal?token={token[:length]}", headers=HTML)
            assert answer.status_code == 401
            assert "may have cut it off" in answer.text
            assert "where you found the link, or ask for a new one" in answer.text
        without = await web.http.get("/portal?token", headers=HTML)

    assert without.status_code == 401
    assert "Open this page with the link you were given." in without.text


async def test_an_old_link_says_that_it_has_expired_whatever_stands_behind_it(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO, sidecar=LOCKED) as web:
        key = web.parts.portal_key
        old = portal_token("acme", key=key, ttl_s=60, now_s=NOW_S - 61)
        gone = token_of(web, "vanished")
        early = portal_token("acme", key=key, now_s=NOW_S + 120)
        said = [
            (await web.http.get(f"/portal?token={token}.", headers=HTML)).text
            for token in (old, gone, early)
        ]

    assert "This link has expired: ask for a new one." in said[0]
    assert "This link is for an account that is no longer here." in said[1]
    assert "This link is not valid yet" in said[2]


async def test_a_link_opens_as_often_and_by_whomever_it_is_opened(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO, sidecar=LOCKED) as web:
        params = {"token": token_of(web, "acme")}
        looked = await web.http.head("/portal", params=params)  # a scanner of mails
        fetched = await web.http.get("/portal", params=params)  # which takes anything
        old = {"cookie": "meterline_token=revoked", **HTML}
        opened = [
            await web.http.get("/portal", params=params, headers=headers)
            for headers in (HTML, HTML, old, {"sec-fetch-site": "cross-site", **HTML})
        ]
        slash = await web.http.get("/portal/", params=params, headers=HTML)

    assert looked.status_code == 200
    for answer in (fetched, *opened):
        assert answer.status_code == 200
        assert "Acme Corp" in answer.text
        assert "set-cookie" not in answer.headers
    assert slash.status_code in (200, 307)


async def test_a_customer_whose_page_fails_sees_nothing_of_the_operators(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=TWO, sidecar=LOCKED) as web:
        mine = token_of(web, "acme")
        wrong = [
            await web.http.get("/portal", params={"token": mine, **more}, headers=HTML)
            for more in ({"period": "2026-13"}, {"meter": "none"}, {"period": "m" * 20})
        ]
        others = [
            await web.http.get("/portal/nothing", headers=HTML),
            await web.http.post("/portal", headers=HTML),
            await web.http.get("/portal", headers={**HTML, "host": "elsewhere"}),
            await web.http.get("/portal", params={"token": "x" * 3000}, headers=HTML),
        ]

    assert "There is nothing here: open the link that you were given." in others[0].text
    for answer in wrong:
        assert answer.status_code == 400
        assert f'<a href="/portal?token={mine}">Your usage now</a>' in answer.text
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert [answer.status_code for answer in others] == [404, 405, 421, 400]
    for answer in (*wrong, *others):
        assert "This page cannot be opened" in answer.text
        assert 'href="/customers"' not in answer.text
        assert "Overview" not in answer.text


def test_a_customer_is_told_nothing_of_what_is_wrong_with_the_sidecar() -> None:
    page = portal_refused_page(503, "/var/lib/meterline/meterline.db is gone")

    assert "meterline.db" not in page
    assert "Your usage cannot be shown at the moment" in page


def test_the_command_makes_a_token_that_the_sidecar_takes(tmp_path: Path) -> None:
    config = configure(tmp_path, meterline=TWO)
    environment = {"METERLINE_CONFIG": str(tmp_path / "meterline.toml")}

    made = meterline(
        "token", "portal", "--customer", "acme", "--ttl", "5m", environment=environment
    )
    wrong = meterline("token", "portal", "--customer", "acmee", environment=environment)

    key = read_portal_key(config.portal_key_file)
    claims = json.loads(base64.urlsafe_b64decode(made.stdout.split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] == 300
    assert portal_customer(made.stdout.strip(), key=key, now_s=claims["iat"]) == "acme"
    assert "did you mean acme" in wrong.stderr
