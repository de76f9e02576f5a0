"""What of a plan or a meter is other than before, in words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, cast

from msgspec import Struct

LISTED_MAX: Final = 10
SHORT: Final = (str, int, Decimal, date)
"""What is told with what it was; whatever else is only named."""


def what_changed(before: Struct, now: Struct) -> str:
    """Return what differs between two plans or two meters, key by key.

    Such as ``price API calls, price Support added, minimum_spend 10 -> 20``. Prices,
    taxes and the like go by their names.
    """
    found = [
        text
        for key in before.__struct_fields__
        for text in _of_key(key, getattr(before, key), getattr(now, key))
    ]
    more = len(found) - LISTED_MAX
    return ", ".join(found[:LISTED_MAX]) + (f" and {more} more" if more > 0 else "")


def _of_key(key: str, before: object, now: object) -> Iterator[str]:
    if before == now:
        return
    old, new = _by_name(before), _by_name(now)
    if old is None or new is None:
        was, comes = _short(before), _short(now)
        yield key if was is None or comes is None else f"{key} {was} -> {comes}"
        return
    one = "tax" if key == "taxes" else key.removesuffix("s")
    for name in old | new:
        if name not in new:
            yield f"{one} {name} removed"
        elif name not in old:
            yield f"{one} {name} added"
        elif old[name] != new[name]:
            yield f"{one} {name}"
    if old == new:
        yield f"the order of {key}"


def _by_name(value: object) -> dict[str, object] | None:
    """Return parts by their names; ``None`` where they have none, or two have one."""
    if not isinstance(value, tuple):
        return None
    parts = cast("Sequence[Any]", value)
    names = [getattr(part, "name", None) for part in parts]
    if not all(isinstance(name, str) for name in names):
        return None
    if any(n > 1 for n in Counter(names).values()):
        return None
    return dict(zip(cast("list[str]", names), parts, strict=True))


def _short(value: object) -> str | None:
    """Return a value in one word or two, ``None`` if it takes more."""
    if value is None:
        return "none"
    return str(value) if isinstance(value, SHORT) else None
