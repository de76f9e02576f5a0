"""Read ``pricing.toml``: every plan in it, or every problem with it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meterline_pricing.catalogue import Catalogue, Override
from meterline_pricing.toml.plan_shapes import OVERRIDE, ROOT
from meterline_pricing.toml.shape import json_schema_of
from meterline_pricing.toml.source import Source


def as_it_is(source: Source) -> None:
    """Leave a price list as it was written."""


def load(
    text: str,
    *,
    file: str = "pricing.toml",
    prepare: Callable[[Source], None] = as_it_is,
) -> Catalogue:
    """Return the plans that ``text`` describes.

    Args:
        text: the contents of a ``pricing.toml``.
        file: how errors call it.
        prepare: makes prices of what only the caller can price, before they are read.

    Raises:
        PricingError: with every problem in the text, each with its line and key.
    """
    source = Source(text, file=file)
    prepare(source)
    catalogue = read_catalogue(source)
    source.check()
    return catalogue


def read_catalogue(source: Source) -> Catalogue:
    """Return the plans of a price list that is read already; notes what is wrong in it.

    It counts only once ``source.check`` has found nothing.
    """
    catalogue: Catalogue = ROOT.read(source.root)
    return catalogue


def read_overrides(
    tables: Sequence[Mapping[str, Any]], *, customer: str
) -> tuple[Override, ...]:
    """Return what a customer has otherwise, from tables such as ``[[override]]``.

    Args:
        tables: as they come in JSON: without ``customer``, and with dates as texts.

    Raises:
        PricingError: with every problem in them, each with its key.
    """
    named = [{"customer": customer, **table} for table in tables]
    source = Source.of({"override": named}, file="")
    found = tuple(OVERRIDE.read(table) for table in source.root.tables("override"))
    source.check()
    return found


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``pricing.toml``, for editors that complete it."""
    return json_schema_of(ROOT, "Meterline prices (pricing.toml)")
