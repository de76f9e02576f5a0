"""What a filter of a meter may say: nothing that no event can ever match."""

from collections.abc import Iterator, Sequence
from typing import Final

from meterline.events import (
    PROPERTY_CHARS_MAX,
    PROPERTY_NAME_CHARS_MAX,
    RESERVED_NAMES,
)
from meterline.methods import METHODS
from meterline_pricing.errors import nearest, unknown
from meterline_pricing.toml.source import TEXT, Kind, Unfit
from meterline_sidecar.meters import DIMENSIONS, Meter
from meterline_sidecar.properties import NONE, OTHER, is_name
from meterline_sidecar.where import (
    ANYTHING,
    NOT,
    UNMATCHED,
    StatusRange,
    Where,
    fits,
    split,
    status_ranges,
)

STATUS_MIN: Final = 100
STATUS_MAX: Final = 599
STATUS_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")

ANY: Final = "PROPERTY"
"""How the documentation writes the name of any property."""
WEBSOCKETS: Final = "GET"
"""The method of every websocket."""


def _method(value: object) -> str:
    whole = TEXT.check(value)
    text = whole.removeprefix(NOT)
    mark = whole.removesuffix(text)
    # Servers hand on methods in capitals, and a filter means the method.
    method = text.upper()
    if text == UNMATCHED or method in METHODS:
        return mark + (text if text == UNMATCHED else method)
    raise Unfit(unknown("method", text, (*METHODS, UNMATCHED)))


def _statuses(value: object) -> tuple[StatusRange, ...]:
    ranges: list[StatusRange] = []
    for part in TEXT.check(value).split(","):
        whole = part.strip()
        text = whole.removeprefix(NOT).lstrip()
        is_left_out = whole != text
        if text in STATUS_CLASSES:
            found = status_ranges(text)[0]
            ranges.append(StatusRange(found.first, found.last, is_left_out))
            continue
        first, dash, last = text.partition("-")
        last = last if dash else first
        if not (_is_status(first) and _is_status(last)):
            raise Unfit
        if first > last:
            raise Unfit(f"nothing is in {first}-{last}; write {last}-{first}")
        ranges.append(StatusRange(int(first), int(last), is_left_out))
    return tuple(ranges)


def _is_status(text: str) -> bool:
    is_number = len(text) == 3 and text.isascii() and text.isdigit()
    return is_number and STATUS_MIN <= int(text) <= STATUS_MAX


def _named(what: str, known: Sequence[str], *, takes_known: bool) -> Kind[str]:
    """Return the kind of a property's name, beside names that are known.

    One that is a typing error away from these is taken for one: no property of an app
    is likely to be called ``routes``, and a filter by it would take nothing.
    """

    def check(value: object) -> str:
        text = TEXT.check(value)
        if takes_known and text in known:
            return text
        if nearest(text, known, typos_max=1) is not None:
            raise Unfit(unknown(what, text, known))
        if text in RESERVED_NAMES:
            raise Unfit(f"`{text}` is no property: events have something of that name")
        if not is_name(text):
            raise Unfit(
                f"a property is called by at most {PROPERTY_NAME_CHARS_MAX} of a-z, 0-9"
                f" and _, not by a digit first; {unknown(what, text, (*known, ANY))}"
            )
        return text

    expected = f"one of {', '.join(known)}, or the name of a property"
    return Kind(expected, check, "", {"type": "string"})


def _pattern(value: object) -> str:
    whole = TEXT.check(value)
    text = whole.removeprefix(NOT)
    if not text:
        raise Unfit(f"`{NOT}` leaves out what it stands before, and nothing is there")
    if text == OTHER:
        raise Unfit(
            "values are compared as they were recorded, before those beyond the limit"
            f" are added up as `{OTHER}`"
        )
    if len(text.replace(ANYTHING, "")) > PROPERTY_CHARS_MAX:
        raise Unfit(f"no value is longer than {PROPERTY_CHARS_MAX} characters")
    return whole


DIMENSION: Final = _named("dimension", DIMENSIONS, takes_known=True)
PROPERTY: Final = _named("key", (*DIMENSIONS, "kind"), takes_known=False)
PATTERN: Final = Kind(
    f"a value, a pattern such as gpt-*, or `{NONE}`", _pattern, "", {"type": "string"}
)
METHOD: Final = Kind("an HTTP method, or `unmatched`", _method, "", {"type": "string"})
STATUSES: Final[Kind[tuple[StatusRange, ...]]] = Kind(
    f'statuses from {STATUS_MIN} to {STATUS_MAX}, such as "200-499" or "200,304"',
    _statuses,
    (),
    {"type": "string"},
)


def never_matching(meter: Meter) -> Iterator[str]:
    """Yield why a meter's filters can match nothing, in words."""
    kinds, where = meter.where.kind, meter.where
    routes, _ = split(where.route)
    methods, other_methods = split(where.method)
    yield from _left_out(where)
    if "use" not in kinds:
        for pattern in routes:
            if not pattern.startswith(("/", "*")) and pattern != UNMATCHED:
                yield (
                    f"the route `{pattern}` can match no request: a route begins with"
                    f" `/`, as in `/{pattern}`. If it is one that your code gives to"
                    ' Meter.record, say so with kind = ["use"]; where no route was'
                    f" found, it is `{UNMATCHED}`"
                )
    if kinds == ("websocket",) and methods and WEBSOCKETS not in methods:
        yield f"no websocket is opened by {', '.join(methods)}: only by GET"
    if kinds == ("websocket",) and WEBSOCKETS in other_methods:
        yield "every websocket is opened by GET, which is left out"


def _left_out(where: Where) -> Iterator[str]:
    """Yield what is left out so that nothing remains, or that there is not."""
    routes, other_routes = split(where.route)
    methods, other_methods = split(where.method)
    if "use" not in where.kind:
        for pattern in other_routes:
            if not pattern.startswith(("/", "*")) and pattern != UNMATCHED:
                yield (
                    f"`!{pattern}` leaves out no request: a route begins with `/`, as"
                    f" in `!/{pattern}`; where no route was found, it is `{UNMATCHED}`"
                )
    if all(any(fits(one, other) for other in other_routes) for one in routes or ["*"]):
        yield f"its routes leave out all that they name: {', '.join(where.route)}"
    if methods and set(methods) <= set(other_methods):
        yield f"its methods leave out all that they name: {', '.join(where.method)}"
    for name, patterns in where.properties.items():
        named, others = split(patterns)
        if all(
            any(fits(one, other) for other in others) for one in named or [ANYTHING]
        ):
            yield f"its `{name}` leaves out all that it names: {', '.join(patterns)}"
    if not any(map(where.takes_status, (0, *range(STATUS_MIN, STATUS_MAX + 1)))):
        yield "its statuses leave out all that they name"
