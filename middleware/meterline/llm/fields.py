"""Fields of what a provider answered, be it an object, a dict or the text of JSON."""

from collections.abc import Mapping
from typing import cast

from meterline.quantities import exact_text, whole_number


def field(thing: object, *names: str) -> object:
    """Return the first of these fields that says something; ``None``: none does."""
    for name in names:
        if isinstance(thing, Mapping):
            value = cast("Mapping[str, object]", thing).get(name)
        else:
            value = getattr(thing, name, None)
        if value is not None:
            return value
    return None


def number(thing: object, *names: str) -> int | None:
    """Return the first of these fields that says something, if that is a number."""
    value = whole_number(field(thing, *names))
    return None if value is None or value < 0 else value


def text(thing: object, *names: str) -> str:
    """Return the first of these fields that says something, if that is a text."""
    return exact_text(field(thing, *names)) or ""
