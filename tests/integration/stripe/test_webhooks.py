"""What Stripe drops later finds its row, however its webhook arrives."""

import json

import pytest

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.errors import RetryLater, StripeRefused
from meterline_sidecar.store import stripe_events
from meterline_sidecar.stripe.webhooks import BadWebhook, Webhooks
from tests.outbox_rows import Shop
from tests.stripe_server.faults import Fault
from tests.stripe_server.v2 import sign

SECRET = "whsec_test"


def webhooks(shop: Shop) -> Webhooks:
    return Webhooks(
        shop.database,
        shop.stripe(),
        secrets=lambda: [Secret("whsec_other"), Secret(SECRET)],
        clock=shop.clock,
        wall=shop.wall,
    )


def signed(shop: Shop, body: bytes, *, age_s: int = 0) -> str:
    return sign(body, SECRET, at_s=shop.wall.now_ms() // 1000 - age_s)


async def rejected_row(shop: Shop) -> int:
    row_id = await shop.add(7)
    shop.server.faults.queued.append(Fault.REJECT_LATER)
    await shop.report()
    assert (await shop.row(row_id)).state == "confirmed"
    return row_id


@pytest.mark.parametrize("has_old_shape", [False, True])
async def test_a_dropped_event_turns_its_row_rejected(
    shop: Shop, has_old_shape: bool
) -> None:
    row_id = await rejected_row(shop)
    (body,) = shop.server.streams.notify(has_old_shape=has_old_shape)
    hooks = webhooks(shop)

    await hooks.receive(body, signed(shop, body))
    await hooks.process()

    row = await shop.row(row_id)
    assert row.state == "rejected"
    assert "meter_event_customer_not_found" in (row.reason or "")


async def test_a_webhook_twice_is_one(shop: Shop) -> None:
    await rejected_row(shop)
    (body,) = shop.server.streams.notify()
    hooks = webhooks(shop)

    first = await hooks.receive(body, signed(shop, body))
    again = await hooks.receive(body, signed(shop, body))

    assert (first, again) == (True, False)


async def test_a_report_that_comes_before_the_answer_wins(shop: Shop) -> None:
    row_id = await rejected_row(shop)
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE outbox SET state = 'sending'")
    (body,) = shop.server.streams.notify()
    hooks = webhooks(shop)
    await hooks.receive(body, signed(shop, body))

    await hooks.process()

    assert (await shop.row(row_id)).state == "rejected"


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("", "no Stripe-Signature"),
        ("t=1,t=2,v1=00", "no Stripe-Signature"),
        ("t=x,v1=00", "no Stripe-Signature"),
        ("t={now}", "does not match"),
        ("t={now},v1=00", "does not match"),
        ("t={now},v0={good}", "does not match"),
        ("t={now},v1=\u00e4", "does not match"),
    ],
)
async def test_a_forged_webhook_is_refused(shop: Shop, header: str, why: str) -> None:
    body = b'{"id": "evt_1", "type": "x"}'
    good = signed(shop, body).rpartition("=")[2]
    now = shop.wall.now_ms() // 1000

    with pytest.raises(BadWebhook, match=why):
        await webhooks(shop).receive(body, header.format(now=now, good=good))


async def test_a_signature_is_of_this_body_alone(shop: Shop) -> None:
    signature = signed(shop, b'{"id": "evt_1", "type": "x"}')

    with pytest.raises(BadWebhook, match="does not match"):
        await webhooks(shop).receive(b'{"id": "evt_2", "type": "x"}', signature)


@pytest.mark.parametrize(
    ("age_s", "is_fresh"), [(299, True), (301, False), (-301, False)]
)
async def test_a_stale_webhook_is_refused(
    shop: Shop, age_s: int, is_fresh: bool
) -> None:
    body = b'{"id": "evt_1", "type": "x"}'
    signature = signed(shop, body, age_s=age_s)

    if is_fresh:
        assert await webhooks(shop).receive(body, signature)
    else:
        with pytest.raises(BadWebhook, match="last 300 seconds"):
            await webhooks(shop).receive(body, signature)


async def test_one_of_two_signatures_is_enough_while_a_secret_rotates(
    shop: Shop,
) -> None:
    body = b'{"id": "evt_1", "type": "x"}'
    stamp, _, good = signed(shop, body).partition(",")

    assert await webhooks(shop).receive(body, f"{stamp},v1=00,{good}")


async def test_an_unknown_code_is_kept_as_it_is(shop: Shop) -> None:
    row_id = await shop.add(7)
    await shop.report()
    key = f"{(await shop.row(row_id)).identifier}-0"
    body = json.dumps(
        {
            "id": "evt_1",
            "type": "v1.billing.meter.error_report_triggered",
            "data": {
                "reason": {
                    "error_count": 1,
                    "error_types": [
                        {
                            "code": "meter_event_on_the_moon",
                            "error_count": 1,
                            "sample_errors": [
                                {"error_message": "?", "request": {"identifier": key}}
                            ],
                        }
                    ],
                }
            },
        }
    ).encode()
    hooks = webhooks(shop)
    await hooks.receive(body, signed(shop, body))

    await hooks.process()

    row = await shop.row(row_id)
    assert (row.state, row.reason) == ("rejected", "meter_event_on_the_moon: ?")


