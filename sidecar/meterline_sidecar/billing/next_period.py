"""Which period of each customer is to be closed next, worked out once."""

from collections.abc import Callable, Mapping
from typing import Final

from meterline_pricing import Period, PricingError
from meterline_sidecar.billing.close_run import Wanted
from meterline_sidecar.billing.in_order import has_plan
from meterline_sidecar.config.collect import Payer
from meterline_sidecar.store.invoices import final_names
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar

SAME_MAX: Final = 1_000
_Known = tuple[tuple[int | None, ...], Period | None]
"""What an answer was worked out from, and the answer."""


class NextPeriods:
    """The first period of each customer behind their final ones that is closed here.

    What is found of a customer is kept until more of theirs is final or agreed.

    Args:
        is_reported: says whether Stripe is told of a customer's usage, and makes their
            invoices.
    """

    def __init__(self, terms: Terms, *, is_reported: Callable[[Payer], bool]) -> None:
        self._terms = terms
        self._is_reported = is_reported
        self._known: dict[str, _Known] = {}
        self._same: dict[_Known, _Known] = {}
        """Most customers have the same period: each answer is kept once."""

    def use(self, is_reported: Callable[[Payer], bool]) -> None:
        """Take it from now on that Stripe makes other customers' invoices."""
        self._is_reported = is_reported
        self._known.clear()
        self._same.clear()

    def is_stripes(self, name: str, at_ms: int) -> bool:
        """Say whether Stripe makes a customer's invoices."""
        customer = self._terms.customer(name, at_ms)
        assert customer is not None, "asked for one that there is"
        return self._is_reported(customer)

    def is_known(self, name: str, final_ms: int | None) -> bool:
        """Say whether ``of`` has the answer at hand."""
        return self._known.get(name, (None,))[0] == self._key(name, final_ms)

    def of(self, name: str, final_ms: int | None) -> Period | None:
        """Return the first period behind a time that is to be closed here.

        Args:
            final_ms: where the customer's last final period ends; ``None``: none is
                final yet.
        """
        if not self.is_known(name, final_ms):
            found = self._key(name, final_ms), self._next(name, final_ms)
            if len(self._same) >= SAME_MAX:
                self._same.clear()
            self._known[name] = self._same.setdefault(found, found)
        return self._known[name][1]

    async def passed(
        self, tx: Tx, wanted: Wanted, finals: Mapping[str, int]
    ) -> Period | None:
        """Return a period that was left out, or is void, if it is asked for by name.

        Args:
            finals: where each customer's last final period ends; only what is before
                that was left out.
        """
        name, period = wanted.customer, wanted.period
        if name is None or period is None or name not in finals:
            return None
        if period in await final_names(tx, name):
            return None
        try:
            found = CustomerCalendar.of(self._terms, name).named(period)
        except PricingError:
            return None  # nothing is billed in it
        if found.end > finals[name] or self.is_stripes(name, found.end - 1):
            return None
        return found if has_plan(self._terms, name, found) else None

    def _key(self, name: str, final_ms: int | None) -> tuple[int | None, ...]:
        return final_ms, *self._terms.rows_of_calendar(name)

    def _next(self, name: str, final_ms: int | None) -> Period | None:
        calendar = CustomerCalendar.of(self._terms, name)
        if final_ms is not None:
            since_ms = final_ms
        elif calendar.starts is not None:
            since_ms = calendar.start_of(calendar.starts)
        else:
            since_ms = self._terms.learned_ms(name)
        try:
            period = (
                calendar.at(since_ms)
                if final_ms is None
                else calendar.next_from(final_ms)
            )
        except PricingError:
            return None  # they left before anything was billed
        if period is None:
            return None  # all of it is closed: they have left
        customer = self._terms.customer(name, period.end - 1)
        assert customer is not None, "asked for one that there is"
        is_stripes = self._is_reported(customer)
        return None if customer.plan is None or is_stripes else period
