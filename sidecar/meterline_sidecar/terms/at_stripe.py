"""What was agreed with customers that Stripe's side asks for, as it is now."""

from collections.abc import Iterator, Mapping

from meterline_sidecar.clock import Clock
from meterline_sidecar.terms.book import Terms, value_at
from meterline_sidecar.terms.calendar import CustomerCalendar


class StripeIds(Mapping[str, str | None]):
    """Each customer's ID at Stripe, by their own id; ``None`` where they have none."""

    def __init__(self, terms: Terms, *, clock: Clock) -> None:
        self._terms = terms
        self._clock = clock

    def __getitem__(self, customer_id: str) -> str | None:
        if not self._terms.entries("customer", customer_id):
            raise KeyError(customer_id)
        steps = self._terms.field(customer_id, "stripe_customer")
        found: str | None = value_at(steps, self._clock.now_ms())
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._terms.names("customer"))

    def __len__(self) -> int:
        return len(self._terms.names("customer"))


class FirstDays(Mapping[str, int]):
    """When billing begins, UTC ms, of each customer with whom a day was agreed."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._row_id = 0
        self._starts: dict[str, int] = {}

    def _known(self) -> dict[str, int]:
        """Return all of them, looking again only at whoever changed."""
        terms = self._terms
        for kind, name in terms.learned_after(self._row_id):
            if kind == "customer":
                calendar = CustomerCalendar.of(terms, name)
                self._starts.pop(name, None)
                if calendar.starts is not None:
                    self._starts[name] = calendar.start_of(calendar.starts)
        self._row_id = terms.row_id
        return self._starts

    def __getitem__(self, customer_id: str) -> int:
        return self._known()[customer_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())
