"""A provider's usage object as it came, in texts that an event takes."""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from meterline.events import PROPERTY_CHARS_MAX

TEXTS_MAX: Final = 12  # an event has room for 16 properties; model and so on are some
CHARS_MAX: Final = TEXTS_MAX * PROPERTY_CHARS_MAX

_to_json: Final = msgspec.json.Encoder().encode


def as_dict(usage: object) -> Mapping[str, object]:
    """Return a usage object as it came over the wire, whatever a library made of it."""
    thing: Any = usage
    for name in ("to_dict", "model_dump"):
        if callable(dump := getattr(thing, name, None)):
            thing = dump()
            break
    return cast("Mapping[str, object]", thing)


class UsageTooLong:
    """Recorded in place of a usage object that there is no room for.

    It is no property, and so it is left out, flagged and counted like any other that
    cannot be taken; its name is what the complaint says.
    """


def kept(usage: Mapping[str, object]) -> dict[str, object]:
    """Return the JSON of a usage object as ``usage_1``, ``usage_2`` and so on."""
    text = _to_json(usage).decode()
    if len(text) > CHARS_MAX:
        return {"usage_1": UsageTooLong()}
    starts = range(0, len(text), PROPERTY_CHARS_MAX)
    return {
        f"usage_{i}": text[start : start + PROPERTY_CHARS_MAX]
        for i, start in enumerate(starts, 1)
    }
