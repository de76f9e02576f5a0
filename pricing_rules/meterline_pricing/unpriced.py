"""Usage in groups that a price has no answer for: set aside, never refused."""

from decimal import Decimal

from msgspec import Struct

from meterline_pricing.price import Matrix, PerGroup, Price
from meterline_pricing.rating import cell_for
from meterline_pricing.usage import Group, Groups, Usage, groups_of, quantity_of


class UnpricedGroup(Struct, frozen=True, kw_only=True):
    """Usage that nobody has given a price: shown, and not charged for."""

    meter: str
    values: dict[str, str]
    """What it is, by dimension: ``{"method": "PROPFIND"}``."""
    quantity: Decimal


def set_unpriced_aside(price: Price, usage: Usage) -> tuple[Usage, tuple[Group, ...]]:
    """Return the usage that ``price`` has an answer for, and the groups it has none for.

    A customer chooses methods and routes, not the author of the price list: a single
    odd request must not keep the rest from being charged for.

    Raises:
        PricingError: the usage is no number, below 0, or lacks a dimension's value.
    """
    match price:
        case Matrix():
            groups = groups_of(usage, price.dimensions)
        case PerGroup(Matrix()):
            groups = groups_of(usage, price.by)
        case _:
            return usage, ()
    kept: list[Group] = []
    left: list[Group] = []
    for group in groups:
        (kept if _has_price(price, group) else left).append(group)
    used = tuple(group for group in left if quantity_of(group.usage))
    if not used:
        return usage, ()
    return Groups(tuple(kept)), used


def _has_price(price: Price, group: Group) -> bool:
    match price:
        case Matrix():
            i = cell_for(price, group)
            if i is None:
                return False
            inner = price.cells[i].price if i < len(price.cells) else price.default
            return inner is None or _has_price(inner, group)
        case PerGroup(inner):
            return _has_price(inner, group)
        case _:
            return True