async def test_errors_beyond_the_samples_are_counted_as_unexplained(
    shop: Shop,
) -> None:
    for c in range(8):
        await shop.add(1, customer=f"c{c}")
    shop.server.faults.every = Fault.REJECT_LATER
    await shop.report()
    (body,) = shop.server.streams.notify()
    hooks = webhooks(shop)
    await hooks.receive(body, signed(shop, body))

    await hooks.process()

    assert (await shop.counts())["rejected"] == 5
    async with shop.database.reading() as tx:
        assert await stripe_events.unexplained(tx) == 3


async def test_no_meter_found_reaches_its_row_too(shop: Shop) -> None:
    row_id = await shop.add(7)
    await shop.report()
    key = f"{(await shop.row(row_id)).identifier}-0"
    shop.server.account.reports.append(
        {"code": "no_meter", "event_name": "api_calls", "identifier": "", "key": key}
    )
    (body,) = shop.server.streams.notify()
    hooks = webhooks(shop)
    await hooks.receive(body, signed(shop, body))

    await hooks.process()

    assert json.loads(body)["type"] == "v1.billing.meter.no_meter_found"
    assert (await shop.row(row_id)).state == "rejected"


async def test_an_event_that_can_not_be_fetched_now_is_fetched_later(
    shop: Shop,
) -> None:
    row_id = await rejected_row(shop)
    (body,) = shop.server.streams.notify()
    hooks = webhooks(shop)
    await hooks.receive(body, signed(shop, body))
    shop.server.read_faults.extend([503] * 10)

    with pytest.raises(RetryLater):
        await hooks.process()
    shop.server.read_faults.clear()
    shop.wall.time_ms += HOUR_MS
    await hooks.process()

    assert (await shop.row(row_id)).state == "rejected"


async def test_an_event_that_can_not_be_fetched_holds_up_no_other(shop: Shop) -> None:
    row_id = await rejected_row(shop)
    (body,) = shop.server.streams.notify()
    whole = json.dumps(shop.server.streams.events[json.loads(body)["id"]]).encode()
    thin = json.dumps({"id": "evt_secret", "type": json.loads(body)["type"]}).encode()
    hooks = webhooks(shop)
    for told in (thin, whole):
        await hooks.receive(told, signed(shop, told))
    shop.server.read_faults.extend([403] * 10)

    for _ in range(3):
        with pytest.raises(StripeRefused, match="evt_secret"):
            await hooks.process()

    assert (await shop.row(row_id)).state == "rejected"
    assert len(shop.server.read_faults) >= 8, "asked again and again"


NESTED = b'{"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"id": 1}',
        b"\xff",
        b'{"id": "x"}',
        b'{"id": "\xff", "type": "x"}',
        b'{"id": "x", "type": "x", "more": "\xff"}',
        NESTED,
    ],
)
async def test_what_is_no_event_is_refused(shop: Shop, body: bytes) -> None:
    with pytest.raises(BadWebhook, match="no event"):
        await webhooks(shop).receive(body, signed(shop, body))


async def test_an_event_about_something_else_is_kept_and_left_alone(
    shop: Shop,
) -> None:
    body = b'{"id": "evt_1", "type": "v1.customer.created"}'
    hooks = webhooks(shop)
    await hooks.receive(body, signed(shop, body))

    await hooks.process()

    async with shop.database.reading() as tx:
        assert await stripe_events.waiting(tx, limit=10) == []


@pytest.mark.parametrize(
    "data",
    [
        {"object": {"what": "an older shape"}},
        {"reason": {"error_types": "many"}},
        {"reason": {"error_count": 2, "error_types": []}},
    ],
)
async def test_a_report_that_can_not_be_read_is_unexplained(
    shop: Shop, data: dict[str, object]
) -> None:
    body = json.dumps(
        {"id": "evt_1", "type": "v1.billing.meter.error_report_triggered", "data": data}
    ).encode()
    hooks = webhooks(shop)

    await hooks.receive(body, signed(shop, body))
    await hooks.process()

    async with shop.database.reading() as tx:
        assert await stripe_events.unexplained(tx) > 0
        assert await stripe_events.waiting(tx, limit=9) == []


async def test_a_sample_without_a_request_holds_up_no_other(shop: Shop) -> None:
    row_id = await rejected_row(shop)
    key = f"{(await shop.row(row_id)).identifier}-0"
    samples = [
        {"error_message": None, "request": None},
        {"error_message": "late", "request": {"identifier": key}},
    ]
    errors = [{"code": "timestamp_too_far_in_past", "sample_errors": samples}]
    report = {
        "id": "evt_1",
        "type": "v1.billing.meter.error_report_triggered",
        "data": {"reason": {"error_count": 2, "error_types": errors}},
    }
    body = json.dumps(report).encode()
    hooks = webhooks(shop)

    await hooks.receive(body, signed(shop, body))
    await hooks.process()

    assert (await shop.row(row_id)).reason == "timestamp_too_far_in_past: late"
