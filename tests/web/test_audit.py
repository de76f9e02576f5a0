"""Whoever changes what money stands on is told of, with when and why, in order."""

from meterline_sidecar.clock import DAY_MS
from tests.plans import starter_each
from tests.producer import event
from tests.web.conftest import OpenWeb

DECEMBER_MS = 1_796_083_200_000


async def test_every_decision_is_there_once_in_the_order_of_the_journal(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("0.50")) as web:
        await web.ship(event(), event(time_ms=DECEMBER_MS + 900 * DAY_MS))
        path = "/v1/customers/acme/credits"
        await web.http.post(path, json={"amount": "5", "reason": "an outage"})
        await web.http.post(f"{path}/1/end", params={"reason": "a mistake"})
        await web.http.post(
            "/v1/held/reject", params={"event": 2, "reason": "a broken clock"}
        )
        web.clock.time_ms = DECEMBER_MS + 1
        done = await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )
        assert done.status_code == 200, done.text

        page = await web.get("/v1/audit")

        told = [(one["author"], one["about"], one["what"]) for one in page["acts"]]
        assert told[:4] == [
            ("local", "invoice of acme for 2026-11", "final"),
            ("api", "held event 2", "rejected"),
            ("local", "credit 1", "ended"),
            ("local", "customer acme", "credit 1 granted, goodwill: 5 USD"),
        ]
        assert [one["reason"] for one in page["acts"][1:4]] == [
            "a broken clock",
            "a mistake",
            "an outage",
        ]
        assert {author for author, *_ in told[4:]} == {"files"}
        some = await web.get("/v1/audit", limit=3)
        rest = await web.get("/v1/audit", after=some["next_after"])
        assert some["acts"] + rest["acts"] == page["acts"]
        assert rest["next_after"] is None
        # The newest link is of the invoice's document, which its state tells of.
        assert (await web.get("/v1/audit", limit=1))["acts"] == page["acts"][:1]
