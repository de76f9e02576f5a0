"""One run of closing: what was asked for, and what it came to."""

import heapq
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from msgspec import Struct, field

from meterline_pricing import Period, PricingError
from meterline_sidecar.billing.statement import Statement
from meterline_sidecar.config.billing import Grace
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.invoices import Voided
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar

AUTHOR: Final = "schedule"
"""Who closes what closes by itself."""
LISTED_MAX: Final = 1_000


class Rules(NamedTuple):
    """What the configuration says of closing."""

    is_automatic: bool
    grace: Grace


class Wanted(Struct, frozen=True, kw_only=True):
    """What is to be closed."""

    period: str | None = None
    """The name of one, or a month for all that begin in it; ``None``: whatever is
    due."""
    customer: str | None = None
    """Only theirs."""
    skips_grace: bool = False
    accepts_gap: bool = False
    accepts_edge: str | None = None
    """Even though this edge may have more."""
    reason: str = ""
    """Why, where somebody says so; it is kept with each invoice."""
    is_dry: bool = False
    """Only say what would be closed."""
    author: str = AUTHOR
    is_automatic: bool = False
    """Whether nobody asked for it."""


class Due(NamedTuple):
    """A period that is over and not final."""

    customer: str
    period: Period
    grace_end_ms: int


class DueList:
    """Periods that are over, in order of their ends and of customers.

    Of very many customers most have the same period, and are one name each here.
    """

    def __init__(self) -> None:
        self._customers: defaultdict[tuple[Period, int], list[str]] = defaultdict(list)
        """By the period, and the end of its grace."""

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(map(len, self._customers.values()))

    def __iter__(self) -> Iterator[Due]:
        """Yield them in order."""
        return heapq.merge(
            *map(self._of, self._customers),
            key=lambda due: (due.period.end, due.customer),
        )

    def _of(self, same: tuple[Period, int]) -> Iterator[Due]:
        return (Due(customer, *same) for customer in sorted(self._customers[same]))

    def add(self, due: Due) -> None:
        """Take one in, of a customer who is not here."""
        self._customers[due.period, due.grace_end_ms].append(due.customer)

    def drop(self, customer: str, period: Period) -> None:
        """Forget a period of a customer, if it is here."""
        for same in [one for one in self._customers if one[0] == period]:
            rest = [one for one in self._customers.pop(same) if one != customer]
            if rest:
                self._customers[same] = rest

    def periods(self) -> Iterator[tuple[Period, int]]:
        """Yield each period, in no order, and of how many customers it is."""
        for (period, _), customers in self._customers.items():
            yield period, len(customers)

    def clear(self) -> None:
        """Forget all of them."""
        self._customers.clear()


class Held(NamedTuple):
    """A period that should be final, and why it is not."""

    customer: str
    period: Period
    why: str
    is_left: bool = False
    """Whether it is left to people: it ended before periods closed by themselves."""


async def voided(tx: Tx, terms: Terms, *, now_ms: int) -> list[Held]:
    """Return what is left to people as its invoice is void, the first thousand.

    A period that is billed for longer by now than its invoice was is left to nobody until
    that is over.
    """
    return [
        Held(
            one.customer,
            period,
            f"its invoice is void: `meterline close --customer {one.customer} --period"
            f" {one.period}` makes another one, from what is known and agreed now",
            is_left=True,
        )
        for one in await store.voided(tx, limit=LISTED_MAX)
        if (period := _by_now(terms, one)).end <= now_ms
    ]


def _by_now(terms: Terms, one: Voided) -> Period:
    """Return the period of a void invoice as far as it is billed by now."""
    try:
        return CustomerCalendar.of(terms, one.customer).named(one.period)
    except PricingError:  # nothing of it is
        return Period(one.start_ms, one.end_ms, one.period)


class Closed(NamedTuple):
    """A period that became final, or would."""

    customer: str
    period: Period
    due: Decimal
    currency: str


class Run(Struct, kw_only=True):
    """What one run of closing has come to so far."""

    number: int
    """Counted from the start of the sidecar."""
    wanted: Wanted
    started_ms: int
    ended_ms: int | None = None
    n_due: int = 0
    """Found so far; more may become due behind them."""
    n_closed: int = 0
    totals: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    """What the invoices that were closed come to, by currency."""
    closed: list[Closed] = field(default_factory=list[Closed])
    """The first thousand."""
    held: dict[str, Held] = field(default_factory=dict[str, Held])
    """By customer."""
    error: str | None = None
    """Why it ended early."""

    def add(self, due: Due, statement: Statement) -> None:
        """Note an invoice."""
        self.n_closed += 1
        currency = statement.invoice.currency
        if len(self.closed) < LISTED_MAX:
            self.closed.append(
                Closed(due.customer, due.period, statement.due, currency)
            )
        owed = [(statement.due, currency)]
        owed += [(one.amount, one.currency) for one in statement.also_due]
        for amount, of in owed:
            self.totals[of] = self.totals.get(of, Decimal(0)) + amount
