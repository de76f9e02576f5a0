"""From what a meter counts to what is charged: unit conversion and free units."""

from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from typing import Final

from meterline_pricing.money import ZERO, number_text
from meterline_pricing.plan import RateCard
from meterline_pricing.terms import Conversion
from meterline_pricing.usage import (
    Amounts,
    Group,
    Groups,
    Usage,
    merged,
    quantity_of,
    shaped,
)

_MODES: Final = {"up": ROUND_UP, "down": ROUND_DOWN, "half_up": ROUND_HALF_UP}


def converted(quantity: Decimal, conversion: Conversion) -> Decimal:
    """Return a quantity in the units that are priced; to be called in ``exact()``."""
    result = quantity * conversion.times / conversion.per
    if conversion.round == "none":
        return result
    unit = Decimal((0, (1,), -conversion.precision))
    return (result / unit).to_integral_value(_MODES[conversion.round]) * unit


def free_of(card: RateCard) -> Decimal:
    """Return how many units of a price are free; to be called in ``exact()``."""
    units = (discount.units or ZERO for discount in card.discounts)
    return sum(units, card.free_units)


def counted(units: Decimal, card: RateCard) -> Decimal:
    """Return what the meter counts when so many units are charged for.

    The reverse of ``billable``, as if nothing were rounded. In ``exact()`` only.
    """
    return (units + free_of(card)) * card.convert.per / card.convert.times


def billable(card: RateCard, usage: Usage) -> tuple[Usage, str]:
    """Return what a rate card charges for, and how it differs from what was used.

    Free units are taken from the first group, or the first event, on. Usage by
    group is converted by group as the price tells groups apart, else as a whole.
    To be called in ``exact()``.

    Raises:
        PricingError: the usage is no number, below 0, or lacks a dimension's value.
    """
    free = free_of(card)
    if card.convert == _AS_IS and not free:
        return usage, ""
    shape = shaped(usage, card.price.grouped_by or ())
    if isinstance(shape, Groups):
        by = card.price.told_apart_by
        shape = quantity_of(shape) if by is None else merged(shape, by)
    notes: list[str] = []
    used = quantity_of(shape)
    if card.convert != _AS_IS:
        shape = _each(shape, card.convert)
        notes.append(_conversion_text(used, card.convert, quantity_of(shape)))
    if free:
        before = quantity_of(shape)
        shape = _without(shape, free)
        notes.append(f"{number_text(before - quantity_of(shape))} free; ")
    return shape, "".join(notes)


_AS_IS: Final = Conversion()


def _conversion_text(used: Decimal, conversion: Conversion, result: Decimal) -> str:
    text = number_text(used)
    if conversion.times != 1:
        text += f" x {number_text(conversion.times)}"
    if conversion.per != 1:
        text += f" / {number_text(conversion.per)}"
    return f"{text} = {number_text(result)}; "


def _each(
    usage: Decimal | Amounts | Groups, conversion: Conversion
) -> Decimal | Amounts | Groups:
    match usage:
        case Groups(groups):
            return Groups(
                tuple(Group(g.values, _leaf(g.usage, conversion)) for g in groups)
            )
        case leaf:
            return _leaf(leaf, conversion)


def _leaf(usage: Decimal | Amounts, conversion: Conversion) -> Decimal | Amounts:
    if isinstance(usage, Amounts):
        return Amounts(tuple(converted(value, conversion) for value in usage.values))
    return converted(usage, conversion)


def _without(
    usage: Decimal | Amounts | Groups, free: Decimal
) -> Decimal | Amounts | Groups:
    """Return ``usage`` without its first ``free`` units."""
    match usage:
        case Groups(groups):
            kept: list[Group] = []
            for group in groups:
                rest = _without_leaf(group.usage, free)
                free -= quantity_of(group.usage) - quantity_of(rest)
                kept.append(Group(group.values, rest))
            return Groups(tuple(kept))
        case leaf:
            return _without_leaf(leaf, free)


def _without_leaf(usage: Decimal | Amounts, free: Decimal) -> Decimal | Amounts:
    if not isinstance(usage, Amounts):
        return max(usage - free, ZERO)
    values: list[Decimal] = []
    for value in usage.values:
        values.append(max(value - free, ZERO))
        free = max(free - value, ZERO)
    return Amounts(tuple(values))
