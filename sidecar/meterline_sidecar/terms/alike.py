"""Customers with whom the same was agreed share what follows from it.

Of very many customers most are on the same plan, from the same day on, in the same zone.
What their calendar is, and which plan holds when, is worked out once for all of them.
"""

from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from msgspec import UNSET

from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import CustomerChange

SHARED_MAX: Final = 1_000
"""Answers that are kept, each for all who are alike."""

Likeness = tuple[Hashable, ...]
T = TypeVar("T")


class Shared(Generic[T]):
    """Answers by what they follow from, for each ``Terms`` that is asked."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Terms, dict[Likeness, T]] = WeakKeyDictionary()

    def get(self, terms: Terms, likeness: Likeness) -> T | None:
        """Return the answer, where it is known."""
        return self._known.setdefault(terms, {}).get(likeness)

    def put(self, terms: Terms, likeness: Likeness, answer: T) -> None:
        """Keep an answer; it is never changed."""
        known = self._known.setdefault(terms, {})
        if len(known) >= SHARED_MAX:
            known.clear()
        known[likeness] = answer


def likeness(terms: Terms, customer_id: str) -> Likeness | None:
    """Return what is equal for customers whose days, periods and plans are equal.

    ``None`` for who has prices of their own: they are like nobody. Left out is when a
    customer was heard of, which is asked for where a plan begins with a trial.
    """
    entries = terms.entries("customer", customer_id)
    said: list[Hashable] = []
    for entry in entries:
        change = entry.change
        assert isinstance(change, CustomerChange)
        if change.overrides:
            return None
        about = _about(change)
        if about != NOTHING:
            said.append((entry.from_ms, about))
    first_ms = min((entry.from_ms for entry in entries), default=0)
    _, plan_row = terms.rows_of_calendar(customer_id)
    return plan_row, first_ms, *said


def silent_ms(terms: Terms, customer_id: str) -> Iterator[int]:
    """Yield from when on rows hold that say nothing of days, periods and plans."""
    for entry in terms.entries("customer", customer_id):
        assert isinstance(entry.change, CustomerChange)
        if _about(entry.change) == NOTHING:
            yield entry.from_ms


NOTHING: Final = (UNSET,) * 8
"""What a change is about that says nothing of days, periods and plans."""


def _about(change: CustomerChange) -> tuple[Hashable, ...]:
    return (
        change.plan,
        change.plans,
        change.overrides,
        change.time_zone,
        change.anchor,
        change.starts,
        change.ends,
        change.is_removed,
    )
