"""A real ``meterline run`` tells a strict Stripe, and shows what it told."""

import asyncio
import json
import subprocess
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.clock import MINUTE_MS
from tests.producer import NOON_MS, Connection, batch, event
from tests.sidecar_process import METERLINE, SIDECAR, SidecarProcess, until
from tests.stripe_server.account import Account
from tests.stripe_server.faults import Fault
from tests.stripe_server.server import ServerThread, StripeServer
from tests.stripe_server.v2 import sign

CANARY = "rk_test_canary_nobody_may_see_me"
SECRET = "whsec_canary_nobody_may_see_me"
NOON = datetime(2026, 11, 6, 12, tzinfo=UTC)


class Town:
    """A sidecar and a Stripe account that share a clock."""

    def __init__(self, folder: Path, stripe: ServerThread, mode: str) -> None:
        self.stripe = stripe
        self.server = stripe.server
        stripe.server.keys = {CANARY}
        config = (
            METERLINE.replace(
                'name = "api_calls"', 'name = "api_calls"\nbill_through = "meter"'
            ).replace('plan = "starter"', 'stripe_customer = "cus_acme"')
            + f"""
[stripe]
mode = "{mode}"
api_base = "{stripe.base}"
meter_events_base = "{stripe.base}"
report_every_s = 1
rate_per_s = 1000
"""
        )
        self.sidecar = SidecarProcess(
            folder,
            meterline=config,
            sidecar=SIDECAR,
            clock="2026-11-06T12:00:00Z",
            environment={
                "METERLINE_STRIPE_API_KEY": CANARY,
                "METERLINE_STRIPE_WEBHOOK_SECRET": SECRET,
            },
        )
        self.at(0)

    def at(self, minutes: int) -> None:
        """Set both clocks to so many minutes after noon."""
        moment = NOON + timedelta(minutes=minutes)
        self.server.account.now_s = moment.timestamp
        self.sidecar.set_clock(moment.isoformat().replace("+00:00", "Z"))

    def outbox(self) -> dict[str, int]:
        counts: dict[str, int] = self.sidecar.get("/status")["outbox"]
        return counts

    def until_outbox(self, **wanted: int) -> None:
        until(lambda: all(self.outbox()[s] == n for s, n in wanted.items()))

    def total(self) -> int:
        return int(self.server.account.total("api_calls", "cus_acme"))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.sidecar.meterline(*arguments)


@pytest.fixture
def town(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Town]:
    mode: str = getattr(request, "param", "send")
    account = Account(now_s=lambda: NOON.timestamp())
    account.add_meter("api_calls")
    with ServerThread(StripeServer(account)) as stripe:
        town = Town(tmp_path, stripe, mode)
        with town.sidecar:
            yield town


async def use(
    town: Town,
    n_events: int,
    *,
    first_seq: int = 1,
    minutes: int = 0,
    status: int = 200,
) -> None:
    """Ship events of a time after noon, and wait until they are counted."""
    time_ms = NOON_MS + minutes * MINUTE_MS
    async with Connection(town.sidecar.socket) as app:
        await app.hello()
        events = [event(time_ms=time_ms, status=status) for _ in range(n_events)]
        await app.ship(batch(*events, first_seq=first_seq))
    await asyncio.to_thread(town.sidecar.until_counted, first_seq - 1 + n_events)


async def test_closed_hours_reach_stripe_and_late_usage_corrects_them(
    town: Town,
) -> None:
    await use(town, 5)
    town.at(62)
    await asyncio.to_thread(town.until_outbox, confirmed=1)
    first = town.total()
    await use(town, 3, first_seq=6, minutes=10)
    await asyncio.to_thread(town.until_outbox, confirmed=2)

    shown = await asyncio.to_thread(town.run, "outbox", "list", "--json")
    compared = await asyncio.to_thread(town.run, "reconcile", "--json")

    rows: list[dict[str, Any]] = json.loads(shown.stdout)["rows"]
    assert (first, town.total()) == (5, 8)
    assert [(row["part"], row["value"]) for row in rows] == [(0, 5), (1, 3)]
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["lines"][0]["verdict"] == "equal"


