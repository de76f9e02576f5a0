"""Months of a centre with all that can happen to them, each change asked for over HTTP."""

import asyncio
from typing import Any, Final

from meterline.usage_event import UsageEvent
from meterline.wire import Batch
from tests.integration.fleet.asked import Asked
from tests.integration.fleet.conftest import World
from tests.patience import PATIENCE_S
from tests.producer import NOON_MS, WITH_PROPERTIES, batch, event
from tests.web.external import cloud, plain

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
DECEMBER_MS: Final = 1_796_083_200_000
METERLINE: Final = """
[billing]
close = "by_hand"

[[meter]]
name = "api_calls"
aggregation = "count"
where = { status = "200-499" }
group_by = ["route", "region"]
bill_through = "meter"

[[meter]]
name = "tokens"
aggregation = "sum"
value = "quantities.tokens"
late = "report"

[[meter]]
name = "users"
aggregation = "unique"
value = "subject"

[[customer]]
id = "acme"
name = "Acme Corp"
subjects = ["acct_1", "acme_*"]
plan = "starter"
stripe_customer = "cus_acme"

[[customer]]
id = "globex"
name = "Globex"
subjects = ["globex_*"]
plan = "starter"

[[alert]]
name = "quota"
meter = "api_calls"
amount = 10
at = [50, 100]
"""
PRICING: Final = """
[[plan]]
name = "starter"
version = 1
effective = 2026-01-01
currency = "usd"

[[plan.price]]
meter = "api_calls"
model = "per_unit"
unit_amount = "0.07"

[[plan.price]]
meter = "tokens"
model = "package"
size = 100
amount = "0.05"
"""
REASON: Final = {"reason": "a test"}
MARCH: Final = (
    b'{"id":"m1","source":"old","time":"2026-10-02T08:00:00Z","subject":"acct_1"}\n'
)


async def ship(asked: Asked, letter: str, *events: UsageEvent) -> None:
    """Send events as a worker of their own does, and count them."""
    message: Batch = batch(*events)
    await asked.host.ship(message, producer=letter * 32)
    await asked.host.parts.aggregator.run()


async def lived(world: World, asked: Asked) -> None:
    """Live, and look at all there is, twice: with all open, and with all decided."""
    await _recorded(world, asked)
    await _billed(asked)
    await _left_open(asked)
    await asked.look()
    await _decided(asked)
    await asked.look()


async def _recorded(world: World, asked: Asked) -> None:
    await ship(
        asked,
        "a",
        *(event(route=f"/{i % 3}", bytes_out=i, **WITH_PROPERTIES) for i in range(12)),
        event(subject="globex_1"),
        event(subject="stranger"),
        event(status=503),
        *(event(time_ms=NOON_MS + n * DAY_MS, subject="globex_1") for n in (400, 401)),
    )
    async with world.edge("one") as edge:
        await edge.ship(batch(event(subject="acme_2"), event(subject="acme_3")))
        async with asyncio.timeout(PATIENCE_S):
            while not await _is_all_told(asked):
                await asyncio.sleep(0.01)
    await asked.send("/v1/events", json=[plain(1), plain(2)])
    await asked.send(
        "/v1/events",
        json=cloud(3, source="shop"),
        headers={"content-type": "application/cloudevents+json"},
    )
    await asked.host.parts.aggregator.run()


async def _is_all_told(asked: Asked) -> bool:
    """Tell whether the edge has said all that it will."""
    told: list[dict[str, Any]] = (await asked.host.http.get("/v1/edges")).json()[
        "edges"
    ]
    return any(
        one["low_ms"] and one["events"] == 2 and not one["behind"] for one in told
    )


async def _billed(asked: Asked) -> None:
    send = asked.send
    for n in ("0.50", "0.20"):
        await send("/v1/customers/{customer}/credits", json={"amount": n, **REASON})
    await send("/customers/{customer}/credits", form={"amount": "0.30", **REASON})
    await send(
        "/v1/customers",
        json={
            "id": "new",
            "plan": "starter",
            "subjects": ["new_*"],
            "starts": "2026-11-01",
        },
    )
    asked.host.clock.time_ms = DECEMBER_MS + HOUR_MS
    await _finalize(asked, "acme")
    await send("/v1/reconcile", params={"period": "2026-11"})
    await send("/v1/report")
    await send("/stripe/webhook", content=b"{}")


async def _finalize(asked: Asked, customer: str) -> None:
    await asked.send(
        "/v1/customers/{customer}/invoice/finalize",
        names={"customer": customer},
        params={"period": "2026-11", "accept_gap": "true"},
    )


