"""A customer whom Stripe refuses, or cannot answer for, holds up nobody."""

from collections.abc import Mapping
from typing import Any

import pytest

from meterline_pricing import Calendar
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.errors import RetryLater, StripeRefused
from meterline_sidecar.store import reconciliation
from meterline_sidecar.stripe.calls import Method
from meterline_sidecar.stripe.reconcile import Reconciler
from tests.integration.stripe.test_reconcile import leave_in_doubt, reconcile
from tests.outbox_rows import EARLIER_MS, Shop
from tests.stripe_server.faults import Fault


async def test_a_customer_whom_stripe_does_not_know_is_one_verdict_among_others(
    shop: Shop,
) -> None:
    await shop.add(7, customer="acme")
    await shop.add(7, customer="beta")
    await shop.add(7, customer="ceta")
    await shop.report()
    shop.server.account.customers = {"cus_acme", "cus_ceta"}

    acme, beta, ceta = await reconcile(shop)

    assert (acme.verdict, beta.verdict, ceta.verdict) == ("equal", "refused", "equal")
    assert "cus_beta" in (beta.reason or "")
    assert beta.ours == 7


async def test_a_doubt_is_settled_though_another_customer_is_refused(
    shop: Shop,
) -> None:
    row_id = await leave_in_doubt(shop, Fault.RESET_AFTER)
    await shop.add(1, customer="aaa")
    shop.server.account.customers = {"cus_acme"}

    await reconcile(shop)

    assert (await shop.row(row_id)).state == "confirmed"


async def test_the_watch_goes_on_behind_a_refused_customer(shop: Shop) -> None:
    for customer in ("aaa", "acme", "beta"):
        await shop.add(7, customer=customer)
    await shop.report()
    shop.server.account.customers = {"cus_acme", "cus_beta"}
    shop.clock.time_ms += 5 * HOUR_MS
    month = Calendar().at(EARLIER_MS)
    reconciler = Reconciler(shop.database, shop.stripe(), clock=shop.clock)

    n_series = await reconciler.watch(
        start_ms=month.start, end_ms=EARLIER_MS + HOUR_MS, series_max=9
    )

    async with shop.database.reading() as tx:
        kept = await reconciliation.kept(tx, start_ms=month.start)
    assert n_series == 3
    assert [kept["api_calls", f"cus_{c}"].verdict for c in ("aaa", "acme", "beta")] == [
        "refused",
        "equal",
        "equal",
    ]


class Refusing:
    """Answers for meters, and says no, or not now, to every other read."""

    def __init__(self, shop: Shop, error: Exception, *, times: int) -> None:
        self._stripe = shop.stripe()
        self._error = error
        self._times = times

    async def call(
        self,
        method: Method,
        path: str,
        params: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        if "summaries" in path and self._times:
            self._times -= 1
            raise self._error
        return await self._stripe.call(method, path, params, key=key)


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (StripeRefused("no such permission", status=403, code=None), 1),
        (StripeRefused("no such key", status=401, code=None), 1),
        (RetryLater("HTTP 500", after_s=1), 3),
    ],
)
async def test_what_concerns_every_customer_ends_the_comparison(
    shop: Shop, error: Exception, times: int
) -> None:
    for customer in ("a", "b", "c", "d"):
        await shop.add(7, customer=customer)
    await shop.report()
    refusing = Refusing(shop, error, times=times)
    reconciler = Reconciler(shop.database, refusing, clock=shop.clock)

    with pytest.raises(type(error), match=str(error)):
        await reconciler.run(start_ms=0, end_ms=shop.clock.now_ms())


async def test_one_customer_whom_stripe_cannot_answer_for_now_holds_up_nobody(
    shop: Shop,
) -> None:
    for customer in ("a", "b", "c"):
        await shop.add(7, customer=customer)
    await shop.report()
    refusing = Refusing(shop, RetryLater("HTTP 500", after_s=1), times=2)
    reconciler = Reconciler(shop.database, refusing, clock=shop.clock)

    lines = await reconciler.run(start_ms=0, end_ms=shop.clock.now_ms())

    assert [line.verdict for line in lines] == ["refused", "refused", "equal"]
