"""What if other prices held: invoices before and after, side by side."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

from meterline_pricing.errors import PricingError
from meterline_pricing.invoice import Invoice, invoice
from meterline_pricing.money import ZERO, exact
from meterline_pricing.period import Period
from meterline_pricing.plan import Plan
from meterline_pricing.usage import Usage


class LineDifference(Struct, frozen=True):
    """What one line of an invoice would cost instead."""

    name: str
    before: Decimal
    after: Decimal
    difference: Decimal


class Difference(Struct, frozen=True, kw_only=True):
    """What one customer would pay instead."""

    customer: str
    currency: str
    before: Decimal
    after: Decimal
    difference: Decimal
    """``after - before``: above 0, the customer pays more."""
    lines: tuple[LineDifference, ...]
    """Those that differ, by name in the order of the invoices."""
    unpriced: tuple[str, ...] = ()
    """Meters that were used and paid for, and that nothing is charged for after."""


def compare(
    customer: str,
    old: Plan,
    new: Plan,
    usage: Mapping[str, Usage],
    period: Period | None = None,
) -> Difference:
    """Return what ``customer`` would pay for ``usage`` under ``new`` instead of ``old``.

    Raises:
        PricingError: the usage cannot be rated under one of them, or they are in
            different currencies.
    """
    return difference_of(
        customer, invoice(old, usage, period), invoice(new, usage, period)
    )


def difference_of(customer: str, before: Invoice, after: Invoice) -> Difference:
    """Return how two invoices for the same usage differ, in total and line by line.

    Raises:
        PricingError: they are in different currencies.
    """
    if before.currency != after.currency:
        raise PricingError(f"{before.currency} and {after.currency} do not compare")
    with exact():
        old, new = _by_name(before), _by_name(after)
        lines = [
            LineDifference(
                name,
                old.get(name, ZERO),
                new.get(name, ZERO),
                new.get(name, ZERO) - old.get(name, ZERO),
            )
            for name in dict.fromkeys((*old, *new))
        ]
        return Difference(
            customer=customer,
            currency=after.currency,
            before=before.total,
            after=after.total,
            difference=after.total - before.total,
            lines=tuple(line for line in lines if line.difference),
            unpriced=tuple(sorted({*after.unpriced} - {*before.unpriced})),
        )


def ranked(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Return differences with the customers first who would pay most more."""
    with exact():
        return tuple(sorted(differences, key=lambda one: -one.difference))


def _by_name(result: Invoice) -> dict[str, Decimal]:
    amounts: dict[str, Decimal] = {}
    for line in result.lines:
        amounts[line.name] = amounts.get(line.name, ZERO) + line.amount
    return amounts
