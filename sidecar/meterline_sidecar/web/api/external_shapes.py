"""The shapes of events that come over HTTP.

What a CloudEvent carries stands in its ``data``, under the names that an event in plain
JSON has beside its own. Written anew, an event has those members that were read of it and
none by default: see ``external_body``.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from meterline.events import (
    DECIMALS_MAX,
    PROPERTIES_MAX,
    QUANTITIES_MAX,
    QUANTITY_MAX,
    TIME_MS_MAX,
)
from meterline.usage_event import (
    MethodText,
    NameText,
    PropertyName,
    PropertyText,
    Quantity,
    QuantityName,
    RouteText,
    Status,
    Text,
)
from meterline_sidecar.where import KindName

TIME_CHARS_MAX: Final = 64

When = (
    Annotated[
        str,
        Meta(
            max_length=TIME_CHARS_MAX,
            description="When it happened: an RFC 3339 time with its zone, or"
            " milliseconds since 1970. By default, when it came.",
            examples=["2026-11-22T08:00:00Z"],
        ),
    ]
    | Annotated[int, Meta(ge=0, le=TIME_MS_MAX)]
    | None
)
# Their own patterns end as only Python's do.
_Quantity = Annotated[QuantityName, Meta(extra_json_schema={"pattern": r"^[\w.:-]+$"})]
_Property = Annotated[
    PropertyName, Meta(extra_json_schema={"pattern": "^[a-z_][a-z0-9_]*$"})
]
_Decimal = Annotated[
    str,
    Meta(
        pattern=rf"^[0-9]{{1,{DECIMALS_MAX}}}(\.[0-9]{{1,{DECIMALS_MAX}}})?$",
        max_length=2 * DECIMALS_MAX + 1,
        description="A number that is not whole, as its decimal.",
        examples=["1.25"],
    ),
]
Quantities = Annotated[
    dict[_Quantity, Quantity | _Decimal],
    Meta(max_length=QUANTITIES_MAX, examples=[{"tokens": 512}]),
]
Properties = Annotated[
    dict[
        _Property,
        PropertyText | bool | Annotated[int, Meta(ge=-QUANTITY_MAX, le=QUANTITY_MAX)],
    ],
    Meta(max_length=PROPERTIES_MAX, examples=[{"model": "large"}]),
]


class EventData(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """What was used."""

    quantities: Quantities | None = None
    """Whole numbers, or decimals as texts, by name."""
    properties: Properties | None = None
    """What to tell the event apart by; a number or truth is taken as its text."""
    kind: KindName = "use"
    """``request`` where it is a call of its own, which ``count`` meters take."""
    method: MethodText | None = None
    route: RouteText | None = None
    status: Status | None = None
    duration_us: Quantity = 0
    bytes_in: Quantity = 0
    bytes_out: Quantity = 0


class PlainEvent(EventData, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event in plain JSON."""

    id: NameText
    """Unique for ever within its source."""
    source: NameText | None = None
    time: When = None
    subject: Text | None = None
    """Who used it; without one, nobody is billed."""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvent 1.0. Attributes that are not listed are allowed, and not kept."""

    specversion: Literal["1.0"]
    id: NameText
    """Unique for ever within its source."""
    source: NameText
    type: RouteText
    """Is the event's route, unless ``data`` has one."""
    time: When = None
    subject: Text | None = None
    """Who used it; without one, nobody is billed."""
    datacontenttype: str | None = None
    data: EventData | None = None
