"""Lists what Stripe will never bill by itself, and what it comes to.

Four things: usage that was told after Stripe's invoice was final, usage that got too
old to be told, usage for which no subscription at Stripe has a price, and usage that
no customer pays for. A person bills it by hand, or gives it somebody who pays.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from meterline_pricing import Calendar, Period
from meterline_sidecar.clock import HOUR_MS, Clock
from meterline_sidecar.decimals import Number, minus, total_of
from meterline_sidecar.errors import StripeRefused
from meterline_sidecar.meters import quantity
from meterline_sidecar.store import reconciliation, usage
from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.store.port import Database
from meterline_sidecar.stripe.billed import BilledMeter
from meterline_sidecar.stripe.calls import StripeCalls, read_all
from meterline_sidecar.stripe.comparison import ByHand
from meterline_sidecar.stripe.enqueue import billed_totals
from meterline_sidecar.stripe.expected import by_hour, hour_total

GRACE_MS: Final = HOUR_MS
"""How long after a month Stripe takes usage for its invoice, unless told otherwise.

Source: docs.stripe.com/billing/subscriptions/usage-based/configure-grace-period, read
2026-05-05.
"""
ROWS_MAX: Final = 10_000
LATE: Final = "reported after Stripe's invoice for the month was final"
TOO_OLD: Final = "too old for Stripe when it could have been reported"
NO_SUBSCRIPTION: Final = "no subscription at Stripe has a price for this meter"
NOBODY: Final = "no customer pays for it"

Amounts = Callable[[str, str, Period, Number, Number], tuple[Decimal, str] | None]
"""Customer, meter, month, quantity before and after, to what lies between them.

``None`` where nobody can say: the customer is gone, or is on no plan.
"""


class Unbilled:
    """Finds what can only be billed by hand, month by month (UTC)."""

    def __init__(
        self,
        database: Database,
        stripe: StripeCalls,
        *,
        meters: Sequence[BilledMeter],
        amounts: Amounts,
        clock: Clock,
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._meters = tuple(meters)
        self._amounts = amounts
        self._clock = clock

    def use(self, meters: Sequence[BilledMeter]) -> None:
        """Look at these meters from now on."""
        self._meters = tuple(meters)

    async def find(self, *, start_ms: int, end_ms: int) -> list[ByHand]:
        """Return what the ledger knows of, without a question to Stripe."""
        found: list[ByHand] = []
        at_ms = start_ms
        while at_ms < min(end_ms, self._clock.now_ms()):
            month = Calendar().at(at_ms)
            found += await self._late(month) + await self._of_nobody(month)
            at_ms = month.end
        return found

    async def without_subscription(self, *, start_ms: int, end_ms: int) -> list[ByHand]:
        """Return what was told for customers whom Stripe has no subscription for.

        Nothing where the key may not read subscriptions: then nobody can say.
        """
        async with self._database.reading() as tx:
            pairs = await reconciliation.series(tx, start_ms=start_ms, end_ms=end_ms)
        try:
            listed = await read_all(self._stripe, "/v1/subscriptions") if pairs else []
            meters = await read_all(self._stripe, "/v1/billing/meters") if pairs else []
        except StripeRefused:
            return []
        names = {meter["id"]: meter["event_name"] for meter in meters}
        priced = {pair for entry in listed for pair in _priced(entry, names)}
        found: list[ByHand] = []
        month = Calendar().at(start_ms)
        for event_name, stripe_customer in pairs:
            if (event_name, stripe_customer) in priced:
                continue
            async with self._database.reading() as tx:
                rows = await reconciliation.rows_of(
                    tx, event_name, stripe_customer, start_ms=start_ms, end_ms=end_ms
                )
            told = _total(rows)
            if told:
                found.append(
                    self._line(rows[-1], NO_SUBSCRIPTION, month, before=0, after=told)
                )
        return found

    async def _late(self, month: Period) -> list[ByHand]:
        final_ms = month.end + GRACE_MS
        if self._clock.now_ms() < final_ms:
            return []
        async with self._database.reading() as tx:
            late = await reconciliation.told_after(
                tx, final_ms, start_ms=month.start, end_ms=month.end, limit=ROWS_MAX
            )
            series = sorted({(r.event_name, r.stripe_customer or "") for r in late})
            everything = {
                pair: await reconciliation.rows_of(
                    tx, *pair, start_ms=month.start, end_ms=month.end
                )
                for pair in series
            }
        late_ids = {row.id for row in late}
        found: list[ByHand] = []
        for rows in everything.values():
            old = [row for row in rows if row.state == "expired"]
            told = [row for row in rows if row.state != "expired"]
            in_time = _total(row for row in told if row.id not in late_ids)
            after, both = _total(told), _total(rows)
            if told and after != in_time:
                found.append(
                    self._line(told[-1], LATE, month, before=in_time, after=after)
                )
            if old:
                found.append(
                    self._line(old[-1], TOO_OLD, month, before=after, after=both)
                )
        return [line for line in found if line.quantity]

    async def _of_nobody(self, month: Period) -> list[ByHand]:
        async with self._database.reading() as tx:
            generation = await usage.newest_generation(tx)
            if generation is None or not self._meters:
                return []
            rows = await usage.read_unassigned(
                tx, generation.id, start=month.start, end=month.end, limit=ROWS_MAX
            )
        totals = billed_totals((row.totals for _, row in rows), self._meters)
        return [
            ByHand(
                customer=None,
                event_name=meter.event_name,
                month=month.start,
                quantity=used,
                reason=NOBODY,
            )
            for meter in self._meters
            if (used := quantity(totals.get(meter.name, 0)))
        ]

    def _line(
        self,
        row: OutboxRow,
        reason: str,
        month: Period,
        *,
        before: Number,
        after: Number,
    ) -> ByHand:
        amount = self._amounts(row.customer, row.meter, month, before, after)
        return ByHand(
            customer=row.customer,
            event_name=row.event_name,
            month=month.start,
            quantity=minus(after, before),
            reason=reason,
            amount=None if amount is None else amount[0],
            currency=None if amount is None else amount[1],
        )


def _total(rows: Iterable[OutboxRow]) -> Number:
    return total_of(hour_total(parts) for parts in by_hour(list(rows)).values())


def _priced(
    subscription: Mapping[str, Any], names: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return the event names that a subscription has a price for, and its customer."""
    named: Any = subscription["customer"]
    customer = str(named if isinstance(named, str) else named["id"])
    items: list[dict[str, Any]] = subscription.get("items", {}).get("data", [])
    recurring: list[dict[str, str]] = [
        item["price"].get("recurring") or {} for item in items
    ]
    meters = [each.get("meter") for each in recurring]
    return [
        (names[meter], customer)
        for meter in meters
        if meter is not None and meter in names
    ]
