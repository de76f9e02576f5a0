"""One invoice for a period in which a plan changed, or was changed.

Each stretch is charged at the plan that held in it. What did not change is charged as
if nothing had: a fee that both plans have is one fee, and the tiers and free units of
a price that both have go on. What did change is cut at the change: fees by their share
of the period, usage by its time; tiers begin anew with a new price.
"""

import itertools
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from msgspec.structs import replace

from meterline_pricing.bill import Bill, Given, Item, Payer
from meterline_pricing.errors import PricingError
from meterline_pricing.invoice import Invoice, invoice_of_bill, read_by
from meterline_pricing.money import ZERO, currency_of, exact
from meterline_pricing.period import Calendar, Period
from meterline_pricing.plan import FREE_TRIAL, Plan, RateCard
from meterline_pricing.price_model import PriceModel
from meterline_pricing.proration import Stretch, share_of
from meterline_pricing.terms import Credit
from meterline_pricing.unit_price import BlockTiers, Volume
from meterline_pricing.united import united
from meterline_pricing.usage import Usage, together

_OF_MONEY: Final = tuple(
    key
    for key in RateCard.__struct_fields__
    if key not in ("name", "description", "source")
)
"""What of a price decides what it costs; the rest are words."""


def invoice_of(
    stretches: Sequence[Stretch],
    whole: Period,
    *,
    name: str = "",
    time_zone: str = "UTC",
) -> Invoice:
    """Return the invoice of a period, whatever held in its stretches.

    Args:
        stretches: in the order of time, without a gap.
        whole: the whole billing period; the stretches may be less of it, where a
            customer starts or ends in the middle.
        name: what the period is called.
        time_zone: where its days begin, for proration by day.

    Raises:
        PricingError: a gap, an overlap, plans of two currencies, or usage that can
            not be rated.
    """
    _check(stretches)
    period = Period(
        stretches[0].period.start, stretches[-1].period.end, name or whole.name
    )
    parts: list[Invoice] = []
    given: dict[Given, Decimal] = {}
    for first, last, plan in _epochs(stretches):
        charged = _charged(stretches, first, last, whole, time_zone)
        span = Period(stretches[first].period.start, stretches[last].period.end)
        bill = Bill(
            currency_of(plan.currency),
            plan.rounding,
            items=charged.items,
            payers=_payers(stretches[first : last + 1], charged.keys),
            share=_share(span, whole, plan, time_zone),
            shares=charged.shares,
            billed={},
            given=given,
        )
        parts.append(invoice_of_bill(bill, plan, period, unpriced=charged.unread))
    return _joined(parts, period)


class _Charged(NamedTuple):
    """What is charged in stretches that have all terms alike."""

    items: list[Item]
    shares: dict[str, tuple[int, int] | None]
    """By item, the part of the period that it is for."""
    keys: list[frozenset[str]]
    """By stretch, the items that are charged in it."""
    unread: set[str]
    """Meters that were used, and that no price looks at."""


def _charged(
    stretches: Sequence[Stretch], first: int, last: int, whole: Period, time_zone: str
) -> _Charged:
    charged = _Charged([], {}, [], set())
    edges = stretches[0].period.start, stretches[-1].period.end
    carried: _Carried = {}
    for i in range(first, last + 1):
        stretch = stretches[i]
        following = stretches[i + 1].plan if i < last else None
        charge = _charge(stretch, following, carried)
        carried = charge.going_on
        before = _before(stretches[:i], stretch, charge)
        keys: list[str] = []
        for card in charge.cards:
            key = card.name if first == last else f"{card.name} {i}"
            span = Period(charge.starts[card.name], stretch.period.end)
            share = _share(span, whole, stretch.plan, time_zone)
            item = Item(key, card, charge.usage[card.name], before.get(card.name, ZERO))
            if (span.start, span.end) != edges:
                item = item._replace(span=span)
            if len(stretches) > 1 and (share is not None or item.span):
                item = item._replace(days=_days(span, time_zone))
            charged.items.append(item)
            charged.shares[key] = share
            keys.append(key)
        charged.keys.append(frozenset(keys))
        charged.unread.update(
            stretch.usage.keys() - read_by(stretch.plan.prices),
        )
    return charged


def unbroken(stretches: Sequence[Stretch]) -> list[frozenset[int]]:
    """Return since when prices that are charged in each stretch have been the same.

    Only where that is before the stretch: ``Stretch.since`` has what was used then.
    """
    found: list[frozenset[int]] = []
    for first, last, _ in _epochs(stretches):
        for i in range(first, last + 1):
            stretch = stretches[i]
            following = stretches[i + 1].plan if i < last else None
            starts = {
                _since(stretches, first, i, card)
                for card in stretch.plan.prices
                if not _goes_on(card, following)
            }
            found.append(frozenset(starts - {stretch.period.start}))
    return found


_Carried = dict[tuple[str | None, str], tuple[int, dict[str, Usage]]]
"""By what a price is known by: since when it has been the same, and what was used, by
meter."""


class _Charge(NamedTuple):
    """What is charged in one stretch."""

    cards: tuple[RateCard, ...]
    usage: dict[str, dict[str, Usage]]
    """By rate card and meter."""
    starts: dict[str, int]
    """By rate card, since when it has been the same."""
    going_on: _Carried
    """What is charged in the next stretch, as it is the same there."""


