"""The first day of a customer: nothing before it was ever owed."""

from functools import lru_cache
from typing import Final

from meterline_pricing import PricingError
from meterline_sidecar.store import changes
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import Counted

ALWAYS: Final = 0
ANSWERS_MAX: Final = 1_000
"""Answers that are kept: customers with whom the same was agreed share a calendar."""


async def first_ms(
    tx: Tx, at: Counted, terms: Terms, customer: str, *, also_used_ms: int | None = None
) -> int:
    """Return from when on a customer is billed, UTC ms.

    The day that was agreed; without one, when they first used something or were first
    heard of, whichever was earlier.

    Args:
        also_used_ms: when they first used something that is not counted yet.
    """
    calendar = CustomerCalendar.of(terms, customer)
    if calendar.starts is not None:
        return calendar.start_of(calendar.starts)
    learned_ms = terms.learned_ms(customer)
    used_ms = await changes.first_use(tx, at.generation, customer=customer)
    times = (learned_ms, used_ms, also_used_ms)
    return min(time_ms for time_ms in times if time_ms is not None)


@lru_cache(maxsize=ANSWERS_MAX)
def is_billable(calendar: CustomerCalendar, name: str, first: int) -> bool:
    """Say whether a person may bill a period, given the customer's first instant.

    The period in which they begin and those behind it; also the one just before, for
    a business that sets up its books on the first of the month, to bill the last one.
    """
    try:
        begun = calendar.name_at(first)
    except (PricingError, OverflowError):
        return False
    return name >= calendar.before(begun)
