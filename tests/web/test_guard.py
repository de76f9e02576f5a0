import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers

from meterline_sidecar.daemon.run import run
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.web.clients import Clients, OpenRequests, Rates
from meterline_sidecar.web.guard import HEADER_BYTES_MAX
from meterline_sidecar.web.rights import BODY_BYTES_MAX
from tests.clock import FakeClock
from tests.sidecar_process import SIDECAR
from tests.web.conftest import OpenWeb, Web, configure

LOCKED = SIDECAR + "require_token = true\n"


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_a_foreign_host_name_is_refused_so_that_dns_cannot_be_rebound(
    web: Web,
) -> None:
    for host in ("evil.example", "localhost.evil.example", "", "[::1", "a@b:c"):
        response = await web.http.get("/v1/usage", headers={"Host": host})
        assert response.status_code == 421, host


async def test_addresses_and_localhost_are_always_known(web: Web) -> None:
    for host in ("127.0.0.1:8270", "[::1]:8270", "LOCALHOST", "10.0.0.7"):
        response = await web.http.get("/livez", headers={"Host": host})
        assert response.status_code == 200, host


async def test_a_name_from_the_configuration_is_known(open_web: OpenWeb) -> None:
    named = SIDECAR + 'http_names = ["meter.example.com"]\n'
    async with open_web(sidecar=named) as web:
        response = await web.http.get("/livez", headers={"Host": "meter.example.com"})

    assert response.status_code == 200


async def test_without_a_token_nothing_is_told_but_that_it_lives(
    open_web: OpenWeb,
) -> None:
    async with open_web(sidecar=LOCKED) as web:
        asked = {
            path: (await web.http.get(path)).status_code
            for path in (
                *("/livez", "/readyz", "/readyz?verbose", "/status", "/metrics"),
                *("/v1/usage", "/v1/events", "/openapi.json", "/no-such-page", "//v1"),
            )
        }

    assert {path for path, status in asked.items() if status == 200} == {
        "/livez",
        "/readyz",
    }
    assert set(asked.values()) == {200, 401}


async def test_a_token_may_what_its_scope_says_and_less(open_web: OpenWeb) -> None:
    async with open_web(sidecar=LOCKED) as web:
        status = web.tokens.create("probe", "status", now_ms=0).text
        read = web.tokens.create("report", "read", now_ms=0).text

        async def code(path: str, token: str) -> int:
            return (await web.http.get(path, headers=bearer(token))).status_code

        assert await code("/status", status) == 200
        assert await code("/v1/usage", status) == 403
        assert await code("/status", read) == 200
        assert await code("/v1/usage", read) == 200
        changed = await web.http.post("/v1/anything", headers=bearer(read))
        assert changed.status_code == 403


async def test_a_revoked_token_is_refused_at_once(open_web: OpenWeb) -> None:
    async with open_web(sidecar=LOCKED) as web:
        made = web.tokens.create("report", "read", now_ms=0)
        before = await web.http.get("/v1/usage", headers=bearer(made.text))
        web.tokens.revoke(made.token.id, now_ms=1)
        after = await web.http.get("/v1/usage", headers=bearer(made.text))

    assert (before.status_code, after.status_code) == (200, 401)


