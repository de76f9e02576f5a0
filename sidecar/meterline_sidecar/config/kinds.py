"""What the values of ``meterline.toml`` must be, and how that is said in words."""

import re
from typing import Final, get_args

from meterline_pricing.errors import unknown
from meterline_pricing.toml.source import Kind, Unfit, integer, one_of
from meterline_sidecar.config.shape import (
    HTTP_DEFAULT,
    AlertKind,
    BillThrough,
    SendMode,
)
from meterline_sidecar.meters import (
    EVENT_VALUES,
    QUANTITY_PREFIX,
    TEXT_VALUES,
    Aggregation,
    Dimension,
    KindName,
    Mode,
    StatusRange,
)

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")  # Stripe: at most 100
ORIGIN_FORM: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")
URL_FORM: Final = re.compile(r"https?://[^\s/@]+(/\S*)?")
UID_MAX: Final = 2**32 - 2
PORT_MAX: Final = 65535


def _name(value: object) -> str:
    if type(value) is not str or not NAME.fullmatch(value):
        raise Unfit
    return value


def _statuses(value: object) -> tuple[StatusRange, ...]:
    if type(value) is not str:
        raise Unfit
    ranges: list[StatusRange] = []
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (_is_status(first) and _is_status(last) and first <= last):
            raise Unfit
        ranges.append(StatusRange(int(first), int(last)))
    return tuple(ranges)


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit()


def _value(value: object) -> str:
    known = (*EVENT_VALUES, *TEXT_VALUES)
    if type(value) is not str:
        raise Unfit
    if value.startswith(QUANTITY_PREFIX) and len(value) > len(QUANTITY_PREFIX):
        return value
    if value not in known:
        raise Unfit(unknown("value", value, (*known, f"{QUANTITY_PREFIX}NAME")))
    return value


def http_address(value: object) -> str:
    """Return an address that the HTTP API may listen on.

    Raises:
        Unfit: it is no address.
    """
    if type(value) is not str:
        raise Unfit
    if value.startswith("unix:") and len(value) > len("unix:"):
        return value
    host, _, port = value.rpartition(":")
    if not (host and port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
        raise Unfit
    return value


def _url(value: object) -> str:
    if type(value) is not str or not URL_FORM.fullmatch(value):
        raise Unfit
    return value


def _origin(value: object) -> str:
    if type(value) is not str or not ORIGIN_FORM.fullmatch(value):
        raise Unfit
    return value


AGGREGATION: Final[Kind[Aggregation]] = one_of("aggregation", get_args(Aggregation))
DIMENSION: Final[Kind[Dimension]] = one_of("dimension", get_args(Dimension))
KIND: Final[Kind[KindName]] = one_of("kind", get_args(KindName))
BILL_THROUGH: Final[Kind[BillThrough]] = one_of("way", get_args(BillThrough))
STRIPE_MODE: Final[Kind[Mode]] = one_of("mode", get_args(Mode))
SEND_MODE: Final[Kind[SendMode]] = one_of("mode", get_args(SendMode))
NAME_KIND: Final = Kind("a name of letters, digits, `_`, `.` and `-`", _name, "")
STATUSES: Final[Kind[tuple[StatusRange, ...]]] = Kind(
    'statuses such as "200-499" or "200,304"', _statuses, ()
)
VALUE: Final = Kind("the name of a value", _value, "units")
HTTP: Final = Kind("HOST:PORT, or unix:PATH", http_address, HTTP_DEFAULT)
ALERT_KIND: Final[Kind[AlertKind]] = one_of("kind", get_args(AlertKind))
PERCENT: Final = integer(minimum=1, maximum=1_000)
FACTOR: Final = integer(minimum=2, maximum=1_000)
HOURS: Final = integer(minimum=1, maximum=24 * 7)
URL: Final = Kind("a URL such as https://ops.example.com/hook", _url, "")
UID: Final = integer(minimum=0, maximum=UID_MAX)
EVERY_S: Final = integer(minimum=1, maximum=3600)
NAMED: Final = integer(minimum=0, maximum=1_000)
PER_S: Final = integer(minimum=1, maximum=1_000_000)
ORIGIN: Final = Kind("an origin such as https://app.example.com", _origin, "")
SETTLE_S: Final = integer(minimum=0, maximum=86_400)
SELDOM_S: Final = integer(minimum=0, maximum=604_800)
