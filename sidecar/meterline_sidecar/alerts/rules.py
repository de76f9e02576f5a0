"""Finds out whom somebody should be told of: limits, jumps, silence.

Limits are looked at whenever a customer's standing is made anew; jumps and silence,
which are about days, now and then. Each alert is raised once: a limit once a billing
period and level, the others once a day.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from meterline_pricing import Period, PricingError
from meterline_pricing.tools import (
    currency_of,
    included_units,
    money_text,
    number_text,
)
from meterline_sidecar.billing.drafts import Billing
from meterline_sidecar.billing.running_totals import Standings
from meterline_sidecar.billing.standing import Standing
from meterline_sidecar.clock import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Clock,
    format_time_ms,
)
from meterline_sidecar.config.alerts import AlertRule
from meterline_sidecar.config.names import Names
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import Number, plus, share, total_of
from meterline_sidecar.store import alerts as store
from meterline_sidecar.store.edge import event_log, gaps
from meterline_sidecar.store.port import Database
from meterline_sidecar.usage.counted import WINDOW_MS, snapshot

USUAL_DAYS: Final = 7
DAYS_EVERY_S: Final = 300
ARRIVAL_MS_MAX: Final = MINUTE_MS  # from an event to its place in the usage
REMEMBERED_MAX: Final = 50_000  # alerts that are known without asking the ledger


class AlertData(msgspec.Struct, frozen=True, kw_only=True):
    """What an alert is about, as the webhook is told."""

    rule: str
    customer: str
    customer_name: str
    meter: str | None
    currency: str | None
    value: Decimal
    limit: Decimal
    percent: int | None
    since: str
    message: str


class AlertBody(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook's body, as Standard Webhooks has it."""

    type: str
    timestamp: str
    data: AlertData


class Customers(Protocol):
    """Who there is."""

    def each(self) -> AsyncIterator[Customer]:
        """Yield every customer, as agreed now."""
        ...


