"""What prices and terms are called where several plans of a customer have one name.

A name says what a credit has paid, how often a coupon was given, and which fee goes on.
So it stays the same for as long as somebody is a customer, whatever plans they have
beside it, and no two at one time have it that are not one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from meterline_pricing.plan import Plan
from meterline_pricing.terms import Credit

FIELDS: Final = ("prices", "discounts", "coupons", "credits")
"""Where names are told apart for good. Taxes remember nothing."""
BETWEEN: Final = " + "
"""Between the names of plans that are held at one time, in the name of all."""


class Own(NamedTuple):
    """A name as a plan has it."""

    field: str
    plan: str
    name: str


def called(held: Iterable[Sequence[Plan]]) -> Mapping[Own, str]:
    """Return what each plan's prices and terms are called.

    Who has a name first keeps it; of those who come at one time, the first in order. It
    is free again once they are gone: then it goes on with whoever comes next. Who comes
    while another has it is called by its plan, too, from then on.

    A credit that is used up is what it was called first for ever, also where another
    plan went on with it in between: both are one grant then, and have one name.

    Args:
        held: the plans that are held at one time, one time after the other. Of a plan
            there may be several versions.
    """
    known: dict[Own, str] = {}
    before: frozenset[Own] = frozenset()
    for plans in held:
        present = {own: once for plan in plans for own, once in _owns(plan)}
        stays = {own for own, once in present.items() if own in before or once}
        taken = {(own.field, known[own]) for own in stays if own in known}
        for own in present:
            if own in stays and own in known:
                continue
            name = known.get(own, own.name)
            while (own.field, name) in taken:
                name = _by_plan(own, name)
            known[own] = name
            taken.add((own.field, name))
        before = frozenset(present)
    return known


def plain(name: str, plans: str) -> str:
    """Return a name as its plan has it, whichever of these plans tells it apart."""
    for plan in plans.split(BETWEEN):
        name = name.removesuffix(f" ({plan})")
    return name


def _owns(plan: Plan) -> Iterator[tuple[Own, bool]]:
    """Yield the names of a plan, each with whether it is of what is granted once."""
    for field in FIELDS:
        for one in getattr(plan, field):
            is_once = isinstance(one, Credit) and one.every == "once"
            yield Own(field, plan.name, one.name), is_once


def _by_plan(own: Own, name: str) -> str:
    return f"{own.plan}: {name}" if own.field == "prices" else f"{name} ({own.plan})"
