"""Read ``pricing.toml``: every plan in it, or every problem with it."""

import tomllib
from typing import Any, cast

from msgspec import Struct

from meterline_pricing.plan import Catalogue
from meterline_pricing.plan_shapes import ROOT
from meterline_pricing.shape import Shape
from meterline_pricing.toml_source import Source


def load(text: str, *, file: str = "pricing.toml") -> Catalogue:
    """Return the plans that ``text`` describes.

    Args:
        text: the contents of a ``pricing.toml``.
        file: how errors call it.

    Raises:
        PricingError: with every problem in the text, each with its line and key.
    """
    source = Source(text, file=file)
    catalogue: Catalogue = ROOT.read(source.root)
    source.check()
    return catalogue


class Named(Struct, frozen=True):
    """What a price list names, be it right or wrong otherwise."""

    plans: tuple[str, ...]
    meters: tuple[tuple[str, str], ...]
    """Each with the plan that charges for it."""


def named(text: str) -> Named | None:
    """Return what ``text`` names, for whoever refers to it; ``None`` if it is no TOML.

    A price list with a mistake in it still has the plans that customers are on.
    """
    try:
        plans = _tables(tomllib.loads(text).get("plan"))
    except (ValueError, RecursionError):
        return None
    return Named(
        plans=tuple(str(plan["name"]) for plan in plans if "name" in plan),
        meters=tuple(
            (price["meter"], str(plan.get("name", "")))
            for plan in plans
            for price in _tables(plan.get("price"))
            if isinstance(price.get("meter"), str)
        ),
    )


def _tables(value: object) -> list[dict[str, Any]]:
    found = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in found if isinstance(item, dict)]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``pricing.toml``, for editors that complete it."""
    shapes: dict[str, Shape] = {}
    waiting: list[Shape] = list(ROOT.inner())
    while waiting:
        shape = waiting.pop()
        if shape.name not in shapes:
            shapes[shape.name] = shape
            waiting.extend(shape.inner())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Meterline prices (pricing.toml)",
        **ROOT.schema(),
        "$defs": {name: shapes[name].schema() for name in sorted(shapes)},
    }
