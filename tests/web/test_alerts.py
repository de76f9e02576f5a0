import asyncio
import base64
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import pytest

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.alerts.delivery import PAUSES_MS, AlertDelivery, signature
from meterline_sidecar.alerts.rules import Alerts
from meterline_sidecar.billing.running_totals import Standings
from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS, parse_time_ms
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.store import alerts as store
from tests.plans import starter
from tests.producer import NOON_MS, event
from tests.sidecar_process import METERLINE
from tests.web.conftest import OpenWeb, Web, configure

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
LIMIT = """
[[alert]]
name = "quota"
customer = "acme"
meter = "api_calls"
amount = 10
at = [50, 80, 100]
"""
FOUR_FREE = starter('model = "per_unit"\nunit_amount = "1"\nfree_units = 4')
SILENCE = """
[[alert]]
name = "quiet"
kind = "silence"
meter = "api_calls"
after_hours = 6
"""
JUMP = """
[[alert]]
name = "jump"
kind = "jump"
meter = "api_calls"
factor = 3
"""


def watch(web: Web, *, is_told: bool = True) -> Alerts:
    """Let alerts of the test's own listen to standings that nobody else listens to."""
    config = web.parts.config
    standings = Standings(
        web.parts.database,
        web.parts.invoices,
        web.parts.billing,
        web.parts.customers,
        terms=web.parts.terms.terms,
        quiet=web.parts.terms.unchanged,
        clock=web.clock,
    )
    web.parts = replace(web.parts, standings=standings)
    alerts = Alerts(
        web.parts.database,
        web.parts.billing,
        web.parts.customers,
        config.alert_rules,
        names=config.names,
        clock=web.clock,
        is_told=is_told,
    )
    alerts.watch(standings)
    return alerts


async def raised(web: Web) -> list[dict[str, Any]]:
    answer = await web.get("/v1/alerts")
    return list(reversed(answer["alerts"]))


async def test_each_level_is_raised_once_when_it_is_reached(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + LIMIT) as web:
        watch(web)
        levels: list[list[int]] = []
        for _ in range(12):
            await web.ship(event())
            await web.parts.standings.refresh()
            await web.parts.standings.refresh()
            levels.append([alert["percent"] for alert in await raised(web)])

    assert levels[3] == []
    assert levels[4] == [50]
    assert levels[7] == [50, 80]
    assert levels[9] == levels[11] == [50, 80, 100]


async def test_a_limit_can_be_what_the_plan_includes(open_web: OpenWeb) -> None:
    rule = LIMIT.replace("amount = 10", "included = true")
    async with open_web(meterline=METERLINE + rule, pricing=FOUR_FREE) as web:
        watch(web)
        await web.ship(event(), event(), event())
        await web.parts.standings.refresh()
        (first,) = await raised(web)
        await web.ship(event())
        await web.parts.standings.refresh()

        assert first["message"] == (
            "Acme Corp has reached 50 % of 4 api_calls in 2026-11: 3"
        )
        assert [alert["percent"] for alert in await raised(web)] == [50, 80, 100]


async def test_a_limit_stands_until_its_period_ends(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + LIMIT) as web:
        watch(web)
        await web.ship(*[event() for _ in range(10)])
        await web.parts.standings.refresh()
        page = await web.get("/v1/alerts", is_open="true", limit=2)
        rest = await web.get("/v1/alerts", is_open="true", before=page["next_before"])
        others = await web.get("/v1/alerts", customer="nobody")
        web.clock.time_ms = parse_time_ms(page["alerts"][0]["until"])
        after = await web.get("/v1/alerts", is_open="true")

        assert [one["percent"] for one in page["alerts"]] == [100, 80]
        assert [one["percent"] for one in rest["alerts"]] == [50]
        assert page["alerts"][0]["since"] == "2026-11-01T00:00:00.000Z"
        assert page["alerts"][0]["until"] == "2026-12-01T00:00:00.000Z"
        assert "`meterline explain acme`" in page["alerts"][0]["action"]
        assert others["alerts"] == after["alerts"] == []
        assert len(await raised(web)) == 3


