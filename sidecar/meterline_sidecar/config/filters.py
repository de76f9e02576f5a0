"""What a filter of a meter may say: nothing that no event can ever match."""

from collections.abc import Iterator
from typing import Final

from meterline.methods import METHODS
from meterline_pricing.errors import unknown
from meterline_pricing.toml.source import TEXT, Kind, Unfit
from meterline_sidecar.meters import UNMATCHED, Meter, StatusRange, status_ranges

STATUS_MIN: Final = 100
STATUS_MAX: Final = 599
STATUS_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")

WEBSOCKETS: Final = "GET"
"""The method of every websocket."""


def _method(value: object) -> str:
    text = TEXT.check(value)
    # Servers hand on methods in capitals, and a filter means the method.
    method = text.upper()
    if text == UNMATCHED or method in METHODS:
        return text if text == UNMATCHED else method
    raise Unfit(unknown("method", text, (*METHODS, UNMATCHED)))


def _statuses(value: object) -> tuple[StatusRange, ...]:
    ranges: list[StatusRange] = []
    for part in TEXT.check(value).split(","):
        text = part.strip()
        if text in STATUS_CLASSES:
            ranges += status_ranges(text)
            continue
        first, dash, last = text.partition("-")
        last = last if dash else first
        if not (_is_status(first) and _is_status(last)):
            raise Unfit
        if first > last:
            raise Unfit(f"nothing is in {first}-{last}; write {last}-{first}")
        ranges.append(StatusRange(int(first), int(last)))
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
    if "use" not in kinds:
        for pattern in where.route:
            if not pattern.startswith(("/", "*")) and pattern != UNMATCHED:
                yield (
                    f"the route `{pattern}` can match no request: a route begins with"
                    f" `/`, as in `/{pattern}`. If it is one that your code gives to"
                    ' Meter.record, say so with kind = ["use"]; where no route was'
                    f" found, it is `{UNMATCHED}`"
                )
    if kinds == ("websocket",) and where.method and WEBSOCKETS not in where.method:
        yield f"no websocket is opened by {', '.join(where.method)}: only by GET"
