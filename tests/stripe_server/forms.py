"""Form bodies as Stripe reads them: ``a[b][0][c]=1`` is nested, and strict."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from tests.stripe_server import errors

PART: Final = re.compile(r"\[([^\[\]]*)\]")


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the fields as nested dicts; keys that are all numbers make lists."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        head, _, _ = name.partition("[")
        path = [head, *PART.findall(name)]
        place: dict[str, Any] = root
        for part in path[:-1]:
            place = place.setdefault(part, {})
        # ``expand[]=x`` appends.
        place[path[-1] or str(len(place))] = value
    return {key: _listed(value) for key, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    given = cast("dict[str, Any]", value)
    fields = {name: _listed(part) for name, part in given.items()}
    if fields and all(key.isdecimal() for key in fields):
        return [fields[key] for key in sorted(fields, key=int)]
    return fields


def check(
    fields: Mapping[str, Any],
    *,
    known: Iterable[str],
    required: Iterable[str] = (),
) -> None:
    """Refuse what is unknown or missing at the top level.

    Raises:
        StripeRefusal: as Stripe says it.
    """
    for name in fields:
        if name not in known:
            raise errors.unknown_param(name)
    for name in required:
        if name not in fields:
            raise errors.missing(name)


def is_true(value: Any) -> bool:
    """Return a boolean as a form says it."""
    return str(value).lower() == "true"
