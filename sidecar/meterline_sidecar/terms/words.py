"""What was agreed, in the words of people."""

from collections.abc import Iterator
from typing import Any, Final, assert_never, cast

from msgspec import json

from meterline_pricing import Override
from meterline_sidecar.clock import DAY_MS, format_time_ms
from meterline_sidecar.terms.change import (
    ALWAYS,
    Change,
    CustomerChange,
    MeterChange,
    PlanChange,
    RuleChange,
    given,
)

BESIDE_PRICES: Final = tuple(
    name
    for name in Override.__struct_fields__
    if name not in ("customer", "plan", "prices")
)


def shown(value: Any) -> str:
    """Return the value of a customer's field."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        names = [
            _own_prices(item) if isinstance(item, Override) else str(item)
            for item in items
        ]
        return ", ".join(names) or "none"
    return str(value)


def _own_prices(override: Override) -> str:
    """Return what a customer has otherwise than a plan: which prices, and what else."""
    cards = [
        f"{card.name}: {json.encode(card.price).decode()}" for card in override.prices
    ]
    beside = [
        f"{name}: {json.encode(value).decode()}"
        for name in BESIDE_PRICES
        if (value := getattr(override, name)) is not None
    ]
    return f"own prices on {override.plan} ({', '.join([*cards, *beside])})"


def worded(change: Change, from_ms: int) -> str:
    """Return what a row of terms says: ``from 2026-12-01: plan pro``.

    Args:
        from_ms: from when on it holds, UTC ms; a midnight in UTC is said as its day.
    """
    if from_ms == ALWAYS:
        return _said(change, is_first=True)
    at = format_time_ms(from_ms)
    day = at.partition("T")[0] if from_ms % DAY_MS == 0 else at
    return f"from {day}: {_said(change, is_first=False)}"


def _said(change: Change, *, is_first: bool) -> str:
    match change:
        case CustomerChange():
            return "; ".join(_fields(change, is_first=is_first)) or "as it was"
        case PlanChange(version=version, plan=plan):
            if plan is None:
                return f"version {version} is withdrawn"
            prices = ", ".join(card.name for card in plan.prices)
            return f"version {version}, with prices for {prices or 'nothing'}"
        case MeterChange(meter=meter):
            if meter is None:
                return "measures nothing any more"
            of = f" of {meter.value}" if meter.value else ""
            return f"{meter.aggregation}{of}"
        case RuleChange(plan=plan):
            return "nobody signs up by it any more" if plan is None else f"plan {plan}"
        case _:
            assert_never(change)


def _fields(change: CustomerChange, *, is_first: bool) -> Iterator[str]:
    for name, value in given(change).items():
        if name == "is_removed":
            yield "removed" if value else "there again"
        # What a first row leaves empty, nobody said anything of.
        elif name != "unclaimed_from_ms" and (value or not is_first):
            yield f"{name} {shown(value)}"