async def test_the_page_says_what_to_do_until_when_and_of_whom(
    open_web: OpenWeb,
) -> None:
    rule = LIMIT.replace("amount = 10", "included = true")
    html = {"accept": "text/html"}
    async with open_web(meterline=METERLINE + rule, pricing=FOUR_FREE) as web:
        watch(web)
        await web.ship(*[event() for _ in range(4)])
        await web.parts.standings.refresh()
        page = (await web.http.get("/alerts", headers=html)).text
        near = {"customer": "corp", "is_open": "true"}
        nobody = (await web.http.get("/alerts", params=near, headers=html)).text
        wrong = await web.http.get("/alerts?is_open=maybe", headers=html)
        web.clock.time_ms = parse_time_ms("2026-12-01T00:00:00Z")
        after = (await web.http.get("/alerts", headers=html)).text
        standing = (await web.http.get("/alerts?is_open=true", headers=html)).text

    assert page.count("<code>meterline explain acme</code>") == 3
    assert page.count('<span class="when">2026-12-01</span>') == 3
    assert "reaches 50 %, 80 %, 100 % of what the plan includes" in page
    assert "No such alert." in nobody
    assert "?customer=acme&amp;is_open=true" in nobody
    assert "meterline explain acme" not in after
    assert after.count('<span class="badge">over</span>') == 3
    assert "has reached" not in standing
    assert wrong.status_code == 400
    assert 'id="wrong"' in wrong.text


async def test_a_restart_raises_nothing_again(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + LIMIT) as web:
        watch(web)
        await web.ship(*[event() for _ in range(10)])
        await web.parts.standings.refresh()
        watch(web)  # remembers nothing
        await web.ship(event())
        await web.parts.standings.refresh()

        assert len(await raised(web)) == 3


async def test_silence_is_noticed_where_there_always_was_something(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + SILENCE) as web:
        alerts = watch(web)
        hours = range(7, 9 * 24)
        await web.ship(*[event(time_ms=NOON_MS - h * HOUR_MS) for h in hours])
        await alerts.look_at_days()
        await alerts.look_at_days()
        (alert,) = await raised(web)

    assert alert["kind"] == "silence"
    assert "no api_calls for 6 hours" in alert["message"]


async def test_no_silence_where_there_is_usage_or_never_was_any(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + SILENCE) as web:
        alerts = watch(web)
        await alerts.look_at_days()
        await web.ship(event(time_ms=NOON_MS - 3 * DAY_MS))
        await alerts.look_at_days()
        for days in range(9):
            await web.ship(event(time_ms=NOON_MS - days * DAY_MS))
        await alerts.look_at_days()

        assert await raised(web) == []


async def test_what_has_not_arrived_or_is_not_counted_is_no_silence(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + SILENCE) as web:
        alerts = watch(web)
        hours = range(7, 9 * 24)
        await web.ship(*[event(time_ms=NOON_MS - h * HOUR_MS) for h in hours])
        await alerts.look_at_days()
        assert await raised(web) == []  # right after the start

        async with web.parts.database.transaction() as tx:
            await tx.execute("UPDATE producers SET recorded_seq = recorded_seq + 1")
        web.clock.time_ms += 2 * MINUTE_MS
        await alerts.look_at_days()
        assert await raised(web) == []  # of a worker that is silent

        async with web.parts.database.transaction() as tx:
            await tx.execute("UPDATE producers SET recorded_seq = last_seq")
            await tx.execute("UPDATE generations SET cursor = cursor - 1")
            await tx.execute("UPDATE usage SET last_event_id = 1")
        await alerts.look_at_days()
        assert await raised(web) == []  # it waits to be counted

        async with web.parts.database.transaction() as tx:
            await tx.execute("UPDATE generations SET cursor = cursor + 1")
        await alerts.look_at_days()
        assert len(await raised(web)) == 1


async def test_a_jump_against_the_usual_is_noticed(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + JUMP) as web:
        alerts = watch(web)
        for days in range(1, 8):
            await web.ship(*[event(time_ms=NOON_MS - days * DAY_MS)] * 4)
        await web.ship(*[event()] * 11)
        await alerts.look_at_days()
        before = await raised(web)
        await web.ship(event())
        await alerts.look_at_days()
        await alerts.look_at_days()
        after = await raised(web)

    assert before == []
    assert [alert["kind"] for alert in after] == ["jump"]


@dataclass
class Receiver:
    """A webhook that answers as it is told, and keeps what it got."""

    answers: list[int]
    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(
        default_factory=list[tuple[dict[str, str], bytes]]
    )

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body))
        status = self.answers.pop(0)
        if status:
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()


@asynccontextmanager
async def receiver(*answers: int) -> AsyncGenerator[Receiver]:
    """Serve a webhook; an answer of 0 hangs up instead."""
    hook = Receiver(list(answers))
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield hook


