"""Plans that hold one after the other in a period, as one where no price knows better."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec.structs import replace

from meterline_pricing.plan import Plan, beside_prices, repeated
from meterline_pricing.terms import Coupon, Discount, Tax
from meterline_pricing.told_apart import BETWEEN, plain

_Term = Discount | Coupon | Tax
_OF_ALL: Final = (
    *("currency", "rounding", "order", "prorate"),
    *("minimum_spend", "maximum_spend", "commitment"),
)
"""What belongs to a plan as a whole."""
_TERMS: Final = ("discounts", "coupons", "taxes")
"""What is for some prices, or for all. Credits are not: each pays for what is charged
while a plan has it."""


def united(before: Plan, after: Plan) -> Plan | None:
    """Return the later one of two plans with the prices and the terms of both.

    ``None``: one of them has something else for all prices, or for a price that both
    have, or another price for a meter. So an add-on that comes or goes with taxes or
    discounts of its own leaves what is charged beside it alone.
    """
    if _differ(before, after, _OF_ALL):
        return None
    if not _differ(before, after, _TERMS):
        return after
    names = {card.name for card in after.prices}
    cards = (*after.prices, *(c for c in before.prices if c.name not in names))
    if repeated(cards):
        return None
    terms: dict[str, Any] = {}
    of = f"{before.name}{BETWEEN}{after.name}"
    for field in _TERMS:
        if _mixes(getattr(before, field), getattr(after, field)):
            return None
        terms[field] = both = _both(before, after, field, of)
        if any(
            _seen(getattr(plan, field), place, of) != _seen(both, place, of)
            for plan in (before, after)
            for place in _places(plan)
        ):
            return None
    return replace(after, prices=cards, tests=(), **terms)


def _differ(before: Plan, after: Plan, fields: Iterable[str]) -> bool:
    return any(getattr(before, field) != getattr(after, field) for field in fields)


def _places(plan: Plan) -> tuple[str, ...]:
    """Return what terms of a plan may be for: its prices, and what is of none."""
    return (*(card.name for card in plan.prices), *beside_prices(plan))


def _both(before: Plan, after: Plan, field: str, of: str) -> tuple[_Term, ...]:
    """Return the terms of both plans; what both have is for the prices of both.

    Args:
        of: the names of both plans; a tax may be told apart by one of them.
    """
    if not _differ(before, after, [field]):
        return tuple(getattr(after, field))
    found: dict[Hashable, _Term] = {}
    for plan in (before, after):
        for known_by, term in _known_by(getattr(plan, field), of):
            known = found.get(known_by)
            on = term.on or _places(plan)
            if known is not None:
                on = tuple(dict.fromkeys((*known.on, *on)))
            found[known_by] = replace(term, on=on)
    return tuple(found.values())


def _known_by(terms: Iterable[_Term], of: str) -> Iterator[tuple[Hashable, _Term]]:
    """Yield terms, each with what one in another plan has, too, if it is the same.

    It is known by what it says, and by how many of its plan say so before it.
    """
    alike: Counter[_Term] = Counter()
    for term in terms:
        said = _bare(term, of)
        yield (said, alike[said]), term
        alike[said] += 1


def _is_used_up(term: _Term) -> bool:
    """Say whether what a term has given is gone for the rest of a period, or for good."""
    is_limited = isinstance(term, Coupon) and term.periods is not None
    return not isinstance(term, Tax) and (is_limited or term.amount is not None)


def _bare(term: _Term, of: str) -> _Term:
    """Return what a term says, whatever it is for, and a tax by its plain name."""
    name = plain(term.name, of) if isinstance(term, Tax) else term.name
    return replace(term, name=name, on=())


def _mixes(before: Sequence[_Term], after: Sequence[_Term]) -> bool:
    """Say whether what was used of a term could be taken for what was of another one.

    It is known by its name, and by how many of that name its plan has before it.
    """
    return any(
        (one := [replace(term, on=()) for term in before if term.name == name])
        and (other := [replace(term, on=()) for term in after if term.name == name])
        and one != other
        for name in {term.name for term in (*before, *after) if _is_used_up(term)}
    )


def _seen(terms: Iterable[_Term], place: str, of: str) -> list[_Term]:
    """Return the terms that a price has, whatever else they are for."""
    return [_bare(term, of) for term in terms if not term.on or place in term.on]
