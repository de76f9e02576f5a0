"""What a filter of a meter may say: nothing that no event can ever match."""

from collections.abc import Iterator
from typing import Final

from meterline.methods import METHODS
from meterline_pricing.errors import unknown
from meterline_pricing.toml.source import TEXT, Kind, Unfit
from meterline_sidecar.meters import Meter
from meterline_sidecar.where import (
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
    if not any(map(where.takes_status, (0, *range(STATUS_MIN, STATUS_MAX + 1)))):
        yield "its statuses leave out all that they name"
