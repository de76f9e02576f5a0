"""What usage costs under a price: one function for each model, and one ``match``."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, getcontext, setcontext
from typing import Never

from msgspec.structs import replace

from meterline_pricing.charge import (
    Charge,
    Charges,
    blocks_charge,
    flat_charge,
    percent_charge,
    units_charge,
)
from meterline_pricing.errors import PricingError
from meterline_pricing.money import (
    EXACT,
    ZERO,
    Currency,
    currency_of,
    money_text,
    number_text,
)
from meterline_pricing.price import (
    Dynamic,
    GraduatedPercentage,
    Matrix,
    Percentage,
    PerGroup,
    Price,
)
from meterline_pricing.tiers import BlockTier, PercentTier, Step, Tier
from meterline_pricing.unit_price import (
    BlockTiers,
    Capacity,
    Flat,
    Graduated,
    Package,
    PerUnit,
    Stairstep,
    Volume,
)
from meterline_pricing.usage import (
    Group,
    Groups,
    Part,
    Usage,
    amounts_of,
    groups_of,
    parts_of,
    quantity_of,
)


def rate(
    price: Price,
    usage: Usage,
    *,
    currency: str | None = None,
    tier_usage: Usage | None = None,
) -> Charges:
    """Return what ``usage`` costs under ``price``, exactly and unrounded.

    The charges stand in the order of the tiers; there is always at least one.

    Args:
        price: one of the models of ``price.py``.
        usage: a quantity of 0 or more, or one of the shapes of ``usage.py``.
        currency: only for the explanations, which have bare numbers without it.
        tier_usage: what finds the tier of a volume price with ``tier_by``.

    Raises:
        PricingError: the usage is no number, below 0, not of the shape that this
            price needs, or nothing that the price has an answer for.
    """
    symbols = None if currency is None else currency_of(currency)
    # `with exact():` written out, which makes the plainest rating a tenth faster.
    ambient = getcontext()
    setcontext(EXACT)
    try:
        if isinstance(price, Volume) and price.tier_by and tier_usage is not None:
            reached = quantity_of(tier_usage)
            charges = _volume(price, quantity_of(usage), symbols, reached=reached)
        else:
            charges = _charges(price, usage, symbols)
        amount = charges[0].amount
        for charge in charges[1:]:
            amount += charge.amount
    finally:
        setcontext(ambient)
    return Charges(amount, charges)


def _charges(
    price: Price, usage: Usage, currency: Currency | None
) -> tuple[Charge, ...]:
    match price:
        case PerUnit(unit_amount):
            return (units_charge(quantity_of(usage), unit_amount, currency),)
        case Flat(amount):
            return (flat_charge(amount, currency),)
        case Graduated() | GraduatedPercentage():
            return _graduated(price, quantity_of(usage), currency)
        case Volume():
            return _volume(price, quantity_of(usage), currency)
        case Package():
            return (_package(price, quantity_of(usage), currency),)
        case Stairstep():
            return (_stairstep(price, quantity_of(usage), currency),)
        case BlockTiers(mode="all"):
            return _all_blocks(price, quantity_of(usage), currency)
        case BlockTiers():
            return (_top_blocks(price, quantity_of(usage), currency),)
        case Capacity():
            return _capacity(price, quantity_of(usage), currency)
        case Percentage():
            return _percentage(price, usage, currency)
        case Dynamic(multiplier):
            total = quantity_of(usage)
            text = f"{money_text(total, currency)} x {number_text(multiplier)}"
            return (Charge(total * multiplier, text),)
        case Matrix():
            return _matrix(price, groups_of(usage, price.dimensions), currency)
        case PerGroup(inner):
            parts = parts_of(usage, price.by)
            return _by_part([(inner, part) for part in parts], currency)
        case _:
            raise _not_a_price(price)


def _not_a_price(price: Never) -> PricingError:
    """Return the error for what callers without a type checker may hand in."""
    return PricingError(f"expected a price, not {price!r:.60}")


def _graduated(
    price: Graduated | GraduatedPercentage, total: Decimal, currency: Currency | None
) -> tuple[Charge, ...]:
    """Each unit in its own tier; a tier is entered above the bound of the last."""
    charges: list[Charge] = []
    tiers: Sequence[Tier | PercentTier] = price.tiers
    lower = ZERO
    for i, tier in enumerate(tiers, start=1):
        upper = total if tier.up_to is None else min(total, tier.up_to)
        if isinstance(tier, Tier):
            charges.append(units_charge(upper - lower, tier.unit_amount, currency, i))
        else:
            charges.append(percent_charge(upper - lower, tier.rate, currency, i))
        if tier.flat_amount and (total or price.flat_at_zero):
            charges.append(flat_charge(tier.flat_amount, currency, i))
        if isinstance(tier, Tier):
            charges += _over_maximum(tier, charges, currency, i)
        if upper == total:
            return tuple(charges)
        lower = upper
    raise AssertionError("the last tier has no bound")


def _over_maximum(
    tier: Tier, charges: Sequence[Charge], currency: Currency | None, number: int
) -> list[Charge]:
    """Return what takes a tier back to the most that it costs."""
    cost = sum((c.amount for c in charges if c.tier == number), ZERO)
    if tier.maximum is None or cost <= tier.maximum:
        return []
    text = f"{money_text(tier.maximum - cost, currency)} to the most of this tier"
    return [Charge(tier.maximum - cost, text, tier=number)]


def _volume(
    price: Volume,
    quantity: Decimal,
    currency: Currency | None,
    *,
    reached: Decimal | None = None,
) -> tuple[Charge, ...]:
    """All units in the tier that the whole quantity, or another one, reaches."""
    i = _reached(price.tiers, quantity if reached is None else reached)
    tier = price.tiers[i]
    charges = [units_charge(quantity, tier.unit_amount, currency, i + 1)]
    if tier.flat_amount and (quantity or price.flat_at_zero):
        charges.append(flat_charge(tier.flat_amount, currency, i + 1))
    return (*charges, *_over_maximum(tier, charges, currency, i + 1))


def _reached(tiers: Sequence[Tier | Step], quantity: Decimal) -> int:
    """Return the index of the tier of ``quantity``; of the last one above them all."""
    for i, tier in enumerate(tiers):
        if tier.up_to is None or quantity <= tier.up_to:
            return i
    return len(tiers) - 1


def _package(price: Package, quantity: Decimal, currency: Currency | None) -> Charge:
    """Whole packages of what is left after the free units."""
    paid = max(quantity - price.free_units, ZERO)
    mode = ROUND_CEILING if price.round == "up" else ROUND_FLOOR
    packages = (paid / price.size).to_integral_value(mode)
    return blocks_charge(packages, price.size, price.amount, currency)


def _stairstep(
    price: Stairstep, quantity: Decimal, currency: Currency | None
) -> Charge:
    """The amount of the step reached, whole."""
    if not quantity and not price.flat_at_zero:
        return Charge(ZERO, "nothing used", tier=1)
    i = _reached(price.tiers, quantity)
    step = price.tiers[i]
    _refuse_excess(price.on_exceed, quantity, step.up_to)
    text = f"{money_text(step.amount, currency)} for {number_text(quantity)}"
    return Charge(step.amount, text, tier=i + 1)


def _refuse_excess(on_exceed: str, quantity: Decimal, bound: Decimal | None) -> None:
    if on_exceed == "error" and bound is not None and quantity > bound:
        raise PricingError(
            f"{number_text(quantity)} is above the last tier, which ends at "
            f"{number_text(bound)}"
        )


def _block_count(units: Decimal, tier: BlockTier) -> Decimal:
    return (units / tier.block_size).to_integral_value(ROUND_CEILING)


def _all_blocks(
    price: BlockTiers, quantity: Decimal, currency: Currency | None
) -> tuple[Charge, ...]:
    """One tier after the other, each rounded up to whole blocks of its own size."""
    charges: list[Charge] = []
    left = quantity
    last = len(price.tiers)
    for i, tier in enumerate(price.tiers, start=1):
        blocks = _block_count(left, tier)
        is_full = tier.max_blocks is not None and blocks > tier.max_blocks
        if tier.max_blocks is not None and is_full and i == last:
            held = quantity - left + tier.max_blocks * tier.block_size
            _refuse_excess(price.on_exceed, quantity, held)
            is_full = price.on_exceed == "free"
        if tier.max_blocks is not None and is_full:
            blocks = tier.max_blocks
        charges.append(blocks_charge(blocks, tier.block_size, tier.amount, currency, i))
        if not is_full:
            break
        left -= blocks * tier.block_size
    return tuple(charges)


def _top_blocks(
    price: BlockTiers, quantity: Decimal, currency: Currency | None
) -> Charge:
    """All units in blocks of the tier that the quantity reaches."""
    left = quantity
    held = ZERO
    last = len(price.tiers)
    for i, tier in enumerate(price.tiers, start=1):
        blocks = _block_count(left, tier)
        if tier.max_blocks is None or blocks <= tier.max_blocks or i == last:
            if tier.max_blocks is not None:
                held += tier.max_blocks * tier.block_size
                _refuse_excess(price.on_exceed, quantity, held)
            blocks = _block_count(quantity, tier)
            return blocks_charge(blocks, tier.block_size, tier.amount, currency, i)
        left -= tier.max_blocks * tier.block_size
        held += tier.max_blocks * tier.block_size
    raise AssertionError("the last tier returns")


def _capacity(
    price: Capacity, quantity: Decimal, currency: Currency | None
) -> tuple[Charge, ...]:
    """The amount for what is included, and the units above it."""
    text = f"{money_text(price.amount, currency)} for {number_text(price.included)}"
    charges = [Charge(price.amount, text)]
    if quantity > price.included:
        over = quantity - price.included
        charges.append(units_charge(over, price.overage_unit_amount, currency))
    return tuple(charges)


def _matrix(
    price: Matrix, groups: tuple[Group, ...], currency: Currency | None
) -> tuple[Charge, ...]:
    """Each group at the cell that matches it best; groups of one cell together."""
    chosen: dict[int, list[Group]] = {}
    for group in groups:
        i = cell_for(price, group)
        if i is not None:
            chosen.setdefault(i, []).append(group)
        elif quantity_of(group.usage):
            pairs = ", ".join(f"{name} = {text}" for name, text in group.values.items())
            raise PricingError(f"no price for {pairs or 'usage without dimensions'}")
    priced: list[tuple[Price, Part]] = []
    for i in sorted(chosen):
        cell = price.cells[i] if i < len(price.cells) else None
        inner = cell.price if cell else price.default
        assert inner is not None
        values = cell.values if cell else {"": "other"}
        priced.append((inner, Part(values, Groups(tuple(chosen[i])))))
    return _by_part(priced, currency)


def cell_for(price: Matrix, group: Group) -> int | None:
    """Return the index of the most specific cell; beyond the last for the default.

    ``None`` where there is neither.
    """
    best: int | None = None if price.default is None else len(price.cells)
    best_names: tuple[int, tuple[bool, ...]] = (-1, ())
    for i, cell in enumerate(price.cells):
        if cell.values.items() <= group.values.items():
            names = tuple(name in cell.values for name in price.dimensions)
            if (len(cell.values), names) > best_names:
                best, best_names = i, (len(cell.values), names)
    return best


def _by_part(
    priced: list[tuple[Price, Part]], currency: Currency | None
) -> tuple[Charge, ...]:
    """Every part at its price, with its dimension values before the explanation."""
    charges: list[Charge] = []
    for price, part in priced:
        label = ", ".join(part.values.values())
        for charge in _charges(price, part.usage, currency):
            text = f"{label}: {charge.explanation}" if label else charge.explanation
            charges.append(replace(charge, explanation=text))
    return tuple(charges) or (Charge(ZERO, "nothing used"),)


def _percentage(
    price: Percentage, usage: Usage, currency: Currency | None
) -> tuple[Charge, ...]:
    """The rate over what is not free, and what is due for each event."""
    if not price.needs_events:
        paid = max(quantity_of(usage) - price.free_amount, ZERO)
        return (percent_charge(paid, price.rate, currency),)
    paid = ZERO
    events = ZERO
    adjusted = ZERO
    for amount in _paid_amounts(price, amounts_of(usage)):
        cost = amount * price.rate / Decimal(100) + price.fixed
        bounded = cost if price.minimum is None else max(cost, price.minimum)
        bounded = bounded if price.maximum is None else min(bounded, price.maximum)
        paid += amount
        events += 1
        adjusted += bounded - cost
    charges = [percent_charge(paid, price.rate, currency)]
    if price.fixed:
        charges.append(units_charge(events, price.fixed, currency))
    if adjusted:
        text = f"{money_text(adjusted, currency)} for minimum and maximum per event"
        charges.append(Charge(adjusted, text))
    return tuple(charges)


def _paid_amounts(price: Percentage, amounts: tuple[Decimal, ...]) -> list[Decimal]:
    """Return, for each event that is not all free, the part of it that is not."""
    paid: list[Decimal] = []
    free = price.free_amount
    is_free = bool(price.free_events or price.free_amount)
    for i, amount in enumerate(amounts):
        is_free = is_free and not (price.free_events and i >= price.free_events)
        if not is_free:
            paid.append(amount)
        elif price.free_amount:
            is_last = price.free_rule == "first_limit" and amount == free
            if amount >= free:
                is_free = False
                if not is_last:
                    paid.append(amount - free)
            free -= amount
    return paid
