"""A provider's usage object as it came, in texts that an event takes."""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from meterline.complaints import troubles
from meterline.events import PROPERTY_CHARS_MAX

CHARS_MAX: Final = 8 * PROPERTY_CHARS_MAX
NOT_KEPT: Final = f"a usage object over {CHARS_MAX} characters is not kept"

_to_json: Final = msgspec.json.Encoder().encode


def as_dict(usage: object) -> Mapping[str, object]:
    """Return a usage object as it came over the wire, whatever a library made of it."""
    thing: Any = usage
    for name in ("to_dict", "model_dump"):
        if callable(dump := getattr(thing, name, None)):
            thing = dump()
            break
    return cast("Mapping[str, object]", thing)


def kept(usage: Mapping[str, object]) -> dict[str, str]:
    """Return the JSON of a usage object as ``usage_1``, ``usage_2`` and so on."""
    text = _to_json(usage).decode()
    if len(text) > CHARS_MAX:
        troubles.add(NOT_KEPT)
        return {}
    starts = range(0, len(text), PROPERTY_CHARS_MAX)
    return {
        f"usage_{i}": text[start : start + PROPERTY_CHARS_MAX]
        for i, start in enumerate(starts, 1)
    }
