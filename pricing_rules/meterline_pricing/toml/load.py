"""Read ``pricing.toml``: every plan in it, or every problem with it."""

from typing import Any

from meterline_pricing.plan import Catalogue
from meterline_pricing.toml.plan_shapes import ROOT
from meterline_pricing.toml.shape import json_schema_of
from meterline_pricing.toml.source import Source


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


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``pricing.toml``, for editors that complete it."""
    return json_schema_of(ROOT, "Meterline prices (pricing.toml)")