def _charge(stretch: Stretch, following: Plan | None, carried: _Carried) -> _Charge:
    """Return what is charged in a stretch, and what goes on into the next one."""
    cards: list[RateCard] = []
    usage: dict[str, dict[str, Usage]] = {}
    starts: dict[str, int] = {}
    going_on: _Carried = {}
    for card in stretch.plan.prices:
        start, before = carried.get(card.identity, (stretch.period.start, {}))
        used = {
            meter: _used(stretch, meter, start, before.get(meter, ZERO))
            for meter in (card.meter, card.price.also_reads)
            if meter is not None
        }
        if _goes_on(card, following):
            going_on[card.identity] = (start, used)
            continue
        cards.append(card)
        starts[card.name] = start
        usage[card.name] = used
    return _Charge(tuple(cards), usage, starts, going_on)


def _before(
    earlier: Sequence[Stretch], stretch: Stretch, charge: _Charge
) -> dict[str, Usage]:
    """Return by rate card what was used before it, where its tiers go on behind that."""
    found: dict[str, Usage] = {}
    if stretch.plan.tiers_on_change == "restart":
        return found
    for card in charge.cards:
        is_level = card.meter in stretch.levels
        if card.meter is None or is_level or _is_of_a_whole(card.price):
            continue
        used: Usage = ZERO
        for one in earlier:
            is_before = one.period.end <= charge.starts[card.name]
            if is_before and not _is_free(one.plan, card.meter):
                used = together(used, one.usage.get(card.meter, ZERO))
        found[card.name] = used
    return found


def _is_free(plan: Plan, meter: str) -> bool:
    """Say whether usage of a meter is in a free trial: behind it, all begins anew."""
    return any(c.meter == meter and FREE_TRIAL in c.discounts for c in plan.prices)


def _is_of_a_whole(price: PriceModel) -> bool:
    """Say whether no unit of a price costs what it does by those before it."""
    match price:
        case Volume() | BlockTiers(mode="top"):
            return True
        case _:
            return price.is_fixed or any(map(_is_of_a_whole, price.inner))


def _used(stretch: Stretch, meter: str, start: int, before: Usage) -> Usage:
    """Return what was used from a time to the end of a stretch.

    Args:
        before: what was used until the stretch, of a meter that adds up.
    """
    known = stretch.since.get(start, {})
    if meter in known:
        return known[meter]
    used = stretch.usage.get(meter, ZERO)
    return together(before, used) if before is not ZERO else used


def _goes_on(card: RateCard, other: Plan | None) -> bool:
    """Say whether another plan has a price, in whatever words."""
    return other is not None and any(
        card.identity == one.identity
        and all(getattr(card, key) == getattr(one, key) for key in _OF_MONEY)
        for one in other.prices
    )


def _check(stretches: Sequence[Stretch]) -> None:
    if not stretches:
        raise PricingError("there is no stretch to invoice")
    for one, other in itertools.pairwise(stretches):
        if one.period.end != other.period.start:
            raise PricingError(f"a gap or an overlap at {other.period.start} ms")
    if len({stretch.plan.currency for stretch in stretches}) > 1:
        raise PricingError("the plans differ in currency")


class _Epoch(NamedTuple):
    """Stretches that are one bill: prices that stay the same in them go on.

    Discounts, limits, coupons and taxes are of all of it, and rounded once. Other
    stretches are charged by themselves, with their share of what is of a whole plan.
    """

    first: int
    last: int
    plan: Plan
    """The last one, with the terms of all."""


def _epochs(stretches: Sequence[Stretch]) -> list[_Epoch]:
    """Return the epochs of a period, in order."""
    found: list[_Epoch] = []
    for i, stretch in enumerate(stretches):
        plan = united(found[-1].plan, stretch.plan) if found else None
        if plan is not None:
            found[-1] = _Epoch(found[-1].first, i, plan)
        else:
            found.append(_Epoch(i, i, stretch.plan))
    return found


def _share(
    span: Period, whole: Period, plan: Plan, time_zone: str
) -> tuple[int, int] | None:
    return share_of(span, whole, by=plan.prorate, time_zone=time_zone)


def _payers(
    stretches: Sequence[Stretch], charged: Sequence[frozenset[str]]
) -> list[Payer]:
    """Return which credits pay for what: each for what is charged under its plan.

    Args:
        charged: by stretch, the keys of the items that are charged in it.
    """
    found: list[tuple[tuple[Credit, ...], frozenset[str]]] = []
    for stretch, keys in zip(stretches, charged, strict=True):
        credits_ = stretch.plan.credits
        if found and found[-1][0] == credits_:
            found[-1] = credits_, found[-1][1] | keys
        else:
            found.append((credits_, keys))
    # What belongs to no price, such as a minimum of all, is charged at the end.
    everything = frozenset({""}).union(*charged)
    found[-1] = found[-1][0], found[-1][1] | {""}
    return [Payer(credits_, everything - keys) for credits_, keys in found]


def _since(stretches: Sequence[Stretch], first: int, i: int, card: RateCard) -> int:
    """Return since when a rate card of a stretch has been the same, in its epoch."""
    while i > first and _goes_on(card, stretches[i - 1].plan):
        i -= 1
    return stretches[i].period.start


def _days(span: Period, time_zone: str) -> str:
    """Return for which days something is charged, as a line says it."""
    calendar = Calendar(time_zone=time_zone)
    return f" ({calendar.day(span.start)} to {calendar.day(span.end - 1)})"


def _joined(parts: Sequence[Invoice], period: Period) -> Invoice:
    if len(parts) == 1:
        return parts[0]
    last = parts[-1]
    with exact():
        sums = {
            name: sum((getattr(part, name) for part in parts), ZERO)
            for name in ("subtotal", "coupons", "credits", "tax", "total")
        }
    return replace(
        last,
        period=period,
        lines=tuple(line for part in parts for line in part.lines),
        unpriced=tuple(sorted({meter for part in parts for meter in part.unpriced})),
        unpriced_groups=tuple(g for part in parts for g in part.unpriced_groups),
        **sums,
    )