async def test_the_file_holds_no_token_and_is_for_its_owner_only(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        made = web.tokens.create("report", "read", now_ms=0)

        written = web.tokens.path.read_text()

        assert made.text not in written
        assert stat.S_IMODE(web.tokens.path.stat().st_mode) == 0o600


async def test_guessing_tokens_is_slowed_down(open_web: OpenWeb) -> None:
    async with open_web(sidecar=LOCKED) as web:
        codes = [
            (await web.http.get("/v1/usage", headers=bearer(f"mtl_{i}"))).status_code
            for i in range(12)
        ]
        good = web.tokens.create("late", "read", now_ms=0).text
        let_in = await web.http.get("/v1/usage", headers=bearer(good))

    assert codes[:10] == [401] * 10
    assert codes[10:] == [429] * 2
    # Behind a proxy all have one address: others' mistakes are not this token's.
    assert let_in.status_code == 200


async def test_nobody_invents_the_address_that_wrong_tokens_are_counted_by(
    open_web: OpenWeb,
) -> None:
    async with open_web(sidecar=LOCKED) as web:
        codes = [
            (
                await web.http.get(
                    "/v1/usage",
                    headers=bearer("mtl_x") | {"X-Forwarded-For": f"10.0.0.{i}"},
                )
            ).status_code
            for i in range(20)
        ]

    assert codes == [401] * 10 + [429] * 10


async def test_a_proxy_that_is_named_says_whose_wrong_tokens_they_are(
    open_web: OpenWeb,
) -> None:
    behind = LOCKED + 'trusted_proxies = ["127.0.0.0/8"]\n'
    async with open_web(sidecar=behind) as web:

        async def code(forwarded: str) -> int:
            headers = bearer("mtl_x") | {"X-Forwarded-For": forwarded}
            return (await web.http.get("/v1/usage", headers=headers)).status_code

        codes = [await code(f"10.9.9.{i}, 10.0.0.1, 127.0.0.2") for i in range(11)]
        other = await code("10.0.0.1, 10.0.0.2")

    assert codes == [401] * 10 + [429]
    assert other == 401


async def test_requests_of_a_token_do_not_slow_down_another(open_web: OpenWeb) -> None:
    slow = LOCKED + "http_requests_per_s = 1\n"
    async with open_web(sidecar=slow) as web:
        first = web.tokens.create("first", "read", now_ms=0).text
        second = web.tokens.create("second", "read", now_ms=0).text

        async def code(token: str) -> int:
            return (await web.http.get("/v1/usage", headers=bearer(token))).status_code

        codes = [await code(first) for _ in range(3)]

        assert codes == [200, 200, 429]
        assert await code(second) == 200


async def test_a_login_over_a_proxys_https_is_sent_over_https_only(
    open_web: OpenWeb,
) -> None:
    behind = LOCKED + 'trusted_proxies = ["127.0.0.1"]\n'
    for proxies, is_secure in ((LOCKED, False), (behind, True)):
        async with open_web(sidecar=proxies) as web:
            token = web.tokens.create("me", "read", now_ms=0).text
            answer = await web.http.post(
                "/login",
                headers={"X-Forwarded-Proto": "https"},
                content=f"token={token}",
            )

        assert ("Secure" in answer.headers["set-cookie"]) is is_secure


async def test_a_damaged_token_file_lets_nobody_in(open_web: OpenWeb) -> None:
    async with open_web(sidecar=LOCKED) as web:
        good = web.tokens.create("report", "read", now_ms=0).text
        web.tokens.path.write_text("[{")

        response = await web.http.get("/v1/usage", headers=bearer(good))

        assert response.status_code == 503
        with pytest.raises(ConfigError, match="create new tokens"):
            web.tokens.all()


async def test_a_foreign_page_cannot_change_anything(web: Web) -> None:
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost:81"},
    ):
        response = await web.http.post("/v1/usage", headers=headers)
        assert response.status_code == 403, headers


async def test_a_browsers_word_for_our_own_page_is_enough(web: Web) -> None:
    for headers in (
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        # Behind a proxy that names another host to us.
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://meter.example.com"},
        {"Origin": "http://localhost"},
        {},
    ):
        response = await web.http.post("/v1/report", headers=headers)
        assert response.status_code == 200, headers


async def test_our_links_name_no_token_to_another_site_and_our_forms_name_us(
    web: Web,
) -> None:
    policies = {
        path: (await web.http.get(path)).headers["referrer-policy"]
        for path in ("/", "/login", "/outbox", "/portal", "/portal/usage.json")
    }

    assert {path for path, policy in policies.items() if policy == "no-referrer"} == {
        "/portal",
        "/portal/usage.json",
    }
    assert set(policies.values()) == {"no-referrer", "same-origin"}


async def test_whoever_is_not_let_in_reads_a_page_in_a_browser(
    open_web: OpenWeb,
) -> None:
    async with open_web(sidecar=LOCKED) as web:
        reader = bearer(web.tokens.create("report", "read", now_ms=0).text)
        asked = [
            await web.http.post("/outbox/1/retry", headers={**html, **headers})
            for html in ({"Accept": "text/html,*/*"}, {})
            for headers in (reader, {}, {"Origin": "null"}, {"Host": "evil.example"})
        ]

    pages, problems = asked[:4], asked[4:]
    for page, problem in zip(pages, problems, strict=True):
        assert page.status_code == problem.status_code
        assert page.headers["content-type"].startswith("text/html")
        assert problem.headers["content-type"] == "application/problem+json"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers.get("www-authenticate") == problem.headers.get(
            "www-authenticate"
        )
    assert [page.status_code for page in pages] == [403, 401, 403, 421]
    assert "this needs write" in pages[0].text


async def test_an_old_cookie_is_forgotten_before_it_locks_anybody_out(
    open_web: OpenWeb,
) -> None:
    html = {"Accept": "text/html"}
    async with open_web(sidecar=LOCKED) as web:
        web.http.cookies.set("meterline_token", "mtl_old")
        sent = await web.http.get("/customers?q=a", headers=html)
        changed = await web.http.post("/outbox/1/retry", headers=html)

    assert (sent.status_code, changed.status_code) == (303, 401)
    assert sent.headers["location"] == "/login?next=/customers%3Fq%3Da"
    assert 'meterline_token=""' in sent.headers["set-cookie"]


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read(web: Web) -> None:
    response = await web.http.post("/v1/usage", content=b"x" * (BODY_BYTES_MAX + 1))

    assert response.status_code == 413


