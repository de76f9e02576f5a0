"""What was used, in the shapes that price models take it in."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, cast

from meterline_pricing.errors import PricingError
from meterline_pricing.fields import Checked, Field
from meterline_pricing.money import ZERO, exact
from meterline_pricing.numbers import Number, to_decimal


class Amounts(Checked, frozen=True, tag_field="shape", tag="amounts"):
    """The amount that each event carried, in the order in which they happened."""

    values: Field[tuple[Decimal, ...], Sequence[Number]]


class Group(Checked, frozen=True):
    """What was used under one combination of dimension values."""

    values: dict[str, str]
    """Dimension to value: ``{"region": "eu", "tier": "gold"}``."""
    usage: Field[Decimal | Amounts, Number | Amounts]


class Groups(Checked, frozen=True, tag_field="shape", tag="groups"):
    """Usage by dimension values, or by time bucket (the bucket being a dimension)."""

    groups: tuple[Group, ...]


class Part(NamedTuple):
    """What was used under some dimension values, and what else tells it apart."""

    values: dict[str, str]
    usage: Groups


Usage = (
    Number
    | Amounts
    | Groups
    | Sequence[Number]
    | Sequence[Group]
    | Mapping[Any, Number]  # keys are invariant, and str or a tuple of str
)
"""A quantity, the events' amounts in order, or either of them by group.

A sequence of numbers stands for ``Amounts``, one of ``Group`` for ``Groups``. A
mapping stands for groups too: from dimension values, in the order of the price's
dimensions, to quantities.
"""


def shaped(usage: Usage, dimensions: Sequence[str] = ()) -> Decimal | Amounts | Groups:
    """Return ``usage`` in one of the three shapes that rating knows.

    Args:
        dimensions: what the keys of a mapping are values of; without them the
            dimensions of a mapping are called ``1``, ``2`` ...

    Raises:
        PricingError: a number that is none, or below 0; a mapping whose keys are not
            one value for each of ``dimensions``.
    """
    if isinstance(usage, Amounts | Groups):
        return usage
    if isinstance(usage, Mapping):
        return Groups(
            tuple(
                Group(_named(key, dimensions), to_decimal(value))
                for key, value in usage.items()
            )
        )
    if isinstance(usage, list | tuple):
        if usage and all(isinstance(item, Group) for item in usage):
            return Groups(cast("tuple[Group, ...]", tuple(usage)))
        return Amounts(cast("Sequence[Number]", usage))
    return to_decimal(usage)


def quantity_of(usage: Usage) -> Decimal:
    """Return the total quantity of ``usage``, in whatever shape it is.

    Raises:
        PricingError: a number that is none, or below 0.
    """
    if type(usage) is int or type(usage) is Decimal:
        return to_decimal(usage)  # the usual ones first
    match shaped(usage):
        case Amounts(values):
            parts = values
        case Groups(groups):
            parts = tuple(quantity_of(group.usage) for group in groups)
        case quantity:
            return quantity
    with exact():
        return sum(parts, ZERO)


def groups_of(usage: Usage, dimensions: Sequence[str] = ()) -> tuple[Group, ...]:
    """Return ``usage`` by group; what is not grouped is one group without values.

    Raises:
        PricingError: as ``shaped``.
    """
    match shaped(usage, dimensions):
        case Groups(groups):
            return groups
        case ungrouped:
            return (Group({}, ungrouped),)


def parts_of(usage: Usage, by: Sequence[str]) -> tuple[Part, ...]:
    """Return ``usage`` in parts, one for each combination of the dimensions ``by``.

    In the order in which the combinations first appear; without dimensions every
    group is a part. A group that lacks a dimension has no value for it, which is a
    combination of its own.

    Raises:
        PricingError: as ``shaped``.
    """
    groups = groups_of(usage, by)
    if not by:
        return tuple(Part(group.values, Groups((group,))) for group in groups)
    found: dict[tuple[tuple[str, str], ...], list[Group]] = {}
    for group in groups:
        key = tuple((name, group.values[name]) for name in by if name in group.values)
        found.setdefault(key, []).append(group)
    return tuple(Part(dict(key), Groups(tuple(same))) for key, same in found.items())


def merged(usage: Groups, by: Sequence[str]) -> Groups:
    """Return usage with one group for each combination of the dimensions ``by``.

    As ``parts_of`` tells them apart: without dimensions it stays as it is.
    """
    if not by:
        return usage
    found: list[Group] = []
    for values, same in parts_of(usage, by):
        used = [group.usage for group in same.groups]
        if all(isinstance(one, Amounts) for one in used):
            found.append(Group(values, Amounts(amounts_of(same))))
        else:
            found.append(Group(values, quantity_of(same)))
    return Groups(tuple(found))


def amounts_of(usage: Usage) -> tuple[Decimal, ...]:
    """Return the events' amounts in order; none for a bare quantity of zero.

    Raises:
        PricingError: only their total is known.
    """
    match shaped(usage):
        case Amounts(values):
            return values
        case Groups(groups):
            return tuple(value for group in groups for value in amounts_of(group.usage))
        case quantity if not quantity:
            return ()
        case _:
            raise PricingError(
                "this price needs the amount of every event, in order, not their total"
            )


def _named(key: str | tuple[str, ...], dimensions: Sequence[str]) -> dict[str, str]:
    values = key if isinstance(key, tuple) else (key,)
    names = dimensions or [str(i) for i in range(1, len(values) + 1)]
    if len(values) != len(names):
        expected = ", ".join(names)
        raise PricingError(f"expected a value for each of {expected}, not {key!r:.60}")
    return dict(zip(names, values, strict=True))


def together(one: Usage, other: Usage) -> Usage:
    """Return two usages of disjoint times as one."""
    first, second = shaped(one), shaped(other)
    if not isinstance(first, Decimal) or not isinstance(second, Decimal):
        if isinstance(first, Decimal) and not first:
            return second
        if isinstance(second, Decimal) and not second:
            return first
    match first, second:
        case Amounts(a), Amounts(b):
            return Amounts((*a, *b))
        case Groups(a), Groups(b):
            found: dict[tuple[tuple[str, str], ...], Decimal | Amounts] = {}
            for group in (*a, *b):
                key = tuple(sorted(group.values.items()))
                used = together(found.get(key, ZERO), group.usage)
                assert isinstance(used, Decimal | Amounts), "a group has no groups"
                found[key] = used
            return Groups(tuple(Group(dict(key), u) for key, u in found.items()))
        case Decimal(), Decimal():
            with exact():
                return first + second
        case _:
            raise PricingError("usage by group and without cannot be added up")
