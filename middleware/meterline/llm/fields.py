"""Fields of what a provider answered, be it an object, a dict or the text of JSON."""

from collections.abc import Mapping
from typing import cast

from meterline.quantities import exact_text


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
    value = field(thing, *names)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # of those whose language has no others
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return int(value)


def text(thing: object, *names: str) -> str:
    """Return the first of these fields that says something, if that is a text."""
    return exact_text(field(thing, *names)) or ""
