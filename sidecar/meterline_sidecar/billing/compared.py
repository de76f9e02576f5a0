"""Draws customers' periods twice, as things are and as they would be, and compares.

Open periods come to something else; of final ones the difference would be an adjustment
on the invoice that becomes final next.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from meterline_pricing import Period, PricingError
from meterline_pricing.tools import currency_of, money_text
from meterline_sidecar.billing.balances import Balances, uses_of
from meterline_sidecar.billing.drafts import Billing, Drawn, NotBillable
from meterline_sidecar.billing.first_day import first_ms
from meterline_sidecar.billing.late import as_of_now, drawn_again, is_corrected
from meterline_sidecar.billing.statement import Final as FinalInvoice
from meterline_sidecar.billing.statement import Owed, finals_of
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.problems.problem import n_of, such_as
from meterline_sidecar.store.port import Readable, Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import Counted, snapshot

PERIODS_SHOWN: Final = 200
NAMES_SHOWN: Final = 5
OPEN_PERIODS_MAX: Final = 24


class ChangedPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer's period comes to, and what it would come to."""

    customer: str
    period: str
    is_final: bool
    """Whether the difference would be an adjustment on a later invoice."""
    before: Owed | None
    """``None``: there is no invoice for it."""
    after: Owed | None

    @property
    def change(self) -> dict[str, Decimal]:
        """The difference by currency: they are never added up."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        if self.before is not None:
            found[self.before.currency] -= self.before.amount
        if self.after is not None:
            found[self.after.currency] += self.after.amount
        return found


class Consequences(msgspec.Struct, frozen=True, kw_only=True):
    """What a change does to money."""

    periods: tuple[ChangedPeriod, ...] = ()
    """Those that change most, the largest difference first."""
    n_periods: int = 0
    """How many change, listed or not."""
    open: tuple[Owed, ...] = ()
    """By how much all open periods change, by currency."""
    adjustments: tuple[Owed, ...] = ()
    """By how much all final periods change: what would be billed later."""
    by_hand: tuple[str, ...] = ()
    """Customers, each with a period that changes and that only a person makes final: it
    is before their first final invoice."""
    not_compared: tuple[str, ...] = ()
    """What is not in these amounts, in words."""

    def lines(self) -> Iterator[str]:
        """Yield the sums in words, and what is not in them."""
        for owed in self.open:
            yield f"open periods come to {_signed(owed)}"
        for owed in self.adjustments:
            yield (
                f"final periods come to {_signed(owed)}: billed on the next invoices,"
                " as adjustments"
            )
        if self.by_hand:
            shown = such_as(list(self.by_hand[:NAMES_SHOWN]), n_all=len(self.by_hand))
            yield (
                f"before a first final invoice, and not made final by itself: {shown};"
                " `meterline invoice CUSTOMER --period MONTH --finalize`"
            )
        yield from self.not_compared


class Side(NamedTuple):
    """One of the two that are compared."""

    terms: Terms
    billing: Billing


async def compared(
    database: Readable,
    before: Side,
    after: Side,
    since: Mapping[str, int],
    *,
    now_ms: int,
    customers_max: int,
    is_recounted: bool,
) -> Consequences:
    """Return what changes for customers, each from a time on."""
    changed: list[ChangedPeriod] = []
    n_months = 0
    by_hand: list[str] = []
    for customer, from_ms in list(since.items())[:customers_max]:
        async with snapshot(database) as (tx, at):
            drawing = await _Drawing.of(
                tx,
                at,
                customer,
                since_ms=from_ms,
                now_ms=now_ms,
                sides=[side for side in (before, after) if _knows(side, customer)],
            )
            n_months += drawing.n_left_out
            again = None if is_recounted else drawing.corrected(after.terms)
            one = await drawing.amounts(before, again)
            other = await drawing.amounts(after, again)
        first = next(iter(drawing.finals), "")
        found = [
            ChangedPeriod(
                customer=customer,
                period=name,
                is_final=name in drawing.finals,
                before=one.get(name),
                after=other.get(name),
            )
            for name in sorted({**one, **other})
            if one.get(name) != other.get(name)
        ]
        changed += found
        by_hand += (f"{customer} ({it.period})" for it in found if it.period < first)
    changed.sort(key=lambda c: -max(map(abs, c.change.values()), default=Decimal(0)))
    left_out = len(since) - customers_max
    return Consequences(
        periods=tuple(changed[:PERIODS_SHOWN]),
        n_periods=len(changed),
        open=_sums(c for c in changed if not c.is_final),
        adjustments=_sums(c for c in changed if c.is_final),
        by_hand=tuple(by_hand),
        not_compared=tuple(
            f"{what} not in these amounts"
            for n, what in (
                (left_out, f"{left_out} more customers are"),
                (n_months, f"{n_of(n_months, 'open period')} of longer ago are"),
            )
            if n > 0
        ),
    )


class _Drawing(NamedTuple):
    """One customer's periods, to be drawn from one snapshot, twice."""

    tx: Tx
    at: Counted
    customer: Customer
    finals: Mapping[str, FinalInvoice]
    """All of them, the earliest first."""
    since_ms: int
    """From when on something changes."""
    now_ms: int
    periods: tuple[str, ...]
    """That are not final, the earliest first."""
    n_left_out: int
    """How many more there are, before these."""

    @classmethod
    async def of(
        cls,
        tx: Tx,
        at: Counted,
        customer: str,
        *,
        since_ms: int,
        now_ms: int,
        sides: list[Side],
    ) -> "_Drawing":
        """Return a drawing of all periods behind a time.

        Args:
            sides: those that know the customer.
        """
        finals = await finals_of(tx, customer)
        firsts = [
            await first_ms(
                *(tx, at, side.terms, customer),
                also_used_ms=side.billing.first_ms(customer),
            )
            for side in sides
        ]
        first = max(since_ms, min(firsts))
        calendar = CustomerCalendar.of(sides[0].terms, customer)
        open_periods = [
            period.name
            for period in calendar.periods(min(first, now_ms), now_ms + 1)
            if period.name not in finals
        ]
        return cls(
            tx,
            at,
            Customer(id=customer, name=customer),
            finals,
            since_ms,
            now_ms,
            tuple(open_periods[-OPEN_PERIODS_MAX:]),
            max(0, len(open_periods) - OPEN_PERIODS_MAX),
        )

    def corrected(self, terms: Terms) -> frozenset[str]:
        """Return the final periods that come to something else by terms alone."""
        return frozenset(
            period.name
            for final, period in self._as_of_now(terms)
            if period != final.period or is_corrected(terms, self.customer.id, final)
        )

    def _as_of_now(self, terms: Terms) -> list[tuple[FinalInvoice, Period]]:
        found = as_of_now(terms, self.customer.id, self.finals, now_ms=self.now_ms)
        return [one for one in found if one[1].end > self.since_ms]

    async def amounts(
        self, side: Side, again: frozenset[str] | None
    ) -> dict[str, Owed]:
        """Return what each period comes to; one without an invoice is left out.

        Args:
            again: the final periods that are drawn again; ``None``: all of them.
        """
        found: dict[str, Owed] = {}
        if not _knows(side, self.customer.id):
            return found
        balances = await Balances.of(self.tx, self.customer.id)
        for final, period in self._as_of_now(side.terms):
            if again is None or period.name in again:
                with contextlib.suppress(NotBillable, PricingError):
                    drawn = await self._final(side, final, period, balances)
                    found[period.name] = Owed(
                        drawn.invoice.total, drawn.invoice.currency
                    )
        calendar = CustomerCalendar.of(side.terms, self.customer.id)
        for name in self.periods:
            with contextlib.suppress(NotBillable, PricingError):
                drawn = await side.billing.draft(
                    self.tx,
                    self.at,
                    self.customer,
                    calendar.named(name),
                    balances=balances,
                )
                found[name] = Owed(drawn.invoice.total, drawn.invoice.currency)
        return found

    async def _final(
        self, side: Side, final: FinalInvoice, period: Period, balances: Balances
    ) -> Drawn:
        """Return what a final period comes to; what it uses up is gone for later ones."""
        drawn = await drawn_again(
            self.tx,
            self.at,
            side.billing,
            side.terms,
            self.customer,
            final,
            period,
            balances=balances,
        )
        balances.take(
            uses_of(
                drawn.invoice,
                drawn.plans,
                customer=self.customer.id,
                balances=balances,
            )
        )
        return drawn


def _knows(side: Side, customer: str) -> bool:
    """Say whether there is such a customer: one may be new by the change."""
    return bool(side.terms.entries("customer", customer))


def _sums(changed: Iterable[ChangedPeriod]) -> tuple[Owed, ...]:
    """Return by how much periods change, by currency."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for one in changed:
        for currency, amount in one.change.items():
            found[currency] += amount
    return tuple(Owed(amount, currency) for currency, amount in found.items())


def _signed(owed: Owed) -> str:
    """Return a difference in words: ``12.50 usd more``."""
    text = money_text(abs(owed.amount), currency_of(owed.currency))
    if not owed.amount:
        return "the same in all"
    return f"{text} {'more' if owed.amount > 0 else 'less'}"