async def test_what_is_counted_again_is_told_once_whatever_is_late_or_corrected(
    town: Town,
) -> None:
    async def until_told(total: int) -> None:
        await asyncio.to_thread(until, lambda: town.total() == total)

    async def meterline(*arguments: str) -> None:
        done = await asyncio.to_thread(town.run, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    await use(town, 5)
    await use(town, 3, first_seq=6, status=500)
    town.at(62)
    await until_told(5)

    config = town.sidecar.config.read_text()
    town.sidecar.config.write_text(config.replace('"200-499"', '"500"'))
    await meterline("reload")
    again = ("meters", "rebuild", "api_calls", "--from", "2026-11-01", "--apply")
    await meterline(*again)
    await until_told(3)
    town.sidecar.kill()
    town.sidecar.start()
    await use(town, 2, first_seq=9, status=500, minutes=10)
    await until_told(5)
    await meterline("correct", "--event", "6", "--reason", "a test")
    await until_told(4)
    await meterline(*again)
    town.at(26 * 24 * 60)  # the next month
    await use(town, 4, first_seq=11, status=500, minutes=20)
    await until_told(8)

    compared = await asyncio.to_thread(town.run, "reconcile", "--period", "2026-11")
    assert "everything matches" in compared.stdout
    # The last four came when Stripe's own invoice of the month was final.
    assert compared.returncode == 3
    assert "reported after Stripe's invoice for the month was final" in compared.stdout
    shown = await asyncio.to_thread(town.run, "outbox", "list", "--json")
    rows: list[dict[str, Any]] = json.loads(shown.stdout)["rows"]
    assert [row["value"] for row in rows] == [5, -2, 2, -1, 4]


async def test_a_mismatch_exits_3_and_shows_in_the_status(town: Town) -> None:
    town.server.faults.queued.append(Fault.SILENT_LOSS)
    await use(town, 5)
    town.at(62)
    await asyncio.to_thread(town.until_outbox, confirmed=1)

    compared = await asyncio.to_thread(town.run, "reconcile")
    problems = await asyncio.to_thread(town.sidecar.get, "/status")

    assert compared.returncode == 3
    assert "missing" in compared.stdout
    assert "rows 1" in compared.stdout
    assert "sent within the last hour" in compared.stdout
    assert "--certain" not in compared.stdout
    town.at(3 * 60)
    later = await asyncio.to_thread(town.run, "reconcile")
    assert "`meterline outbox retry ROW --certain`" in later.stdout
    assert "stripe_differs" in {problem["code"] for problem in problems["problems"]}
    assert problems["reconciliation"]["different"] == 1


@pytest.mark.parametrize("town", ["dry_run"], indirect=True)
async def test_a_dry_run_shows_everything_and_sends_nothing(town: Town) -> None:
    await use(town, 5)
    town.at(62)
    await asyncio.to_thread(town.until_outbox, pending=1)

    shown = await asyncio.to_thread(town.run, "report", "--dry-run")

    assert " acme " in shown.stdout
    assert "dry run" in shown.stdout
    assert town.server.seen.total() == 0


async def test_a_refused_row_is_shown_and_dropped_in_words(town: Town) -> None:
    town.server.account.meters.clear()
    await use(town, 5)
    town.at(62)
    await asyncio.to_thread(town.until_outbox, parked=1)

    dry = await asyncio.to_thread(town.run, "report", "--dry-run")
    listed = await asyncio.to_thread(town.run, "outbox")
    dropped = await asyncio.to_thread(
        town.run, "outbox", "drop", "1", "--reason", "a test account"
    )
    refused = await asyncio.to_thread(
        town.run, "outbox", "drop", "99", "--reason", "none"
    )

    assert 'No active meter found for event name "api_calls"' in listed.stdout
    assert "not among these: 1 parked" in dry.stdout
    assert "a test account" in dropped.stdout
    assert refused.returncode == 1
    assert "no row 99" in refused.stderr


async def test_a_webhook_takes_a_delivery_back(town: Town) -> None:
    town.server.faults.queued.append(Fault.REJECT_LATER)
    await use(town, 5)
    town.at(62)
    await asyncio.to_thread(town.until_outbox, confirmed=1)
    (body,) = town.server.streams.notify()
    now_s = int((NOON + timedelta(minutes=62)).timestamp())

    with town.sidecar.client() as client:
        forged = client.post("/stripe/webhook", content=body)
        taken = client.post(
            "/stripe/webhook",
            content=body,
            headers={"Stripe-Signature": sign(body, SECRET, at_s=now_s)},
        )
    await asyncio.to_thread(town.until_outbox, rejected=1)

    assert (forged.status_code, taken.status_code) == (400, 200)


async def test_the_key_is_nowhere_to_be_seen(town: Town) -> None:
    town.server.keys = {"rk_test_another"}
    await use(town, 5)
    town.at(62)

    def is_refused() -> bool:
        problems: list[dict[str, str]] = town.sidecar.get("/status")["problems"]
        return any("401" in problem["text"] for problem in problems)

    await asyncio.to_thread(until, is_refused)
    texts = [
        json.dumps(town.sidecar.get(path))
        for path in ("/status", "/v1/outbox", "/openapi.json")
    ]
    with town.sidecar.client() as client:
        texts.append(client.get("/metrics").text)
    town.sidecar.stop()
    files = [file for file in town.sidecar.folder.rglob("*") if file.is_file()]

    assert len(files) > 3
    for canary in (CANARY, SECRET):
        assert not any(canary in text for text in texts)
        found = [file for file in files if canary.encode() in file.read_bytes()]
        assert found == []
