"""What was agreed, in the words of people."""

from typing import Any, Final, cast

from msgspec import json

from meterline_pricing import Override

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
