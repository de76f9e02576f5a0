"""What a document asks for: what of it was credited and paid, and what is left."""

from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from meterline_sidecar.billing.documents import day_of
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.decimals import added, subtracted
from meterline_sidecar.web.answers.documents import DocumentAnswer
from meterline_sidecar.web.answers.money import ShownOwed


class Standing(NamedTuple):
    """How an invoice stands in one of its currencies."""

    currency: str
    total: Decimal
    """As it was invoiced."""
    credited: Decimal
    """By credit notes: below zero where they lower what is owed."""
    paid: Decimal
    """What came in, less what was given back."""
    left: Decimal
    """Below zero it is in the customer's favour."""

    @property
    def is_changed(self) -> bool:
        """Whether something happened to it since it was issued."""
        return bool(self.credited or self.paid)


class Voided(NamedTuple):
    """When an invoice was made void, on its own calendar, and why."""

    day: date
    reason: str


def standings_of(shown: DocumentAnswer) -> tuple[Standing, ...]:
    """Return how an invoice stands, its own currency first; nothing of a credit note."""
    totals = {shown.currency: shown.amount}
    totals |= {owed.currency: owed.amount for owed in shown.also_due}
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for one in shown.payments:
        paid[one.currency] = added(paid[one.currency], one.amount)
    found: list[Standing] = []
    for owed in shown.left:
        total = totals.get(owed.currency, Decimal(0))
        received = paid[owed.currency]
        credited = subtracted(added(owed.amount, received), total)
        found.append(Standing(owed.currency, total, credited, received, owed.amount))
    return tuple(found)


def asked_of(shown: DocumentAnswer) -> tuple[ShownOwed, ...]:
    """Return what a document asks its customer to pay, by currency: often nothing."""
    if shown.kind != "invoice" or shown.state == "void":
        return ()
    return tuple(owed for owed in shown.left if owed.amount > 0)


def voided_of(shown: DocumentAnswer) -> Voided | None:
    """Return when an invoice was made void, and why; ``None``: it is not void."""
    if shown.state != "void":
        return None
    step = next(one for one in reversed(shown.steps) if one.state == "void")
    return Voided(day_of(parse_time_ms(step.at), shown.time_zone), step.cause)
