"""What is left of credits and coupons: granted once, used up invoice by invoice."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Literal

from msgspec.structs import replace

from meterline_pricing import Calendar, Invoice, Period, Plan
from meterline_pricing.models import Coupon, Credit
from meterline_pricing.terms import numbered
from meterline_sidecar.billing.statement import Journal
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.invoices import NewUse
from meterline_sidecar.store.port import Tx

NEVER = date.max
Kind = Literal["credit", "coupon"]
Used = dict[tuple[str, str], Decimal]
"""By name and currency."""


class Balances:
    """What one customer has used up, on invoices that are final.

    A credit is known by its name and its currency, whatever plan grants it: what
    one invoice used is gone for the next one.
    """

    def __init__(self, uses: Iterable[NewUse]) -> None:
        self._uses = list(uses)

    @classmethod
    async def of(cls, tx: Tx, customer: str) -> "Balances":
        """Return the balances of a customer, as of this transaction."""
        return cls(await store.uses_of(tx, customer))

    def take(self, uses: Iterable[NewUse]) -> None:
        """Count uses that will be kept with what is being drawn."""
        self._uses += uses

    def used(self, credit: Credit, currency: str, *, but: str) -> Decimal:
        """Return what all periods but one used of a credit.

        A period whose invoice is void used nothing: what a later one gave back of it
        is no more than it had taken, and is not to be spent twice.
        """
        by_period: dict[str, Decimal] = defaultdict(Decimal)
        for use in self._uses:
            is_of = (use.kind, use.name, use.currency)
            if is_of == ("credit", credit.name, currency) and use.period != but:
                by_period[use.period] += Decimal(use.amount)
        return sum((max(used, Decimal(0)) for used in by_period.values()), Decimal(0))

    def used_by(self, period: str, kind: Kind = "credit") -> Used:
        """Return what a period used of each credit, or of each coupon."""
        found: Used = {}
        for use in self._uses:
            if use.kind == kind and use.period == period:
                key = (use.name, use.currency)
                found[key] = found.get(key, Decimal(0)) + Decimal(use.amount)
        return found

    def periods(self, coupon: str, *, but: str) -> int:
        """Return how many periods but one have a coupon, by its ``coupon_name``.

        One from which nothing is taken off any more, as its usage was corrected, has it
        no longer.
        """
        taken: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for use in self._uses:
            if use.kind == "coupon" and use.name == coupon and use.period != but:
                taken[use.period, use.currency] += Decimal(use.amount)
        return len({period for (period, _), amount in taken.items() if amount > 0})

    def applied_to(self, plan: Plan, period: Period, time_zone: str) -> Plan:
        """Return a plan with what is left of its credits and coupons for a period.

        Of credits of one priority those that expire soonest come first. What the
        period itself has used
        already counts as left: it is the one that used it.
        """
        if not plan.credits and not plan.coupons:
            return plan
        calendar = Calendar(time_zone=time_zone)
        first, last = calendar.day(period.start), calendar.day(period.end - 1)
        left = [
            credit
            if credit.every == "period"
            else replace(
                credit,
                amount=max(
                    credit.amount - self.used(credit, plan.currency, but=period.name),
                    Decimal(0),
                ),
            )
            for credit in plan.credits
            if credit.pays_on(first, last)
        ]
        return replace(
            plan,
            credits=tuple(sorted(left, key=_turn)),
            coupons=self._coupons_left(plan, period),
        )

    def _coupons_left(self, plan: Plan, period: Period) -> tuple[Coupon, ...]:
        found: list[Coupon] = []
        for coupon, nth in reversed(list(numbered(plan.coupons))):
            had = self.periods(coupon_name(coupon.name, nth), but=period.name)
            if coupon.periods is None or had < coupon.periods:
                found.append(coupon)
            elif any(other.name == coupon.name for other in found):
                # In its place, so that those behind it are still counted as such.
                found.append(replace(coupon, amount=Decimal(0), percent=None))
        return tuple(reversed(found))


def _turn(credit: Credit) -> tuple[int, date]:
    return credit.priority, credit.expires or NEVER


def coupon_name(name: str, nth: int) -> str:
    """Return what the uses of a coupon are known by.

    Args:
        nth: how many of its name its plan has before it.
    """
    return f"{name} #{nth + 1}" if nth else name


def uses_of(
    drawn: Invoice, plans: Sequence[Plan], *, customer: str, balances: Balances
) -> list[NewUse]:
    """Return what a period uses up by an invoice, beyond what it used before."""
    assert drawn.period is not None
    period = drawn.period.name
    before = balances.used_by(period)
    had = balances.used_by(period, "coupon")
    if not (before or had) and not any(plan.coupons or plan.credits for plan in plans):
        return []  # of most there is nothing to use up
    counted = {
        coupon_name(coupon.name, nth)
        for plan in plans
        for coupon, nth in numbered(plan.coupons)
        if coupon.periods is not None
    }
    own = drawn.currency
    taken = {name: Decimal(0) for name, currency in before if currency == own}
    coupons: dict[str, Decimal] = {}
    for line in drawn.lines:
        if line.kind == "credit" and line.every == "once":
            taken[line.name] = taken.get(line.name, Decimal(0)) - line.amount
        elif line.kind == "coupon":
            coupon = coupon_name(line.name, line.nth)
            if coupon in counted:
                coupons[coupon] = coupons.get(coupon, Decimal(0)) - line.amount
    # What it used when it was in another currency is there again.
    more = {key: -amount for key, amount in before.items() if key[1] != own}
    for name, amount in taken.items():
        more[name, own] = amount - before.get((name, own), Decimal(0))
    changes: list[tuple[Kind, str, str, Decimal]] = [
        *(("credit", *key, amount) for key, amount in more.items() if amount),
        *(("coupon", *key, amount) for key, amount in _coupons(had, coupons, own)),
    ]
    return [
        NewUse(
            customer=customer,
            kind=kind,
            name=name,
            currency=currency,
            period=period,
            invoice_id=0,
            amount=str(amount),
        )
        for kind, name, currency, amount in changes
    ]


def _coupons(
    had: Used, now: Mapping[str, Decimal], own: str
) -> Iterator[tuple[tuple[str, str], Decimal]]:
    """Yield what changes of whether a period has a coupon; how much it takes does not.

    Args:
        now: what each takes of it, in the period's own currency.
    """
    names = {name for (name, _), amount in had.items() if amount > 0}
    for name, amount in now.items():
        if name not in names:
            yield (name, own), amount - had.get((name, own), Decimal(0))
    for key, amount in had.items():
        if amount > 0 and key[0] not in now:
            yield key, -amount


async def add_uses(
    tx: Tx, uses: Iterable[NewUse], *, invoice_id: int, journal: Journal
) -> None:
    """Keep what an invoice uses up, in the transaction that makes it final."""
    for use in uses:
        row_id = await store.add_use(tx, use._replace(invoice_id=invoice_id))
        await journal.link(tx, "term_uses", row_id)