@asynccontextmanager
async def one_alert(open_web: OpenWeb) -> AsyncGenerator[Web]:
    async with open_web(meterline=METERLINE + LIMIT) as web:
        watch(web)
        await web.ship(*[event() for _ in range(5)])
        await web.parts.standings.refresh()
        yield web


def delivery(web: Web, url: str, secret: str | None = SECRET) -> AlertDelivery:
    return AlertDelivery(
        web.parts.database,
        url,
        secret=lambda: None if secret is None else Secret(secret),
        clock=web.clock,
    )


async def test_the_webhook_is_told_once_and_can_check_the_signature(
    open_web: OpenWeb,
) -> None:
    async with one_alert(open_web) as web, receiver(204) as hook:
        teller = delivery(web, hook.url)
        await teller.run()
        await teller.run()
        ((headers, body),) = hook.got
        (alert,) = await raised(web)

    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, signed, sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    told = json.loads(body)
    assert told["type"] == "alert.limit"
    assert told["data"]["customer"] == "acme"
    assert (told["data"]["value"], told["data"]["percent"]) == ("5", 50)
    assert alert["state"] == "delivered"


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of standardwebhooks.com, spec 1.0.0.
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1614265330,
        body='{"test": 2432232314}',
    )

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_webhook_that_fails_is_told_again_later_with_the_same_id(
    open_web: OpenWeb,
) -> None:
    async with one_alert(open_web) as web, receiver(500, 0, 200) as hook:
        teller = delivery(web, hook.url)
        await teller.run()
        await teller.run()  # too early
        web.clock.time_ms += PAUSES_MS[0]
        await teller.run()
        web.clock.time_ms += PAUSES_MS[1]
        await teller.run()
        (alert,) = await raised(web)

    assert len(hook.got) == 3
    assert len({headers["webhook-id"] for headers, _ in hook.got}) == 1
    assert (alert["state"], alert["attempts"]) == ("delivered", 3)


async def test_one_that_never_answers_is_given_up_and_shown(open_web: OpenWeb) -> None:
    async with one_alert(open_web) as web:
        teller = delivery(web, "http://127.0.0.1:9/nobody")
        for pause_ms in (*PAUSES_MS, 0):
            await teller.run()
            web.clock.time_ms += pause_ms
        (alert,) = await raised(web)
        page = (await web.http.get("/alerts", headers={"Accept": "text/html"})).text

    assert alert["state"] == "failed"
    assert "given up" in page


async def test_a_receiver_that_is_gone_is_not_asked_again(open_web: OpenWeb) -> None:
    async with one_alert(open_web) as web, receiver(410) as hook:
        await delivery(web, hook.url).run()

        assert (await raised(web))[0]["state"] == "failed"


async def test_without_a_secret_nothing_is_sent(open_web: OpenWeb) -> None:
    async with one_alert(open_web) as web, receiver() as hook:
        with pytest.raises(ConfigError, match="METERLINE_ALERTS_SECRET"):
            await delivery(web, hook.url, secret=None).run()

    assert hook.got == []


async def test_a_missing_secret_is_told_before_there_is_an_alert(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE + LIMIT) as web, receiver() as hook:
        with pytest.raises(ConfigError, match="METERLINE_ALERTS_SECRET"):
            await delivery(web, hook.url, secret=None).run()


async def test_without_a_webhook_alerts_are_only_shown(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + LIMIT) as web:
        watch(web, is_told=False)
        await web.ship(*[event() for _ in range(5)])
        await web.parts.standings.refresh()
        async with web.parts.database.reading() as tx:
            due = await store.due(tx, now_ms=2**50, limit=9)
        (alert,) = await raised(web)

    assert due == []
    assert alert["state"] == "shown"


def test_rules_that_make_no_sense_are_told_with_their_line(tmp_path: Any) -> None:
    wrong = METERLINE + (
        '[[alert]]\nname = "a"\n'
        '[[alert]]\nname = "b"\nkind = "jump"\n'
        '[[alert]]\nname = "b"\nmeter = "api_cals"\namount = 1\n'
    )
    with pytest.raises(ConfigError) as error:
        configure(tmp_path, meterline=wrong)

    text = str(error.value)
    assert "a limit needs an amount above 0" in text
    assert "alert[1].meter: missing: a jump" in text
    assert "did you mean `api_calls`" in text
    assert "a second alert is called `b`" in text
