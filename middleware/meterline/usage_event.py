"""A usage event as it is encoded: the only definition, shared by the app and the sidecar.

The app writes the array that this describes, and never loads what checks it.
"""

from typing import Annotated

from msgspec import Meta, Struct

from meterline.events import (
    DECIMALS_MAX,
    METHOD_CHARS_MAX,
    NAME_CHARS_MAX,
    PARTS_MAX,
    PROPERTIES_MAX,
    PROPERTY_CHARS_MAX,
    PROPERTY_NAME_CHARS_MAX,
    QUANTITIES_MAX,
    QUANTITY_MAX,
    QUANTITY_NAME_CHARS_MAX,
    ROUTE_CHARS_MAX,
    STATUS_MAX,
    SUBJECT_CHARS_MAX,
    TIME_MS_MAX,
    Kind,
)

Text = Annotated[str, Meta(min_length=1, max_length=SUBJECT_CHARS_MAX)]
RouteText = Annotated[str, Meta(min_length=1, max_length=ROUTE_CHARS_MAX)]
MethodText = Annotated[str, Meta(min_length=1, max_length=METHOD_CHARS_MAX)]
QuantityName = Annotated[
    str, Meta(min_length=1, max_length=QUANTITY_NAME_CHARS_MAX, pattern=r"^[\w.:-]+\Z")
]
Quantity = Annotated[int, Meta(ge=0, le=QUANTITY_MAX)]
Fraction = Annotated[
    str,
    Meta(
        max_length=2 * DECIMALS_MAX + 1,
        pattern=rf"^(0|[1-9][0-9]{{0,{DECIMALS_MAX - 1}}})"
        rf"\.[0-9]{{0,{DECIMALS_MAX - 1}}}[1-9]\Z",
    ),
]
"""A number that is not whole, exactly as its decimal: ``1.25``. There is one text of each
number: no exponent, no zeros at the end, and of whole numbers none."""
Amount = Quantity | Fraction
PropertyName = Annotated[
    str, Meta(max_length=PROPERTY_NAME_CHARS_MAX, pattern=r"^[a-z_][a-z0-9_]*\Z")
]
PropertyText = Annotated[str, Meta(min_length=1, max_length=PROPERTY_CHARS_MAX)]
Properties = Annotated[
    dict[PropertyName, PropertyText], Meta(max_length=PROPERTIES_MAX)
]
NameText = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
TimeMs = Annotated[int, Meta(ge=0, le=TIME_MS_MAX)]
Status = Annotated[int, Meta(ge=0, le=STATUS_MAX)]


class Part(Struct, frozen=True, array_like=True, gc=False):
    """What was recorded of one quantity with the same properties."""

    quantity: QuantityName
    amount: Amount
    properties: Properties


class UsageEvent(Struct, frozen=True, array_like=True, gc=False):
    """One measured request, or one recorded use.

    Encoded as a MessagePack array in this order. The middleware writes the same
    array as a plain list, because building this object would cost more than all
    the rest of its work (see ``asgi.py``), and without the last ones where nothing
    has properties, or an id.
    """

    time_ms: TimeMs
    """When the request arrived, UTC milliseconds, by the app's clock."""
    kind: Annotated[int, Meta(ge=0, le=max(Kind).value)]
    """A ``Kind``; a plain integer because databases take those much faster."""
    subject: Text | None
    """Who used it, as the app knows them; ``None`` is unattributed."""
    method: MethodText | None
    route: RouteText | None
    """The route's template; ``None`` where no route matched."""
    status: Status
    """The HTTP status that was sent; 0 where none was."""
    duration_us: Quantity
    bytes_in: Quantity
    bytes_out: Quantity
    """Bytes of the response body that the app sent."""
    flags: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    quantities: (
        Annotated[dict[QuantityName, Amount], Meta(max_length=QUANTITIES_MAX)] | None
    ) = None
    """What ``meterline.record`` added: name to total."""
    properties: Properties | None = None
    """Of the whole event: ``meterline.set_property``."""
    parts: Annotated[list[Part], Meta(max_length=PARTS_MAX)] | None = None
    """What of ``quantities`` was recorded with properties of its own; these go over the
    event's. The rest of a total has the event's alone."""
    external_id: NameText | None = None
    """An id of the app's own: with the same one from the same source, it counts once.
    Of a request, what its client called it: it counts once for a time."""
    source: NameText | None = None
    """What the id is unique in; the app's name unless it is said."""