async def _left_open(asked: Asked) -> None:
    send = asked.send
    for letter in "cde":
        await ship(asked, letter, event(**WITH_PROPERTIES))
    await send("/v1/corrections", json={"events": [3, 4], **REASON})
    await send("/events/{event}/void", form=REASON, names={"event": "5"})
    for name in ("march", "april"):
        await send(
            "/v1/imports", json={"name": name, "file": f"{name}.jsonl", **REASON}
        )
        content: dict[str, Any] = {"content": MARCH.replace(b"m1", name.encode())}
        await send(
            "/v1/imports/{name}/lines",
            method="PUT",
            names={"name": name},
            params={"first_line": "1", "source": "old"},
            **content,
        )
        await send("/v1/imports/{name}/stage", names={"name": name})
    await send(
        "/imports",
        form={"name": "may", "source": "old", **REASON},
        files={"file": ("may.jsonl", MARCH.replace(b"m1", b"may"))},
    )
    await asked.host.parts.aggregator.run()
    await asked.host.parts.standings.refresh()


async def _decided(asked: Asked) -> None:
    send = asked.send
    for i, what in enumerate(("accept", "reject")):
        await send(f"/v1/held/{what}", params={"event": str(16 + i), **REASON})
        late = {"late": str(1 + i)}
        await send(f"/v1/late/{{late}}/{what}", params=REASON, names=late)
    await _finalize(asked, "globex")
    await send("/late", form={"late": "3", "decision": "accept", **REASON})
    correction = {"correction": "4"}
    await send("/v1/corrections/{correction}/revert", params=REASON, names=correction)
    await send("/corrections", form={"correction": "5", **REASON})
    await send("/v1/imports/{name}/commit")
    await send("/v1/imports/{name}/discard", names={"name": "april"})
    await send("/imports/{name}", names={"name": "may"}, form={"decision": "commit"})
    await asked.host.parts.imports.run()
    await send("/v1/archive/run")
    await send("/v1/archive/restore", params={"file": "nothing.parquet"})
    await send("/v1/erasures", json={"subject": "stranger", **REASON})
    await send(
        "/erasures",
        form={"subject": "acme_2", "again": "acme_2", "do": "erase", **REASON},
    )
    await send(
        "/v1/customers/{customer}",
        method="PUT",
        names={"customer": "new"},
        json={"plan": "starter", "subjects": ["new_*", "other_*"], "name": "New"},
    )
    await send(
        "/v1/customers/{customer}/end",
        names={"customer": "new"},
        params={"day": "2027-01-01"},
    )
    await send("/v1/reload")
    await send(
        "/v1/customers/{customer}/adopt",
        names={"customer": "globex"},
        params={"owner": "api"},
    )
    await send("/v1/customers/{customer}/credits/{credit}/end", params=REASON)
    for dry_run in (
        send("/v1/close", params={"skip_grace": "true", "dry_run": "true"}),
        send("/close", form={"skip_grace": "yes", "dry_run": "yes"}),
        send("/close/gap", form={"edge": "one", "dry_run": "yes", **REASON}),
    ):
        await dry_run
        await asked.host.parts.closer.run()
    await send("/v1/invoices/{number}/sent", names={"number": "INV-0002"}, json=REASON)
    await send("/invoices/{number}/steps", form={"step": "sent", **REASON})
    for what in ("payments", "refunds"):
        await send(
            f"/v1/invoices/{{number}}/{what}",
            json={"amount": "0.10", "day": "2026-12-01"},
        )
    await send(
        "/invoices/{number}/payments", form={"what": "payment", "amount": "0.02"}
    )
    await send("/v1/invoices/{number}/credit", json={"amount": "0.10", **REASON})
    await send("/invoices/{number}/credit", form={"amount": "0.10", **REASON})
    await send("/v1/invoices/{number}/uncollectible", json=REASON)
    await send("/v1/invoices/{number}/void", names={"number": "INV-0002"}, json=REASON)
    await send("/v1/invoices/{number}/stripe/retry")
    await send("/v1/invoices/{number}/stripe/credit-notes")
    await send("/v1/meters/{meter}/recount", params={"since": "2026-12-01"})
    await send("/v1/meters/{meter}/recount/discard")
    await send("/v1/edges/{edge}/adopt", params=REASON)
    await send("/v1/edges/{edge}/retire", params=REASON)
    await send("/edges", form={"edge": "one", "decision": "adopt", **REASON})
    await send("/v1/outbox/{row}/drop", params=REASON)
    await send("/v1/outbox/{row}/retry")
    await send("/outbox/{row}/retry", form={})
    await send("/login", form={"token": "mtl_wrong"})
    await send("/logout", form={})
    await asked.host.parts.aggregator.run()