async def test_a_body_of_unknown_length_is_cut_at_the_limit(web: Web) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * BODY_BYTES_MAX

    response = await web.http.post("/login", content=pieces())

    assert response.status_code == 413
    assert response.json()["detail"] == f"a body has at most {BODY_BYTES_MAX} bytes"


async def test_headers_beyond_the_limit_are_refused(web: Web) -> None:
    response = await web.http.get("/livez", headers={"X": "x" * HEADER_BYTES_MAX})

    assert response.status_code == 431


async def test_a_length_that_is_none_is_refused(web: Web) -> None:
    for length in ("\xb2", "-1", "9" * 5_000):
        raw = [(b"Host", b"localhost"), (b"Content-Length", length.encode("latin-1"))]
        response = await web.http.get("/livez", headers=raw)
        assert response.status_code == 413, length


async def test_too_many_requests_are_told_when_to_come_again(
    open_web: OpenWeb,
) -> None:
    slow = SIDECAR + "http_requests_per_s = 1\n"
    async with open_web(sidecar=slow) as web:
        # All at once: an answer may take as long as it takes to be let in again.
        answers = await asyncio.gather(*(web.http.get("/status") for _ in range(4)))
        probed = {(await web.http.get("/livez")).status_code for _ in range(9)}

    assert probed == {200}
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "1"


def test_open_requests_are_bounded_for_one_client_and_for_all() -> None:
    requests = OpenRequests(all_max=3, client_max=2)

    entered = [requests.enter(client) for client in "aaabb"]
    requests.leave("a")

    assert entered == [True, True, False, True, False]
    assert requests.enter("b")
    assert not requests.enter("c")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.1.1.1", "1.2.3.4", "1.2.3.4"),
        ("10.1.1.1", "6.6.6.6, 1.2.3.4, 10.2.2.2", "1.2.3.4"),
        ("10.1.1.1", "6.6.6.6, nobody, 10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("10.1.1.1", ", ".join(["10.3.3.3"] * 1_000), "10.3.3.3"),
        ("9.9.9.9", "1.2.3.4", "9.9.9.9"),
        (None, "1.2.3.4", "1.2.3.4"),
    ],
)
def test_the_address_is_the_last_that_no_trusted_proxy_has(
    peer: str | None, forwarded: str, address: str
) -> None:
    clients = Clients(["10.0.0.0/8", "unix"])
    scope = {"type": "http", "client": peer and (peer, 1)}

    found = clients.address_of(scope, Headers({"X-Forwarded-For": forwarded}))

    assert found == address


def test_a_bucket_fills_again_with_time() -> None:
    rates = Rates(2, 2)

    assert [rates.wait_s("a", 0.0) for _ in range(3)] == [0, 0, 0.5]
    assert rates.wait_s("b", 0.0) == 0
    assert rates.wait_s("a", 0.5) == 0
    assert rates.wait_s("a", 0.5) == 0.5


async def test_every_answer_carries_the_security_headers(web: Web) -> None:
    answers: list[httpx.Response] = [
        await web.http.get(path) for path in ("/livez", "/v1/usage", "/nowhere")
    ]

    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


async def test_what_breaks_inside_stays_inside(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> int:
        raise RuntimeError("secret path /etc/x")

    monkeypatch.setattr(type(web.parts.database), "size_bytes", broken)

    response = await web.http.get("/status")

    assert response.status_code == 500
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "secret" not in response.text
    assert response.headers["content-type"] == "application/problem+json"


async def test_no_network_is_served_without_a_token(tmp_path: Path) -> None:
    open_to_all = SIDECAR.replace("unix:http.sock", "0.0.0.0:0")
    config = configure(tmp_path, sidecar=open_to_all)

    with pytest.raises(ConfigError, match="meterline token create"):
        await run(config, clock=FakeClock())


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("Basic eDp5", "send it as Authorization: Bearer TOKEN"),
        ("mtl_abc", "send it as Authorization: Bearer TOKEN"),
        ("Bearer", "send it as Authorization: Bearer TOKEN"),
        ("Bearer mtl_abc", "this token is unknown or was revoked"),
    ],
)
async def test_what_is_no_token_is_told_apart_from_a_wrong_one(
    web: Web, sent: str, told: str
) -> None:
    answer = await web.http.get("/v1/meters", headers={"authorization": sent})

    assert answer.status_code == 401
    assert answer.json()["detail"].endswith(told)