class Alerts:
    """The rules, applied.

    Args:
        names: what people call meters.
        is_told: whether a webhook is to be told; else alerts are only shown.
    """

    def __init__(
        self,
        database: Database,
        billing: Billing,
        customers: Customers,
        rules: Sequence[AlertRule],
        *,
        names: Names,
        clock: Clock,
        is_told: bool,
    ) -> None:
        self._database = database
        self._billing = billing
        self._customers = customers
        self.use(rules, names)
        self._clock = clock
        self._state: store.State = "pending" if is_told else "shown"
        self._has_looked = False
        self._raised: dict[tuple[str, str, int], set[int]] = {}

    def watch(
        self, standings: Standings, *, leads: Callable[[], bool] = lambda: True
    ) -> None:
        """Look at the limits whenever a standing is made anew.

        Args:
            leads: whether this process raises alerts, where several have standings.
        """

        async def look(customer: Customer, standing: Standing) -> None:
            if leads():
                await self.look_at(customer, standing)

        standings.listen(look)

    def use(self, rules: Sequence[AlertRule], names: Names) -> None:
        """Apply these rules from now on, and tell of them in these words."""
        self._names = names
        self._limits = [rule for rule in rules if rule.kind == "limit"]
        self._days = [rule for rule in rules if rule.kind != "limit"]

    async def look_at(self, customer: Customer, standing: Standing) -> None:
        """Raise the limits that a customer has reached."""
        for rule in self._limits:
            if not _is_about(rule, customer):
                continue
            amount = rule.amount
            if rule.included:
                amount = self._included(rule, customer, standing)
            value = standing.total
            if rule.meter is not None:
                value = Decimal(standing.quantities.get(rule.meter, 0))
            if value is None or amount is None:
                continue
            for percent in rule.at:
                if value * 100 >= amount * percent:
                    await self._raise_limit(
                        rule, customer, standing, value, amount, percent
                    )

    def _included(
        self, rule: AlertRule, customer: Customer, standing: Standing
    ) -> Decimal | None:
        """Return how much of a meter a customer's plan includes, if it says so."""
        if customer.plan is None:
            return None
        try:
            plan = self._billing.plan_of(customer, standing.period)
        except PricingError:
            return None  # It holds only later.
        found = [included_units(c) for c in plan.prices if c.meter == rule.meter]
        return next((units for units in found if units), None)

    async def look_at_days(self) -> None:
        """Raise jumps and silences of every customer that a rule is about."""
        now_ms = self._clock.now_ms()
        is_all_here = await self._is_all_here(now_ms)
        for rule in self._days:
            if rule.kind == "silence" and not is_all_here:
                continue  # until the next look
            async for customer in self._customers.each():
                if _is_about(rule, customer):
                    await self._look_at_days(rule, customer, now_ms)

    async def _is_all_here(self, now_ms: int) -> bool:
        """Say whether what was used until a moment ago has arrived and is counted.

        At the first look, right after the start, workers are still sending what they
        recorded while no sidecar ran.
        """
        is_first, self._has_looked = not self._has_looked, True
        async with snapshot(self._database) as (tx, at):
            waiting_ms = await event_log.learned_before_ms(tx, at.up_to_event)
            silent = await gaps.silent_gaps(tx, seen_before_ms=now_ms - ARRIVAL_MS_MAX)
        is_counted = waiting_ms is None or now_ms - waiting_ms < ARRIVAL_MS_MAX
        is_missing = silent.latest is not None and silent.latest.seen_ms > (
            now_ms - DAY_MS
        )
        return is_counted and not is_missing and not is_first

    async def _raise_limit(
        self,
        rule: AlertRule,
        customer: Customer,
        standing: Standing,
        value: Decimal,
        amount: Decimal,
        percent: int,
    ) -> None:
        currency = standing.currency if rule.meter is None else None
        of, reached = _shown(amount, currency), _shown(value, currency)
        unit = "" if rule.meter is None else f" {self._of(rule)}"
        await self._raise(
            rule,
            customer,
            standing.period.start,
            percent,
            value,
            amount,
            currency,
            f"{customer.name} has reached {percent} % of {of}{unit} in"
            f" {standing.period.name}: {reached}",
        )

    async def _look_at_days(
        self, rule: AlertRule, customer: Customer, now_ms: int
    ) -> None:
        if rule.kind == "jump":
            await self._look_for_jump(rule, customer, now_ms)
        else:
            await self._look_for_silence(rule, customer, now_ms)

    async def _look_for_jump(
        self, rule: AlertRule, customer: Customer, now_ms: int
    ) -> None:
        today_ms = now_ms // DAY_MS * DAY_MS
        used = await self._used(rule, customer, today_ms, today_ms + DAY_MS)
        if not used:
            return  # As most of many customers: the days before need no look.
        before = [n async for n in self._days_before(rule, customer, today_ms)]
        usual = share(total_of(before), 1, USUAL_DAYS)
        if usual and used >= usual * rule.factor:
            await self._raise(
                *(rule, customer, today_ms, 0, Decimal(used), Decimal(usual), None),
                f"{customer.name} used {number_text(Decimal(used))} {self._of(rule)} today,"
                f" usual are {number_text(Decimal(usual))} in a day",
            )

    async def _look_for_silence(
        self, rule: AlertRule, customer: Customer, now_ms: int
    ) -> None:
        start = (now_ms - rule.after_hours * HOUR_MS) // WINDOW_MS * WINDOW_MS
        if await self._used(rule, customer, start, now_ms + WINDOW_MS):
            return
        total: Number = 0
        first_ms = start // DAY_MS * DAY_MS
        async for used in self._days_before(rule, customer, first_ms):
            if not used:
                return
            total = plus(total, used)
        await self._raise(
            *(rule, customer, now_ms // DAY_MS * DAY_MS, 0, Decimal(0)),
            *(Decimal(share(total, 1, USUAL_DAYS)), None),
            f"{customer.name} has used no {self._of(rule)} for {rule.after_hours} hours,"
            f" and did on each of the {USUAL_DAYS} days before",
        )

    def _of(self, rule: AlertRule) -> str:
        """Return what a rule is about, as people read it."""
        return "" if rule.meter is None else self._names.of(rule.meter)

    async def _days_before(
        self, rule: AlertRule, customer: Customer, end: int
    ) -> AsyncIterator[Number]:
        """Yield the usage of each of the usual days before ``end``, the last first."""
        for i in range(1, USUAL_DAYS + 1):
            start = end - i * DAY_MS
            yield await self._used(rule, customer, start, start + DAY_MS)

    async def _used(
        self, rule: AlertRule, customer: Customer, start: int, end: int
    ) -> Number:
        span = Period(start, end)
        async with snapshot(self._database) as (tx, at):
            usage = await self._billing.usage(tx, at, customer, span)
        return next(m.quantity for m in usage.meters if m.meter == rule.meter)

    async def _raise(
        self,
        rule: AlertRule,
        customer: Customer,
        since_ms: int,
        level: int,
        value: Decimal,
        limit: Decimal,
        currency: str | None,
        message: str,
    ) -> None:
        """Note an alert, unless it was raised before."""
        key = (rule.name, customer.id, since_ms)
        known = self._raised.get(key)
        if known is None:
            if len(self._raised) >= REMEMBERED_MAX:
                self._raised.clear()  # They are in the ledger all the same.
            async with self._database.reading() as tx:
                known = self._raised[key] = await store.known_levels(tx, *key)
        if level in known:
            return
        now_ms = self._clock.now_ms()
        data = AlertData(
            rule=rule.name,
            customer=customer.id,
            customer_name=customer.name,
            meter=rule.meter,
            currency=currency,
            value=value,
            limit=limit,
            percent=level or None,
            since=format_time_ms(since_ms),
            message=message,
        )
        body = AlertBody(
            type=f"alert.{rule.kind}", timestamp=format_time_ms(now_ms), data=data
        )
        row = store.AlertRow(
            id=0,
            rule=rule.name,
            customer=customer.id,
            since_ms=since_ms,
            level=level,
            kind=rule.kind,
            message=message,
            body=msgspec.json.encode(body).decode(),
            raised_ms=now_ms,
            state=self._state,
            attempts=0,
            next_ms=0,
            delivered_ms=None,
            error=None,
        )
        async with self._database.transaction() as tx:
            await store.raise_once(tx, row)
        known.add(level)


def _shown(number: Decimal, currency: str | None) -> str:
    """Return a quantity, or an amount of a currency, as people write it."""
    if currency is None:
        return number_text(number)
    return money_text(number, currency_of(currency))


def _is_about(rule: AlertRule, customer: Customer) -> bool:
    return rule.customer in (None, customer.id) and rule.plan in (None, customer.plan)
