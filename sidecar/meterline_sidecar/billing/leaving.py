"""Which events may leave for the archive: those of periods that are settled.

Totals stay, so that drafts, invoices and corrections need no event. What a person may
ask before an invoice is final is another thing: until then the events behind it stay.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from meterline_pricing import Period, PricingError
from meterline_sidecar.billing.in_order import has_plan
from meterline_sidecar.clock import HOUR_MS, Clock
from meterline_sidecar.config.collect import Payer
from meterline_sidecar.store import invoices, outbox_hours
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import WINDOW_MS
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar

LAST: Final = 1 << 62  # later than any time
Judge = Callable[[str | None, int], str | None]


class Leaving:
    """Judges whether what a subject used at a time is settled.

    It is, when the period that it belongs to is final; where Stripe makes the invoices,
    when the period is over and Stripe was told of the hour. What nobody pays for, and
    what a customer without a plan used, belongs to no period.

    Args:
        is_reported: says whether Stripe is told of a customer's usage, and makes their
            invoices.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        clock: Clock,
        is_reported: Callable[[Payer], bool],
    ) -> None:
        self._terms = terms
        self._clock = clock
        self._is_reported = is_reported

    async def judging(self, tx: Tx) -> Judge:
        """Return a judge for one snapshot of the ledger."""
        spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for customer, start, end in await invoices.final_spans(tx, since_ms=0):
            spans[customer].append((start, end))
        for of in spans.values():
            of.sort()
        return _Judge(
            self._terms,
            spans,
            await outbox_hours.untold(tx),
            now_ms=self._clock.now_ms(),
            is_reported=self._is_reported,
        )


class _Judge:
    def __init__(
        self,
        terms: Terms,
        finals: defaultdict[str, list[tuple[int, int]]],
        untold: frozenset[tuple[str, int]],
        *,
        now_ms: int,
        is_reported: Callable[[Payer], bool],
    ) -> None:
        self._terms = terms
        self._finals = finals
        self._untold = untold
        self._now_ms = now_ms
        self._is_reported = is_reported
        self._payers: dict[str, list[tuple[int, str | None]]] = {}
        self._known: dict[tuple[str, int], str | None] = {}

    def __call__(self, subject: str | None, time_ms: int) -> str | None:
        """Return why an event must stay; ``None``: it may leave."""
        customer = None if subject is None else self._payer(subject, time_ms)
        if customer is None:
            return None
        # No period begins within a window.
        key = (customer, time_ms // WINDOW_MS)
        if key not in self._known:
            self._known[key] = self._why_stays(customer, time_ms)
        return self._known[key]

    def _payer(self, subject: str, time_ms: int) -> str | None:
        history = self._payers.get(subject)
        if history is None:
            history = list(self._terms.claims.history(subject))
            self._payers[subject] = history
        return next((who for since, who in reversed(history) if since <= time_ms), None)

    def _why_stays(self, customer: str, time_ms: int) -> str | None:
        finals = self._finals[customer]
        at = bisect_right(finals, (time_ms, LAST)) - 1
        if at >= 0 and time_ms < finals[at][1]:
            return None
        try:
            period = CustomerCalendar.of(self._terms, customer).at(time_ms)
        except PricingError:
            return None  # nothing is billed of that time
        if not has_plan(self._terms, customer, period):
            return None
        return self._why_open(customer, period, time_ms)

    def _why_open(self, customer: str, period: Period, time_ms: int) -> str | None:
        if period.end > self._now_ms:
            return f"period {period.name} of customer {customer} is not over"
        who = self._terms.customer(customer, time_ms)
        if who is not None and self._is_reported(who):
            if (customer, time_ms // HOUR_MS * HOUR_MS) in self._untold:
                return f"Stripe is not told yet of all that {customer} used in {period.name}"
            return None
        return (
            f"period {period.name} of customer {customer} is not final: `meterline"
            f" invoice {customer} --period {period.name} --finalize`"
        )
